"""Checkpoints: plain tensors and values in one file, written whole or not at all."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from effsearch import validation
from effsearch.files import atomic_write
from effsearch.json_text import parse_json
from effsearch.training.recipe import Recipe
from searchspace import Architecture, Network, build
from searchspace.errors import UserError, short

FORMAT = "effsearch-checkpoint"  # of `effsearch train`
EXPORTED = "effsearch-network"  # of `effsearch export --format torch`
VERSION = 1
SAFETENSORS = ".safetensors"
_OURS = "effsearch"  # the key of the metadata that has what a file of ours says, as JSON

# Official checkpoints keep the options of their training so; it holds attributes and does nothing.
torch.serialization.add_safe_globals([argparse.Namespace])


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, and what made it.

    Attributes:
        architecture: the architecture's YAML text.
        digest: the architecture's digest.
        state_dict: weights to deploy: the averaged ones where the recipe keeps an average.
        classes: class names in the order of the outputs.
        recipe: how it was trained.
        epoch: epochs done.
        top1: top-1 on the validation split in %; NaN before the first evaluation, and where the
            network is no classifier.
        training: state of an unfinished run; empty in a final checkpoint.
        start: what it was started from; empty for fresh weights.
        metrics: figures of the last evaluation by name (`Task.evaluate`); older files have none.
    """

    architecture: str
    digest: str
    state_dict: dict[str, Tensor]
    classes: tuple[str, ...]
    recipe: Recipe
    epoch: int
    top1: float
    training: dict[str, Any]
    start: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        save_tensors(
            {
                "format": FORMAT,
                "version": VERSION,
                "architecture": self.architecture,
                "digest": self.digest,
                "state_dict": self.state_dict,
                "classes": list(self.classes),
                "recipe": self.recipe.to_dict(),
                "epoch": self.epoch,
                "top1": self.top1,
                "training": self.training,
                "start": self.start,
                "metrics": self.metrics,
            },
            path,
        )

    def load_into(self, network: nn.Module, what: str) -> None:
        """Load the weights into a built network.

        Args:
            network: the network to fill.
            what: name of the network's architecture, for the message.

        Raises:
            UserError: the checkpoint is of another architecture or number of classes.
        """
        load_state(network, self.state_dict, what)


def load_state(network: nn.Module, weights: dict[str, Tensor], what: str) -> None:
    """Load weights into a built network.

    Args:
        network: the network to fill.
        weights: its state, every tensor of it.
        what: name of the network's architecture, for the message.

    Raises:
        UserError: the weights are of another architecture or number of classes.
    """
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    held = {key: tuple(value.shape) for key, value in weights.items()}
    if own != held:
        differing = sorted(key for key in own.keys() | held.keys() if own.get(key) != held.get(key))
        raise UserError(
            f"the checkpoint is of another architecture than {what}: {len(differing)} of its "
            f"tensors differ, first '{differing[0]}'; give the architecture that it holds"
        )
    network.load_state_dict(weights)


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `effsearch train` wrote; no code in the file is run.

    Raises:
        UserError: the file is missing, unreadable or of another format.
    """
    return _trained(load_tensors(path), path)


def _trained(values: Any, path: str | Path) -> Checkpoint:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is no effsearch checkpoint; `effsearch train` writes them")
    version = values.get("version")
    if version != VERSION:
        raise UserError(
            f"checkpoint {path} is of version {short(version)}; this program reads {VERSION}"
        )
    held = validation.read(_File, values, Path(path))
    if Architecture.from_text(held.architecture, path).digest() != held.digest:
        raise UserError(f"{path}: digest {short(held.digest)} is not its architecture's")
    return Checkpoint(**dict(held))


@dataclass(frozen=True)
class StoredNetwork:
    """A network with its weights, as a file holds it.

    Attributes:
        architecture: what it is.
        num_classes: outputs of its classifier.
        state_dict: its weights.
        trained: whether these were trained; else they are fresh.
        classes: names of the outputs; None where the file does not say.
    """

    architecture: Architecture
    num_classes: int
    state_dict: dict[str, Tensor]
    trained: bool
    classes: tuple[str, ...] | None = None

    def build(self) -> Network:
        """Return the network with its weights, in eval mode.

        Raises:
            UserError: where the weights are of another architecture.
        """
        network = build(self.architecture, self.num_classes).eval()
        load_state(network, self.state_dict, self.architecture.name or self.architecture.digest())
        return network


def load_network(path: str | Path) -> StoredNetwork:
    """Read the network in a checkpoint of `effsearch train` or `effsearch export --format torch`.

    Raises:
        UserError: the file is missing, damaged or neither of the two.
    """
    return stored_network(load_tensors(path), path)


def stored_network(values: Any, path: str | Path) -> StoredNetwork:
    """Return the network in what `load_tensors` read from a file; see `load_network`.

    Raises:
        UserError: where there is none.
    """
    if isinstance(values, dict) and values.get("format") == EXPORTED:
        exported = validation.read(_Exported, values, Path(path))
        if exported.labels is not None and len(exported.labels) != exported.num_classes:
            raise UserError(
                f"{path}: labels: {len(exported.labels)} for {exported.num_classes} classes"
            )
        return StoredNetwork(
            Architecture.from_text(exported.architecture, path),
            exported.num_classes,
            exported.state_dict,
            exported.trained,
            exported.labels,
        )
    held = _trained(values, path)
    architecture = Architecture.from_text(held.architecture, path)
    return StoredNetwork(architecture, len(held.classes), held.state_dict, True, held.classes)


def save_network(
    network: Network, path: str | Path, trained: bool, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a network with its weights, atomically; in safetensors by a file of that suffix.

    Args:
        network: what is written.
        path: the file.
        trained: whether its weights are trained.
        facts: plain values that are kept beside them; `labels` names the classes.
    """
    values = {
        **(facts or {}),
        "format": EXPORTED,
        "architecture": network.architecture.to_yaml(),
        "num_classes": network.num_classes,
        "trained": trained,
    }
    if Path(path).suffix != SAFETENSORS:
        save_tensors({**values, "state_dict": network.state_dict()}, path)
        return
    metadata = {"format": "pt", _OURS: json.dumps(values)}  # readers expect the format's "pt"
    with atomic_write(path, "wb", sync=True) as file:
        file.write(safetensors.torch.save(network.state_dict(), metadata))


class _Exported(BaseModel):
    """What the file of an export has to hold."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    architecture: str
    num_classes: Annotated[int, Field(ge=1)]
    state_dict: dict[str, Tensor]
    trained: bool = True  # older files don't say
    labels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


class _File(BaseModel):
    """What a checkpoint's file has to hold."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    architecture: str
    digest: str
    state_dict: dict[str, Tensor]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    recipe: Recipe
    epoch: Annotated[int, Field(ge=0)]
    top1: float
    training: dict[str, Any]
    start: dict[str, Any] = Field(default_factory=dict)  # older files don't say
    metrics: dict[str, float] = Field(default_factory=dict)  # likewise


def save_tensors(values: dict[str, Any], path: str | Path) -> None:
    """Write tensors and plain values to a file, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path, "wb", sync=True) as file:
        try:
            torch.save(values, file)
        except RuntimeError as error:
            # Where the disk is full, torch's own end of the file fails too, in words of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_tensors(path: str | Path) -> Any:
    """Read what `save_tensors` wrote, or any file of safetensors, onto the CPU.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        if Path(path).suffix == SAFETENSORS:
            return _load_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist") from error
    except MemoryError:
        raise
    except Exception as error:
        # What the unpickler makes of other files: any of a dozen errors.
        raise UserError(f"checkpoint {path} is damaged or no checkpoint") from error


def _load_safetensors(path: str | Path) -> dict[str, Any]:
    with safetensors.safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        ours = (file.metadata() or {}).get(_OURS)
    if ours is None:
        return tensors
    return {**parse_json(ours), "state_dict": tensors}
