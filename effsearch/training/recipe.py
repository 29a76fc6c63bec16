"""A training recipe: every choice that shapes a run, frozen, in and out of YAML."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from effsearch import validation
from searchspace.errors import UserError, short
from searchspace.resolution import Resolution, height_width, parse_resolution, squared
from searchspace.yaml_text import read_yaml

_RECIPES = Path(__file__).parent / "recipes"
# Fields that older digests are not over; at its default such a field changes nothing.
_ADDED = ("crop_scale_max",)


def _side(value: object) -> Resolution:
    """Return a field's side, or height and width.

    Raises:
        ValueError: it is neither.
    """
    sides: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or not all(type(side) is int and side >= 1 for side in sides):
        raise ValueError(f"{short(value)} is not a whole number, 1 or more, nor two of them")
    return squared((sides[0], sides[-1]))


_Count = Annotated[int, Field(ge=1)]
_Side = Annotated[Resolution, BeforeValidator(_side)]
_Amount = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Recipe(BaseModel):
    """How a network is trained; two runs are comparable when their recipes' digests agree.

    Attributes:
        name: what the recipe is called in tables.
        epochs: passes over the training images.
        batch_size: images a step, over all processes together.
        image_side: side in px that the network sees at the end and in evaluation; [height, width]
            where it is no square.
        source_side: likewise, what images are decoded to; crops are taken from it.
        early_side: side in px during the first `early_fraction` of the steps; 0 keeps
            `image_side` throughout. Progressive sizes as in EfficientNetV2 (Tan and Le, 2021).
        early_fraction: part of the epochs, 0 to 1, that runs at `early_side`.
        learning_rate: peak rate of AdamW at this batch size.
        final_rate: last rate of the cosine, as a fraction of the peak.
        warmup_epochs: epochs of linear warm-up; may be a fraction.
        weight_decay: decoupled decay of weights; norms, biases and layer scales have none.
        beta2: second-moment decay of AdamW (the first is 0.9).
        gradient_clip: largest global gradient norm; 0 clips nothing.
        label_smoothing: probability mass spread over all classes.
        mixup_alpha: Beta parameter of Mixup (Zhang et al., 2018); 0 turns it off.
        cutmix_alpha: Beta parameter of CutMix (Yun et al., 2019); 0 turns it off.
        mix_probability: part of the images that is mixed at all.
        crop_scale_min: smallest area of a random resized crop, as a fraction of the image.
        crop_scale_max: the largest one, not below that; above 1, with masks only, the image lies
            within the crop, and what is around it is of no class.
        crop_ratio_max: widest aspect ratio of a crop; the narrowest is its inverse.
        flip: whether images are mirrored at random.
        colour_jitter: strength of brightness, contrast and saturation changes, 0 to 1.
        randaugment_ops: expected number of RandAugment operations an image; 0 for none.
        randaugment_magnitude: their strength, 0 to 10.
        erasing_probability: part of the images that lose a rectangle (Zhong et al., 2020).
        ema_decay: decay of the averaged weights per step; 0 keeps no average.
        precision: `float32` or `bfloat16` (autocast; on CUDA only, the CPU runs float32).
        channels_last: whether activations are kept in NHWC order.
        distillation: weight of the teacher's soft labels in the loss, where one is given.
        temperature: softmax temperature of the distillation.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    name: str = "custom"
    epochs: _Count = 300
    batch_size: _Count = 256
    image_side: _Side = 224
    source_side: _Side = 256
    early_side: Annotated[int, Field(ge=0)] = 0
    early_fraction: _Share = 0.0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    final_rate: _Share = 0.01
    warmup_epochs: _Amount = 5.0
    weight_decay: _Amount = 0.05
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    gradient_clip: _Amount = 1.0
    label_smoothing: _Share = 0.1
    mixup_alpha: _Amount = 0.8
    cutmix_alpha: _Amount = 1.0
    mix_probability: _Share = 1.0
    crop_scale_min: Annotated[float, Field(gt=0, le=1)] = 0.08
    crop_scale_max: Annotated[float, Field(gt=0)] = 1.0
    crop_ratio_max: Annotated[float, Field(ge=1)] = 4 / 3
    flip: bool = True
    colour_jitter: _Share = 0.0
    randaugment_ops: _Amount = 2.0
    randaugment_magnitude: _Amount = 9.0
    erasing_probability: _Share = 0.25
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9998
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    channels_last: bool = True
    distillation: _Share = 0.5
    temperature: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("crop_scale_max")
    @classmethod
    def _above_min(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("crop_scale_min", 0.0)
        if value < least:
            raise ValueError(f"{value:g} is below crop_scale_min, {least:g}")
        return value

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some fields changed; fields given as None keep their value.

        Raises:
            UserError: a value has the wrong type or range.
        """
        kept = {key: value for key, value in changes.items() if value is not None}
        return self.from_dict({**self.to_dict(), **kept})

    def at_side(self, resolution: Resolution | str | None) -> Recipe:
        """Return a copy for inputs of one size throughout; None changes nothing.

        Sources stay a little larger than the input, except where the recipe enlarges small images;
        these keep their number of pixels.

        Raises:
            UserError: No network takes inputs of that size.
        """
        if resolution is None:
            return self
        side = parse_resolution("--resolution", resolution)
        height, width = height_width(side)
        sources, images = height_width(self.source_side), height_width(self.image_side)
        factor = 8 / 7
        if sources < images:
            factor = math.sqrt(math.prod(sources) / (height * width))
        source = squared((round(height * factor), round(width * factor)))
        return self.replace(image_side=side, source_side=source, early_side=0)

    def digest(self) -> str:
        """Return 8 hex digits over every field but the name."""
        fields = self.to_dict()
        del fields["name"]
        for name in _ADDED:
            if fields[name] == type(self).model_fields[name].default:
                del fields[name]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def side_at(self, epoch: int) -> Resolution:
        """Return the training side (or height and width) in px of an epoch (counted from 0)."""
        early = self.early_side > 0 and epoch < round(self.early_fraction * self.epochs)
        return self.early_side if early else self.image_side

    def pixels_at(self, epoch: int) -> int:
        """Return the pixels of a training image in an epoch (counted from 0)."""
        height, width = height_width(self.side_at(epoch))
        return height * width

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, fields: object, where: str | Path = "recipe") -> Recipe:
        """Build a recipe from plain values; missing fields take their defaults.

        Args:
            fields: values by field.
            where: what the fields are of, for messages.

        Raises:
            UserError: a field is unknown or its value has the wrong type or range.
        """
        return validation.read(cls, fields, where)

    def to_yaml(self, path: str | Path) -> None:
        """Write the recipe as YAML."""
        Path(path).write_text(yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Recipe:
        """Read a recipe from YAML.

        Raises:
            UserError: the file is missing, is no YAML or holds bad fields.
        """
        path = Path(path)
        fields = read_yaml(path, "recipe") or {}
        named = {"name": path.stem, **fields} if isinstance(fields, dict) else fields
        return cls.from_dict(named, path)


def names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(path.stem for path in _RECIPES.glob("*.yaml"))


def load(name_or_path: str) -> Recipe:
    """Load a shipped recipe by its name, or any recipe by a path to YAML.

    Raises:
        UserError: neither a shipped name nor a readable file.
    """
    shipped = _RECIPES / f"{name_or_path}.yaml"
    if shipped.is_file():
        return Recipe.from_yaml(shipped)
    if Path(name_or_path).is_file():
        return Recipe.from_yaml(name_or_path)
    raise UserError(f"recipe '{name_or_path}' is neither a file nor one of {', '.join(names())}")
