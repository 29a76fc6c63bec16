"""Flags of score sources, as the registry's entries declare them, for the commands that score."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer

from effsearch.accuracy.options import flag_name
from effsearch.accuracy.registry import entries

ScoreFlags = Mapping[str, Any]
"""Values of the flags by field; None for those that were not given."""


def with_score_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the flags of all score sources, which it gets as `score_flags`.

    A flag that the command has itself keeps the command's help, and both get its value.
    """
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        p.replace(annotation=hints[name])
        for name, p in signature.parameters.items()
        if name != "score_flags"
    ]
    declared = _flags()
    added = {name: each for name, each in declared.items() if name not in hints}
    own = [p for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY]
    flags = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation
        )
        for name, annotation in added.items()
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = {name: values[name] for name in declared}
        rest = {name: value for name, value in values.items() if name not in added}
        command(score_flags=given, **rest)

    wrapped.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    return wrapped


def _flags() -> dict[str, Any]:
    """Return the type of each flag's parameter by field, for all sources."""
    found: dict[str, tuple[Any, str, list[str]]] = {}
    for entry in entries().values():
        for name, flag in entry.options.flags().items():
            kind = entry.options.model_fields[name].annotation
            _, _, sources = found.setdefault(name, (kind, flag.help, []))
            sources.append(entry.name)
    return {
        name: Annotated[
            kind | None, typer.Option(flag_name(name), help=f"{text}, for --proxy {_either(to)}.")
        ]
        for name, (kind, text, to) in found.items()
    }


def _either(names: list[str]) -> str:
    return " or ".join(names)
