"""Supernet checkpoints: weights, what they were made for, and the state of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from effsearch import validation
from effsearch.training.checkpoint import load_tensors, save_tensors
from effsearch.training.recipe import Recipe
from searchspace import SearchSpace
from searchspace.errors import UserError
from searchspace.space_file import SpaceFile, parse_space
from searchspace.supernet import Supernet
from searchspace.supernet.sharing import are_apart

FORMAT = "effsearch-supernet"
VERSION = 1


@dataclass(frozen=True)
class SupernetCheckpoint:
    """A supernet's weights and what made them.

    Attributes:
        space: the space's file as plain data.
        classes: class names in the order of the outputs.
        recipe: how it was trained.
        step: steps done.
        weights: averaged parameters by name; the current ones where the recipe keeps no average.
        training: state of the run, to resume it; empty in a file that only serves.
    """

    space: dict[str, Any]
    classes: tuple[str, ...]
    recipe: Recipe
    step: int
    weights: dict[str, Tensor]
    training: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write it atomically."""
        body = {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space,
            "classes": list(self.classes),
            "recipe": self.recipe.to_dict(),
            "step": self.step,
            "weights": self.weights,
            "training": self.training,
        }
        save_tensors(body, path)

    def supernet(self) -> Supernet:
        """Return the supernet with these weights.

        Raises:
            UserError: where they are not this program's supernet of that space.
        """
        space = SearchSpace(parse_space(self.space))
        supernet = Supernet(space, len(self.classes), are_apart(self.weights))
        load_weights(supernet, self.weights)
        return supernet


def load(path: str | Path) -> SupernetCheckpoint:
    """Read a checkpoint that `effsearch supernet train` wrote; no code in the file is run.

    Raises:
        UserError: where the file is missing, damaged or something else.
    """
    values = load_tensors(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is no supernet checkpoint; `effsearch supernet train` writes them")
    if values.get("version") != VERSION:
        raise UserError(
            f"supernet checkpoint {path} is of version {values.get('version')}; this program reads "
            f"{VERSION}"
        )
    return SupernetCheckpoint(**dict(validation.read(_File, values, Path(path))))


class _File(BaseModel):
    """What a supernet checkpoint's file holds."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    space: dict[str, Any]
    classes: tuple[str, ...]
    recipe: Recipe
    step: int
    weights: dict[str, Tensor]
    training: dict[str, Any]


def load_weights(supernet: Supernet, weights: dict[str, Tensor]) -> None:
    """Copy parameters into a supernet, by name.

    Raises:
        UserError: where names or shapes differ; names the first.
    """
    own = {name: tuple(p.shape) for name, p in supernet.named_parameters()}
    held = {name: tuple(value.shape) for name, value in weights.items()}
    if own != held:
        name = sorted(n for n in own.keys() | held.keys() if own.get(n) != held.get(n))[0]
        raise UserError(
            f"the checkpoint does not fit the space {supernet.space.name}: shared tensor {name} is "
            f"{held.get(name, 'missing')} there and {own.get(name, 'missing')} here; train anew"
        )
    supernet.load_state_dict(weights, strict=False)


def space_data(space: SearchSpace) -> dict[str, Any]:
    """Return a space as plain data that `parse_space` takes."""
    spec: SpaceFile = space.spec

    def axes(options: Any) -> dict[str, list[Any]]:
        return {
            name: [list(v) if isinstance(v, tuple) else v for v in values]
            for name, values in options.items()
        }

    stems = {}
    for type_, entry in spec.stems.items():
        stems[type_] = {"stride": list(entry.stride), **axes(entry.options)}
        if entry.width:
            stems[type_]["width"] = list(entry.width)
    shape = spec.shape.to_dict()
    return {
        **({"shape": shape} if shape else {}),
        "name": spec.name,
        "resolution": list(spec.resolution),
        "stage_count": list(spec.counts),
        "stem": stems,
        "blocks": {type_: axes(options) for type_, options in spec.blocks.items()},
        "downsample": {type_: axes(options) for type_, options in spec.downsamples.items()},
        "head": {type_: axes(options) for type_, options in spec.heads.items()},
        "stages": [
            {
                "width": list(stage.width),
                "depth": list(stage.depth),
                "block": list(stage.blocks),
                "tail": list(stage.tails),
                "tail_depth": list(stage.tail_depth),
            }
            for stage in spec.stages
        ],
    }


def same_space(held: dict[str, Any], space: SearchSpace) -> bool:
    """Say whether a checkpoint's space is a given one; names do not count."""
    return _difference("", {**held, "name": ""}, {**space_data(space), "name": ""}) is None


def check_space(held: dict[str, Any], space: SearchSpace, what: str) -> None:
    """Check that a checkpoint is of a space.

    Raises:
        UserError: where it is of another; names the first difference.
    """
    here = space_data(space)
    found = _difference("", {**held, "name": ""}, {**here, "name": ""})
    if found:
        where, there, ours = found
        raise UserError(
            f"{what} is a checkpoint of another space ({held.get('name')}) than {space.name}: "
            f"{where} is {there} there and {ours} here"
        )


def _difference(where: str, a: Any, b: Any) -> tuple[str, Any, Any] | None:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            at = f"{where}.{key}" if where else str(key)
            found = _difference(at, a.get(key, "missing"), b.get(key, "missing"))
            if found:
                return found
        return None
    nested = isinstance(a, list) and isinstance(b, list) and a and isinstance(a[0], dict)
    if nested and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            found = _difference(f"{where}[{index}]", left, right)
            if found:
                return found
        return None
    if a == b:
        return None
    if nested:
        return f"number of {where}", len(a), len(b)
    return where, a, b
