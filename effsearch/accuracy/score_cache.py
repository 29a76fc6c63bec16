"""`ScoreCache`: scores that took long, kept over runs.

One file for each source, with all that its scores depend on in the file's name; so a score is found
again only where the same code would give it again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

from effsearch.accuracy.options import ScoreOptions
from effsearch.accuracy.score import ScoreSource
from effsearch.files import file_name, home_folder
from effsearch.json_text import parse_json

_SCORING = ("searchspace", "effsearch.accuracy", "effsearch.training")
_LIBRARIES = ("torch", "numpy")


class KeptScore(NamedTuple):
    """A score as a run records it.

    Attributes:
        score: in the source's unit.
        std: standard deviation.
        lower_bound: what candidates are ranked by.
    """

    score: float
    std: float
    lower_bound: float


class ScoreCache:
    """Scores of one source by the digest of their architecture.

    A text file with a line a score, behind the line's checksum. Processes append to it under a
    lock; a line that a kill cut short, or that is damaged otherwise, is left out.

    Attributes:
        path: of the file.
        found: how many scores were asked for and there.
        damaged: how many lines were left out so far.
        failure: why a score could not be kept; empty where all were.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, where there is one.

        Raises:
            OSError: where it cannot be read, or its folder cannot be made.
        """
        self.path, self.found, self.damaged = path, 0, 0
        self.failure = ""
        self._scores: dict[str, KeptScore] = {}
        self._end = 0  # of what was read
        path.parent.mkdir(parents=True, exist_ok=True)
        self._refresh()

    @classmethod
    def of(cls, source: ScoreSource, options: ScoreOptions) -> ScoreCache:
        """Return the cache of a source, in `$EFFSEARCH_HOME/scores` or the usual place.

        Raises:
            OSError: where it cannot be read, or its folder cannot be made.
        """
        name = f"{file_name(source.name)}-{_identity(source, options)[:16]}.txt"
        return cls(home_folder("scores") / name)

    def get(self, digest: str) -> KeptScore | None:
        """Return the score of an architecture, also where another process kept it by now."""
        if digest not in self._scores:
            self._refresh()
        kept = self._scores.get(digest)
        self.found += kept is not None
        return kept

    def add(self, digest: str, kept: KeptScore) -> None:
        """Keep a score of finite numbers; where the file cannot be written, `failure` says why."""
        text = json.dumps([digest, *kept], allow_nan=False)
        line = f"{_checksum(text)} {text}\n".encode()
        self._scores[digest] = kept
        try:
            with _alone(self.path) as file:
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":  # a kill cut the last line short
                        line = b"\n" + line
                file.write(line)
        except OSError as error:
            self.failure = str(error)

    def _refresh(self) -> None:
        """Read what came since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._end)
                fresh = file.read()
        except FileNotFoundError:
            return
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._end += len(whole)
        for line in whole.splitlines():
            try:
                digest, kept = _read(line)
            except ValueError:
                self.damaged += 1
            else:
                self._scores[digest] = kept


def _read(line: bytes) -> tuple[str, KeptScore]:
    """Return what a line says.

    Raises:
        ValueError: where it is damaged.
    """
    checksum, _, text = line.decode("utf-8").partition(" ")
    if checksum != _checksum(text):
        raise ValueError
    digest, *numbers = parse_json(text)
    if len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
        raise ValueError
    return str(digest), KeptScore(*map(float, numbers))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to append to while no other process does."""
    with path.open("ab+") as file:
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield file
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
        file.flush()  # before the lock is let go of


def _identity(source: ScoreSource, options: ScoreOptions) -> str:
    """Return a digest of all that a source's scores depend on: its code, options and data."""
    own = type(source).__module__.split(".")[0]
    packages = [*_SCORING, *([] if own in ("effsearch", "searchspace") else [own])]
    body = {
        "source": source.name,
        "card": source.card,
        "options": options.model_dump(mode="json"),
        "code": [_code(package) for package in packages],
        "libraries": [version(library) for library in _LIBRARIES],
    }
    text = json.dumps(body, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _code(package: str) -> str:
    """Return a digest of the Python files of a package, or of a module that is one file."""
    found = find_spec(package)
    digest = hashlib.sha256()
    if found is None:
        return ""
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    for path in files or [Path(str(found.origin))]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
