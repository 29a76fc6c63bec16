"""Memory of a training process: keeping what it frees, and telling when it ran out."""

from __future__ import annotations

import ctypes
import sys

import torch

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = (1 << 31) - 1


def keep_memory() -> None:
    """Let this process keep what it frees, where the C library is glibc; nothing elsewhere.

    glibc otherwise returns every large activation to the system and faults it in again in the next
    step: on a CPU this costs up to a quarter of a training step.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, _LARGEST)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is that of memory that ran out, on the GPU or here."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        "can't allocate memory" in text or "out of memory" in text
    )
