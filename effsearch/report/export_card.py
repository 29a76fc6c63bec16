"""The model card beside an exported file, in Markdown and as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from effsearch.export.files import Exported
from effsearch.export.formats import CARD_JSON, CARD_PAGE
from effsearch.files import atomic_write_text
from effsearch.json_text import parse_json
from effsearch.published import published
from effsearch.report.model_card import model_card, origin
from effsearch.targets import CARD
from effsearch.training.official import official
from searchspace import Architecture, operators, zoo

_OF_THE_RUN = ("files", "onnx", "rank", "weights")  # in a winner's card, of its own files and place


def write_export_card(exported: Exported) -> None:
    """Write the card of an export: what is known of its network, and the file.

    A winner's card says what the search found. Of a published network the published accuracy is
    added.
    """
    facts, architecture = exported.facts, exported.architecture
    target, digest = facts["target"], architecture.digest()
    run = _card_of(Path(target), digest)
    if facts["weights"]:
        run.pop("trained", None)  # that is of the winner's own
    card: dict[str, Any] = {
        "digest": digest,
        "name": architecture.name or exported.path.stem,
        **{key: value for key, value in run.items() if key not in _OF_THE_RUN},
        **_counts(architecture, facts["num_classes"]),
        **_published(target, digest),
        "input": facts["input"],
        "classes": facts["num_classes"],
        "labels": facts["labels"],
        "export": facts,
    }
    known = target in zoo.names(task=None)
    what = f"The published network {target}" if known else origin(run)
    path, name = exported.path, exported.path.name
    page = model_card(
        architecture,
        card,
        what=f"{what}, as {exported.format.words}:",
        weights=f"{'trained' if facts['trained'] else 'fresh, untrained'}; {facts['check']}",
        trained=facts["trained"],
        files={**exported.files, name + CARD_JSON: "this card as data"},
        target=target,
    )
    atomic_write_text(path.with_name(name + CARD_JSON), json.dumps(card, indent=2) + "\n")
    atomic_write_text(path.with_name(name + CARD_PAGE), page)


def _card_of(folder: Path, digest: str) -> dict[str, Any]:
    """Return a winner's card; empty where there is none of this very network."""
    try:
        card = parse_json((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) and card.get("digest") == digest else {}


def _counts(architecture: Architecture, num_classes: int | None) -> dict[str, Any]:
    """Return the file's counts; a backbone's are of its whole network, classifier included."""
    trained = operators(architecture, "train", num_classes)
    counts = {
        "params": (sum(o.params for o in trained), "parameters"),
        "macs": (sum(o.macs for o in trained), "multiply-accumulates"),
    }
    return {
        name: {"value": value, "unit": unit, "kind": "counted"}
        for name, (value, unit) in counts.items()
    }


def _published(target: str, digest: str) -> dict[str, Any]:
    """Return what was published of a network; empty where it is none, or one at another size."""
    if target not in zoo.names(task=None) or zoo.load(target).digest() != digest:
        return {}
    card: dict[str, Any] = {"official": official(target).origin.model_dump()}
    found = published().get(target)
    if found is not None:
        card["published"] = {
            "value": found.top1,
            "unit": "ImageNet-1k top-1, %",
            "kind": "published",
            "distilled": found.distilled,
            "source": found.source,
        }
    return card
