"""The proxy card: how well each accuracy score ranks networks of this space that were trained.

    python -m results.accuracy.proxy_card

Writes proxy_card.md, proxy_card.json and proxy_card.png into results/accuracy.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.accuracy.counted import Counted
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.published import published
from results.accuracy import degenerates
from results.accuracy import trained_networks as networks
from results.accuracy.judge import COUNTS, judge, on_published, planted
from results.accuracy.proxy_card_figure import draw
from results.accuracy.proxy_card_text import markdown


@dataclass(frozen=True)
class Files:
    """What a card is made of.

    Attributes:
        table: trained networks.
        architectures: folder of their YAML files.
        scores: zero-cost scores; left out where there is no such file.
        fidelity: JSON of `results.accuracy.fidelity`; likewise.
        inherited: CSVs of top-1 with a supernet's weights, by how it was trained; likewise.
    """

    table: Path = networks.TABLE
    architectures: Path = networks.ARCHITECTURES
    scores: Path = networks.SCORES
    fidelity: Path = Path("results/accuracy/fidelity.json")
    inherited: Mapping[str, Path] = field(
        default_factory=lambda: {
            "inherited, all shared": Path("results/supernet/small/inherited.csv"),
            "inherited, stems apart": Path("results/supernet/split8/inherited.csv"),
        }
    )


def make(
    files: Files,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Return the card.

    Raises:
        UserError: where the table or the architectures cannot be used.
    """
    trained = networks.load(files.table, files.architectures)
    source = ImagenetEstimate.load()
    scores = files.scores if files.scores.exists() else None
    read = {name: _inherited(path) for name, path in files.inherited.items()}
    inherited = {name: found for name, found in read.items() if found is not None}
    card = judge(trained, source, scores, inherited, progress)
    if files.fidelity.exists():
        card["fidelity"] = json.loads(files.fidelity.read_text())["fidelity"]
    progress("placing the planted degenerates")
    others = {name: Counted(name).score for name in COUNTS}
    card["planted"] = planted(source, others)
    card["planted_of"] = len(degenerates.load())
    if scores is not None:
        records = {name: (r.top1, r.distilled) for name, r in published().items()}
        card["published"] = on_published(scores, records)
    return card


def write(card: Mapping[str, Any], out: Path) -> None:
    """Write proxy_card.json, proxy_card.md and proxy_card.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "proxy_card.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "proxy_card.md").write_text(markdown(card))
    draw(card, out / "proxy_card.png")


def _inherited(path: Path) -> dict[str, float] | None:
    if not path.exists():
        return None
    with path.open(newline="") as file:
        found = {row["digest"]: float(row["top1"]) for row in csv.DictReader(file)}
    return found if any(np.isfinite(value) for value in found.values()) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge every accuracy score on trained networks."""
    parser = argparse.ArgumentParser(prog="python -m results.accuracy.proxy_card")
    parser.add_argument("--table", type=Path, default=networks.TABLE, help="trained networks")
    parser.add_argument("--architectures", type=Path, default=networks.ARCHITECTURES)
    parser.add_argument("--scores", type=Path, default=networks.SCORES, help="zero-cost scores")
    parser.add_argument("--out", type=Path, default=Path("results/accuracy"))
    options = parser.parse_args(arguments)
    files = Files(table=options.table, architectures=options.architectures, scores=options.scores)
    card = make(files, lambda line: print(line, file=sys.stderr))
    card["command"] = "python -m results.accuracy.proxy_card"
    write(card, options.out)
    print(options.out / "proxy_card.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
