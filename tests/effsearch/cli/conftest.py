"""The command line, run in this process."""

from tests.fixtures.command import (  # noqa: F401
    effsearch,
)
