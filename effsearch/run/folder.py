"""Run folders: where they go, and what may become one."""

from __future__ import annotations

from pathlib import Path

from effsearch.files import check_writable, file_name
from effsearch.run.request import FILE, SearchRequest
from searchspace import UserError

RUNS = Path("results") / "runs"


def default_folder(request: SearchRequest) -> Path:
    """Return a folder that does not exist yet, named for the request."""
    device, space = file_name(Path(request.device).stem), file_name(Path(request.space).stem)
    base = f"{device}-{request.budget_ms:g}ms-{space}-seed{request.seed}"
    folder, number = RUNS / base, 2
    while folder.exists():
        folder, number = RUNS / f"{base}-{number}", number + 1
    return folder


def prepare(folder: Path) -> None:
    """Make a new run folder.

    Raises:
        UserError: where it is not empty, is no folder, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out: {folder} is a file; name a folder")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            run = (folder / FILE).exists()
            hint = f"continue it with --resume {folder}" if run else "name another"
            raise UserError(f"--out: {folder} is not empty; {hint}")
        check_writable(folder)
    except OSError as error:
        raise UserError(f"--out: cannot write to {folder} ({error.strerror})") from None
