"""Image trees and networks that train in seconds."""

from tests.fixtures.refine import (  # noqa: F401
    _one_thread,
    _own_cache,
    networks,
    quick,
    serial,
    squares,
    wanted,
)
