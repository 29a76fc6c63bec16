"""Epochs over a data set that is resident on the device, replayed from a CUDA graph.

A small network's step is hundreds of short kernels; launched one by one from Python they leave a
large GPU mostly idle. Here the step, with the gathering of its batch, is run eagerly three times,
captured, and replayed; nothing waits for the host until the epoch's end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from effsearch.training.data.pixels import Pixels
from effsearch.training.step import Step
from searchspace.errors import first_line
from searchspace.resolution import Resolution

EAGER_STEPS = 3


class CaptureError(RuntimeError):
    """A step could not be captured in a CUDA graph; the process's CUDA state is now suspect."""


class ResidentLoop:
    """Runs epochs of a step over resident pixels.

    Args:
        step: the training step; on CUDA its generator must be the device's default one.
        pixels: the training split, on the step's device.
        capture: whether to capture CUDA graphs (ignored on the CPU).
    """

    def __init__(self, step: Step, pixels: Pixels, capture: bool = True) -> None:
        self._step = step
        self._pixels = pixels
        self._batch = min(step.recipe.batch_size, len(pixels))
        self.steps = len(pixels) // self._batch
        self._capture = capture and step.device.type == "cuda"
        self._order = torch.zeros((self.steps, self._batch), dtype=torch.int64, device=step.device)
        self._cursor = torch.zeros(1, dtype=torch.int64, device=step.device)
        self._side: Resolution = 0
        self._graph: Any = None
        self._stream: Any = None
        if self._capture:
            self._stream = torch.cuda.Stream(step.device)  # type: ignore[no-untyped-call]

    def epoch(self, order: Tensor, side: Resolution) -> float:
        """Train one epoch.

        Args:
            order: a permutation of the image indices, (N,); a last partial batch is dropped.
            side: of the augmented images in px.

        Returns:
            The mean loss.

        Raises:
            CaptureError: the step cannot be captured; start again without, in a new process.
        """
        self._order.copy_(order[: self.steps * self._batch].view(self.steps, self._batch))
        self._cursor.zero_()
        self._step.loss_sum.zero_()
        if side != self._side:
            self._graph, self._side = None, side
        if self._stream is None:
            for _ in range(self.steps):
                self._advance()
        else:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._replay()
            torch.cuda.current_stream().wait_stream(self._stream)
        return float(self._step.loss_sum) / self.steps

    def _replay(self) -> None:
        done, graph = 0, self._graph
        if graph is None:
            done = min(EAGER_STEPS, self.steps)
            for _ in range(done):
                self._advance()
            if done < self.steps:
                graph = self._graph = self._captured()
        for _ in range(self.steps - done):
            graph.replay()
        self._step.count += self.steps - done

    def _captured(self) -> Any:
        count = self._step.count
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._advance()
        except RuntimeError as error:
            raise CaptureError(first_line(error)) from error
        # Capturing records the step without running it.
        self._step.count = count
        return graph

    def _advance(self) -> None:
        rows = self._order.index_select(0, self._cursor)[0]
        self._cursor.add_(1)
        images = self._pixels.images.index_select(0, rows)
        labels = self._pixels.labels.index_select(0, rows)
        self._step.run(images, labels, self._side)
