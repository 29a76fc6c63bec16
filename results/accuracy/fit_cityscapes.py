"""Fit the mIoU estimate to published networks: `python -m results.accuracy.fit_cityscapes`.

Reads what the package ships (`effsearch/data/segmentation.csv` and the ImageNet estimate), and
writes `effsearch/accuracy/data/cityscapes.json` and the evidence,
`results/accuracy/cityscapes_estimate.md`.

The log of the mIoU's error is a line in the log of the backbone's ImageNet error. Groups that were
trained alike have a level of their own and share the slope; EfficientViT's L series, whose
backbones the space does not hold, has an offset of its own, whose size says how far another series'
line may lie off.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from effsearch.accuracy.cityscapes import (
    CLASSIFIER,
    DATA,
    PUBLISHED_AT,
    CityscapesEstimate,
    classifier,
    smaller_images,
)
from effsearch.accuracy.features import Array
from effsearch.accuracy.imagenet import ImagenetEstimate
from searchspace import operators, zoo
from searchspace.architecture import Head, head
from searchspace.resolution import height_width, parse_resolution

COMMAND = "python -m results.accuracy.fit_cityscapes"
CITYSCAPES = "EfficientViT-Seg on Cityscapes"
OTHER_HEAD = head("efficientvit", conv_width=1024, linear_width=1280)  # EfficientViT-B0's
L_SERIES = "efficientvit_l"
SLOPE_PRIOR = (0.5, 0.5)  # mean and standard deviation: weak
LEVEL_STD = 10.0  # of the log error: none at all
# Assumed: no published row says what a head's sizes are worth. One standard deviation of the log
# error for each octave or step off the published heads; 0.03 is half a point at 83 % mIoU.
HEAD_STD = {
    "width": 0.03,
    "depth": 0.015,
    "stage": 0.03,
    "finest": 0.05,
    "stride": 0.05,
    "expansion": 0.03,
}


class Row(NamedTuple):
    """A published result: log errors in percent, of mIoU and of the backbone's ImageNet top-1."""

    group: str
    network: str
    miou: float
    log_error: float
    backbone: float
    log_macs: float


@dataclass(frozen=True)
class Line:
    """The fitted line of every group.

    Attributes:
        groups: in the order of their levels.
        mean: of the levels, the slope and the L series' offset.
        covariance: of the same.
        noise_std: of rows about the line.
        centre: of the predictor.
    """

    groups: tuple[str, ...]
    mean: Array
    covariance: Array
    noise_std: float
    centre: float

    def predict(self, group: str, value: float, offset: bool = False) -> tuple[float, float]:
        """Return mean and standard deviation of the log error of a network left out."""
        row = _design([(group, value, offset)], self.groups, self.centre)[0]
        variance = row @ self.covariance @ row + self.noise_std**2
        return float(row @ self.mean), math.sqrt(variance)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, evaluate and write."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=DATA, help="the package's data file")
    parser.add_argument("--results", type=Path, default=Path("results/accuracy"))
    options = parser.parse_args(arguments)
    rows, pairs = load()
    line = fit(rows)
    slopes = [smaller_slope(*pair) for pair in pairs.values()]
    judged, other = judge(rows), judge(load(OTHER_HEAD)[0])
    card = card_of(line, slopes, judged)
    CityscapesEstimate(card)
    options.out.write_text(json.dumps(card, indent=1) + "\n")
    page = markdown(rows, line, pairs, judged, other, card)
    (options.results / "cityscapes_estimate.md").write_text(page)
    print(page)


def load(behind: Head = CLASSIFIER) -> tuple[list[Row], dict[str, list[tuple[float, float]]]]:
    """Return the rows of backbones with a top-1, and log2 sides and log errors of the pairs.

    Args:
        behind: the classifier with which backbones are estimated.
    """
    text = files("effsearch").joinpath("data/segmentation.csv").read_text()
    estimate = ImagenetEstimate.load()
    rows: list[Row] = []
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for record in csv.DictReader(text.splitlines()):
        error = math.log(100 - float(record["miou"]))
        name, group = record["network"], record["group"]
        if name in zoo.names():
            network = classifier(zoo.load(name), behind)
            log_error, _ = estimate.estimate.log_error(estimate.features(network)[None])
            macs = sum(o.macs for o in operators(network, "train"))
            value, log_macs = float(log_error[0]), math.log(macs)
        elif record["top1_224"]:
            value, log_macs = math.log(100 - float(record["top1_224"])), math.nan
        else:
            side = np.log2(height_width(parse_resolution("resolution", record["resolution"])))
            pairs[group].append((float(side.mean()), error))
            continue
        rows.append(Row(group, name, float(record["miou"]), error, value, log_macs))
    return rows, dict(pairs)


def smaller_slope(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the log error that images of half the side add, from one network at two sides."""
    smaller = smaller_images(np.array([first[0], second[0]]))
    return float((first[1] - second[1]) / (smaller[0] - smaller[1]))


def fit(rows: Sequence[Row], of: Callable[[Row], float] = lambda row: row.backbone) -> Line:
    """Return the line through rows; a Gaussian posterior with the rows' own spread as noise."""
    groups = tuple(dict.fromkeys(row.group for row in rows))
    values = np.array([of(row) for row in rows])
    centre = float(values.mean())
    named = [(row.group, of(row), row.network.startswith(L_SERIES)) for row in rows]
    design = _design(named, groups, centre)
    errors = np.array([row.log_error for row in rows])
    prior = np.array([0.0] * len(groups) + [SLOPE_PRIOR[0], 0.0])
    stds = np.array([LEVEL_STD] * len(groups) + [SLOPE_PRIOR[1], LEVEL_STD])
    noise = 0.03
    for _ in range(20):
        precision = design.T @ design / noise**2 + np.diag(stds**-2)
        covariance = np.linalg.inv(precision)
        mean = covariance @ (design.T @ errors / noise**2 + prior / stds**2)
        known = np.linalg.matrix_rank(design)
        noise = math.sqrt(np.sum((errors - design @ mean) ** 2) / max(len(rows) - known, 1))
    return Line(groups, np.asarray(mean, float), np.asarray(covariance, float), noise, centre)


def _design(
    named: Sequence[tuple[str, float, bool]], groups: Sequence[str], centre: float
) -> Array:
    return np.array(
        [
            [*(float(g == group) for g in groups), value - centre, other]
            for group, value, other in named
        ]
    )


class Left(NamedTuple):
    """A network left out: its group, published mIoU, what is predicted, and how surely."""

    network: str
    group: str
    miou: float
    estimate: float
    std: float
    macs_alone: float
    constant: float


def judge(rows: Sequence[Row]) -> list[Left]:
    """Return what the line says of each network of the zoo without any row of it.

    Its backbone's estimate is that of an ImageNet fit without it (`imagenet_estimate.json`).
    """
    estimated = json.loads(Path("results/accuracy/imagenet_estimate.json").read_text())
    with_all = ImagenetEstimate.load()
    held = {row["network"]: row for row in estimated["networks"]}
    found = []
    for row in rows:
        if row.network not in held:
            continue
        rest = [other for other in rows if other.network != row.network]
        counted = [other for other in rest if other.network in held]
        without = math.log(100 - held[row.network]["estimate"])
        shift = without - math.log(100 - with_all.score(zoo.load(row.network)).score)
        mean, std = fit(rest).predict(row.group, row.backbone + shift)
        top1_std = held[row.network]["std"] / (100 - held[row.network]["estimate"])
        std = math.hypot(std, fit(rest).mean[-2] * top1_std)
        macs, _ = fit(counted, lambda r: r.log_macs).predict(row.group, row.log_macs)
        mates = [other.log_error for other in counted if other.group == row.group]
        error = math.exp(mean)
        found.append(
            Left(
                row.network,
                row.group,
                row.miou,
                100 - error,
                error * std,
                100 - math.exp(macs),
                100 - math.exp(float(np.mean(mates))),
            )
        )
    return found


def card_of(line: Line, slopes: Sequence[float], judged: Sequence[Left]) -> dict[str, Any]:
    """Return the contents of the data file."""
    at = [line.groups.index(CITYSCAPES), len(line.groups)]
    return {
        "schema": 1,
        "kind": CityscapesEstimate.kind,
        "unit": CityscapesEstimate.unit,
        "command": COMMAND,
        "sources": ["effsearch/data/segmentation.csv", "effsearch/accuracy/data/imagenet.json"],
        "published_at": list(PUBLISHED_AT),
        "held_out": held_out(judged),
        "level": round(float(line.mean[at[0]]), 5),
        "slope": round(float(line.mean[at[1]]), 5),
        "centre": round(line.centre, 5),
        "covariance": np.round(line.covariance[np.ix_(at, at)], 8).tolist(),
        "resolution": round(float(np.mean(slopes)), 5),
        "resolution_std": round(float(np.std(slopes, ddof=1)) * math.sqrt(1 + 1 / len(slopes)), 5),
        "noise_std": round(spread(judged), 5),
        "series_std": round(abs(float(line.mean[-1])), 5),
        "head_std": HEAD_STD,
    }


def spread(judged: Sequence[Left]) -> float:
    """Return the root mean square of the log error's residuals of networks left out."""
    residuals = [math.log((100 - left.estimate) / (100 - left.miou)) for left in judged]
    return math.sqrt(float(np.mean(np.square(residuals))))


def held_out(judged: Sequence[Left]) -> dict[str, Any]:
    """Return the errors on Cityscapes, and those of the controls."""
    here = [left for left in judged if left.group == CITYSCAPES]
    errors = np.array([left.estimate - left.miou for left in here])
    within = [abs(left.estimate - left.miou) <= 1.2816 * left.std for left in here]
    return {
        "leave_one_network_out": {
            "networks": len(here),
            "rmse": _rmse(here, "estimate"),
            "kendall_tau": _tau(here),
            "worst": round(float(np.abs(errors).max()), 2),
            "bias": round(float(errors.mean()), 2),
            "within_80": round(float(np.mean(within)), 2),
            "scope": "all EfficientViT-Seg; no other family was published on Cityscapes",
        },
        "controls": {
            "macs_alone_rmse": _rmse(here, "macs_alone"),
            "constant_rmse": _rmse(here, "constant"),
        },
    }


def _rmse(judged: Sequence[Left], name: str) -> float:
    errors = [getattr(left, name) - left.miou for left in judged]
    return round(float(np.sqrt(np.mean(np.square(errors)))), 2)


def _tau(judged: Sequence[Left]) -> float:
    from scipy.stats import kendalltau

    return round(float(kendalltau([j.estimate for j in judged], [j.miou for j in judged])[0]), 2)


def markdown(
    rows: Sequence[Row],
    line: Line,
    pairs: dict[str, list[tuple[float, float]]],
    judged: Sequence[Left],
    other: Sequence[Left],
    card: dict[str, Any],
) -> str:
    """Return the page on what the estimate rests on."""
    found, controls = card["held_out"]["leave_one_network_out"], card["held_out"]["controls"]
    offset, here = float(line.mean[-1]), [j for j in other if j.group == CITYSCAPES]
    out = [
        "# The estimate of Cityscapes mIoU",
        "",
        f"Made by `{COMMAND}` from `effsearch/data/segmentation.csv`, which the package ships.",
        "",
        "The log of the error (100 less mIoU, in percent) is a line in the log of the error that "
        "the backbone is estimated to have on ImageNet as a classifier at 224 px with "
        f"a plain head. {len(rows)} published networks in {len(line.groups)} groups that were "
        "trained alike share the slope, "
        f"{card['slope']:.2f} ± {math.sqrt(card['covariance'][1][1]):.2f}; they "
        f"lie {100 * line.noise_std:.1f} % about it, and {100 * card['noise_std']:.1f} % where "
        "they are left out. "
        f"EfficientViT's L series lies {100 * offset:+.1f} % off the B series: so "
        "much spread is given to backbones that are not EfficientViT's.",
        "",
        "## Networks left out one by one",
        "",
        "All rows of a network are left out, and its backbone's estimate is that of an ImageNet "
        "fit without it. The controls use the same rows: the backbone's MACs in place of the "
        "estimate, and the mean of the group.",
        "",
        "| network | group | published | estimate | MACs alone | constant |",
        "|---|---|---:|---:|---:|---:|",
        *(
            f"| {j.network} | {j.group} | {j.miou:.1f} | {j.estimate:.1f} ± {j.std:.1f} | "
            f"{j.macs_alone:.1f} | {j.constant:.1f} |"
            for j in judged
        ),
        "",
        f"On Cityscapes ({found['networks']} networks): RMSE {found['rmse']} points, worst "
        f"{found['worst']}, Kendall's tau {found['kendall_tau']}; MACs alone "
        f"{controls['macs_alone_rmse']}, a constant {controls['constant_rmse']}. "
        f"Over all {len(judged)} rows: {_rmse(judged, 'estimate')}, "
        f"{_rmse(judged, 'macs_alone')} and {_rmse(judged, 'constant')}. With EfficientViT-B0's "
        "head behind all backbones in place of the plain one the estimate is worse: "
        f"{_rmse(here, 'estimate')} points on Cityscapes, {_rmse(other, 'estimate')} over all.",
        "",
        "All four networks on Cityscapes are of one series of one family. What the estimate is "
        "worth for another family's backbones no published row says; EfficientMod's two, on "
        "another data set under another head, are all that there is.",
        "",
        "## Resolution",
        "",
        "Networks that were published at two resolutions on Cityscapes' validation images; what "
        "half the side of 1024x2048 adds to the log error, where the error grows with one over the "
        "side:",
        "",
        "| network | adds |",
        "|---|---:|",
        *(f"| {name} | {smaller_slope(*pair):.3f} |" for name, pair in pairs.items()),
        "",
        f"Their mean, {card['resolution']:.3f}, with {card['resolution_std']:.3f} as its "
        "deviation, is taken for all backbones. Nothing below 512x1024 was published of them.",
        "",
        "## Heads",
        "",
        "No published row says what a head's sizes are worth, as they grow with the backbone. A "
        "head unlike the published ones (a width of a quarter of the last stage's, depth 1 at "
        "width 32 and 3 from 64, maps of three stages, the finest at the head's stride of 8, an "
        "expansion before the classifier) gains and loses no points; it adds to the spread, by "
        "assumption, in standard deviations of the log error: "
        + ", ".join(f"{name} {value}" for name, value in HEAD_STD.items())
        + ".",
        "",
    ]
    return "\n".join(out)


if __name__ == "__main__":
    main()
