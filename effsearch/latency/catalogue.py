"""Where tables are: those shipped in the package and those a person installed."""

from __future__ import annotations

import difflib
from pathlib import Path

from effsearch.files import home_folder
from searchspace import UserError

SHIPPED = Path(__file__).parent / "devices"


def user_folder() -> Path:
    """Return the folder of a person's own tables."""
    return home_folder("devices")


def is_shipped(name: str) -> bool:
    """Whether a table of that name comes with the package."""
    return (SHIPPED / f"{name}.json").is_file()


def table_paths() -> dict[str, Path]:
    """Return the file of every known table by name; a person's own stand before shipped ones."""
    paths: dict[str, Path] = {}
    for folder in (SHIPPED, user_folder()):
        if folder.is_dir():
            paths.update({path.stem: path for path in sorted(folder.glob("*.json"))})
    return dict(sorted(paths.items()))


def table_name(device: str | Path) -> str:
    """Return the name of a table that is given by its name or its file."""
    return Path(device).stem if str(device).endswith(".json") else str(device)


def table_path(name: str | Path) -> Path:
    """Return the file of a table given by its name, or by a path that ends in `.json`.

    Raises:
        UserError: where there is none of that name; says which there are, and the nearest.
    """
    text = str(name)
    paths = table_paths()
    if text in paths:
        return paths[text]
    if text.endswith(".json"):
        return Path(text)
    near = difflib.get_close_matches(text.lower(), paths, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"device {text!r} is unknown{hint} (known: {', '.join(paths) or 'none'})")
