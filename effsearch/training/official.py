"""Official checkpoints of the published networks: where they are, and where they are kept here."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from effsearch import validation
from effsearch.download import DownloadError, download
from effsearch.errors import WorkFailedError
from effsearch.files import home_folder
from searchspace import zoo
from searchspace.errors import UserError
from searchspace.yaml_text import parse_yaml

_DATA = "data/checkpoints.yaml"


class Family(BaseModel):
    """Where a family's checkpoints come from.

    Attributes:
        repository: the official one.
        licence: of the repository.
        source: where in it the facts are stated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    licence: str
    source: str


class Official(BaseModel):
    """Where a published network's official checkpoint is; nowhere without `url` and `page`.

    Attributes:
        family: of the network.
        url: what a program can fetch; None where only people can.
        page: where people download it; None where there is none but `url`.
        size_bytes: as published; None where it is not.
        sha256: as published; None where it is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    url: str | None = None
    page: str | None = None
    size_bytes: Annotated[int | None, Field(ge=1)] = None
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None

    @property
    def origin(self) -> Family:
        """Where it comes from."""
        return _catalogue().families[self.family]

    @property
    def where(self) -> str | None:
        """What people open to download it."""
        return self.page or self.url


class _Catalogue(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    families: dict[str, Family]
    checkpoints: dict[str, Official]


@lru_cache(maxsize=1)
def _catalogue() -> _Catalogue:
    text = files("effsearch").joinpath(_DATA).read_text("utf-8")
    return validation.read(_Catalogue, parse_yaml(text, _DATA, "checkpoints"), Path(_DATA))


def official(name: str) -> Official:
    """Return where a published network's official checkpoint is.

    Raises:
        UserError: no published network has that name.
    """
    known = _catalogue().checkpoints
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `effsearch zoo` lists them"
        raise UserError(f"{name}: no published network of that name{hint}")
    return known[name]


def official_path(name: str) -> Path:
    """Return where a network's official checkpoint is kept, whether it is there or not."""
    return home_folder("checkpoints") / f"{name}.pth"


def held(name: str) -> Path:
    """Return the file of a network's official checkpoint.

    Raises:
        UserError: where it is not here; says what gets it.
    """
    path = official_path(name)
    if not path.is_file():
        raise UserError(
            f"{name}'s official checkpoint is not here; `effsearch zoo get {name}` gets it"
        )
    return path


def get(name: str, report: Callable[[int, int | None], None]) -> Path:
    """Return a network's official checkpoint, fetched where it is not here, and checked.

    What is checked is size and hash where they are known, and always that every tensor is one of
    the network's and of its shape.

    Args:
        name: of the published network.
        report: told the bytes that are here, and of how many.

    Raises:
        UserError: no published network has that name.
        WorkFailedError: the file cannot be fetched or is wrong; says how to get it by hand.
    """
    path, found = official_path(name), official(name)
    if path.is_file():
        wrong = _wrong(name, path)
        if wrong:
            raise WorkFailedError(f"{path}: {wrong}; delete it and get it again")
        return path
    if found.where is None:
        raise WorkFailedError(
            f"{name}: {found.origin.repository} links no checkpoint of it; if you have one, put it "
            f"at {path}"
        )
    by_hand = f"Download {found.where} and put the file at {path}"
    if found.url is None:
        raise WorkFailedError(f"{name}: no program can fetch its checkpoint. {by_hand}")
    partial = path.with_suffix(".part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(found.url, partial, report, found.size_bytes, found.sha256)
    except DownloadError as error:
        raise WorkFailedError(f"{name}: {error}. Or by hand: {by_hand}") from None
    wrong = _wrong(name, partial)
    if wrong:
        partial.unlink()
        raise WorkFailedError(f"{name}: {found.url} gave no checkpoint of it ({wrong}). {by_hand}")
    partial.replace(path)
    return path


def _wrong(name: str, path: Path) -> str:
    """Return why a file is no checkpoint of a network; empty where it is one."""
    from effsearch.training.checkpoint import load_tensors

    try:
        zoo.load_official(name, load_tensors(path))
    except UserError as error:
        return str(error)
    return ""
