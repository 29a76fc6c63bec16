"""`Supernet`: shared weights for a whole space; candidates run on slices of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.errors import UserError
from searchspace.network import Network, build
from searchspace.schema import CLASSIFICATION
from searchspace.space import SearchSpace
from searchspace.supernet.sharing import apart, share, slot_name
from searchspace.supernet.slices import Extent, Slice
from searchspace.supernet.slots import (
    check_size,
    signature,
    slot_extents,
    slot_units,
    with_classes,
)
from searchspace.unit_modules import make_unit
from searchspace.units import ANY_SIZE, Unit, units

_CACHED_PLANS = 512


class Supernet(nn.Module):
    """One set of weights from which every network of a space takes slices.

    `activate` chooses a member; calling the supernet then runs it: (N, 3, R, R) to logits
    (N, num_classes). Weight sharing after Once-for-All (Cai et al., arXiv 1908.09791) and
    AutoFormer (Chen et al., arXiv 2107.00651). Gradients are added to the `grad` of the shared
    parameters by `backward()`; where nothing is active they stay zero or None. In train mode batch
    norms use the batch's statistics and, with `track_statistics`, update the slices of the running
    ones.

    Args:
        space: the space.
        num_classes: width of the logits.
        stems_apart: whether networks with stems of different types share nothing. Behind stems of
            different strides the same weights would see maps of different sides.

    Raises:
        UserError: where a stage is too large to share; says which and why.

    Attributes:
        space: the space.
        num_classes: width of the logits.
        active: the architecture that runs, None before the first `activate`.
        track_statistics: whether training updates running statistics. Those of a slice mean little
            when many networks share it: evaluation recalibrates a copy (`extract`).
    """

    def __init__(
        self, space: SearchSpace, num_classes: int = 1000, stems_apart: bool = False
    ) -> None:
        super().__init__()
        if space.spec.task != CLASSIFICATION:
            raise UserError(
                f"{space.name}: a space of {space.spec.task} networks; a supernet is of classifiers"
            )
        self.stems_apart = stems_apart
        self.space = space
        self.num_classes = num_classes
        self.active: Architecture | None = None
        self.track_statistics = True
        self._slots: dict[str, dict[str, Extent]] = {}
        self._units = {
            slot: [with_classes(unit, num_classes) for unit in members]
            for slot, members in slot_units(space, stems_apart).items()
        }
        extents = slot_extents(self._units)
        check_size(extents)
        for slot, tensors in extents.items():
            self._slots[slot] = {key: extent for key, (extent, _, _) in tensors.items()}
            for key, (extent, dtype, is_parameter) in tensors.items():
                owner, name = _container(self, f"{slot}.{key}")
                value = torch.zeros(extent.shape, dtype=dtype)
                if is_parameter:
                    owner.register_parameter(name, nn.Parameter(value))
                else:
                    owner.register_buffer(name, value)
        self._initialise()
        self._cache = _Cache()
        self._plan: _Plan | None = None

    def activate(self, architecture: Architecture) -> Supernet:
        """Choose the network that runs; returns the supernet itself.

        Raises:
            UserError: where the architecture is not in the space.
        """
        self._plan = self._planned(architecture)
        self.active = architecture
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Run the active network.

        Raises:
            UserError: where none was activated.
        """
        if self._plan is None:
            raise UserError("the supernet has no active architecture; call activate() first")
        plan = self._plan
        tensors = plan.weights()
        if torch.is_grad_enabled():
            tensors = _Gather.apply(plan, _ANCHOR)  # type: ignore[no-untyped-call]
        at = 0
        for part in plan.parts:
            skeleton = self._cache.skeleton(part.unit, self.training, self.track_statistics)
            for owner, name in skeleton.parameters:
                owner[name] = tensors[at]
                at += 1
            if not skeleton.buffers:
                x = skeleton.module(x)
                continue
            held = list(zip(skeleton.buffers, part.buffers, strict=True))
            for (owner, name), (where, shared) in held:
                owner[name] = where.read(shared)
            x = skeleton.module(x)
            if self.training:
                for (owner, name), (where, shared) in held:
                    if where.index is not None:
                        where.write(shared, owner[name])
        return x

    def extract(self, architecture: Architecture | None = None) -> Network:
        """Return a stand-alone network with a copy of its weights.

        It has the supernet's mode, device and data type.

        Args:
            architecture: a member of the space; the active one by default.

        Raises:
            UserError: where the architecture is not in the space.
        """
        architecture = architecture or self.active
        if architecture is None:
            raise UserError("the supernet has no active architecture; name one to extract")
        weight = next(self.parameters())
        with torch.device("meta"):
            network = build(architecture, self.num_classes).to(weight.dtype)
        state = {
            key: where.read(shared).detach().clone(memory_format=torch.contiguous_format)
            for key, where, shared in self.slices(architecture)
        }
        network = network.to_empty(device=weight.device)
        network.load_state_dict(state)
        return network.train(self.training)

    def slices(self, architecture: Architecture) -> Iterator[tuple[str, Slice, Tensor]]:
        """Yield, for each tensor of a member by its key, its place and the shared tensor.

        Raises:
            UserError: where the architecture is not in the space.
        """
        self._check(architecture)
        yield from self.fitting_slices(architecture)

    def fitting_slices(self, architecture: Architecture) -> Iterator[tuple[str, Slice, Tensor]]:
        """Yield as `slices` what there is of any architecture, in the space or not."""
        for prefix, slot, unit in self._placed(architecture):
            held = self._slots.get(slot, {})
            for key, (shape, _, _) in signature(unit).items():
                where = share(unit, key)
                extent = held.get(where.key)
                if extent is None or len(extent.sizes) != len(shape):
                    continue
                place = extent.slice(where, shape)
                if place is not None:
                    yield f"{prefix}.{key}", place, self._shared(slot, where.key)

    def _check(self, architecture: Architecture) -> None:
        if architecture not in self.space:
            name = architecture.name or architecture.digest()
            raise UserError(
                f"{name}: not in the space {self.space.name} that the supernet was made for"
            )

    def _placed(self, architecture: Architecture) -> Iterator[tuple[str, str, Unit]]:
        count = len(architecture.stages)
        seen: dict[tuple[int, str], int] = {}
        for placed in units(architecture, self.num_classes):
            place = (placed.stage, placed.unit.type)
            index = seen.get(place, 0)
            if placed.unit.role == "block":
                seen[place] = index + 1
            unit = replace(placed.unit, size=ANY_SIZE)
            slot = slot_name(placed, index, count)
            if self.stems_apart:
                slot = apart(slot, architecture.stem.type)
            yield placed.name, slot, unit

    def _planned(self, architecture: Architecture) -> _Plan:
        plan = self._cache.plans.get(architecture)
        if plan is None:
            self._check(architecture)
            plan = _Plan([self._part(slot, unit) for _, slot, unit in self._placed(architecture)])
            self._cache.plans[architecture] = plan
            if len(self._cache.plans) > _CACHED_PLANS:
                self._cache.plans.popitem(last=False)
        return plan

    def _part(self, slot: str, unit: Unit) -> _Part:
        part = self._cache.parts.get((slot, unit))
        if part is None:
            part = self._cache.parts[slot, unit] = _Part(unit, [], [], [])
            for key, (_, _, is_parameter) in signature(unit).items():
                shared = self._shared(slot, share(unit, key).key)
                where = self._slice(slot, unit, key).on(shared.device)
                if is_parameter:
                    part.weights.append((where, shared))
                    part.views.append(where.window(shared.detach()))
                else:
                    part.buffers.append((where, shared))
        return part

    def _slice(self, slot: str, unit: Unit, key: str) -> Slice:
        where = share(unit, key)
        found = self._slots[slot][where.key].slice(where, signature(unit)[key][0])
        assert found is not None, f"{slot}.{key} does not fit"
        return found

    def _shared(self, slot: str, key: str) -> Tensor:
        owner, name = _container(self, f"{slot}.{key}")
        found = getattr(owner, name)
        assert isinstance(found, Tensor)
        return found

    @torch.no_grad()
    def _initialise(self) -> None:
        """Fill the shared tensors as the ordinary modules initialise theirs."""
        for slot, members in self._units.items():
            missing = dict(self._slots[slot])
            ordered = sorted(members, key=_size, reverse=True)
            # The largest unit that is all of a tensor gives its values.
            for unit in ordered:
                whole = [
                    key
                    for key, (shape, _, _) in signature(unit).items()
                    if share(unit, key).key in missing
                    and missing[share(unit, key).key].shape == shape
                ]
                if whole:
                    state = make_unit(unit).state_dict()
                    for key in whole:
                        name = share(unit, key).key
                        self._slice(slot, unit, key).write(self._shared(slot, name), state[key])
                        missing.pop(name, None)
            # The rest is pieced together, the largest on top.
            for unit in reversed(ordered) if missing else ():
                for key, value in make_unit(unit).state_dict().items():
                    name = share(unit, key).key
                    if name in missing:
                        self._slice(slot, unit, key).write(self._shared(slot, name), value)

    def _apply(self, fn: Any, recurse: bool = True) -> Supernet:
        # Views into the old storage would be left behind.
        self._cache = _Cache()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.active is not None:
            self.activate(self.active)
        return self


@dataclass
class _Part:
    unit: Unit
    weights: list[tuple[Slice, Tensor]]
    views: list[Tensor]
    buffers: list[tuple[Slice, Tensor]]


class _Plan:
    """The slices of an architecture, part by part."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self.places = [place for part in parts for place in part.weights]
        self._views = [view for part in parts for view in part.views]

    def weights(self) -> list[Tensor]:
        """Return the current weights: views, or copies where a slice has gaps."""
        return [
            view.detach() if where.index is None else where.read(shared.detach())
            for view, (where, shared) in zip(self._views, self.places, strict=True)
        ]

    def add_gradients(self, gradients: tuple[Tensor | None, ...]) -> None:
        """Add the gradients of the weights to those of the shared tensors."""
        targets, values = [], []
        for (where, shared), gradient in zip(self.places, gradients, strict=True):
            if gradient is None or not shared.requires_grad:
                continue
            if shared.grad is None:
                shared.grad = torch.zeros_like(shared)
            window = where.window(shared.grad)
            if where.index is None:
                targets.append(window)
                values.append(gradient)
            else:
                window.index_add_(where.dim, where.index.to(window.device), gradient)
        if targets:
            torch._foreach_add_(targets, values)


class _Gather(torch.autograd.Function):
    """Hands out the slices of a plan, and adds their gradients to the shared parameters' in place.

    Ordinary slicing would make and sum a tensor of the shared size for each slice.
    """

    @staticmethod
    def forward(ctx: Any, plan: _Plan, anchor: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        return tuple(plan.weights())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, None]:
        ctx.plan.add_gradients(gradients)
        return None, None


# Autograd visits a function only if one of its inputs wants a gradient.
_ANCHOR = torch.zeros(0, requires_grad=True)


class _Skeleton:
    """A unit's module without weights of its own.

    Attributes:
        module: the module, on the meta device.
        parameters: where each parameter goes, in the order of `state_dict`.
        buffers: where each buffer goes.
    """

    def __init__(self, unit: Unit, training: bool, track_statistics: bool) -> None:
        with torch.device("meta"):
            self.module = make_unit(unit).train(training)
        self.parameters: list[tuple[dict[str, Any], str]] = []
        self.buffers: list[tuple[dict[str, Any], str]] = []
        for key, (_, _, is_parameter) in signature(unit).items():
            owner, name = _container(self.module, key)
            if is_parameter:
                self.parameters.append((owner._parameters, name))
            else:
                self.buffers.append((owner._buffers, name))
        if training and not track_statistics:
            self.buffers = []
            for module in self.module.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.track_running_stats = False


class _Cache:
    """What can be made again: left out of copies."""

    def __init__(self) -> None:
        self.plans: OrderedDict[Architecture, _Plan] = OrderedDict()
        self.parts: dict[tuple[str, Unit], _Part] = {}
        self._skeletons: dict[tuple[Unit, bool, bool], _Skeleton] = {}

    def skeleton(self, unit: Unit, training: bool, track_statistics: bool) -> _Skeleton:
        """Return the module of a unit; equal units share it and take turns."""
        key = (unit, training, track_statistics)
        found = self._skeletons.get(key)
        if found is None:
            found = self._skeletons[key] = _Skeleton(unit, *key[1:])
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> _Cache:
        return _Cache()

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        return _Cache, ()


def _container(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Return the module that owns a dotted name, made where missing, and the last part."""
    *folders, name = path.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, nn.Module())
        child = root._modules[folder]
        assert child is not None
        root = child
    return root, name


def _size(unit: Unit) -> int:
    return sum(torch.Size(shape).numel() for shape, _, _ in signature(unit).values())
