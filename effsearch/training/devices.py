"""What the machine offers to train on."""

from __future__ import annotations

import platform

import torch

from searchspace.errors import UserError


def device_name(device: torch.device) -> str:
    """Return what a device is called in tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"


def pick_device(wanted: str) -> torch.device:
    """Return a device by name; `auto` takes a GPU where there is one.

    Raises:
        UserError: where there is none, or the name is unknown.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{wanted}' is unknown; choose auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is at hand; choose cpu or auto")
    use = wanted != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use else "cpu")
