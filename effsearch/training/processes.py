"""The processes that train together, and the device of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from searchspace.errors import UserError


@dataclass(frozen=True)
class Group:
    """This process's place among those of torchrun; a lone process is rank 0 of 1."""

    rank: int
    size: int
    local_rank: int

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0


@contextmanager
def process_group(wanted: str) -> Iterator[tuple[Group, torch.device]]:
    """Join torchrun's process group where there is one, and pick the device."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise UserError("no CUDA device is at hand; choose --device cpu or auto")
    use_cuda = has_cuda and wanted != "cpu"
    device = torch.device("cuda", local) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    if size == 1:
        yield Group(0, 1, 0), device
        return
    dist.init_process_group("nccl" if use_cuda else "gloo")
    try:
        yield Group(rank, size, local), device
    finally:
        dist.destroy_process_group()
