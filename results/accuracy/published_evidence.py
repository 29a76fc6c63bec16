"""Everything published that the default score learns from, as rows of totals.

Read from shared data: the 16 networks of seeds.csv, the rows of variants.csv, and timm's networks
whose operator graph is at hand. A row says how its totals were come by (`via`):

    exact    a member of the space
    nearest  the nearest member of it (`yaml_nearest`, or nearest.yaml)
    layers   built from the published layout (mobile_networks.py)
    graph    from the operators of its ONNX graph
    sizes    parameters, MACs and resolution alone; its shape is taken as usual for its size
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from effsearch.accuracy.features import TOTALS, Array, Features, graph_totals, option_ranges
from effsearch.onnx_io.reading import read_graph
from results.accuracy import mobile_networks
from searchspace import Architecture, UserError, zoo
from searchspace.operators import from_graph

NEAREST = Path(__file__).parent / "nearest.yaml"
_INDEX = {name: i for i, name in enumerate(TOTALS)}
# Trained or taught on other data than ImageNet-1k, or a figure of one broken method.
LEFT_OUT = {"mobilenetv4_distilled": "distilled with JFT data", "EVT057": "random features"}
GRAPHS = {
    "REP011": "repvit_m0_9@224", "REP012": "repvit_m1_0@224", "REP014": "repvit_m1_5@224",
    "REP015": "repvit_m2_3@224", "REP016": "repvit_m0_9@224", "REP017": "repvit_m0_9@224",
    "REP018": "repvit_m1_0@224", "REP019": "repvit_m1_0@224", "REP022": "repvit_m1_5@224",
    "REP023": "repvit_m1_5@224", "REP024": "repvit_m2_3@224", "REP025": "repvit_m2_3@224",
    "STR001": "starnet_s1@224", "STR002": "starnet_s2@224", "STR004": "starnet_s4@224",
    "OTH022": "efficientformerv2_s0@224", "OTH023": "efficientformerv2_s0@224",
    "OTH024": "efficientformerv2_s0@224", "OTH028": "efficientformerv2_s2@224",
    "OTH029": "efficientformerv2_s2@224", "OTH030": "efficientformerv2_s2@224",
    "OTH031": "efficientformerv2_l@224", "OTH032": "efficientformerv2_l@224",
    "OTH033": "efficientformer_l1@224", "OTH034": "efficientformer_l1@224",
    "OTH035": "efficientformer_l1@224", "SWF009": "efficientformer_l1@224",
    "MBC024": "mobilenetv3_large_075@224", "MBC025": "mobilenetv3_small_100@224",
    "MBC062": "semnasnet_100@224", "MBC110": "semnasnet_100@224",
    "MBC072": "mobilenetv4_conv_small@224", "MBC129": "mobilenetv4_conv_small@224",
    "MBC130": "mobilenetv4_conv_small@224", "MBC131": "mobilenetv4_conv_small@224",
    "MBC132": "mobilenetv4_conv_small@224", "MBC133": "mobilenetv4_conv_small@224",
    "MBC134": "mobilenetv4_conv_small@224", "MBC074": "mobilenetv4_hybrid_medium@256",
    "MBC075": "mobilenetv4_conv_large@384", "MBC088": "mobilenetv4_hybrid_medium@256",
}  # fmt: skip
# Graphs of timm's networks that were trained on ImageNet-1k alone, by name in imagenet_timm.csv.
TIMM_GRAPHS = (
    "convmixer_1024_20_ks9_p14.in1k", "convmixer_768_32.in1k", "convnext_base.fb_in1k",
    "convnext_small.fb_in1k", "convnext_tiny.fb_in1k", "deit_base_patch16_224.fb_in1k",
    "deit_small_patch16_224.fb_in1k", "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit_tiny_patch16_224.fb_in1k", "ghostnet_100.in1k", "mobileone_s0.apple_in1k",
    "mobileone_s1.apple_in1k", "mobileone_s3.apple_in1k", "mobileone_s4.apple_in1k",
    "mobilenetv3_small_075.lamb_in1k", "mobilenetv3_small_100.lamb_in1k",
    "nextvit_base.bd_in1k", "nextvit_large.bd_in1k", "nextvit_small.bd_in1k",
    "poolformer_m36.sail_in1k", "poolformer_m48.sail_in1k", "poolformer_s24.sail_in1k",
    "poolformer_s36.sail_in1k", "regnety_080.ra3_in1k", "resmlp_24_224.fb_in1k",
    "resnet101.a1h_in1k", "resnet152.a1h_in1k", "resnet50.tv2_in1k", "resnext50_32x4d.tv2_in1k",
    "mixnet_s.ft_in1k",
)  # fmt: skip
# Recipes of a kind: AdamW, strong augmentation, 300 epochs or so. The others are older or unlike,
# so that only differences within them say anything.
MODERN = {
    "shvit_paper_300e", "efficientmod_paper_300e", "swiftformer_paper_300e", "efficientvit_mit_b",
    "starnet_300e", "repvit", "repvit_300e", "iformer_300e", "iformer", "efficientformerv2",
    "efficientmod_tab3_quoted", "lsnet", "mobilemamba", "lowformer", "cpubone",
    "efficientvit_mit_l", "efficientmod_tab4", "efficientformer", "shvit_tab4", "tinynext",
    "efficientvit_msra", "qtvit_b1_efficientvit_recipe", "reduceformer_efficientvit_recipe",
    "timm:convnext/fb_in1k", "timm:deit/fb_in1k", "timm:mobileone/apple_in1k",
    "timm:nextvit/bd_in1k", "timm:poolformer/sail_in1k", "timm:convmixer/in1k",
    "mobilenetv4_modern_recipe",
}  # fmt: skip
# Groups of one recipe that the table keeps apart: distilled or not, or quoted elsewhere.
SAME_RECIPE = {
    "efficientmod_tab3_quoted": "efficientformerv2", "shvit_tab4": "efficientformer",
    "shvit_paper_finetune": "shvit_paper_300e", "repvit_300e": "repvit",
    "mobilemamba_distilled_1000e": "mobilemamba", "iformer_300e": "iformer",
    "paddle_ssld": "paddle_ssld",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One published training.

    Attributes:
        id: of variants.csv, the name in seeds.csv, or timm's.
        network: its name.
        family: of the four, else of the paper.
        group: `comparable_group`, rows that were trained alike.
        recipe: groups that share a level: distillation and length apart, trained alike.
        via: how the totals were come by; see the module.
        totals: (len(TOTALS),).
        top1: percent.
        distilled: 1 where trained with a teacher.
        epochs: of training, 300 where not stated.
        axes: what the group varies, as the table says.
        seed: name of the published network of the 16 that it is, else empty.
    """

    id: str
    network: str
    family: str
    group: str
    recipe: str
    via: str
    totals: Array
    top1: float
    distilled: float
    epochs: float
    axes: str
    seed: str = ""


def load(data: Path) -> tuple[tuple[Row, ...], dict[str, list[float]], dict[str, int]]:
    """Return the rows, the published range of each block option, and counts of what is left out.

    Raises:
        UserError: where a file is missing.
    """
    folder = data / "published"
    for name in ("seeds.csv", "variants.csv", "imagenet_timm.csv"):
        if not (folder / name).exists():
            raise UserError(f"{folder / name}: no such file; --data is the folder with published/")
    table = _read(folder / "variants.csv")
    seeds = _read(folder / "seeds.csv")
    architectures: dict[str, tuple[str, Architecture]] = {}
    for name in zoo.names():
        architectures[name] = ("exact", zoo.load(name))
    for row in table:
        found = _architecture(row)
        if found is not None:
            architectures[row["id"]] = found
    ranges = option_ranges(a for via, a in architectures.values() if via == "exact")
    features = Features(ranges)
    rows = [_seed_row(row, features) for row in seeds]
    taken = {(r.seed, r.distilled): r.top1 for r in rows}
    left: dict[str, int] = {}

    def leave(why: str) -> None:
        left[why] = left.get(why, 0) + 1

    for row in table:
        if row["duplicate_of"]:
            leave("one training printed twice")
        elif row["id"] in LEFT_OUT or row["comparable_group"] in LEFT_OUT:
            leave("other data than ImageNet-1k, or a broken method")
        elif _is_seed(row, taken):
            leave("the same training as in seeds.csv")
        else:
            via, totals = _totals(row, architectures, features, data)
            if totals is None:
                leave("layout, parameters or MACs not published")
                continue
            rows.append(_variant_row(row, via, totals))
    rows += list(_timm_rows(folder / "imagenet_timm.csv", data))
    return tuple(rows), ranges, left


def seed_graphs(rows: Sequence[Row], data: Path) -> list[tuple[Row, Array]]:
    """Return the published networks of the 16 whose operator graph is at hand, with its totals."""
    found = []
    for row in rows:
        side = round(2 ** row.totals[_INDEX["stem.log2_side"]]) if row.seed else 0
        if (data / "phones" / "graphs" / f"{row.seed}@{side}.onnx").exists():
            found.append((row, read_totals(data, f"{row.seed}@{side}")))
    return found


def at_resolution(totals: Array, side: float) -> Array:
    """Return totals of the same network at another resolution (stages keep their strides)."""
    out = totals.copy()
    shift = math.log2(side) - totals[_INDEX["stem.log2_side"]]
    gmacs, first = totals[_INDEX["layers.gmacs"]], totals[_INDEX["layers.gmacs.log2_side"]]
    out[_INDEX["layers.gmacs.log2_side"]] += shift * gmacs
    out[_INDEX["layers.gmacs.log2_side_squared"]] += 2 * shift * first + shift**2 * gmacs
    blocks, block_sides = totals[_INDEX["blocks"]], totals[_INDEX["blocks.log2_side"]]
    out[_INDEX["blocks.log2_side"]] += shift * blocks
    out[_INDEX["blocks.log2_side_squared"]] += 2 * shift * block_sides + shift**2 * blocks
    out[_INDEX["attention.log2_side"]] += shift * totals[_INDEX["attention"]]
    for name in ("last.log2_side", "stem.log2_side"):
        out[_INDEX[name]] += shift
    for name in TOTALS:
        if "gmacs" in name or name == "mactivations":
            out[_INDEX[name]] *= 4**shift
    return out


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _seed_row(row: Mapping[str, str], features: Features) -> Row:
    name, family = row["network"], row["family"]
    recipe = {
        "SHViT": "shvit_paper_300e",
        "EfficientMod": "efficientmod_paper_300e",
        "SwiftFormer": "swiftformer_paper_300e",
        "EfficientViT": "efficientvit_mit_b",
    }[family]
    distilled = float(row["distilled"])
    group = recipe + ("_distilled" if distilled else "")
    totals = features(zoo.load(name))
    top1 = float(row["top1"])
    axes = "width;depth"
    return Row(
        name, name, family, group, recipe, "exact", totals, top1, distilled, 300.0, axes, name
    )


def _is_seed(row: Mapping[str, str], taken: Mapping[tuple[str, float], float]) -> bool:
    if row["expressible"] != "yes" or "set: {}" not in row["yaml"]:
        return False
    if row["comparable_group"] == "qtvit_b1_efficientvit_recipe":
        return False
    top1 = taken.get((row["base"], float(row["distilled"] or 0)))
    return top1 is not None and abs(top1 - float(row["top1"])) < 0.06


def _variant_row(row: Mapping[str, str], via: str, totals: Array) -> Row:
    group = row["comparable_group"]
    recipe = group.removesuffix("_distilled")
    recipe = SAME_RECIPE.get(recipe, SAME_RECIPE.get(group, recipe))
    epochs = re.match(r"\d+", row["epochs"])
    return Row(
        row["id"],
        row["network"],
        row["family"],
        group,
        recipe,
        via,
        totals,
        float(row["top1"]),
        float(row["distilled"] or 0),
        float(epochs.group()) if epochs else 300.0,
        row["axes"],
    )


def _architecture(row: Mapping[str, str]) -> tuple[str, Architecture] | None:
    if row["expressible"] == "yes":
        change = yaml.safe_load(row["yaml"])
        return "exact", changed(change["base"], change["set"])
    demonet = re.search(r"^DemoNet .*, star$", row["network"])
    if demonet is not None:
        return "nearest", _demonet(row["network"])
    if row["yaml_nearest"]:
        return "nearest", Architecture.from_dict(yaml.safe_load(row["yaml_nearest"]))
    for near in _nearest():
        if near["id"] == row["id"]:
            if "base" in near:
                return "nearest", changed(near["base"], near["set"])
            return "nearest", Architecture.from_dict(near["architecture"])
    return None


def _demonet(text: str) -> Architecture:
    """Return StarNet's isotropic network with EfficientMod's blocks, which multiply alike."""
    width, depth = (int(re.findall(rf"{name} (\d+)", text)[0]) for name in ("width", "depth"))
    blocks = [{"type": "efficient_mod", "depth": depth, "expansion": [4], "kernel": 7}]
    return Architecture.from_dict(
        {
            "resolution": 224,
            "stem": {"type": "shvit", "stride": 16, "width": width},
            "stages": [{"width": width, "blocks": blocks}],
            "head": {"type": "efficientmod"},
        }
    )


@lru_cache(maxsize=1)
def _nearest() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(NEAREST.read_text())
    return loaded


def changed(base: str, changes: Mapping[str, Any]) -> Architecture:
    """Return a published network with changes, as variants.csv writes them.

    Args:
        base: name in the zoo.
        changes: values by path, e.g. `stages.1.blocks.0.partial_ratio`.
    """
    body: Any = zoo.load(base).to_dict()
    body.pop("name", None)
    for path, value in changes.items():
        at = body
        *parents, last = path.split(".")
        for part in parents:
            at = at[int(part)] if part.isdigit() else at[part]
        at[int(last) if last.isdigit() else last] = value
    return Architecture.from_dict(body)


def _totals(
    row: Mapping[str, str],
    architectures: Mapping[str, tuple[str, Architecture]],
    features: Features,
    data: Path,
) -> tuple[str, Array | None]:
    if row["id"] in architectures:
        via, architecture = architectures[row["id"]]
        return via, features(architecture)
    if row["id"] in GRAPHS:
        totals = read_totals(data, GRAPHS[row["id"]])
        return "graph", at_resolution(totals, float(row["resolution"] or 256))
    if row["family"] == "MBConv" and row["expressible"] == "partly":
        network = mobile_networks.network_of(row)
        if network is not None:
            totals = graph_totals(*network)
            return "layers", totals
    if row["params_m"] and row["macs_g"] and row["resolution"]:
        return "sizes", _usual(
            float(row["macs_g"]), float(row["params_m"]), float(row["resolution"])
        )
    return "", None


def read_totals(data: Path, name: str) -> Array:
    """Return the totals of a graph of shared data, `NETWORK@RESOLUTION`."""
    path = data / "phones" / "graphs" / f"{name}.onnx"
    if not path.exists():
        raise UserError(f"{path}: no such file; --data is the folder with phones/graphs/")
    return graph_totals(from_graph(read_graph(path)), int(name.split("@")[1]))


def _usual(gmacs: float, mparams: float, side: float) -> Array:
    """Return totals of a network of usual shape, of which only sizes are known."""
    total = np.full(len(TOTALS), np.nan)
    total[_INDEX["gmacs"]], total[_INDEX["mparams"]] = gmacs, mparams
    total[_INDEX["stem.log2_side"]] = math.log2(side)
    return total


def _timm_rows(path: Path, data: Path) -> Iterator[Row]:
    table = {row["model"]: row for row in _read(path)}
    for model in TIMM_GRAPHS:
        row = table[model]
        name, tag = model.split(".")
        totals = read_totals(data, f"{name}@{row['img_size']}")
        prefix = re.match(r"[a-z]+(?:v\d)?", name)
        assert prefix is not None
        recipe = f"timm:{prefix.group()}/{tag}"
        distilled = float("distilled" in name)
        group = recipe + ("_distilled" if distilled else "")
        yield Row(
            model,
            name,
            prefix.group(),
            group,
            recipe,
            "graph",
            totals,
            float(row["top1"]),
            distilled,
            300.0,
            "width;depth",
        )
