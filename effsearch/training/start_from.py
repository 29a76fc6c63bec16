"""What a training starts from in place of fresh weights, and what of it stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effsearch.files import file_sha256
from effsearch.training import official
from effsearch.training.checkpoint import StoredNetwork, load_tensors, stored_network
from searchspace import Architecture, Network, build, zoo
from searchspace.errors import UserError
from searchspace.zoo.official import official_classes

OFFICIAL = "official"
_BACKBONE = ("stem.", "stages.")


@dataclass(frozen=True)
class StartFrom:
    """What to start from.

    Attributes:
        weights: a checkpoint's file (of `train`, `export --format torch`, or the official one of a
            published network), or `official` for the one that `effsearch zoo get` fetched.
        freeze_stages: the stem and so many stages keep their weights and statistics; 0 for none.
        layer_decay: what the learning rate is multiplied with from the head to the last stage, to
            the stage before, ... to the stem, as in ELECTRA (Clark et al., 2020, arXiv 2003.10555,
            appendix B) by layers; 1 for one rate.
        backbone: whether only stem and stages are taken, of a network for whatever task.
    """

    weights: str
    freeze_stages: int = 0
    layer_decay: float = 1.0
    backbone: bool = False

    def __post_init__(self) -> None:
        if self.freeze_stages < 0:
            raise UserError(f"--freeze-stages is {self.freeze_stages}; it must be 0 or more")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"--layer-decay is {self.layer_decay:g}; it must be above 0, at most 1")


@dataclass(frozen=True)
class Start:
    """A network as its training begins.

    Attributes:
        network: with the weights that it starts from.
        frozen: its parts that stay as they are.
        layer_decay: see `StartFrom`.
        line: what people are told; empty for fresh weights.
        facts: what a checkpoint says of it; empty for fresh weights.
    """

    network: Network
    frozen: Sequence[nn.Module] = ()
    layer_decay: float = 1.0
    line: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def hold(self) -> None:
        """Keep the batch norms of frozen parts from learning, after the network was set to."""
        for part in self.frozen:
            part.eval()

    def layers(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Return the parameters to train, by what their learning rate is multiplied with."""
        network = self.network
        parts: list[list[nn.Module]] = [[network]]
        if self.layer_decay != 1:
            named = network.named_children()
            ends = [module for name, module in named if name not in ("stem", "stages")]
            parts = [ends, *([stage] for stage in reversed(network.stages)), [network.stem]]
        held = [
            [p for m in modules for p in m.parameters() if p.requires_grad] for modules in parts
        ]
        return [(self.layer_decay**below, each) for below, each in enumerate(held) if each]


def start(
    wanted: StartFrom | None,
    network: Network,
    classes: Sequence[str],
    architecture: Architecture | None = None,
) -> Start:
    """Give a fresh network what its training starts from; layers of other classes stay fresh.

    Args:
        wanted: what to start from; None leaves the network as it is.
        network: changed in place.
        classes: names of its outputs.
        architecture: what was asked for, where the network's head was fitted to the classes.

    Raises:
        UserError: the file is missing, damaged or of another network, or there are fewer stages to
            freeze than asked for.
    """
    if wanted is None:
        return Start(network)
    stages = len(network.stages)
    if wanted.freeze_stages > stages:
        raise UserError(
            f"--freeze-stages is {wanted.freeze_stages}; the network has {stages} stages"
        )
    what, path, source = _source(wanted, architecture or network.architecture)
    held = source.build().state_dict()
    fresh: set[str] = set()
    if wanted.backbone:
        fresh = {key for key in held if not key.startswith(_BACKBONE)}
    elif _differ(source, classes):
        fresh = _class_keys(network.architecture, len(classes))
    kept = {key: value for key, value in held.items() if key not in fresh}
    network.load_state_dict(network.state_dict() | kept)
    frozen: list[nn.Module] = []
    if wanted.freeze_stages:
        frozen = [network.stem, *network.stages[: wanted.freeze_stages]]
    for part in frozen:
        part.requires_grad_(False)
    line = f"starting from {what}, {source.num_classes} classes; "
    layers = "head" if wanted.backbone else "classifier"
    line += f"a new {layers} for {len(classes)}" if fresh else "its classifier is kept"
    facts = {
        "weights": what,
        "sha256": file_sha256(path),
        "digest": source.architecture.digest(),
        "num_classes": source.num_classes,
        "classifier": "new" if fresh else "kept",
        "freeze_stages": wanted.freeze_stages,
        "layer_decay": wanted.layer_decay,
    }
    if wanted.backbone:
        facts["part"] = "backbone"
    return Start(network, frozen, wanted.layer_decay, line, facts)


def _source(wanted: StartFrom, architecture: Architecture) -> tuple[str, Path, StoredNetwork]:
    """Return what weights are, their file, and the network in it."""
    weights, option = wanted.weights, "--init-backbone" if wanted.backbone else "--init"
    if weights == OFFICIAL and not wanted.backbone:
        name = _published(architecture)
        if name is None:
            raise UserError(
                "--init official: only published networks have an official checkpoint, and this is "
                "none of them (`effsearch zoo`)"
            )
        path = official.held(name)
        return f"{name}'s official checkpoint", path, _official(name, load_tensors(path))
    path = Path(weights)
    values = load_tensors(path)
    if isinstance(values, dict) and "format" in values:
        source = stored_network(values, path)
    else:
        name = _published(architecture)
        if name is None:
            raise UserError(
                f"{option}: {path} is no checkpoint of `train` or `export --format torch`; "
                "official ones fit published networks, and the target is none"
            )
        try:
            source = _official(name, values)
        except UserError as error:
            raise UserError(
                f"{option}: {path} is no official checkpoint of {name} ({error}); of another "
                f"published network, `effsearch export NAME --weights {path} --format torch` "
                "makes a file that says what it holds"
            ) from None
    given = source.architecture
    if given.task != architecture.task and not wanted.backbone:
        raise UserError(
            f"--init: {path} holds a {given.task} network, the target is for {architecture.task}; "
            "--init-backbone takes its stem and stages alone"
        )
    difference = first_difference(architecture, given, with_head=not wanted.backbone)
    if difference:
        kind = "backbone" if wanted.backbone else "network"
        raise UserError(f"{option}: {path} holds another {kind}: {difference}")
    return str(path), path, source


def _official(name: str, values: Any) -> StoredNetwork:
    network = zoo.load_official(name, values, official_classes(name, values))
    return StoredNetwork(network.architecture, network.num_classes, network.state_dict(), True)


def _published(architecture: Architecture) -> str | None:
    """Return the published network that an architecture is, at whatever resolution."""
    names = zoo.names(architecture.task)
    own = _fields(architecture)
    return next((name for name in names if _fields(zoo.load(name)) == own), None)


def first_difference(wanted: Architecture, given: Architecture, with_head: bool = True) -> str:
    """Return the first field in which a network differs from another; empty where none does.

    Names and resolutions do not count, since weights do not depend on them; nor does the number of
    a segmentation head's classes.

    Args:
        wanted: a network.
        given: another.
        with_head: whether heads count.
    """
    fields = _fields(wanted), _fields(given)
    for each in fields:
        each["head"] = {k: v for k, v in each["head"].items() if k != "classes"} if with_head else 0
    return _difference("", *fields)


def _fields(architecture: Architecture) -> dict[str, Any]:
    return {k: v for k, v in architecture.to_dict().items() if k not in ("name", "resolution")}


def _difference(at: str, wanted: Any, given: Any) -> str:
    if isinstance(wanted, dict) and isinstance(given, dict):
        pairs = [(f"{at}.{k}", wanted.get(k), given.get(k)) for k in wanted | given]
    elif isinstance(wanted, list) and isinstance(given, list) and len(wanted) == len(given):
        pairs = [(f"{at}[{i}]", *pair) for i, pair in enumerate(zip(wanted, given, strict=True))]
    elif wanted == given:
        return ""
    else:
        return f"its {at.removeprefix('.')} is {_short(given)}, the target's {_short(wanted)}"
    return next(filter(None, (_difference(*pair) for pair in pairs)), "")


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "none" if value is None else str(value["type"] if isinstance(value, dict) else value)


def _differ(source: StoredNetwork, classes: Sequence[str]) -> bool:
    if source.num_classes != len(classes):
        return True
    return source.classes is not None and tuple(source.classes) != tuple(classes)


def _class_keys(architecture: Architecture, classes: int) -> set[str]:
    """Return the tensors whose shape depends on the number of classes."""
    with torch.device("meta"):
        states: list[dict[str, Tensor]] = [
            build(architecture, count).state_dict() for count in (classes, classes + 1)
        ]
    return {key for key, value in states[0].items() if value.shape != states[1][key].shape}
