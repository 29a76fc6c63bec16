"""What `effsearch export` is asked for, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from effsearch.export.formats import (
    DYNAMIC,
    FIXED,
    FORMATS,
    IMAGE,
    OPSETS,
    Format,
    find_format,
)
from effsearch.precisions import INT8
from searchspace.errors import UserError, short


@dataclass(frozen=True)
class ExportRequest:
    """An export; what is None has the format's own default.

    Attributes:
        target: what `effsearch.targets.load_target` takes, but for ONNX files.
        format: name of a format.
        out: the file; in the working folder under the network's name where None.
        weights: checkpoint of ours or, for a published network, the official one.
        num_classes: classes where there are no weights; None for the network's own.
        labels: file with the classes' names, a line each.
        seed: of fresh weights.
        force: whether an earlier export may be replaced; what is exported never is.
        resolution: of the image, as text, in place of the network's own.
        features: whether the stages' maps are wanted in place of logits.
        stages: with `features`, which stages', from 0; None for all.
        precision: of weights and arithmetic.
        batch: images at a time: a number as text, or `dynamic`.
        opset: ONNX's.
        input: `image` or `tensor`.
        card: whether a model card is written beside the file.
        data: images that quantisation to int8 takes ranges from, and is judged by.
    """

    target: str
    format: str = "onnx"
    out: Path | None = None
    weights: Path | None = None
    num_classes: int | None = None
    labels: Path | None = None
    seed: int = 0
    force: bool = False
    resolution: str | None = None
    features: bool = False
    stages: Sequence[int] | None = None
    precision: str | None = None
    batch: str | None = None
    opset: int | None = None
    input: str | None = None
    card: bool = False
    data: Path | None = None

    def checked(self) -> Format:
        """Return the format, after a check that all that is asked for goes together.

        Raises:
            UserError: where something is unknown, or two things don't; says which to drop.
        """
        format_ = find_format(self.format)
        if self.out is not None and not self.out.name:  # ".", "/" or nothing
            raise UserError(f"--out: {self.out} is a folder; name a file")
        if self.num_classes is not None and self.num_classes < 1:
            raise UserError(f"--classes: {self.num_classes} is not 1 or more")
        if self.precision is not None:
            _check_choice(format_, "--precision", self.precision, lambda f: f.precisions)
        if self.input is not None:
            _check_choice(format_, "--input", self.input, lambda f: f.inputs)
        if self.opset is not None:
            _check_goes(format_, "--opset", lambda f: f.opset)
            if self.opset not in OPSETS:
                raise UserError(f"--opset: {self.opset} is not one of {OPSETS[0]} to {OPSETS[-1]}")
        if self.batch is not None:
            kind = DYNAMIC if self.images is None else FIXED
            _check_goes(format_, f"--batch {self.batch}", lambda f: kind in f.batches)
            if self.images != 1 and self.input_of(format_) == IMAGE:
                raise UserError(
                    f"--batch {self.batch}: an image input takes one image; drop "
                    f"--batch {self.batch} or add --input tensor"
                )
        if self.stages is not None and not self.features:
            raise UserError("--out-indices: only maps have some; add --features-only")
        if self.features:
            _check_goes(format_, "--features-only", lambda f: f.maps)
            if self.labels is not None:
                raise UserError("--labels: maps have no classes; drop --labels or --features-only")
        self._check_images()
        return format_

    def _check_images(self) -> None:
        if self.precision != INT8:
            if self.data is not None:
                raise UserError(f"--data: only --precision {INT8} looks at images")
            return
        if self.data is None:
            raise UserError(
                f"--precision {INT8}: ranges come from images; give some with --data (an "
                "ImageFolder tree, train/CLASS/* and val/CLASS/*, or a zip of one)"
            )
        if self.features:
            raise UserError(f"--precision {INT8}: whole networks only; drop --features-only")
        if self.images != 1:
            raise UserError(f"--precision {INT8}: one image at a time; drop --batch {self.batch}")

    @property
    def images(self) -> int | None:
        """Images at a time; None where the file takes any number.

        Raises:
            UserError: where what is asked for is neither a number nor `dynamic`.
        """
        if self.batch is None or self.batch == DYNAMIC:
            return None if self.batch else 1
        if not self.batch.isascii() or not self.batch.isdigit() or not 1 <= int(self.batch) <= 4096:
            raise UserError(f"--batch: {short(self.batch)} is neither 1 to 4096 nor {DYNAMIC}")
        return int(self.batch)

    def input_of(self, format_: Format) -> str:
        """Return what the file takes."""
        return self.input or format_.inputs[0]


def _check_choice(
    format_: Format, option: str, value: str, of: Callable[[Format], Sequence[str]]
) -> None:
    known = dict.fromkeys(item for each in FORMATS.values() for item in of(each))
    if value not in known:
        raise UserError(f"{option}: {short(value)} is unknown; use one of {', '.join(known)}")
    _check_goes(format_, f"{option} {value}", lambda f: value in of(f))


def _check_goes(format_: Format, option: str, takes: Callable[[Format], bool]) -> None:
    if not takes(format_):
        others = " or ".join(each.name for each in FORMATS.values() if takes(each))
        raise UserError(
            f"{option} goes with --format {others}; drop {option} or --format {format_.name}"
        )
