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

from effsearch.accuracy import degenerates
from effsearch.accuracy.counted import Counted
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.trained.source import DATA, JOINED, SHORT, TrainedEstimate
from effsearch.published import published
from results.accuracy import crossval
from results.accuracy import trained_networks as networks
from results.accuracy.judge import COUNTS, PUBLISHED, judge, milliseconds, on_published, planted
from results.accuracy.proxy_card_figure import draw
from results.accuracy.proxy_card_text import markdown

TARGETS = {"all": 0.75, "near": 0.40, "lead": 0.10}
# What the sources give, judged on networks left out.
JUDGED_AS = {SHORT: "joint", JOINED: "joint, ImageNet"}


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
    repeats: int = crossval.REPEATS,
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
    card = judge(trained, source, scores, inherited, progress, repeats)
    if files.fidelity.exists():
        card["fidelity"] = json.loads(files.fidelity.read_text())["fidelity"]
    progress("placing the planted degenerates")
    others = {name: Counted(name).score for name in COUNTS}
    if DATA.exists():
        for name, judged in JUDGED_AS.items():
            estimate = TrainedEstimate.load(name)
            others[name] = estimate.score
            ms = milliseconds(estimate.score, trained.architectures)
            card["ms_per_candidate"][judged] = round(ms, 3)
    card["planted"] = planted(source, others)
    card["planted_of"] = len(degenerates.load())
    if scores is not None:
        records = {name: (r.top1, r.distilled) for name, r in published().items()}
        card["published"] = on_published(scores, records)
    card["verdict"] = verdict(card["agreement"])
    return card


def write(card: Mapping[str, Any], out: Path) -> None:
    """Write proxy_card.json, proxy_card.md and proxy_card.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "proxy_card.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "proxy_card.md").write_text(markdown(card))
    draw(card, out / "proxy_card.png")


def verdict(agreement: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the numbers say of the default score.

    The default states ImageNet top-1, so of the trained sources only `imagenet+trained` can take
    its place: where its lead is certain, over all pairs or near ones, and it is behind in neither.
    Otherwise the simpler one stays.
    """
    texts, better, worse = [], False, False
    for key, table in agreement.items():
        rows = {row["score"]: row for row in table["scores"]}
        own, other, short = rows[JUDGED_AS[JOINED]], rows[PUBLISHED], rows[JUDGED_AS[SHORT]]
        better |= own["lead_over_published_interval"][0] > 0
        worse |= own["tau"] < other["tau"]
        best = max((r for r in rows.values() if r["group"] == "trained"), key=lambda r: r["tau"])
        where = "Over all pairs" if key == "all" else "Between networks of near latency"
        texts.append(
            f"{where}, `{SHORT}` has tau {short['tau']:.2f}, {short['lead']:+.2f} against "
            f"{short['rival']}; the best predictor of all is {best['score']}, {best['tau']:.2f}. "
            f"Targets: {TARGETS[key]:.2f}, {_met(best['tau'] >= TARGETS[key])}, and "
            f"+{TARGETS['lead']:.2f} over the best rival, {_met(best['lead'] >= TARGETS['lead'])}. "
            f"`{JOINED}` has {own['tau']:.2f}, the published estimate {other['tau']:.2f}."
        )
    wins = better and not worse
    texts.append(
        f"`{JOINED}` is certainly ahead of the published estimate and becomes the default."
        if wins
        else f"The data do not tell `{JOINED}` and the published estimate apart for certain, so "
        f"the simpler one, `{PUBLISHED}`, stays the default; `{SHORT}` ranks by a short training, "
        "which is no ImageNet accuracy, and is there to be asked for."
    )
    return {"default": JOINED if wins else PUBLISHED, "text": " ".join(texts)}


def _met(reached: bool) -> str:
    return "met" if reached else "missed"


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
    parser.add_argument("--repeats", type=int, default=crossval.REPEATS, help="of crossvalidation")
    options = parser.parse_args(arguments)
    files = Files(table=options.table, architectures=options.architectures, scores=options.scores)
    card = make(files, options.repeats, lambda line: print(line, file=sys.stderr))
    command = "python -m results.accuracy.proxy_card"
    default = options.repeats == crossval.REPEATS
    card["command"] = command if default else f"{command} --repeats {options.repeats}"
    write(card, options.out)
    print(card["verdict"]["text"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
