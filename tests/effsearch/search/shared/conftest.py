"""Doubles for a latency table and a score source, and databases."""

import pytest

from tests.fixtures.postgresql import postgresql  # noqa: F401
from tests.fixtures.search import (  # noqa: F401
    evaluator,
    table,
    tiny,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of a storage, of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return f"sqlite:///{tmp_path / 'study.db'}"
