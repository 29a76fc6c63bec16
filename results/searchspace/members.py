"""Which published networks, scalings and variants the default space holds.

    python -m results.searchspace.members --data DATA --out results/searchspace/members.md

`--data` is the folder with `published/variants.csv`; without it only the networks that ship are
counted.
"""

from __future__ import annotations

import argparse
import copy
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from searchspace import Architecture, SearchSpace, zoo
from searchspace.scaling import DEPTHS, WIDTHS, scaled_families


def variant(text: str) -> Architecture:
    """Return the architecture of a row: `{base: NAME, set: {"stages.1.width": 96}}`."""
    row = yaml.safe_load(text)
    body = copy.deepcopy(zoo.load(row["base"]).to_dict())
    for path, value in row["set"].items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        place: Any = body
        for key in parents:
            place = place[key]
        place[last] = value
    return Architecture.from_dict(body)


def variants(data: Path) -> Iterator[tuple[str, str, Architecture]]:
    """Yield id, description and architecture of every published variant that can be built."""
    with (data / "published" / "variants.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["expressible"] == "yes":
                yield row["id"], row["network"], variant(row["yaml"])


def report(space: SearchSpace, data: Path | None) -> str:
    """Return the counts and what is missing, as Markdown."""
    published = [zoo.load(name) for name in zoo.names()]
    scalings = list(scaled_families())
    groups = {
        "published networks": [(a.name, a) for a in published],
        f"published networks scaled: widths by {WIDTHS[0]:g} to {WIDTHS[-1]:g}, depths by "
        f"{DEPTHS[0]:g} to {DEPTHS[-1]:g} in steps of 0.1, each once": [
            (a.name, a) for a in scalings
        ],
    }
    if data is not None:
        rows = [(f"{id_}: {what}, {a.resolution} px", a) for id_, what, a in variants(data)]
        usual = [(name, a) for name, a in rows if a.resolution in space.spec.resolution]
        groups["published variants that can be built, as rows"] = rows
        groups["the same, different networks"] = list(
            {a.digest(): (n, a) for n, a in rows}.values()
        )
        groups[f"the same, at {', '.join(map(str, space.spec.resolution))} px"] = list(
            {a.digest(): (n, a) for n, a in usual}.values()
        )
    lines = [
        f"# What the space {space.name} holds",
        "",
        "    python -m results.searchspace.members --data $EFFSEARCH_DATA "
        "--out results/searchspace/members.md",
        "",
        f"{float(space.size()):.2g} architectures.",
        "",
        "| | networks | members |",
        "|---|---|---|",
    ]
    missing: dict[str, None] = {}
    for title, networks in groups.items():
        out = [name for name, architecture in networks if architecture not in space]
        missing |= dict.fromkeys(out)
        lines.append(f"| {title} | {len(networks)} | {len(networks) - len(out)} |")
    lines += ["", "Missing:" if missing else "None is missing.", ""]
    lines += [f"- {name}" for name in missing]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="mobile", help="a shipped space or a YAML file")
    parser.add_argument("--data", type=Path, default=os.environ.get("EFFSEARCH_DATA"))
    parser.add_argument("--out", type=Path, help="a Markdown file to write too")
    given = parser.parse_args(arguments)
    text = report(SearchSpace.load(given.space), given.data and Path(given.data))
    print(text, end="")
    if given.out:
        given.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
