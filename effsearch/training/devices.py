"""What the machine offers to train on."""

from __future__ import annotations

import platform

import torch


def device_name(device: torch.device) -> str:
    """Returns what a device is called in tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"
