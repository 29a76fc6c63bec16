"""A training recipe: every choice that shapes a run, frozen, in and out of YAML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from searchspace.errors import UserError

_RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; two runs are comparable when their recipes' digests agree.

    Attributes:
        name: What the recipe is called in tables.
        epochs: Passes over the training images.
        batch_size: Images a step, over all processes together.
        image_side: Side in px that the network sees at the end and in evaluation.
        source_side: Side in px that images are decoded to; crops are taken from it.
        early_side: Side in px during the first `early_fraction` of the steps; 0 keeps
            `image_side` throughout. Progressive sizes as in EfficientNetV2 (Tan and Le, 2021).
        early_fraction: Part of the epochs, 0 to 1, that runs at `early_side`.
        learning_rate: Peak rate of AdamW at this batch size.
        final_rate: Last rate of the cosine, as a fraction of the peak.
        warmup_epochs: Epochs of linear warm-up; may be a fraction.
        weight_decay: Decoupled decay of weights; norms, biases and layer scales have none.
        beta2: Second-moment decay of AdamW (the first is 0.9).
        gradient_clip: Largest global gradient norm; 0 clips nothing.
        label_smoothing: Probability mass spread over all classes.
        mixup_alpha: Beta parameter of Mixup (Zhang et al., 2018); 0 turns it off.
        cutmix_alpha: Beta parameter of CutMix (Yun et al., 2019); 0 turns it off.
        mix_probability: Part of the images that is mixed at all.
        crop_scale_min: Smallest area of a random resized crop, as a fraction of the image.
        crop_ratio_max: Widest aspect ratio of a crop; the narrowest is its inverse.
        flip: Whether images are mirrored at random.
        colour_jitter: Strength of brightness, contrast and saturation changes, 0 to 1.
        randaugment_ops: Expected number of RandAugment operations an image; 0 for none.
        randaugment_magnitude: Their strength, 0 to 10.
        erasing_probability: Part of the images that lose a rectangle (Zhong et al., 2020).
        ema_decay: Decay of the averaged weights per step; 0 keeps no average.
        precision: `float32` or `bfloat16` (autocast; on CUDA only, the CPU runs float32).
        channels_last: Whether activations are kept in NHWC order.
        distillation: Weight of the teacher's soft labels in the loss, where one is given.
        temperature: Softmax temperature of the distillation.
    """

    name: str = "custom"
    epochs: int = 300
    batch_size: int = 256
    image_side: int = 224
    source_side: int = 256
    early_side: int = 0
    early_fraction: float = 0.0
    learning_rate: float = 2e-3
    final_rate: float = 0.01
    warmup_epochs: float = 5.0
    weight_decay: float = 0.05
    beta2: float = 0.999
    gradient_clip: float = 1.0
    label_smoothing: float = 0.1
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    mix_probability: float = 1.0
    crop_scale_min: float = 0.08
    crop_ratio_max: float = 4 / 3
    flip: bool = True
    colour_jitter: float = 0.0
    randaugment_ops: float = 2.0
    randaugment_magnitude: float = 9.0
    erasing_probability: float = 0.25
    ema_decay: float = 0.9998
    precision: str = "bfloat16"
    channels_last: bool = True
    distillation: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuses values that no run could use.

        Raises:
            UserError: A field is out of its range.
        """
        for name in ("epochs", "batch_size", "image_side", "source_side"):
            _require(getattr(self, name) >= 1, self, name, "1 or more")
        for name in (
            "early_fraction",
            "final_rate",
            "label_smoothing",
            "mix_probability",
            "colour_jitter",
            "erasing_probability",
            "distillation",
        ):
            _require(0 <= getattr(self, name) <= 1, self, name, "between 0 and 1")
        for name in (
            "early_side",
            "warmup_epochs",
            "weight_decay",
            "gradient_clip",
            "mixup_alpha",
            "cutmix_alpha",
            "randaugment_ops",
            "randaugment_magnitude",
        ):
            _require(getattr(self, name) >= 0, self, name, "0 or more")
        _require(self.learning_rate > 0, self, "learning_rate", "above 0")
        _require(self.temperature > 0, self, "temperature", "above 0")
        _require(0 < self.crop_scale_min <= 1, self, "crop_scale_min", "above 0, 1 at most")
        _require(self.crop_ratio_max >= 1, self, "crop_ratio_max", "1 or more")
        _require(0 <= self.ema_decay < 1, self, "ema_decay", "0 or more and below 1")
        _require(0 < self.beta2 < 1, self, "beta2", "between 0 and 1")
        _require(
            self.precision in ("float32", "bfloat16"), self, "precision", "float32 or bfloat16"
        )

    def replace(self, **changes: Any) -> Recipe:
        """Returns a copy with some fields changed; fields given as None keep their value."""
        kept = {key: value for key, value in changes.items() if value is not None}
        return dataclasses.replace(self, **kept)

    def at_side(self, side: int | None) -> Recipe:
        """Returns a copy for inputs of `side` px throughout; None changes nothing.

        Sources stay a little larger than the input, except where the recipe enlarges small images.
        """
        if side is None:
            return self
        enlarges = self.source_side < self.image_side
        source = self.source_side if enlarges else round(side * 8 / 7)
        return self.replace(image_side=side, source_side=source, early_side=0)

    def digest(self) -> str:
        """Returns 8 hex digits over every field but the name."""
        fields = self.to_dict()
        del fields["name"]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def side_at(self, epoch: int) -> int:
        """Returns the training side in px of an epoch (counted from 0)."""
        early = self.early_side > 0 and epoch < round(self.early_fraction * self.epochs)
        return self.early_side if early else self.image_side

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recipe:
        """Builds a recipe from plain values; missing fields take their defaults.

        Raises:
            UserError: A field is unknown or its value has the wrong type or range.
        """
        if not isinstance(fields, dict):
            raise UserError("a recipe must be a mapping of field names to values")
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for key, value in fields.items():
            if key not in kinds:
                known = ", ".join(sorted(kinds))
                raise UserError(f"recipe field '{key}' is unknown; known fields are {known}")
            kind = kinds[key]
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise UserError(
                    f"recipe field '{key}' is {value!r}; it must be of type {kind.__name__}"
                )
            values[key] = value
        return cls(**values)

    def to_yaml(self, path: str | Path) -> None:
        """Writes the recipe as YAML."""
        Path(path).write_text(yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Recipe:
        """Reads a recipe from YAML.

        Raises:
            UserError: The file is missing, is no YAML or holds bad fields.
        """
        path = Path(path)
        try:
            fields = yaml.safe_load(path.read_text())
        except OSError as error:
            raise UserError(f"recipe {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"recipe {path} is not YAML") from error
        try:
            return cls.from_dict({"name": path.stem, **(fields or {})})
        except (UserError, TypeError) as error:
            raise UserError(f"recipe {path}: {error}") from error


def _require(condition: bool, recipe: Recipe, name: str, rule: str) -> None:
    if not condition:
        raise UserError(f"recipe field '{name}' is {getattr(recipe, name)!r}; it must be {rule}")


def names() -> list[str]:
    """Returns the names of the recipes that ship with the package."""
    return sorted(path.stem for path in _RECIPES.glob("*.yaml"))


def load(name_or_path: str) -> Recipe:
    """Loads a shipped recipe by its name, or any recipe by a path to YAML.

    Raises:
        UserError: Neither a shipped name nor a readable file.
    """
    shipped = _RECIPES / f"{name_or_path}.yaml"
    if shipped.is_file():
        return Recipe.from_yaml(shipped)
    if Path(name_or_path).is_file():
        return Recipe.from_yaml(name_or_path)
    raise UserError(f"recipe '{name_or_path}' is neither a file nor one of {', '.join(names())}")
