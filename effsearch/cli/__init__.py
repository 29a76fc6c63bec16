"""The command line. Thin: each module here without an underscore registers a group of commands.

Exit status: 0 done, 1 the work failed, 2 the request was wrong, 3 no architecture meets the
budget. Messages go to stderr; with `--json`, stdout has one JSON object and nothing else.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import sys
from typing import Annotated, Any

import typer

from effsearch.errors import NoArchitectureFitsError, WorkFailedError
from searchspace.errors import UserError

# Typer carries a click of its own; this is its base of all mistakes in arguments.
_UsageError: Any = typer.BadParameter.__bases__[0]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def make_app() -> typer.Typer:
    """Return the application with all groups of commands."""
    app = typer.Typer(
        name="effsearch",
        help="Search efficient vision backbones for a device and a latency budget.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    for group in sorted(name for name in modules if not name.startswith("_")):
        importlib.import_module(f"effsearch.cli.{group}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    try:
        status = make_app()(args=arguments, standalone_mode=False)
    except UserError as error:
        _fail(error, 2)
    except NoArchitectureFitsError as error:
        _fail(error, 3)
    except WorkFailedError as error:
        _fail(error, 1)
    except _UsageError as error:
        if error.ctx is not None and error.ctx.command_path and not sys_arguments(arguments):
            print(error.ctx.get_help(), file=sys.stderr)
            sys.exit(2)
        _fail(error.format_message(), 2)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def sys_arguments(arguments: list[str] | None) -> list[str]:
    """Return the arguments given to `main`, or those of the process."""
    return sys.argv[1:] if arguments is None else arguments


def _fail(message: object, status: int) -> None:
    text = " ".join(str(message).split()) if status == 2 else str(message)
    print(f"effsearch: error: {text}", file=sys.stderr)
    sys.exit(status)


def emit_json(body: dict[str, Any]) -> None:
    """Print one JSON object; numbers that JSON lacks become null."""
    print(json.dumps(_plain(body), indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    item = getattr(value, "item", None)
    return item() if callable(item) and not isinstance(value, str) else value


def say(message: str) -> None:
    """Print a message for people, on stderr."""
    print(message, file=sys.stderr)
