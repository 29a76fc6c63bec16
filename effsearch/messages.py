"""What people read in a terminal: results on stdout, everything else on stderr.

All text for a terminal goes through here, so that what names in files hold cannot steer it.
"""

from __future__ import annotations

import sys

from searchspace.errors import printable


def percent(share: float) -> str:
    """Return a probability below 1 in percent with all its digits: 0.999 is not 100%."""
    return f"{100 * share:.10g}%"


def show(text: object = "") -> None:
    """Print a result, on stdout."""
    print(printable(text))


def say(text: object) -> None:
    """Print a message, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)
