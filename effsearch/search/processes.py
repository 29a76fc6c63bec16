"""`process_pool`: worker processes that leave Ctrl-C to their parent and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from typing import Any

# Forked from a clean server where that exists: forking a process with threads may hang.
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def prepare(preload: Sequence[str]) -> None:
    """Begin to import modules for the processes of pools to come, where the system can.

    Returns at once; a pool's first process waits for the imports. Ctrl-C is held back from these
    processes from their first moment: the system sends it to all, and who is still starting would
    print a traceback.
    """
    if _METHOD != "forkserver":
        return
    multiprocessing.get_context(_METHOD).set_forkserver_preload(list(preload))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def process_pool(
    workers: int, preload: str, start: Callable[..., None], arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return a pool of processes.

    Args:
        workers: how many at most.
        preload: module that all of them need.
        start: called in each before its first task.
        arguments: for it.
    """
    prepare([preload])
    context = multiprocessing.get_context(_METHOD)
    return ProcessPoolExecutor(
        workers, context, initializer=_start, initargs=(os.getpid(), start, arguments)
    )


def stop_now(pool: ProcessPoolExecutor) -> None:
    """Close a pool; what its processes are at is lost."""
    workers = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.kill()


def one_thread() -> None:
    """Keep torch to one thread in this process: parallel work here is many small networks."""
    import torch

    torch.set_num_threads(1)


def _start(parent: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    one_thread()
    start(*arguments)


def _die_with(parent: int) -> None:
    """End this process when its parent was killed; nothing else would end it."""
    while _alive(parent):
        time.sleep(1)
    os._exit(1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
