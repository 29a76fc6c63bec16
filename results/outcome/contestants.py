"""Who is compared at a latency: networks of runs, measured in turns on this machine.

    effsearch run --device TABLE --budget-ms MS --winners 3 --out RUN     # once a published network
    python -m results.outcome.contestants --pair shvit_s1=RUN --pair efficientvit_b0=RUN ...

A run's budget is what its published network takes here. Writes every network's architecture to
`contestants/`, and `outcome.yaml` with the median of each: all take turns in one session, so that
the machine's speed is the same for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from effsearch.api.result import load
from effsearch.latency.timing.machine import cpu_name
from results.latency.turns import medians_in_turns
from searchspace import Architecture, UserError, zoo

HERE = Path(__file__).parent
ROLES = ("published", "scaled", "winners")


def contestants(published: str, run: Path) -> dict[str, dict[str, Architecture]]:
    """Returns a published network, the best scaled one and the winners, by role and name."""
    result = load(run)
    if result.baseline_scaled is None:
        raise UserError(f"{run}: no scaled network met the budget")
    return {
        "published": {published: zoo.load(published)},
        "scaled": {f"{published}-scaled": result.baseline_scaled.architecture},
        "winners": {
            f"{published}-winner-{winner.rank}": winner.architecture for winner in result.winners
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.outcome.contestants")
    parser.add_argument("--pair", action="append", required=True, metavar="PUBLISHED=RUN")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.25, help="of a turn")
    parser.add_argument("--out", type=Path, default=HERE, help="for outcome.yaml, contestants/")
    options = parser.parse_args(arguments)
    try:
        groups = [
            contestants(name, Path(run))
            for name, _, run in (pair.partition("=") for pair in options.pair)
        ]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    networks = {name: a for group in groups for role in group.values() for name, a in role.items()}
    turns = medians_in_turns(networks, options.rounds, options.seconds)
    latency = {name: round(float(np.median(medians)), 3) for name, medians in turns.items()}
    folder = options.out / "contestants"
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        if name not in zoo.names():
            replace(network, name=name).to_yaml(folder / f"{name}.yaml")
    text = yaml.safe_dump([described(group, latency) for group in groups], sort_keys=False)
    (options.out / "outcome.yaml").write_text(f"# {cpu_name()}, ONNX Runtime, 1 thread\n{text}")
    print(text)
    return 0


def described(
    group: dict[str, dict[str, Architecture]], latency: dict[str, float]
) -> dict[str, Any]:
    """Returns a group as `comparison` reads it."""
    (published,) = group["published"]
    names = {role: list(group[role]) for role in ROLES}
    return {
        "latency": f"{published}'s, {latency[published]:.2f} ms",
        **names,
        "measured_ms": {name: latency[name] for role in ROLES for name in names[role]},
    }


if __name__ == "__main__":
    sys.exit(main())
