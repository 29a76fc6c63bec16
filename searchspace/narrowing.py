"""`narrowed`: a space's file with fewer block types, stem strides or resolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from searchspace.errors import UserError
from searchspace.resolution import Resolution, resolution_text
from searchspace.space_file import NONE, SpaceFile

_LISTS = ("block", "tail")


@dataclass(frozen=True)
class Narrowing:
    """What is kept of a space; all of it where empty.

    Attributes:
        blocks: block types.
        stem_strides: strides of stems.
        resolutions: of the image, in px.
    """

    blocks: tuple[str, ...] = ()
    stem_strides: tuple[int, ...] = ()
    resolutions: tuple[Resolution, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.blocks or self.stem_strides or self.resolutions)


def narrowed(data: Mapping[str, Any], spec: SpaceFile, to: Narrowing) -> dict[str, Any]:
    """Return a space's plain data with what is to be kept of it.

    Args:
        data: the file's contents.
        spec: the same, parsed.
        to: what is kept.

    Raises:
        UserError: where the space has not what is to be kept, or a stage would have no block left;
            names what there is.
    """
    body = dict(data)
    strides = {stride for stem in spec.stems.values() for stride in stem.stride}
    _check("--blocks", to.blocks, tuple(spec.blocks))
    _check("--stem-strides", to.stem_strides, sorted(strides))
    known = [resolution_text(resolution) for resolution in spec.resolution]
    _check("--resolution", [resolution_text(wanted) for wanted in to.resolutions], known)
    if to.resolutions:
        body["resolution"] = list(to.resolutions)
    if to.stem_strides:
        kept = {
            type_: [stride for stride in stem.stride if stride in to.stem_strides]
            for type_, stem in spec.stems.items()
        }
        body["stem"] = {
            type_: {**options, "stride": kept[type_]}
            for type_, options in data["stem"].items()
            if kept[type_]
        }
    if to.blocks:
        body["blocks"] = {t: options for t, options in data["blocks"].items() if t in to.blocks}
        body["stages"] = [
            _stage(number, stage, to.blocks) for number, stage in enumerate(data["stages"], 1)
        ]
    return body


def _stage(number: int, stage: Mapping[str, Any], blocks: Sequence[str]) -> dict[str, Any]:
    kept = {
        name: [type_ for type_ in stage[name] if type_ in (*blocks, NONE)]
        for name in _LISTS
        if name in stage
    }
    if not kept["block"]:
        raise UserError(
            f"--blocks: stage {number} takes none of {', '.join(blocks)}, but "
            f"{', '.join(stage['block'])}"
        )
    if not kept.get("tail", [NONE]):
        raise UserError(f"--blocks: stage {number} must end with one of {', '.join(stage['tail'])}")
    return {**stage, **kept}


def _check(option: str, wanted: Sequence[Any], there: Sequence[Any]) -> None:
    for value in wanted:
        if value not in there:
            known = ", ".join(map(str, there))
            raise UserError(f"{option}: {value} is not in this space; it has {known}")
