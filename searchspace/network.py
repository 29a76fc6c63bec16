"""`build`: an architecture as a module; `deploy`: the form of it that inference runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.layers import ToLayout, deployed
from searchspace.units import make_unit, units


class StageModules(nn.Module):
    """A stage's downsampling, where it has one, and its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        self.blocks = nn.ModuleList()


class Network(nn.Module):
    """A classifier built from an architecture: (N, 3, R, R) to logits (N, num_classes).

    Attributes:
        architecture: what it was built from.
        num_classes: width of the logits.
    """

    def __init__(self, architecture: Architecture, num_classes: int = 1000) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes = num_classes
        stages = [StageModules() for _ in architecture.stages]
        self._order: list[tuple[str, ToLayout | None]] = []
        for placed in units(architecture, num_classes):
            module = make_unit(placed.unit)
            if isinstance(module, ToLayout):
                self._order.append((placed.name, module))
                continue
            self._order.append((placed.name, None))
            if placed.unit.role == "block":
                stages[placed.stage].blocks.append(module)
            elif placed.unit.role == "downsample":
                stages[placed.stage].downsample = module
            else:
                setattr(self, placed.unit.role, module)
            if placed.unit.role == "stem":
                self.stages = nn.ModuleList(stages)

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the parts by name, in order of execution."""
        for name, layout in self._order:
            yield name, self.get_submodule(name) if layout is None else layout

    def forward(self, x: Tensor) -> Tensor:
        for _, module in self.steps():
            x = module(x)
        return x


def build(architecture: Architecture, num_classes: int = 1000) -> Network:
    """Return a freshly initialised network in train mode."""
    return Network(architecture, num_classes)


def deploy(network: nn.Module) -> nn.Module:
    """Return a copy in the form that inference runs, equal to `network.eval()` up to rounding.

    Batch norms and layer scales are folded into convolutions and linear layers, residual depthwise
    convolutions are merged, and averaged classifiers become one.
    """
    with torch.no_grad():
        return deployed(copy.deepcopy(network).eval())
