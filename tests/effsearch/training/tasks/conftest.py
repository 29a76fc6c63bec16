"""What the tests of trainings share."""

from tests.fixtures.training import _one_thread, _own_cache  # noqa: F401
