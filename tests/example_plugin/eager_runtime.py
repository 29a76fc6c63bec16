"""A runtime of another package: PyTorch as it is, which runs architectures and no files."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from effsearch.latency.timing.runtime import Inputs, Model, OperatorTimes
from effsearch.precisions import FLOAT32
from searchspace import Architecture, Network, Operator, UserError, build, deploy


class EagerSession:
    """A network in PyTorch."""

    def __init__(self, network: Network, side: int) -> None:
        self._network, self._side = network, side

    def random_inputs(self, seed: int = 0) -> Inputs:
        """Return a seeded normal image, (1, 3, R, R)."""
        shape = (1, 3, self._side, self._side)
        return {"input": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}

    def run(self, inputs: Inputs) -> Sequence[NDArray[np.floating[Any]]]:
        """Run the network once and return its logits."""
        with torch.inference_mode():
            return [self._network(torch.from_numpy(inputs["input"])).numpy()]

    def profile(
        self, operators: Sequence[Operator], leave_out: Collection[int] = ()
    ) -> OperatorTimes:
        """Tell no times of operators; `can_profile` says so."""
        raise NotImplementedError


class EagerRuntime:
    """Opens networks in PyTorch."""

    can_profile = False
    precisions = (FLOAT32,)

    def at(self, precision: str) -> "EagerRuntime":
        """Return itself: there is one precision."""
        return self

    def identity(self) -> dict[str, Any]:
        """Return what a table says of the runtime."""
        return {"runtime": "PyTorch", "runtime_version": torch.__version__, "precision": FLOAT32}

    def open(
        self, model: Model, threads: int, *, profiled: bool = False, rests: bool = False
    ) -> EagerSession:
        """Build the deployed form of an architecture, with fresh weights.

        Raises:
            UserError: where the model is a file.
        """
        if not isinstance(model, Architecture):
            raise UserError("PyTorch runs architectures, not ONNX files")
        torch.set_num_threads(threads)
        return EagerSession(deploy(build(model)).eval(), model.resolution)


EAGER = EagerRuntime()
