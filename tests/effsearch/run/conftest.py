"""Doubles for a latency table and a score source."""

from tests.fixtures.command import effsearch  # noqa: F401
from tests.fixtures.refine import (  # noqa: F401
    _own_cache,
    networks,
    quick,
    squares,
    wanted,
)
from tests.fixtures.search import (  # noqa: F401
    evaluator,
    table,
    tiny,
)
