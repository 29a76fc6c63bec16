"""`Weights`: what a network is exported with in place of fresh initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from searchspace import Network
from searchspace.resolution import Resolution


@dataclass(frozen=True)
class Accuracy:
    """How an exported model classifies images, measured.

    Attributes:
        data: name of the data set.
        correct: images classified right.
        images: images classified.
        note: what to keep in mind beside it.
        facts: what else belongs to it: runtime, preprocessing, classes.
    """

    data: str
    correct: int
    images: int
    note: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Weights:
    """Weights that a network is exported with.

    Attributes:
        network: the network with them.
        text: what they are, for the card.
        checkpoint: a file that holds them, copied beside the model; None for none.
        accuracy: measures the exported model, for the card; None where it is not measured.
        side: of the model's input in px, or its height and width; the architecture's where None.
        labels: names of the classes in the order of the outputs.
    """

    network: Network
    text: str
    checkpoint: Path | None = None
    accuracy: Callable[[onnx.ModelProto], Accuracy] | None = None
    side: Resolution | None = None
    labels: tuple[str, ...] | None = None
