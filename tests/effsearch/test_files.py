import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effsearch.files import LineLog, atomic_write, atomic_write_text, file_name
from searchspace.errors import first_line


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(("mode", "data"), [("w", "a é\n"), ("wb", b"\x00\xff")])
def test_a_file_is_written_whole(tmp_path, mode, data, sync):
    path = tmp_path / "new" / "file"
    with atomic_write(path, mode, sync=sync) as file:
        file.write(data)
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == (data if mode == "wb" else data.encode())
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    atomic_write_text(path, "old")

    def fail():
        with atomic_write(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_umask_decides_who_may_read(tmp_path):
    (tmp_path / "plain").touch()
    atomic_write_text(tmp_path / "file", "")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("cut", range(8))
def test_a_log_cut_anywhere_keeps_its_finished_lines(tmp_path, cut):
    log = LineLog(tmp_path / "log")
    assert log.read() == []
    log.append("one", "two")
    whole = log.path.read_bytes()
    assert whole == b"one\ntwo\n"
    log.path.write_bytes(whole[:cut])
    kept = ["one"] if cut >= 4 else []
    assert log.read() == kept
    log.append("three")
    assert log.read() == [*kept, "three"]


def test_mending_cuts_unreadable_lines_at_the_end_only(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"\0\n1\n\0\n\0\n2")
    LineLog(path).mend(lambda line: line.strip().isdigit())
    assert path.read_bytes() == b"\0\n1\n"


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n bad\nmore")) == "bad"
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError(" "), "unreadable") == "unreadable"


@given(st.text(), st.sampled_from(["..", "/", "../", "\\", "\0", ""]))
def test_any_text_gives_a_name_inside_its_folder(text, prefix):
    name = file_name(prefix + text)
    assert name == os.path.basename(name)
    assert not name.startswith((".", "-"))
    assert name.isprintable()
    assert 0 < len(os.fsencode(name)) <= 200


@pytest.mark.parametrize("name", ["mobile", "shvit_s1", "my-space.v2", "é"])
def test_a_good_name_stays(name):
    assert file_name(name) == name
