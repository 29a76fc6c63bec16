"""Files: named safely, written whole or not at all, or line by line with each line on disk."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

_LONGEST_NAME = 50  # characters; room for what is added to it in a file system's 255 bytes


def file_name(text: str, otherwise: str = "unnamed") -> str:
    """Returns text as a file name without a suffix, so that names in files never become paths.

    Args:
        text: Any text, such as the name that a file gives itself.
        otherwise: The name where nothing of the text is left.
    """
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.")[:_LONGEST_NAME].rstrip("-.")
    return name or otherwise


def file_sha256(path: str | Path) -> str:
    """Returns a file's SHA-256 in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def home_folder(name: str) -> Path:
    """Returns a folder of a person's own files: `$EFFSEARCH_HOME/NAME`, or in the usual place."""
    home = os.environ.get("EFFSEARCH_HOME")
    if home:
        return Path(home) / name
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "effsearch" / name


@contextmanager
def atomic_write(
    path: str | Path,
    mode: Literal["w", "wb"] = "w",
    *,
    sync: bool = False,
    newline: str | None = None,
) -> Iterator[IO[Any]]:
    """Opens a file that takes its place when the block ends, and leaves no trace if it fails.

    Until then the data is in a hidden file of the same folder, which a reader may open by the
    stream's `name` after a flush. Folders above are made.

    Args:
        path: The file to write; one that is there is replaced.
        mode: `w` for text (UTF-8), `wb` for bytes.
        sync: Whether the data is on the disk before it takes its place.
        newline: As in `open`; "" for the csv module.

    Raises:
        OSError: The folder cannot be made or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    encoding = None if mode == "wb" else "utf-8"
    try:
        with temporary.open(mode, encoding=encoding, newline=newline) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Makes a folder, and a file in it for a moment: before long work, not after it.

    Raises:
        OSError: The folder cannot be made or written in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes a text file (UTF-8) by `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text)


class LineLog:
    """A text file that only grows; a kill can cut short its last line and no other.

    Args:
        path: The file; it is made with its first line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> list[str]:
        """Returns the finished lines, without their ends."""
        if not self.path.exists():
            return []
        text = self.path.read_bytes()
        return text[: text.rfind(b"\n") + 1].decode("utf-8").splitlines()

    def append(self, *lines: str) -> None:
        """Adds lines; they are on the disk when this returns.

        An unfinished last line is cut off first.
        """
        self.mend()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())

    def mend(self, valid: Callable[[bytes], bool] = lambda line: True) -> None:
        """Cuts off what a kill left behind the last finished line.

        Args:
            valid: Whether a finished line can be read; those at the end that cannot go too.
        """
        if not self.path.exists():
            return
        with self.path.open("rb+") as file:
            data = file.read()
            end = data.rfind(b"\n") + 1
            while end:
                start = data.rfind(b"\n", 0, end - 1) + 1
                if valid(data[start:end]):
                    break
                end = start
            if end < len(data):
                file.truncate(end)
                file.flush()
                os.fsync(file.fileno())
