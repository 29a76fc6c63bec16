"""A supernet's start from published checkpoints: their weights, in the slices they occupy."""

from __future__ import annotations

from pathlib import Path

import torch

from effsearch.training.checkpoint import load_tensors
from searchspace import Network, zoo
from searchspace.errors import UserError
from searchspace.supernet import Supernet
from searchspace.zoo.official import official_classes


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
    network = zoo.load_official(name, weights, num_classes=official_classes(name, weights))
    copied, total = seed(supernet, network)
    if not copied:
        raise UserError(
            f"--init {name}: none of its weights fits the space {supernet.space.name}; use a space "
            "with its stem, block or downsampling types at its widths"
        )
    return f"{name}: {copied} of {total} values copied ({100 * copied / total:.1f} %)"
