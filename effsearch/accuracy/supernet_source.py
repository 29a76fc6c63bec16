"""Accuracy with inherited weights as a score source."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from effsearch.accuracy.inherited_weights import inherited_weights
from effsearch.accuracy.score import Score, ScoreSource
from effsearch.accuracy.supernet_options import SupernetOptions
from effsearch.export.weights import Weights
from effsearch.files import file_sha256
from effsearch.json_text import parse_json
from effsearch.training.memory import is_out_of_memory
from effsearch.training.supernet import state as states
from effsearch.training.supernet.evaluate import InheritedConfig, InheritedScorer
from effsearch.training.supernet.sampling import Sampler
from searchspace import Architecture, SearchSpace
from searchspace.errors import UserError
from searchspace.resolution import resolution_text

T = TypeVar("T")

STATED = Path(__file__).parent / "data" / "inherited.json"
"""How inherited accuracy ranked networks that were trained alone, where that was measured."""


class SupernetScore(ScoreSource):
    """Top-1 of a candidate with the weights of a trained supernet, batch norms recalibrated.

    The standard deviation is that of drawing the validation images; how far inherited accuracy is
    from that of trained networks is not in it. The images are always the same, so a score depends
    on nothing but the candidate.

    Args:
        options: which supernet, and the images.

    Raises:
        UserError: where checkpoint or data are missing or do not belong together.
    """

    name = "supernet"
    kind = "inherited"

    def __init__(self, options: SupernetOptions) -> None:
        self.options = options
        held = states.load(options.checkpoint)
        config = InheritedConfig(
            options.data, options.images, options.recalibration_batches, options.device
        )
        self._steps = held.step
        self.inherited = InheritedScorer.of(held, config)
        self._stored_space = held.space
        self.space: SearchSpace = self.inherited.supernet.space
        data = options.data.stem
        self.unit = f"top-1 % on {data} with inherited weights"
        self.note = (
            f"Measured on {self.inherited.images} validation images of {data} with the weights of "
            f"the supernet of {self.space.name} ({held.step} steps): no ImageNet accuracy, "
            "and not what the network reaches when it is trained. The deviation is that of drawing "
            "the images. How it ranks was judged by trainings whose families started unequal."
        )
        self.held_out = {
            "validation_images": self.inherited.images,
            "ranking": parse_json(STATED.read_text("utf-8")),
        }

    @cached_property
    def card(self) -> dict[str, Any]:
        """What scores depend on: a run that is continued checks that it is the same."""
        return {
            "checkpoint": file_sha256(self.options.checkpoint),
            "data": self.inherited.data_digest,
            "images": self.inherited.images,
            "recalibration_batches": self.options.recalibration_batches,
            "steps": self._steps,
        }

    def check(self, space: SearchSpace) -> None:
        """Check, before a search, that a space is the supernet's and that memory suffices.

        Raises:
            UserError: where it is not the supernet's, or the largest network needs too much memory.
        """
        states.check_space(self._stored_space, space, str(self.options.checkpoint))
        largest = Sampler(self.space, seed=0, random_networks=0).sandwich(0).teacher
        self._in_memory(lambda: self.inherited.try_batch(largest))

    def score(self, architecture: Architecture) -> Score:
        """Return the top-1 in %.

        Raises:
            UserError: where the architecture is not in the supernet's space, or memory runs out.
        """
        top1 = float(self._in_memory(lambda: self.inherited.evaluate(architecture).top1))
        share = top1 / 100
        images = self.inherited.images
        return Score(top1, 100 * math.sqrt(max(share * (1 - share), 1e-6) / images))

    def weights_for(self, architecture: Architecture, score: float, folder: Path) -> Weights:
        """Return a winner's inherited weights, batch norms recalibrated.

        Raises:
            UserError: where the architecture is not in the supernet's space.
        """
        data = self.options.data.stem
        return inherited_weights(self.inherited, architecture, score, data, folder)

    def _in_memory(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) or isinstance(error, MemoryError)):
                raise
            raise UserError(
                f"--proxy supernet: out of memory on {self.inherited.device} at batch size "
                f"{self.inherited.batch} and "
                f"{resolution_text(self.inherited.recipe.image_side)} px; try fewer "
                "--workers, each holds a supernet and its images, or a machine with more memory"
            ) from None
