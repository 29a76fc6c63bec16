"""This machine: what identifies it in a table, and whether a table is of it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effsearch.latency.timing.runtime import Runtime
from effsearch.latency.timing.runtimes import find_runtime
from searchspace import UserError

_OF_THE_CPU = ("cpu", "cpu_model")


def cpu_name() -> str:
    """Return the CPU's name as the operating system has it."""
    return _cpu_fields().get("model name") or platform.processor() or platform.machine()


def cpu_model() -> str:
    """Return vendor, family, model and stepping, which tell apart CPUs of one name."""
    fields = _cpu_fields()
    wanted = ("vendor_id", "cpu family", "model", "stepping")
    return " ".join(fields[name] for name in wanted if name in fields) or platform.machine()


def _cpu_fields() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host(runtime: Runtime | None = None) -> dict[str, Any]:
    """Return what identifies this machine and a runtime in a table; the default one where None."""
    return {
        "cpu": cpu_name(),
        "cpu_model": cpu_model(),
        "cores": cores(),
        "os": f"{platform.system()} {platform.machine()}",
    } | (runtime or find_runtime()).identity()


def matches_this_machine(meta: Mapping[str, Any], runtime: Runtime | None = None) -> list[str]:
    """Return in what this machine differs from the one that a table was measured on.

    Args:
        meta: the table's; one that was measured on another runtime differs in nothing but that.
        runtime: what runs networks here; the default one where None.

    Returns:
        One short sentence a difference; empty where measurements here can be held against it.
    """
    used = runtime or find_runtime()
    here, own = host(used), used.identity()
    if meta.get("runtime") != here["runtime"]:
        return [f"runtime is {meta.get('runtime', 'unknown')}, here {here['runtime']}"]
    differences = [
        f"{key.replace('_', ' ')} is {meta.get(key)}, here {here[key]}"
        for key in (*_OF_THE_CPU, *own)
        if meta.get(key) != here[key]
    ]
    threads = int(meta.get("threads", 1))
    if threads > here["cores"]:
        differences.append(f"measured with {threads} threads, here are {here['cores']} cores")
    return differences


def slug(text: str) -> str:
    """Return text as a file name: lower case, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def check_threads(threads: int) -> None:
    """Check a number of threads.

    Raises:
        UserError: where this machine does not have as many cores.
    """
    if not 1 <= threads <= cores():
        raise UserError(f"threads: {threads} is not from 1 to {cores()}, this machine's cores")
