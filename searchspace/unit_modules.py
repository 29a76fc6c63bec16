"""`make_unit`: the module of a unit; `unit_graph`: what it computes, traced."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from searchspace import (  # noqa: F401  (registers the components)
    downsampling,
    heads,
    segmentation,
    stems,
)
from searchspace.errors import UserError
from searchspace.fusion import canonical
from searchspace.graph import FORMS, Graph
from searchspace.layers import ToLayout, deployed
from searchspace.registry import DOWNSAMPLINGS, HEADS, LATERALS, STEMS
from searchspace.schema import BLOCKS
from searchspace.start import clear_biases
from searchspace.tracing import trace_on_meta
from searchspace.units import ANY_SIZE, Unit


def make_unit(unit: Unit) -> nn.Module:
    """Return a fresh module for a unit, begun by the law of `searchspace.start`."""
    module = _module(unit)
    clear_biases(module)
    return module


def _module(unit: Unit) -> nn.Module:
    options = dict(unit.options)
    if unit.role == "layout":
        return ToLayout(unit.type)
    if unit.role == "stem":
        return STEMS[unit.type](unit.width, **options)
    if unit.role == "downsample":
        return DOWNSAMPLINGS[unit.type](unit.in_width, unit.width, **options)
    if unit.role == "lateral":
        return LATERALS[unit.type](unit.in_width, unit.width, **options)
    if unit.role == "head":
        return HEADS[unit.type](unit.in_width, unit.width, **options)
    return BLOCKS[unit.type].make(unit.width, max(unit.size), **options)


def unit_graph(unit: Unit, form: str) -> Graph:
    """Return a unit's graph in the form that its operators are read from.

    Raises:
        UserError: where there is no such form, or its module calls an operator that has no ONNX
            form here.
    """
    if form not in FORMS:
        raise UserError(f"form: {form!r} is unknown; use one of {', '.join(FORMS)}")
    module = _skeleton(replace(unit, size=ANY_SIZE), form)
    try:
        graph = trace_on_meta(module, unit.input_shape, unit.inputs)
    except NotImplementedError as error:
        raise UserError(
            f"{unit.role} {unit.type}: {error}; use those that searchspace/tracing.py handles"
        ) from None
    return canonical(graph) if form == "deploy" else graph


@lru_cache(maxsize=2048)
def _skeleton(unit: Unit, form: str) -> nn.Module:
    """Return a unit's module on the meta device; it is the same at all sizes."""
    with _Skeleton():
        module = make_unit(unit).eval()
    return deployed(module) if form == "deploy" else module


class _Skeleton(TorchFunctionMode):
    """Modules made under it are on the meta device and skip their initialisation."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in _FACTORIES:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.tensor}
