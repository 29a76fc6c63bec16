"""Winners' folders written again: our own files are replaced, what a person put there stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from effsearch.files import file_sha256
from effsearch.json_text import parse_json
from effsearch.targets import CARD


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by which ours are told from a person's later."""
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def put_in_place(made: Path, folder: Path) -> None:
    """Move a winner's new files to where they belong.

    Where the folder has a person's files, they stay if it is the same network; a file of theirs
    that has the name of one of ours is renamed. With another network the whole folder is renamed.

    Args:
        made: the new folder, whole; gone afterwards.
        folder: its place.
    """
    if folder.exists():
        old, new = _card(folder), _card(made)
        ours = _ours(folder, old)
        theirs = [path for path in folder.iterdir() if path.name not in ours]
        if not theirs:
            shutil.rmtree(folder)
        elif old.get("digest") != new.get("digest"):
            folder.rename(_free(folder.with_name(f"{folder.name}-kept")))
        else:
            for name in ours:
                (folder / name).unlink()
            for path in theirs:
                if (made / path.name).exists():
                    path.rename(_free(path.with_name(f"kept-{path.name}")))
    folder.mkdir(exist_ok=True)
    for path in sorted(made.iterdir()):
        path.replace(folder / path.name)
    made.rmdir()


def drop_beyond(winners: Path, count: int) -> None:
    """Take away the folders of earlier winners whose rank there is no more; a person's files stay.

    Args:
        winners: the folder of them all.
        count: how many winners there are now.
    """
    if not winners.is_dir():
        return
    for folder in sorted(winners.iterdir()):
        if not folder.is_dir():
            continue
        if folder.name.startswith("."):  # what a kill left
            shutil.rmtree(folder)
        elif folder.name.isdigit() and int(folder.name) > count:
            if all(path.name in _ours(folder, _card(folder)) for path in folder.iterdir()):
                shutil.rmtree(folder)
            else:
                folder.rename(_free(folder.with_name(f"{folder.name}-kept")))


def _ours(folder: Path, card: dict[str, Any]) -> set[str]:
    """Return the names of the files that are as a run wrote them."""
    files = card.get("files")
    known = files if isinstance(files, dict) else {}
    names = {n for n, d in known.items() if (folder / n).is_file() and file_sha256(folder / n) == d}
    return names | ({CARD} if (folder / CARD).is_file() else set())


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = parse_json((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _free(path: Path) -> Path:
    """Return a path that nothing has."""
    found, number = path, 2
    while found.exists():
        found, number = path.with_name(f"{path.name}-{number}"), number + 1
    return found
