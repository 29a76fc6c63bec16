"""Fits `trained` and `imagenet+trained`: `python -m results.accuracy.fit_trained`.

Writes `effsearch/accuracy/data/trained.json`, which the package ships: the trained networks as the
model sees them, and its scales.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effsearch.accuracy.features import TOTALS, Array
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.trained.encoding import NAMES, Points
from effsearch.accuracy.trained.joint import Joint
from effsearch.accuracy.trained.scaling import log_odds
from effsearch.accuracy.trained.source import DATA, JOINED, SCHEMA, SHORT
from results.accuracy import crossval
from results.accuracy import trained_networks as networks
from results.accuracy.agreement import all_pairs, bootstrap, interval
from results.accuracy.judge import errors, known_points, mean_tau, points_of
from searchspace.errors import UserError

COMMAND = "python -m results.accuracy.fit_trained"


def fit(trained: networks.Trained, source: ImagenetEstimate) -> dict[str, Any]:
    """Return the contents of the data file."""
    raw = points_of(source, trained.architectures)
    points = Points(raw.totals.round(6), raw.encodings.round(6))  # as the file holds them
    known, z = known_points(source), log_odds(trained.top1.round(3))
    model = Joint(source.estimate, known, points, z)
    return {
        "schema": SCHEMA,
        "kind": "estimated",
        "command": COMMAND,
        "recipe": trained.recipe,
        "scales": {name: round(value, 6) for name, value in asdict(model.scales).items()},
        "held_out": {
            SHORT: held_out(crossval.joint(source, known, points, z), trained.top1, True),
            JOINED: held_out(crossval.joint_imagenet(source, known, points, z), trained.top1),
        },
        "totals": list(TOTALS),
        "encoding": list(NAMES),
        "networks": [
            {
                "digest": digest,
                "top1": round(float(top1), 3),
                "totals": totals.tolist(),
                "encoding": encoding.tolist(),
            }
            for digest, top1, totals, encoding in zip(
                trained.digests, trained.top1, points.totals, points.encodings, strict=True
            )
        ],
    }


def held_out(fit: crossval.Fit, top1: Array, same_scale: bool = False) -> dict[str, Any]:
    """Return how well networks that the model has not seen are ranked; nearly as the proxy card.

    Args:
        fit: the model.
        top1: the networks' own (n,).
        same_scale: whether the model predicts their log odds, so that an error can be stated.
    """
    means, stds = crossval.out_of_fold(fit, len(top1))
    pairs = all_pairs(len(top1))
    tau = mean_tau(means, top1, pairs)
    low, high = interval(bootstrap({"": means}, top1, pairs)[""])
    found = {"networks": len(top1), "kendall_tau": [round(tau, 3), low, high]}
    if same_scale:
        found["rmse"] = errors(means, stds, top1)["rmse_points"]
    return {"cross_validation": found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--table", type=Path, default=networks.TABLE)
    parser.add_argument("--architectures", type=Path, default=networks.ARCHITECTURES)
    parser.add_argument("--out", type=Path, default=DATA, help="the package's data file")
    options = parser.parse_args(arguments)
    try:
        trained = networks.load(options.table, options.architectures)
        card = fit(trained, ImagenetEstimate.load())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.write_text(
        json.dumps(card, separators=(",", ":")).replace('{"dig', '\n{"dig') + "\n"
    )
    print(f"{len(trained)} networks; {card['scales']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
