"""A machine's speed at the moment, by two references, and what it means for a network's latency.

A virtual machine's speed moves by tens of percent between minutes. What moves is mostly how fast
weights arrive from shared caches and memory, and less the clock; so one reference network is not
enough, and a network lies between the two references.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REFERENCE = "shvit_s1"  # 25 MB of weights in about 2 ms: it streams them
LEAST_STREAMING = 0.02  # of the reference network's time


@dataclass(frozen=True)
class MachineSpeed:
    """How fast a machine is.

    Attributes:
        reference_ms: latency of the reference network, `REFERENCE`.
        product_ms: latency of a few matrix products inside the core's cache.
    """

    reference_ms: float
    product_ms: float


def slowness(
    streams: Array, reference: Array | float, product: Array | float, most: float = 1.0
) -> Array:
    """Return how many times longer networks (n,) take where the references take longer.

    A network that streams none of its weights slows by as much as the products, one that streams
    as the reference network does by as much as that network; others lie in between, on a
    logarithmic scale.

    Args:
        streams: share of a network's (or operator's) time in which weights stream, over the
            reference network's.
        reference: latency of the reference network, over its usual.
        product: latency of the products, over their usual.
        most: what counts of `streams`; the references' own noise is multiplied by it.
    """
    share = np.clip(streams, 0.0, most)
    return np.asarray(np.exp((1 - share) * np.log(product) + share * np.log(reference)))
