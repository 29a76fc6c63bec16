"""A score that takes a fifth of a second and needs no core: for measuring what surrounds scores."""

from __future__ import annotations

import math
import time

from searchspace import Architecture

SECONDS = 0.2


def score(architecture: Architecture) -> float:
    """Return a number that grows with a network's size, after a fifth of a second."""
    time.sleep(SECONDS)
    return 10 * math.log(sum(stage.width * stage.depth for stage in architecture.stages))
