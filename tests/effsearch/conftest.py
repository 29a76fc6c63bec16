"""A web server of this process, and official checkpoints that are on it."""

from tests.fixtures.official import publish  # noqa: F401
from tests.fixtures.web import serve  # noqa: F401
