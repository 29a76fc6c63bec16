"""A supernet's start from published checkpoints: their weights, in the slices they occupy."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from effsearch.training.checkpoint import load_tensors
from searchspace import Network, zoo
from searchspace.errors import UserError
from searchspace.supernet import Supernet


@torch.no_grad()
def seed(supernet: Supernet, network: Network) -> tuple[int, int]:
    """Copy a network's weights into the slices that it occupies, where shapes agree.

    The network need not be in the space: parts of types that the space lacks, and tensors that are
    wider than the shared ones, are left out.

    Returns:
        The number of values copied, and of all that the network has.
    """
    state = network.state_dict()
    copied = 0
    for key, where, shared in supernet.fitting_slices(network.architecture):
        if key in state and where.shape == tuple(state[key].shape):
            where.write(shared, state[key].to(shared))
            copied += state[key].numel()
    return copied, sum(value.numel() for value in state.values())


def seed_from_file(supernet: Supernet, name: str, path: Path) -> str:
    """Copy an official checkpoint's weights into a supernet; return a line that says how much.

    Raises:
        UserError: where the network is unknown, the file is no checkpoint of it, or nothing fits.
    """
    weights = load_tensors(path)
    network = zoo.load_official(name, weights, num_classes=_classes(weights))
    copied, total = seed(supernet, network)
    if not copied:
        raise UserError(
            f"--init {name}: none of its weights fits the space {supernet.space.name}; use a space "
            "with its stem, block or downsampling types at its widths"
        )
    return f"{name}: {copied} of {total} values copied ({100 * copied / total:.1f} %)"


def _classes(weights: object) -> int:
    """Return the classes of an official checkpoint: the length of its classifier's bias."""
    found = weights
    for wrapper in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    names = ("head.l.bias", "head.bias", "head.op_list.3.linear.bias")
    if isinstance(found, dict):
        for name in names:
            value = found.get(name)
            if isinstance(value, Tensor):
                return len(value)
    return 1000
