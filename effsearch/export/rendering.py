"""The templates of exported text, filled in."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from effsearch.messages import percent

_MARKUP = re.compile(r"([\\`*\[\]<>|#])")


def render(name: str, **values: Any) -> str:
    """Return a template filled in; nothing is escaped."""
    return _environment().get_template(name).render(**values)


def _plain(text: str) -> str:
    """Return text that Markdown takes for no markup."""
    return _MARKUP.sub(r"\\\1", text)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("effsearch.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": _plain, "python": repr, "percent": percent}
    return environment
