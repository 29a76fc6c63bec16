"""Data from files and requests, checked against pydantic models, with errors of one line."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from searchspace.errors import UserError, plain_key, short

MAX_SEED = 2**63 - 1

Model = TypeVar("Model", bound=BaseModel)

# What a value should have been, by pydantic's type of error.
_WHAT = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "date_parsing": "a date",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "none_required": "null",
    "path_type": "a path",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "text of at most {max_length} characters",
    "string_too_short": "text of {min_length} or more characters",
    "string_type": "text",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of {min_length} or more",
    "tuple_type": "a list",
}


def read(model: type[Model], data: object, where: str | Path) -> Model:
    """Return data as an instance of a pydantic model.

    A validator of the model may raise `ValueError`; its message stands behind the field's name, so
    it should say what the value is and what would be right.

    Args:
        model: what the data should be.
        data: plain data, as JSON or YAML is read.
        where: what the data is, for messages: a file ("FILE: field: ..."), or a name that its
            fields belong to ("name.field: ...").

    Raises:
        UserError: names the first wrong field, its value, and what is allowed, in one line.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        message = _message(model, data, error)
    separator = ": " if isinstance(where, Path) or message.startswith(":") else "."
    raise UserError(f"{where}{separator}{message.removeprefix(': ')}") from None


def _message(model: type[BaseModel], data: object, error: ValidationError) -> str:
    """Return ": what is wrong" of the whole, or "field: what is wrong" of the first wrong field."""
    found = error.errors(include_url=False)
    path = _path(data, found[0]["loc"], found[0]["type"])
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{plain_key(p)}" for p in path)
    field = field.removeprefix(".")
    # A value that may be of several types has an error for each of them.
    here = [e for e in found if _path(data, e["loc"], e["type"]) == path]
    return f"{field}: {_complaint(model, path, here)}"


def _complaint(model: type[BaseModel], path: Sequence[int | str], errors: Sequence[Any]) -> str:
    first = errors[0]
    if first["type"] == "missing":
        return "is missing"
    if first["type"] == "extra_forbidden":
        known = _fields(model, path[:-1])
        return f"is unknown; use {', '.join(known)}" if known else "is unknown"
    if first["type"] in ("value_error", "assertion_error"):
        return str(first["ctx"]["error"])
    whats = dict.fromkeys(_what(e) for e in errors)
    return f"{short(first['input'])} is not {' or '.join(whats)}"


def _what(error: Mapping[str, Any]) -> str:
    template = _WHAT.get(error["type"])
    if template is None:
        text = str(error["msg"])
        return text[:1].lower() + text[1:]
    return template.format_map(error.get("ctx", {}))


def _path(data: object, location: Sequence[int | str], kind: str) -> list[int | str]:
    """Return a location without what pydantic adds to it: the names of a union's members."""
    path: list[int | str] = []
    for position, part in enumerate(location):
        try:
            data = data[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            if not (kind == "missing" and position == len(location) - 1):
                continue
        path.append(part)
    return path


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Return the names of the fields that the object at a path may have."""
    models = [model]
    for part in path:
        annotations = [
            m.model_fields[part].annotation
            for m in models
            if isinstance(part, str) and part in m.model_fields
        ]
        # An index, or a key of a plain dict, stays with the models of its values.
        models = [found for a in annotations for found in _models(a)] if annotations else models
    fields = [(name, field) for m in models for name, field in m.model_fields.items()]
    return list(dict.fromkeys(field.alias or name for name, field in fields))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
