"""ONNX files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import onnx

from effsearch.errors import WorkFailedError
from effsearch.export.check import TOLERANCE as EXACT
from effsearch.export.check import check_onnx, randomise
from effsearch.export.facts import as_texts
from effsearch.export.half import TOLERANCE, for_half, to_half
from effsearch.export.job import Job, Written
from effsearch.files import atomic_write
from effsearch.onnx_io.onnx_files import OPSET, output_names, to_onnx
from effsearch.precisions import FLOAT16, FLOAT32, INT8
from searchspace import Backbone, Network


def write(job: Job) -> Written:
    """Write the file.

    Raises:
        WorkFailedError: where ONNX Runtime does not compute what PyTorch does.
    """
    model, checked = _MAKERS[job.precision](job)
    add_metadata(model, job.facts)
    with atomic_write(job.path, "wb") as file:
        file.write(model.SerializeToString())
    return Written(checked, output_names(job.network))


def add_metadata(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Put facts on a network into a model's metadata, as texts."""
    held = {entry.key for entry in model.metadata_props}
    for key, value in as_texts(facts).items():
        if key not in held:
            model.metadata_props.add(key=key, value=value)


def _made(job: Job, network: Network | Backbone) -> onnx.ModelProto:
    return to_onnx(network, job.batch, opset=job.opset or OPSET)


def _exact(job: Job) -> tuple[onnx.ModelProto, str]:
    # Fresh weights silence branches; a twin with random ones shows mistakes that they hide.
    twin = copy.deepcopy(job.network)
    randomise(twin)
    model = _made(job, job.network)
    error = max(check_onnx(job.network, model), check_onnx(twin, _made(job, twin)))
    if not error <= EXACT:
        raise WorkFailedError(
            f"{job.path}: not written: ONNX Runtime differs from PyTorch by {error:.2e} of the "
            f"outputs' spread, more than {EXACT:g}"
        )
    return model, f"ONNX Runtime agrees with PyTorch to {error:.1e} of the outputs' spread"


def _half(job: Job) -> tuple[onnx.ModelProto, str]:
    half = for_half(job.network, job.trained, str(job.path))
    error = check_onnx(half.shown, to_half(_made(job, half.shown)))
    if not error <= TOLERANCE:
        raise WorkFailedError(
            f"{job.path}: not written: in float16, ONNX Runtime differs from PyTorch by "
            f"{error:.1%} of the outputs' spread, more than {TOLERANCE:.0%}; use --precision "
            "float32"
        )
    checked = f"ONNX Runtime agrees with float32 PyTorch to {error:.1e} of the outputs' spread"
    return to_half(_made(job, half.network)), f"{checked}; {half.words}"


def _int8(job: Job) -> tuple[onnx.ModelProto, str]:
    from effsearch.export.int8_check import quantise_checked

    assert isinstance(job.network, Network)
    assert job.data is not None  # as the request was checked
    model, checked = _exact(job)
    found, words = quantise_checked(job.network, model, job.data, job.trained)
    return found, f"before quantisation, {checked}; {words}"


_MAKERS = {FLOAT32: _exact, FLOAT16: _half, INT8: _int8}
