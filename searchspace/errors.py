"""The one exception that stands for a request that cannot be met as written."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
_REPR.maxlong = 30
_REPR.maxlevel = 2  # more would multiply to pages
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = _REPR.maxset = 4


class UserError(ValueError):
    """A mistake in the request, said in one line: what is wrong and what would be right.

    The command line prints the message and exits with status 2.
    """


def short(value: object) -> str:
    """Return a value from a file as text for a message: one line, of bounded length."""
    return _REPR.repr(value)


def plain_key(key: object) -> str:
    """Return a field's name from a file as it is, quoted where that would not be one line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 60 else short(text)


def first_line(error: BaseException, otherwise: str = "") -> str:
    """Return the first line of an error's message.

    Args:
        error: The error.
        otherwise: What stands for an empty message; the error's type where this is empty too.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else otherwise or type(error).__name__


def printable(text: object) -> str:
    """Return text as a terminal may show it: what is not printable is escaped, lines stay.

    Names in files may hold control characters, which terminals obey, and bytes that are no text.
    """
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
