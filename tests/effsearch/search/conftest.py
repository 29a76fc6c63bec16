"""Doubles for a latency table and a score source."""

from tests.fixtures.search import (  # noqa: F401
    evaluator,
    table,
    tiny,
)
