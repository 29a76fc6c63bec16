"""`Job`: one file to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchspace import Backbone, Network
from searchspace.resolution import height_width


@dataclass(frozen=True)
class Job:
    """A file to write, and what is asked of it.

    Attributes:
        network: in eval mode.
        trained: whether its weights are trained.
        facts: of `export_facts`, kept in the file.
        path: the file.
        precision: float32, float16 or int8.
        batch: images at a time; None for any number.
        opset: ONNX's; None for the one that is written by default.
        image: whether the file takes pixels and normalises them itself.
        data: images, for int8.
    """

    network: Network | Backbone
    trained: bool
    facts: Mapping[str, Any]
    path: Path
    precision: str
    batch: int | None
    opset: int | None
    image: bool
    data: Path | None = None

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of an input; of two images where their number is open."""
        height, width = height_width(self.network.architecture.resolution)
        return (self.batch or 2, 3, height, width)


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        check: what was found of it, in words.
        outputs: what its outputs are called.
    """

    check: str
    outputs: Sequence[str]
