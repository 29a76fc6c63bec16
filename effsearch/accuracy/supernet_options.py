"""`SupernetOptions`: what the score source `supernet` needs beside its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from effsearch.accuracy.options import Flag, ScoreOptions
from searchspace import SearchSpace
from searchspace.errors import UserError
from searchspace.space import space_names


def _one_or_more(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{value} is not an integer of 1 or more")
    return value


_OneOrMore = AfterValidator(_one_or_more)
# Workers and resumed runs may start elsewhere.
_Absolute = Annotated[Path, AfterValidator(Path.resolve)]


class SupernetOptions(ScoreOptions):
    """Which supernet, and the images that its networks are measured on.

    Attributes:
        checkpoint: what `effsearch supernet train` wrote.
        data: ImageFolder tree, or a zip archive of one, with the supernet's classes.
        images: validation images, evenly spread; None for all.
        recalibration_batches: batches of 256 training images for the batch norms.
        device: `cpu`, `cuda` or `auto`.
    """

    checkpoint: Annotated[
        _Absolute, Flag("Of the supernet", "FILE (`effsearch supernet train` writes it)")
    ]
    data: Annotated[
        _Absolute,
        Flag(
            "Images of its classes: ImageFolder tree or a zip of one",
            "DIR, images of the supernet's classes (an ImageFolder tree: train/CLASS/*.jpg and "
            "val/CLASS/*.jpg, or a zip of one)",
        ),
    ]
    images: Annotated[int | None, _OneOrMore, Flag("Validation images; all by default")] = None
    recalibration_batches: Annotated[
        int, _OneOrMore, Flag("Batches of 256 images for its batch norms; 4 by default")
    ] = 4
    device: str = "auto"

    def default_space(self) -> str:
        """Return the name of the shipped space that the supernet was trained for.

        Raises:
            UserError: where there is no such checkpoint, or its space is none of the shipped ones.
        """
        from effsearch.training.supernet import state as states

        held = states.load(self.checkpoint)
        name = str(held.space["name"])
        if name in space_names() and states.same_space(held.space, SearchSpace.load(name)):
            return name
        raise UserError(
            f"--space: missing; {self.checkpoint} was trained for {name}, which is no shipped "
            "space: give its file"
        )
