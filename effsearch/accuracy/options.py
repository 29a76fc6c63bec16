"""`SupernetOptions`: what the score source `supernet` needs beside its name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from searchspace.errors import UserError

SUPERNET = "supernet"
BATCHES = 4


@dataclass(frozen=True)
class SupernetOptions:
    """Which supernet, and the images that its networks are measured on.

    Attributes:
        checkpoint: what `effsearch supernet train` wrote.
        data: ImageFolder tree, or a zip archive of one, with the supernet's classes.
        images: validation images, evenly spread; None for all.
        recalibration_batches: batches of 256 training images for the batch norms.
        device: `cpu`, `cuda` or `auto`.
        cache: folder that keeps scores by digest; None for the user's cache folder.
    """

    checkpoint: Path
    data: Path
    images: int | None = None
    recalibration_batches: int = BATCHES
    device: str = "auto"
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range.

        Raises:
            UserError: names the option.
        """
        if self.images is not None and self.images < 1:
            raise UserError(f"--images: {self.images} is not an integer of 1 or more")
        if self.recalibration_batches < 1:
            raise UserError(
                f"--recalibration-batches: {self.recalibration_batches} is not an integer of 1 or "
                "more"
            )

    @classmethod
    def of(
        cls,
        proxy: str,
        checkpoint: Path | None,
        data: Path | None,
        images: int | None = None,
        recalibration_batches: int | None = None,
        data_is_for_others: bool = False,
    ) -> SupernetOptions | None:
        """Return the options that a command line means; None for a source that takes none.

        Args:
            proxy: name of the score source.
            checkpoint: of `--checkpoint`, like the following of theirs.
            data: see above.
            images: see above.
            recalibration_batches: see above.
            data_is_for_others: whether `--data` may be there for something else.

        Raises:
            UserError: where the source needs what is missing, or takes nothing of what is there.
        """
        if proxy != SUPERNET:
            given = {
                "--checkpoint": checkpoint,
                "--data": None if data_is_for_others else data,
                "--images": images,
                "--recalibration-batches": recalibration_batches,
            }
            for option, value in given.items():
                if value is not None:
                    raise UserError(f"{option}: is for --proxy supernet, not {proxy}")
            return None
        if checkpoint is None:
            raise UserError(
                "--proxy supernet: needs --checkpoint FILE (`effsearch supernet train` writes it)"
            )
        if data is None:
            raise UserError(
                "--proxy supernet: needs --data DIR, images of the supernet's classes (an "
                "ImageFolder tree: train/CLASS/*.jpg and val/CLASS/*.jpg, or a zip of one)"
            )
        batches = BATCHES if recalibration_batches is None else recalibration_batches
        return cls(checkpoint.resolve(), data.resolve(), images, batches)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SupernetOptions:
        """Return what `to_dict` gave."""
        paths = {k: Path(data[k]) for k in ("checkpoint", "data", "cache") if data.get(k)}
        return cls(**{**data, **paths})
