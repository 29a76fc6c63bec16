"""The command line. Thin: each module here without an underscore registers a group of commands.

Exit status: 0 done, 1 the work failed, 2 the request was wrong, 3 no architecture meets the
budget, 130 interrupted. Messages go to stderr; with `--json`, stdout has one JSON object and
nothing else.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pkgutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from effsearch.errors import FULL, NoArchitectureFitsError, WorkFailedError
from effsearch.messages import say, show
from effsearch.validation import MAX_SEED
from searchspace.errors import UserError

# Typer carries a click of its own; this is its base of all mistakes in arguments.
_UsageError: Any = typer.BadParameter.__bases__[0]
_LONGEST = 1000  # characters of a message: it has to fit a screen, whatever a file held
INTERRUPTED = 130

_WITH_ARCHITECTURE = (
    "Published network, architecture YAML, winner's folder, checkpoint, or RUN#NUMBER for a "
    "candidate of a run"
)
_ANY = f"{_WITH_ARCHITECTURE}; or an ONNX file."
Targets = Annotated[list[str], typer.Argument(metavar="TARGET", help=_ANY)]
AnyTarget = Annotated[str, typer.Argument(metavar="TARGET", help=_ANY)]
Target = Annotated[str, typer.Argument(metavar="TARGET", help=f"{_WITH_ARCHITECTURE}.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ResolutionFlag = Annotated[
    str | None,
    typer.Option(
        "--resolution", help="Of the image, in place of the network's own: 224, or 512x1024 (HxW)."
    ),
]

__all__ = [
    "AnyTarget", "JsonFlag", "ResolutionFlag", "Target", "Targets", "emit_json", "main",
    "make_app", "say", "seed_option", "show",
]  # fmt: skip


def seed_option(text: str) -> Any:
    """Return the option `--seed`; every generator of random numbers takes what it allows."""
    return typer.Option("--seed", min=0, max=MAX_SEED, help=text)


def make_app() -> typer.Typer:
    """Return the application with all groups of commands."""
    app = typer.Typer(
        name="effsearch",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_program)
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    for group in sorted(name for name in modules if not name.startswith("_")):
        importlib.import_module(f"effsearch.cli.{group}").register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from effsearch import __version__

        show(f"effsearch {__version__}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool,
        # A callback of its own: without a command, the program's is not called.
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Search efficient vision backbones for a device and a latency budget."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    _write_any_text()
    with _listening() as heard:
        try:
            status = make_app()(args=arguments, standalone_mode=False)
            _flush()
        except BaseException as error:
            status = _status_of(error, arguments) if not heard else INTERRUPTED
        if heard and status:
            status = _fail("interrupted", INTERRUPTED)
    try:
        _flush()
    except OSError:
        _silence()
        status = status or 1
    # Python ends by a signal after a Ctrl-C that passed through an `exec` (a dataclass being made),
    # whoever caught it; the next `exec` clears that.
    exec("")
    sys.exit(status if isinstance(status, int) else 0)


def _status_of(error: BaseException, arguments: list[str] | None) -> int:
    """Say what ended the command, and return its exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, UserError):
        return _fail(error, 2)
    if isinstance(error, NoArchitectureFitsError):
        return _fail(error, 3)
    if isinstance(error, WorkFailedError):
        return _fail(error, 1)
    if isinstance(error, _UsageError):
        given = sys.argv[1:] if arguments is None else arguments
        if error.ctx is not None and error.ctx.command_path and not given:
            say(error.ctx.get_help())
            return 2
        return _fail(error.format_message(), 2)
    if isinstance(error, BrokenPipeError):
        return 1
    refused = error if isinstance(error, OSError) else _full_disk(error)
    if refused is not None and refused.errno is not None:
        where = f"{refused.filename}: " if refused.filename else ""
        return _fail(f"{where}{refused.strerror}", 1 if refused.errno in FULL else 2)
    if isinstance(error, MemoryError):
        return _fail("out of memory", 1)
    return _fail(_unforeseen(error), 1)


def _full_disk(error: BaseException | None) -> OSError | None:
    """Return the full disk that is behind an error: libraries make errors of their own of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _unforeseen(error: BaseException) -> str:
    """Return one line on an error that nobody thought of; its traceback goes to a file."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    try:
        with tempfile.NamedTemporaryFile(prefix="effsearch-", suffix=".log", delete=False) as file:
            text = "".join(traceback.format_exception(error))
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as refused:
        return f"unforeseen {what} (its traceback could not be written: {refused.strerror})"
    return f"unforeseen {what} (a defect of effsearch; its traceback is in {file.name})"


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Note each Ctrl-C that nobody else handles; what it interrupts may end with any error."""
    heard: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, previous)


def _fail(message: object, status: int) -> int:
    text = str(message)[:_LONGEST]
    try:
        say(f"effsearch: error: {' '.join(text.split()) if status == 2 else text}")
    except OSError:
        _silence()
    return status


def _write_any_text() -> None:
    """Let the streams escape what their encoding lacks: terminals may be ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _silence() -> None:
    """Drop what a stream that takes no more still holds, so that Python's exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def emit_json(body: dict[str, Any]) -> None:
    """Print one JSON object; numbers that JSON lacks become null."""
    print(json.dumps(_plain(body), indent=2))  # noqa: T201


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    item = getattr(value, "item", None)
    return item() if callable(item) and not isinstance(value, str) else value
