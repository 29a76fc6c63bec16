"""PyTorch's formats: networks that effsearch builds again, programs, and code with weights."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effsearch.errors import WorkFailedError
from effsearch.export.check import TOLERANCE, check_outputs, randomise
from effsearch.export.formats import FORMATS, WEIGHTS_SUFFIX
from effsearch.export.job import Job, Written
from effsearch.export.network_code import network_code
from effsearch.onnx_io.onnx_files import output_names
from effsearch.training.checkpoint import load_network, save_network, save_tensors
from searchspace import Backbone, Network, deploy

FACTS = "effsearch.json"  # in a program's file


def write_network(job: Job) -> Written:
    """Write a network as `effsearch.training.checkpoint.load_network` reads it, and read it back.

    Raises:
        WorkFailedError: where that differs.
    """
    assert isinstance(job.network, Network)
    image = torch.randn(job.input_shape)
    facts = {key: job.facts[key] for key in ("digest", "input", "labels")}
    with _beside(job.path) as folder:
        written = folder / job.path.name
        save_network(job.network, written, job.trained, facts)
        with torch.no_grad():
            same = torch.equal(load_network(written).build()(image), job.network(image))
        if not same:
            raise WorkFailedError(f"{job.path}: what was read back differs from the network")
        written.replace(job.path)
    return Written("read back, it gives the same logits", output_names(job.network))


def write_program(job: Job) -> Written:
    """Write a program of `torch.export`, and run what was read back.

    Raises:
        WorkFailedError: where that differs from the network.
    """
    batch = None if job.batch else {0: torch.export.Dim("batch", min=1)}
    example = torch.zeros(job.input_shape)
    found = []
    with _beside(job.path) as folder:
        file = folder / f"network{FORMATS['pt2'].suffix}"  # torch.export wants it
        for network in (_twin(job.network), job.network):
            exported = torch.export.export(
                deploy(network), (example,), dynamic_shapes=None if batch is None else (batch,)
            )
            torch.export.save(exported, file, extra_files={FACTS: json.dumps(job.facts)})
            program = torch.export.load(file).module()
            found.append(_difference(job, program, network, any_batch=job.batch is None))
        file.replace(job.path)
    checked = f"read back, its outputs are the network's to {max(found):.1e} of their spread"
    return Written(checked, output_names(job.network))


def write_code(job: Job) -> Written:
    """Write Python code and, beside it, its weights; and run what was written.

    Raises:
        WorkFailedError: where that differs from the network, or an operator has no code.
    """
    weights, found = job.path.with_suffix(WEIGHTS_SUFFIX), []
    try:
        code = network_code(job.network, weights.name, job.facts)
    except NotImplementedError as error:
        raise WorkFailedError(f"{job.path}: not written: {error}") from None
    with _beside(job.path) as folder:
        script, held = folder / job.path.name, folder / weights.name
        script.write_text(code.text, encoding="utf-8")
        for network in (_twin(job.network), job.network):
            save_tensors(code.state(deploy(network)), held)
            names: dict[str, Any] = {"__name__": "network", "__file__": str(script)}
            exec(compile(code.text, str(script), "exec"), names)
            found.append(_difference(job, names["load"](), network, any_batch=True))
        # Killed in between, there is no code rather than code beside weights of another network.
        job.path.unlink(missing_ok=True)
        held.replace(weights)
        script.replace(job.path)
    checked = f"run, its outputs are the network's to {max(found):.1e} of their spread"
    return Written(f"{checked}; weights in {weights}", output_names(job.network))


def _twin(network: Network | Backbone) -> Network | Backbone:
    """Return a copy with random weights: fresh ones silence branches, and hide mistakes there."""
    twin = copy.deepcopy(network)
    randomise(twin)
    return twin


def _difference(
    job: Job,
    run: Callable[[Tensor], Tensor | Sequence[Tensor]],
    network: Network | Backbone,
    any_batch: bool,
) -> float:
    """Return how far outputs are apart, over their standard deviation.

    Raises:
        WorkFailedError: where that is above the tolerance.
    """
    error = check_outputs(network, run, (job.batch or 1, *job.input_shape[1:]), any_batch)
    if not error <= TOLERANCE:
        raise WorkFailedError(
            f"{job.path}: not written: its outputs differ from the network's by {error:.1e} of "
            f"their spread, more than {TOLERANCE:g}"
        )
    return error


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a folder beside a file, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder)
