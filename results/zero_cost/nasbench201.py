"""Checks the scores against the rank correlations published for NAS-Bench-201.

    python -m results.zero_cost.nasbench201 --data DIR --n 500 --seed 0 --out DIR

samples architectures of `nas/nasbench201.csv`, scores their CIFAR-10 networks and compares the
order with that of their trained accuracies by Kendall's tau. One row is appended to
`nasbench201.csv` for each architecture, so that a stopped command goes on where it was; the
summary is `nasbench201.json` and `.md`.

The images are Tiny-ImageNet's, halved to 32x32, of ten classes: what the data folder has in place
of CIFAR-10. AZ-NAS's own scores are computed twice: on Gaussian noise, as in its authors' code for
this benchmark, for the comparison with what they published; and on images, as our searches do.
"""

import argparse
import csv
import io
import json
import math
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from scipy.stats import kendalltau
from torch import Tensor

from effsearch.accuracy.zero_cost.az_nas import rank_sum
from effsearch.accuracy.zero_cost.scoring import NAMES, scores
from results.bootstrap import interval
from results.zero_cost import nasbench201_cells
from searchspace.errors import UserError

PUBLISHED_TAU: dict[str, tuple[float, float]] = {
    "grad_norm": (0.44, 0.44),
    "snip": (0.44, 0.44),
    "synflow": (0.54, 0.56),
    "naswot": (0.59, 0.59),
    "zico": (0.61, 0.61),
    "az_nas_sum": (0.741, 0.741),
    "params": (0.578, 0.578),
    "flops": (0.541, 0.541),
}
"""Published tau on CIFAR-10, all 15,625 architectures: lowest and highest of the papers."""

_AZ_NAS = ("expressivity", "progressivity", "trainability")
_ON_IMAGES = {name: f"{name}_on_images" for name in _AZ_NAS}
_CLASSES = 10
_RESOLUTION = 32
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def load_images(archive: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training images of ten random classes in turn, halved, normalised, with labels 0 to 9.

    Args:
        archive: `tiny-imagenet-100.zip`.
        count: How many.
        seed: Of the choice of classes and images.

    Returns:
        Images (count, 3, 32, 32) and labels (count,).
    """
    rng = np.random.default_rng(seed)
    images, labels = [], []
    with zipfile.ZipFile(archive) as z:
        by_class: dict[str, list[str]] = {}
        for name in sorted(n for n in z.namelist() if n.startswith("train/") and "." in n):
            by_class.setdefault(name.split("/")[1], []).append(name)
        chosen = rng.choice(sorted(by_class), _CLASSES, replace=False)
        orders = [rng.permutation(by_class[c]) for c in chosen]
        for i in range(count):
            label = i % _CLASSES
            with Image.open(io.BytesIO(z.read(str(orders[label][i // _CLASSES])))) as image:
                small = image.convert("RGB").resize(
                    (_RESOLUTION, _RESOLUTION), Image.Resampling.BOX
                )
            pixels = (np.asarray(small, dtype=np.float32) / 255 - _MEAN) / _STD
            images.append(torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1))
            labels.append(label)
    order = rng.permutation(count)  # so that both halves that ZiCo takes hold all classes
    return torch.stack(images)[order], torch.tensor(labels)[order]


def score_architectures(
    table: pd.DataFrame, batch: Tensor, labels: Tensor, noise: Tensor, seed: int, path: Path
) -> None:
    """Scores the table's architectures that `path` has no row for, appending a row for each.

    Raises:
        UserError: `path` holds rows made with other input or another seed.
    """
    settings = {"images": len(batch), "noise": len(noise), "seed": seed}
    columns = ["arch_idx", *settings, *NAMES, *_ON_IMAGES.values(), "seconds"]
    done: set[int] = set()
    if path.exists():
        earlier = _complete_rows(path, columns)
        for key, value in settings.items():
            if (earlier[key] != value).any():
                raise UserError(f"{path} was made with another {key}: choose another --out")
        done = set(earlier["arch_idx"].astype(int))
    else:
        path.write_text(",".join(columns) + "\n")
    todo = table[~table["arch_idx"].isin(done)]
    started = time.perf_counter()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        for count, (index, architecture) in enumerate(
            zip(todo["arch_idx"], todo["arch"], strict=True), start=1
        ):
            start = time.perf_counter()
            net = nasbench201_cells.build(architecture, _CLASSES)
            assert isinstance(net, nasbench201_cells.CellNetwork)
            blocks = net.block_names
            found = scores(net, batch, labels, blocks=blocks, seed=seed)
            seconds = time.perf_counter() - start
            found |= {column: found[name] for name, column in _ON_IMAGES.items()}
            any_label = torch.zeros(len(noise), dtype=torch.long)
            found |= scores(net, noise, any_label, names=_ON_IMAGES, blocks=blocks, seed=seed)
            values = [f"{found[name]:.8g}" for name in [*NAMES, *_ON_IMAGES.values()]]
            writer.writerow([index, *settings.values(), *values, f"{seconds:.3f}"])
            file.flush()
            if count % 10 == 0 or count == len(todo):
                left = (time.perf_counter() - started) / count * (len(todo) - count)
                print(f"{count} of {len(todo)}, {left:.0f} s left", file=sys.stderr)


def summarise(table: pd.DataFrame, seed: int, resamples: int = 1000) -> list[dict[str, Any]]:
    """Kendall's tau of every score with accuracy, beside the published one.

    Undefined scores rank last, as in the papers.

    Args:
        table: A row for each architecture: `c10_test`, `params_M_c10`, `flops_M_c10`, the scores.
        seed: Of the bootstrap over architectures.
        resamples: How many times the architectures are drawn anew for the intervals.
    """
    accuracy = table["c10_test"].to_numpy(dtype=float)
    flops = table["flops_M_c10"].to_numpy(dtype=float)
    names = [*NAMES, *_ON_IMAGES.values()]
    columns = {name: table[name].to_numpy(dtype=float) for name in names}
    columns |= {
        "az_nas_sum": rank_sum([*(columns[n] for n in _AZ_NAS), flops]),
        "az_nas_sum_on_images": rank_sum([*(columns[n] for n in _ON_IMAGES.values()), flops]),
        "params": table["params_M_c10"].to_numpy(dtype=float),
        "flops": flops,
    }
    rows = []
    for name, values in columns.items():
        low, high = interval(_tau, values, accuracy, draws=resamples, seed=seed)
        row: dict[str, Any] = {
            "score": name,
            "tau": round(_tau(values, accuracy), 3),
            "interval_95": [round(low, 3), round(high, 3)],
            "undefined": int(np.isnan(values).sum()),
            "published": PUBLISHED_TAU.get(name),
        }
        if name in PUBLISHED_TAU:
            least, most = PUBLISHED_TAU[name]
            gap = max(least - row["tau"], row["tau"] - most, 0.0)
            row["from_published"] = round(gap, 3)
        rows.append(row)
    return rows


def write_summary(rows: list[dict[str, Any]], facts: dict[str, Any], out: Path) -> None:
    """Writes `nasbench201.json` and `nasbench201.md`."""
    report = {**facts, "scores": rows}
    (out / "nasbench201.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = [
        "# Zero-cost scores on NAS-Bench-201",
        "",
        f"Kendall's tau with CIFAR-10 test accuracy after 200 epochs, {facts['architectures']} "
        f"architectures drawn with seed {facts['seed']}, canonical initialisation. "
        f"Input: {facts['input']}. Intervals: 95%, bootstrap over architectures. "
        "Undefined scores rank last.",
        "",
        f"    {facts['command']}",
        "",
        "| score | tau | 95% interval | undefined | published | outside it by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval_95"]
        published = row["published"]
        span = "" if published is None else "-".join(str(v) for v in dict.fromkeys(published))
        lines.append(
            f"| {row['score']} | {row['tau']:.3f} | {low:.3f} to {high:.3f} | {row['undefined']} "
            f"| {span} | {row.get('from_published', '')} |"
        )
    (out / "nasbench201.md").write_text("\n".join(lines) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.zero_cost.nasbench201")
    parser.add_argument("--data", type=Path, required=True, help="folder with nas/ and images/")
    parser.add_argument("--n", type=int, default=500, help="architectures")
    parser.add_argument("--images", type=int, default=32, help="images in the batch")
    parser.add_argument("--noise", type=int, default=64, help="images of noise for AZ-NAS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--out", type=Path, default=Path("results/zero_cost"))
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    benchmark = options.data / "nas" / "nasbench201.csv"
    archive = options.data / "images" / "tiny-imagenet-100.zip"
    for path in (benchmark, archive):
        if not path.is_file():
            raise UserError(f"{path} is missing: --data names the folder that holds it")
    everything = pd.read_csv(benchmark)
    if not 2 <= options.n <= len(everything):
        raise UserError(f"--n must be from 2 to {len(everything)}, got {options.n}")
    if options.images < 4:
        raise UserError(f"--images must be at least 4, got {options.images}")
    if options.noise < 2:
        raise UserError(f"--noise must be at least 2, got {options.noise}")
    options.out.mkdir(parents=True, exist_ok=True)
    # A longer run extends a shorter one: both take a prefix of one permutation.
    order = np.random.default_rng(options.seed).permutation(len(everything))[: options.n]
    sample = everything.iloc[order]
    batch, labels = load_images(archive, options.images, options.seed)
    path = options.out / "nasbench201.csv"
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(options.seed)
    noise = torch.randn(options.noise, 3, _RESOLUTION, _RESOLUTION, generator=generator)
    score_architectures(sample, batch, labels, noise, options.seed, path)
    scored = pd.read_csv(path).drop(columns=["seed", "noise"])
    table = sample.merge(scored, on="arch_idx", validate="one_to_one")
    facts = {
        "command": "python -m results.zero_cost.nasbench201 --data $EFFSEARCH_DATA "
        f"--n {options.n} --images {options.images} --noise {options.noise} "
        f"--seed {options.seed} --out {options.out}",
        "architectures": len(table),
        "seed": options.seed,
        "images": options.images,
        "noise": options.noise,
        "input": f"{options.images} Tiny-ImageNet images of 10 classes at 32x32; "
        f"{options.noise} of Gaussian noise for AZ-NAS's scores not marked otherwise, as in its "
        "authors' code",
    }
    rows = summarise(table, options.seed, options.resamples)
    write_summary(rows, facts, options.out)
    for row in rows:
        print(f"{row['score']:14} {row['tau']:6.3f}  published {row['published']}")


def _complete_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    """Reads the rows, dropping from the file a last one that was cut off."""
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    rows = pd.read_csv(path)
    if list(rows.columns) != columns:
        raise UserError(f"{path} has other columns than this command writes: choose another --out")
    return rows


def _tau(values: npt.NDArray[np.float64], accuracy: npt.NDArray[np.float64]) -> float:
    return float(kendalltau(np.nan_to_num(values, nan=-math.inf), accuracy).statistic)


if __name__ == "__main__":
    sys.exit(main())
