"""How the command ends, whatever happens inside."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

import effsearch as package
from effsearch.cli import zoo as zoo_commands

COMMAND = [sys.executable, "-m", "effsearch"]


def end_with(monkeypatch, error):
    """Make `effsearch zoo` end with an exception."""

    def fail(**_):
        raise error

    monkeypatch.setattr(zoo_commands, "register", lambda app: app.command("zoo")(lambda: fail()))


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), 1, "x/y: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "x/y"), 2, "x/y: Read-only"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x/y"), 2, "x/y: Not a directory"),
        (MemoryError(), 1, "out of memory"),
    ],
)
def test_what_is_foreseen_is_one_line(effsearch, monkeypatch, error, status, message):
    end_with(monkeypatch, error)
    found, out, err = effsearch("zoo")
    assert (found, out) == (status, "")
    assert len(err.splitlines()) == 1
    assert message in err


def test_what_is_unforeseen_is_one_line_that_names_a_log_with_the_traceback(
    effsearch, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    end_with(monkeypatch, ZeroDivisionError("one\ntwo \x1b[31mred"))
    status, _, err = effsearch("zoo")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err
    (log,) = tmp_path.glob("effsearch-*.log")
    assert str(log) in err
    assert "ZeroDivisionError: one" in log.read_text()
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_is_one_line_even_where_an_import_makes_another_error_of_it(
    effsearch, monkeypatch, swallowed
):
    def command():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if not swallowed:
                raise
        raise AttributeError("a module was imported in part")

    monkeypatch.setattr(zoo_commands, "register", lambda app: app.command("zoo")(command))
    status, _, err = effsearch("zoo")
    assert (status, err) == (130, "effsearch: error: interrupted\n")


def test_text_that_the_terminal_lacks_is_escaped():
    found = subprocess.run(
        [*COMMAND, "describe", "\u00e9\u4e2d.yaml"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert found.returncode == 2
    assert b"\\xe9\\u4e2d.yaml: no such architecture file" in found.stderr


def test_escapes_in_arguments_and_files_do_not_reach_the_terminal(effsearch, tmp_path):
    for text in ("\x1b[31mred", "a\u202eb"):
        status, _, err = effsearch("describe", text)
        assert status == 2
        assert all(c.isprintable() for c in err.rstrip("\n"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["zoo"], ["zoo", "--json"], ["--help"]])
def test_a_full_stdout_fails_in_one_line(arguments):
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert found.returncode == 1
    assert found.stderr == "effsearch: error: No space left on device\n"


def test_a_reader_that_leaves_is_no_traceback():
    command = subprocess.Popen(
        [*COMMAND, "zoo", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    command.stdout.close()
    assert command.stderr.read() == ""
    assert command.wait() == 1


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.6, 1.0, 1.6])
def test_ctrl_c_while_importing_is_one_line(seconds):
    command = subprocess.Popen(
        [*COMMAND, "predict", "shvit_s1", "--device", "iphone12"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate()
    if command.returncode == 0:
        assert err == ""  # the machine is quick enough to be done before
    else:
        # A shell shows 130 for both: the first imports end by the signal itself.
        assert command.returncode in (130, -signal.SIGINT)
        assert err in ("", "effsearch: error: interrupted\n")


def test_the_version_needs_no_command(effsearch):
    assert effsearch("--version")[:2] == (0, f"effsearch {package.__version__}\n")
