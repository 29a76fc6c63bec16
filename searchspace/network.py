"""`build`: an architecture as a module; `deploy`: the form of it that inference runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.errors import UserError
from searchspace.layers import ToLayout, deployed
from searchspace.unit_modules import make_unit
from searchspace.units import PlacedUnit, feature_units, units


class StageModules(nn.Module):
    """A stage's downsampling, where it has one, and its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        self.blocks = nn.ModuleList()


class UnitModules(nn.Module):
    """The modules of an architecture's units, and the order in which they run.

    Args:
        architecture: what they are of.
        placed: its units.
        outputs: names of those whose outputs are wanted.
    """

    def __init__(
        self, architecture: Architecture, placed: Sequence[PlacedUnit], outputs: Sequence[str]
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self._outputs = tuple(outputs)
        self._kept = {*outputs, *(source for part in placed for source in part.sources)}
        self._order: list[tuple[str, tuple[str, ...], ToLayout | None]] = []
        stages = [StageModules() for _ in {part.stage for part in placed if part.is_of_stage}]
        laterals, ends = nn.ModuleList(), {}
        for part in placed:
            module = make_unit(part.unit)
            layout = module if isinstance(module, ToLayout) else None
            self._order.append((part.name, part.sources, layout))
            if part.unit.role == "block":
                stages[part.stage].blocks.append(module)
            elif part.unit.role == "downsample":
                stages[part.stage].downsample = module
            elif part.unit.role == "lateral":
                laterals.append(module)
            elif layout is None:
                ends[part.unit.role] = module
        self.stem = ends["stem"]
        self.stages = nn.ModuleList(stages)
        if laterals:
            self.laterals = laterals
        if "head" in ends:
            self.head = ends["head"]

    def steps(self) -> Iterator[tuple[str, tuple[str, ...], nn.Module]]:
        """Yield names, sources (`PlacedUnit`) and modules, in order of execution."""
        for name, sources, layout in self._order:
            yield name, sources, self.get_submodule(name) if layout is None else layout

    def run(self, x: Tensor, enter: Callable[[str], object] = lambda name: None) -> list[Tensor]:
        """Return the wanted outputs.

        Args:
            x: images (N, 3, H, W).
            enter: told the name of each unit before it runs.
        """
        kept: dict[str, Tensor] = {}
        for name, sources, module in self.steps():
            enter(name)
            x = module(*(kept[source] for source in sources)) if sources else module(x)
            if name in self._kept:
                kept[name] = x
        return [kept[name] for name in self._outputs]


class Network(UnitModules):
    """A network built from an architecture: images (N, 3, H, W) to logits.

    Logits are (N, num_classes); of a segmentation network (N, num_classes, H/s, W/s), where s is
    its head's stride.

    Attributes:
        architecture: what it was built from.
        num_classes: width of the logits.
    """

    def __init__(self, architecture: Architecture, num_classes: int | None = None) -> None:
        classes = num_classes or architecture.num_classes
        super().__init__(architecture, units(architecture, classes), ("head",))
        self.num_classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]


class FeatureInfo(list[dict[str, Any]]):
    """What is known of a backbone's maps, one entry each, in timm's terms.

    `num_chs` is the number of channels, `reduction` the stride over the image, `module` the name
    of the module that gives the map and `index` the stage.
    """

    def channels(self) -> list[int]:
        """Return the channels of each map."""
        return [entry["num_chs"] for entry in self]

    def reduction(self) -> list[int]:
        """Return the stride of each map."""
        return [entry["reduction"] for entry in self]

    def module_name(self) -> list[str]:
        """Return the module that gives each map."""
        return [entry["module"] for entry in self]


class Backbone(UnitModules):
    """The stages of a network, without a head: images (N, 3, H, W) to a list of their maps.

    Maps are (N, C, H/r, W/r), rounded up, from the largest to the smallest, for detectors and the
    like to stand on. Stages after the last that is asked for are not built.

    Args:
        architecture: what it is built from.
        out_indices: stages whose maps are wanted, from 0, negative from the last; None for all.

    Raises:
        UserError: where there is no such stage, or one is named twice.

    Attributes:
        architecture: what it was built from, head included.
        feature_info: channels and strides of the maps.
    """

    def __init__(
        self, architecture: Architecture, out_indices: Sequence[int] | None = None
    ) -> None:
        count = len(architecture.stages)
        indices = _stage_indices(count, range(count) if out_indices is None else out_indices)
        placed, outputs = feature_units(architecture, indices)
        super().__init__(architecture, placed, outputs)
        self.feature_info = FeatureInfo(
            {
                "num_chs": architecture.stages[index].width,
                "reduction": architecture.reductions[index],
                "module": f"stages.{index}",
                "index": index,
            }
            for index in indices
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.run(x)

    def load_network(self, network: nn.Module) -> Backbone:
        """Take over the weights of a network of the same architecture; returns itself.

        Args:
            network: trained as it was built; its head is left out.
        """
        own = self.state_dict()
        self.load_state_dict({k: v for k, v in network.state_dict().items() if k in own})
        return self


def _stage_indices(count: int, wanted: Sequence[int]) -> tuple[int, ...]:
    for index in wanted:
        if isinstance(index, bool) or not isinstance(index, int) or not -count <= index < count:
            raise UserError(
                f"out_indices: {index!r} is not a stage; the network has {count}, 0 to {count - 1}"
            )
    indices = sorted(index % count for index in wanted)
    if not indices or len(set(indices)) != len(indices):
        raise UserError(f"out_indices: {list(wanted)} names a stage twice, or none")
    return tuple(indices)


@overload
def build(
    architecture: Architecture,
    num_classes: int | None = None,
    *,
    features_only: Literal[False] = False,
) -> Network: ...


@overload
def build(
    architecture: Architecture,
    *,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
) -> Backbone: ...


def build(
    architecture: Architecture,
    num_classes: int | None = None,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Network | Backbone:
    """Return a freshly initialised network in train mode.

    Args:
        architecture: what to build.
        num_classes: width of the logits; None for the architecture's own (ImageNet's 1000 for a
            classifier).
        features_only: whether the stages' maps are wanted in place of logits.
        out_indices: with `features_only`, which stages' (`Backbone`).

    Raises:
        UserError: where there is no such stage.
    """
    if features_only:
        return Backbone(architecture, out_indices)
    if out_indices is not None:
        raise UserError("out_indices: only maps have some; add features_only=True")
    return Network(architecture, num_classes)


def deploy(network: nn.Module) -> nn.Module:
    """Return a copy in the form that inference runs, equal to `network.eval()` up to rounding.

    Batch norms and layer scales are folded into convolutions and linear layers, residual depthwise
    convolutions are merged, and averaged classifiers become one.
    """
    with torch.no_grad():
        return deployed(copy.deepcopy(network).eval())
