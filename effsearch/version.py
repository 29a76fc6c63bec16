"""The version that is installed."""

from __future__ import annotations


def installed_version() -> str:
    """Return effsearch's version; `unknown` of a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("effsearch")
    except PackageNotFoundError:
        return "unknown"
