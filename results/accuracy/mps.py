"""NVIDIA's Multi-Process Service in user space: kernels of several processes share one GPU.

Without it the GPU switches between processes in time slices. No setting of the GPU is changed;
where the daemon does not start, work goes on without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONTROL = "nvidia-cuda-mps-control"
_PLACES = ("/usr/bin", "/usr/local/bin", "/usr/local/nvidia/bin", "/usr/local/cuda/bin")
_PROBE = "import torch; x = torch.ones(8, device='cuda'); assert float((x + x).sum()) == 16"


@contextmanager
def mps_daemon(wanted: bool = True) -> Iterator[bool]:
    """Runs the daemon while the context lasts; processes started in it are its clients.

    Args:
        wanted: False starts nothing.

    Yields:
        Whether the daemon runs and a probe process could compute through it.
    """
    control = _find_control() if wanted else None
    if control is None:
        if wanted:
            print(f"MPS: {_CONTROL} was not found; going on without it", file=sys.stderr)
        yield False
        return
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        places = {
            "CUDA_MPS_PIPE_DIRECTORY": str(Path(folder) / "pipe"),
            "CUDA_MPS_LOG_DIRECTORY": str(Path(folder) / "log"),
        }
        for place in places.values():
            Path(place).mkdir()
        before = {key: os.environ.get(key) for key in places}
        os.environ.update(places)
        running = _start(control)
        if not running:
            _restore(before)
        try:
            yield running
        finally:
            if running:
                _command(control, ["quit"])
                _restore(before)


def _find_control() -> str | None:
    return shutil.which(_CONTROL) or shutil.which(_CONTROL, path=os.pathsep.join(_PLACES))


def _start(control: str) -> bool:
    try:
        started = subprocess.run(
            [control, "-d"], capture_output=True, text=True, timeout=20, check=False
        )
        if started.returncode != 0:
            reason = (started.stderr or started.stdout).strip().splitlines()
            print(f"MPS did not start: {reason[-1:]}; going on without it", file=sys.stderr)
            return False
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False
        )
        if probe.returncode == 0:
            print("MPS runs", file=sys.stderr)
            return True
        reason = probe.stderr.strip().splitlines()
        print(f"MPS: the probe failed ({reason[-1:]}); going on without it", file=sys.stderr)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"MPS did not answer ({error}); going on without it", file=sys.stderr)
    _command(control, ["quit"])
    return False


def _command(control: str, lines: list[str]) -> None:
    try:
        subprocess.run(
            [control],
            input="\n".join(lines) + "\n",
            text=True,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"MPS: '{lines[0]}' was not answered ({error})", file=sys.stderr)


def _restore(before: dict[str, str | None]) -> None:
    for key, value in before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
