"""A network's model card: what its card.json says, for people, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from effsearch.export.rendering import render
from effsearch.report.held_out_error import error_text
from effsearch.targets import ARCHITECTURE, CARD, CHECKPOINT
from effsearch.version import installed_version
from searchspace import Architecture
from searchspace.drawing import in_words
from searchspace.resolution import height_width, reduced, resolution_text

MODEL_CARD = "model_card.md"


def model_card(
    architecture: Architecture,
    card: Mapping[str, Any],
    *,
    what: str,
    weights: str,
    trained: bool,
    files: Mapping[str, str],
    target: str,
) -> str:
    """Return a model card; it says what `card` says, and leaves out what that lacks.

    Args:
        architecture: the network.
        card: the data of card.json.
        what: the network in a sentence.
        weights: what its weights are.
        trained: whether they are trained.
        files: what each file is, by its name.
        target: names the network in commands.
    """
    return render(
        "model_card.md.j2",
        card={**_NOTHING, **card},
        what=what,
        words=in_words(architecture),
        weights=weights,
        trained=trained,
        files=files,
        target=target,
        rows=_rows(architecture),
        size=resolution_text(architecture.resolution),
        version=installed_version(),
        error_text=error_text,
        number=_number,
    )


# What a card may lack.
_NOTHING = dict.fromkeys(
    (
        "export", "latency", "latency_elsewhere", "macs", "measured", "official", "onnx", "params",
        "peak_memory", "published", "score", "trained",
    )
)  # fmt: skip


def _rows(architecture: Architecture) -> list[dict[str, Any]]:
    """Return the parts of a network: what they are made of, and their maps."""
    stem, head = architecture.stem, architecture.head
    entered = reduced(height_width(architecture.resolution), stem.stride)
    rows: list[dict[str, Any]] = [
        {
            "part": "stem",
            "map": _size(entered),
            "width": stem.width,
            "made_of": f"{stem.type}, stride {stem.stride}",
        }
    ]
    for number, (stage, size) in enumerate(
        zip(architecture.stages, architecture.sizes, strict=True), 1
    ):
        made_of = [f"{block.depth} {block.type}" for block in stage.blocks]
        if stage.downsample is not None:
            made_of.insert(0, stage.downsample.type)
        rows.append(
            {
                "part": f"stage {number}",
                "map": _size(size),
                "width": stage.width,
                "made_of": ", ".join(made_of),
            }
        )
    rows.append({"part": "head", "map": "", "width": "", "made_of": head.type})
    return rows


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _number(entry: Mapping[str, Any], digits: int) -> str:
    """Return a number of a card with its unit, kind and interval."""
    text = f"{entry['value']:.{digits}f} {entry['unit']} ({entry['kind']}"
    interval = entry.get("interval_80")
    if interval is not None:
        text += f"; 80 % interval {interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
    return f"{text})"


def winner_card(architecture: Architecture, card: Mapping[str, Any], checkpoint: bool) -> str:
    """Return the model card of a run's winner.

    Args:
        architecture: the winner.
        card: the data of its card.json.
        checkpoint: whether its folder has one.
    """
    files = {
        ARCHITECTURE: "the network, for effsearch",
        "model.onnx": "to run it: ONNX, checked against PyTorch",
        CARD: "this card as data, with the digests of the files",
    }
    if checkpoint:
        files[CHECKPOINT] = "its weights, for effsearch"
    return model_card(
        architecture,
        card,
        what=f"{origin(card)}:",
        weights=card["onnx"]["weights"],
        trained=checkpoint,
        files=files,
        target=".",
    )


def origin(card: Mapping[str, Any]) -> str:
    """Return where a network is from, by its card, in words."""
    if not {"rank", "latency", "budget_ms", "space"} <= set(card):
        return "A network"
    return (
        f"Winner {card['rank']} of a search for {card['latency']['device']} within "
        f"{card['budget_ms']:g} ms in the space {card['space']}"
    )
