"""What every exported file says of its network, in the place that its format has for that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from effsearch.files import file_name
from effsearch.training.data.augment import MEAN, STD
from effsearch.version import installed_version
from searchspace import Backbone, Network
from searchspace.drawing import in_words
from searchspace.resolution import Resolution, height_width


def input_facts(resolution: Resolution) -> dict[str, Any]:
    """Return how images are prepared for a network: `(x - mean) / std` of RGB from 0 to 1.

    It is what `effsearch train` does, and what the official checkpoints were trained with.
    """
    height, width = height_width(resolution)
    return {
        "height": height,
        "width": width,
        "colours": "RGB",
        "range": [0.0, 1.0],
        "mean": list(MEAN),
        "std": list(STD),
    }


def export_facts(
    network: Network | Backbone,
    trained: bool,
    labels: Sequence[str] | None,
    side: Resolution | None = None,
) -> dict[str, Any]:
    """Return plain values: which network, its input and its classes.

    Args:
        network: what is exported.
        trained: whether its weights are trained.
        labels: names of its classes; None where they are not known.
        side: of the images; the architecture's where None.
    """
    architecture = network.architecture
    return {
        "name": file_name(architecture.name or architecture.digest()),
        "words": in_words(architecture),
        "digest": architecture.digest(),
        "trained": trained,
        "input": input_facts(side or architecture.resolution),
        "classes": network.num_classes if isinstance(network, Network) else None,
        "labels": None if labels is None else list(labels),
        "version": installed_version(),
    }


def as_texts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return facts as texts, for formats that hold nothing else: JSON where they are none."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in facts.items()
        if value is not None
    }
