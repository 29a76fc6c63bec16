"""YAML files as plain data, within limits that no honest file meets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from searchspace.errors import UserError

MAX_BYTES = 1 << 17  # PyYAML reads some 30 KB a second
MAX_LEVELS = 40


def read_yaml(path: str | Path, what: str) -> object:
    """Return the data of a YAML file.

    Args:
        path: the file.
        what: what it should be, for the message.

    Raises:
        UserError: where the file is missing, unreadable, too large or not YAML.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig") if len(data) <= MAX_BYTES else None
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what} file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UserError(f"{path}: cannot read this {what} file: {reason}") from None
    if text is None:
        raise UserError(f"{path}: larger than {MAX_BYTES // 1024} KiB, which no {what} file is")
    return parse_yaml(text, path, what)


def parse_yaml(text: str, where: str | Path, what: str) -> object:
    """Return the data of YAML text.

    Args:
        text: the text.
        where: the file that it is from, for the message.
        what: what it should be, for the message.

    Raises:
        UserError: where it is not YAML, is nested too deep, or holds itself.
    """
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML lets many types through for one mistake (`!!int ""`)
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"{where}: not YAML{line}; {what} files are YAML") from None


class _Loader(yaml.SafeLoader):
    """Plain data only; refuses what is nested too deep, and what holds itself by an alias."""

    _level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        self._level += 1
        if self._level > MAX_LEVELS:
            raise yaml.composer.ComposerError(None, None, "nested too deep", mark)
        node: Any = super().compose_node(parent, index)
        # A list or mapping gets its end when it is complete.
        if isinstance(event, yaml.AliasEvent) and node.end_mark is None:
            raise yaml.composer.ComposerError(None, None, "holds itself", mark)
        self._level -= 1
        return node
