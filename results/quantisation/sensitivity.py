"""What 8-bit integers cost trained networks in accuracy, and which operators it comes from.

    python -m results.quantisation.sensitivity --networks FOLDER --data TREE

FOLDER holds checkpoints of `effsearch train`, `NAME/model.pt`. Each is exported and classifies all
validation images in float32; then with weights quantised by tensor and by output channel, and with
one kind of operators quantised at a time. Ranges come from training images. Writes sensitivity.csv
and sensitivity.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray

from effsearch.export.calibration_images import CalibrationImages
from effsearch.export.classify import answers
from effsearch.export.int8 import QUANTISED, behind_quotients, quantise
from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.training import checkpoint
from effsearch.training.recipe import Recipe
from effsearch.training.trainer import FINAL
from searchspace import Architecture, Network, build
from searchspace.errors import UserError

BATCH = 64
FLOAT = "float32"
IMAGES_FOR_RANGES = 128
# Kinds of operators that are quantised one at a time, by ONNX's types.
KINDS: Mapping[str, tuple[str, ...]] = {
    "convolutions": ("Conv",),
    "classifier": ("Gemm",),
    "products": ("MatMul",),
    "sums": ("Add", "Sub"),
    "multiplications": ("Mul",),
    "divisions": ("Div",),
    "activations": ("Relu", "Gelu", "HardSwish", "HardSigmoid", "Sigmoid", "Clip", "Swish"),
    "softmax": ("Softmax",),
    "norms": ("InstanceNormalization", "LayerNormalization", "LpNormalization"),
    "reductions": ("ReduceMean", "ReduceSum", "ReduceL2", "GlobalAveragePool", "AveragePool"),
}


@dataclass(frozen=True)
class Trained:
    """A trained network as it is deployed, and the images that it is judged by.

    Attributes:
        name: of its folder.
        model: in float32, for `BATCH` images.
        images: prepared for it.
    """

    name: str
    model: onnx.ModelProto
    images: CalibrationImages


@dataclass(frozen=True)
class Way:
    """A way to quantise, as `quantise` takes it.

    Attributes:
        ops: types of operators.
        kept: names of nodes that stay in float32; None for those that exports keep.
        per_channel: whether each output channel has a scale of its own.
    """

    ops: Collection[str]
    kept: tuple[str, ...] | None = ()
    per_channel: bool = True

    def operators(self, model: onnx.ModelProto) -> int:
        """Return how many operators of a model are quantised."""
        kept = set(behind_quotients(model) if self.kept is None else self.kept)
        return sum(n.op_type in self.ops and n.name not in kept for n in model.graph.node)


def read(path: Path, data: Path, side: int | None = None) -> Trained:
    """Return a checkpoint's network.

    Args:
        path: of the checkpoint.
        data: ImageFolder tree, or a zip archive of one.
        side: of the images in px; what it was trained at where None.

    Raises:
        UserError: where checkpoint or data cannot be used, or do not belong together.
    """
    held = checkpoint.load(path)
    recipe: Recipe = held.recipe
    architecture = Architecture.from_dict(yaml.safe_load(held.architecture))
    network: Network = build(architecture, len(held.classes)).eval()
    held.load_into(network, held.digest)
    source = None if side else recipe.source_side
    images = CalibrationImages(data, side or recipe.image_side, source)
    if images.classes != held.classes:
        raise UserError(f"{data} has other classes than {path}")
    model = to_onnx(network, BATCH, side or recipe.image_side)
    label = path.parent.name
    return Trained(f"{label} at {side} px" if side else label, model, images)


def ways(model: onnx.ModelProto) -> dict[str, Way]:
    """Return ways to quantise a model, by what they are called."""
    present = {node.op_type for node in model.graph.node}
    kinds = {name: present & set(ops) for name, ops in KINDS.items()}
    every = set().union(*kinds.values())
    exported = set(QUANTISED)
    found = {
        "all, by tensor": Way(every, per_channel=False),
        "all, by channel": Way(every),
        "convolutions and products, by tensor": Way(exported, per_channel=False),
        "convolutions and products, by channel": Way(exported),
        "as exported, by tensor": Way(exported, None, per_channel=False),
        "as exported": Way(exported, None),
        "convolutions alone, by tensor": Way(kinds["convolutions"], per_channel=False),
        **{f"{name} alone": Way(ops) for name, ops in kinds.items() if ops},
    }
    if behind_quotients(model):
        found["products alone, but those behind quotients"] = Way(kinds["products"], None)
    return found


def judge(trained: Trained) -> list[dict[str, Any]]:
    """Return a row for float32 and for each way to quantise: top-1 and its change, in points."""
    model, images = trained.model, trained.images
    everything = list(images.for_judging(sys.maxsize))
    before, labels = answers(model, everything)
    named = {"network": trained.name, "quantised": FLOAT, "operators": 0}
    rows = [named | changes(before, before, labels)]
    with tempfile.TemporaryDirectory(prefix="effsearch-quantisation-") as folder:
        ranges = Path(folder) / "ranges.json"
        seen = np.concatenate(list(images.for_ranges(IMAGES_FOR_RANGES)))
        feeds = [seen[at : at + BATCH] for at in range(0, len(seen), BATCH)]
        for name, way in ways(model).items():
            found = quantise(model, feeds, **asdict(way), ranges=ranges)
            after, _ = answers(found, everything)
            rows.append(named | {"quantised": name, "operators": way.operators(model)})
            rows[-1] |= changes(after, before, labels)
            print(f"{trained.name}: {name}: {rows[-1]['change']:+.2f}", file=sys.stderr)
    return rows


def changes(
    after: NDArray[np.int64], before: NDArray[np.int64], labels: NDArray[np.int64]
) -> dict[str, Any]:
    """Return top-1, its change in points and the change's error, and how many answers stayed, in %.

    Args:
        after: classes found in images, (images,).
        before: those found in float32.
        labels: what is right.
    """
    right, was_right = after == labels, before == labels
    difference = right.astype(float) - was_right
    return {
        "images": len(labels),
        "top1": round(100 * float(right.mean()), 2),
        "change": round(100 * float(difference.mean()), 2),
        "standard_error": round(100 * float(difference.std() / np.sqrt(len(labels))), 2),
        "same_answer": round(100 * float((after == before).mean()), 2),
    }


def page(rows: list[dict[str, Any]], command: str) -> str:
    """Return the result as Markdown: a line for each way, a column for each network."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    at = {(row["quantised"], row["network"]): row for row in rows}
    lines = [
        "# What 8-bit integers cost",
        "",
        f"    {command}",
        "",
        f"Top-1 on {rows[0]['images']} validation images, and its change in points when operators "
        "are quantised (± one standard error, from which images changed). Networks were trained "
        "shortly on ten classes at 64 px, so this says where quantisation hurts, not how much it "
        "costs a network that was trained on ImageNet.",
        "",
        f"| quantised | {' | '.join(networks)} |",
        f"|---|{'---|' * len(networks)}",
    ]
    for way in dict.fromkeys(row["quantised"] for row in rows):
        cells = []
        for network in networks:
            row = at.get((way, network))
            if row is None:
                cells.append("")
            elif way == FLOAT:
                cells.append(f"{row['top1']:.1f} %")
            else:
                cells.append(f"{row['change']:+.1f} ± {row['standard_error']:.1f}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def cases(networks: Path, asked: Sequence[str]) -> list[tuple[Path, int | None]]:
    """Return checkpoints with sides in px; None is what each was trained at.

    Args:
        networks: folder of NAME/model.pt.
        asked: NAME or NAME@SIDE; all at their own sides where there are none.

    Raises:
        UserError: where there is no such network, or a side is no number.
    """
    names = list(asked) or sorted(path.parent.name for path in networks.glob(f"*/{FINAL}"))
    if not names:
        raise UserError(f"--networks: {networks} holds no NAME/{FINAL}")
    found: list[tuple[Path, int | None]] = []
    for name, _, side in (text.partition("@") for text in names):
        if not (networks / name / FINAL).is_file() or (side and not side.isdecimal()):
            raise UserError(f"--cases: {name}@{side} is not NAME@SIDE with {networks}/NAME/{FINAL}")
        found.append((networks / name / FINAL, int(side) if side else None))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the experiment; 0 done, 2 the request was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", default=[], help="NAME or NAME@SIDE")
    parser.add_argument("--out", type=Path, default=Path("results/quantisation"))
    given = parser.parse_args(arguments)
    table = given.out / "sensitivity.csv"
    rows: list[dict[str, Any]] = []
    try:
        asked = cases(given.networks, given.cases)
        given.out.mkdir(parents=True, exist_ok=True)
        for path, side in asked:
            rows += judge(read(path, given.data, side))
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    except UserError as error:
        print(f"sensitivity: error: {error}", file=sys.stderr)
        return 2
    command = (
        f"python -m results.quantisation.sensitivity --networks {given.networks.name} "
        f"--data {given.data.name} --out {given.out} --cases {' '.join(given.cases)}"
    )
    (given.out / "sensitivity.md").write_text(page(rows, command), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
