"""Chooses the architectures that are trained as evidence for the accuracy scores.

    python -m effsearch.training.evidence_set --device TABLE --out results/accuracy/architectures

Members of the mobile space in narrow bands of predicted latency, spread over block types, stem
strides and stage counts, so that comparisons at equal latency are dense; beside them small
versions of the published networks and some degenerates.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from effsearch.accuracy.degenerates import load as load_degenerates
from effsearch.latency import DeviceTable
from searchspace import Architecture, SearchSpace, Stage, UserError, operators, zoo

BAND_WIDTH = 1.08  # a band reaches from its centre divided to its centre multiplied by this
MAX_GMACS = 1.6  # dearer networks would take the time of several others
SCALES = (0.5, 0.75)  # widths of the small versions of published networks


@dataclass(frozen=True)
class Member:
    """One architecture of the set.

    Attributes:
        architecture: the network.
        origin: `mobile`, `small published` or `degenerate`.
        band: index of its latency band; -1 outside all.
        mean_ms: predicted latency.
    """

    architecture: Architecture
    origin: str
    band: int
    mean_ms: float


def stratum(architecture: Architecture) -> tuple[object, ...]:
    """What the set is spread over: stem stride, stage count, main block types."""
    types = [max(s.blocks, key=lambda b: b.depth).type for s in architecture.stages[-2:]]
    return (architecture.stem.stride, len(architecture.stages), *types)


def gmacs(architecture: Architecture) -> float:
    """Return 10^9 multiply-accumulates at the architecture's own resolution."""
    return sum(o.macs for o in operators(architecture, "deploy")) / 1e9


def shrunk(architecture: Architecture, scale: float) -> Architecture:
    """Return a network with all widths scaled, to multiples of 16."""

    def width(value: int) -> int:
        return max(16, round(value * scale / 16) * 16)

    stages = tuple(Stage(width(s.width), s.blocks, s.downsample) for s in architecture.stages)
    own_stem = architecture.stages[0].downsample is not None
    stem_width = max(8, round(architecture.stem.width * scale / 8) * 8)
    stem = replace(architecture.stem, width=stem_width if own_stem else stages[0].width)
    return replace(architecture, stem=stem, stages=stages, name=f"{architecture.name}_x{scale:g}")


def choose(
    space: SearchSpace,
    table: DeviceTable,
    centres_ms: Sequence[float],
    per_band: int,
    seed: int,
    draws: int = 60_000,
) -> list[Member]:
    """Return members of the space, `per_band` in each latency band.

    Within a band the next member is one whose block types, stem stride and stage count are rarest
    so far; candidates of equal rarity are taken as drawn.
    """
    rng = np.random.default_rng(seed)
    pools: list[list[tuple[Architecture, float]]] = [[] for _ in centres_ms]
    enough = 12 * per_band
    reach = math.log(BAND_WIDTH)
    for _ in range(draws):
        candidate = space.sample(rng)
        if candidate.depth > 20 or gmacs(candidate) > MAX_GMACS:
            continue
        mean_ms = table.predict(candidate).mean_ms
        for pool, centre in zip(pools, centres_ms, strict=True):
            if len(pool) < enough and abs(math.log(mean_ms / centre)) <= reach:
                pool.append((candidate, mean_ms))
        if all(len(pool) >= enough for pool in pools):
            break
    members: list[Member] = []
    for band, pool in enumerate(pools):
        seen: Counter[object] = Counter()
        for _ in range(min(per_band, len(pool))):
            best = min(
                range(len(pool)),
                key=lambda i: sum(seen[(k, v)] for k, v in enumerate(stratum(pool[i][0]))),
            )
            candidate, mean_ms = pool.pop(best)
            seen.update((k, v) for k, v in enumerate(stratum(candidate)))
            members.append(Member(candidate, "mobile", band, mean_ms))
    return members


def others(table: DeviceTable) -> list[Member]:
    """Return small versions of the published networks."""
    small = [shrunk(zoo.load(name), scale) for name in zoo.names() for scale in SCALES]
    small += [zoo.load(name) for name in zoo.names()]
    return [
        Member(a, "small published", -1, table.predict(a).mean_ms)
        for a in small
        if gmacs(a) <= MAX_GMACS
    ]


def degenerates(table: DeviceTable, limit: int) -> list[Member]:
    """Return degenerate architectures (see `effsearch.accuracy.degenerates`)."""
    found = [d.architecture for d in load_degenerates() if gmacs(d.architecture) <= MAX_GMACS]
    return [Member(a, "degenerate", -1, table.predict(a).mean_ms) for a in found[:limit]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the architectures and an index of them."""
    parser = argparse.ArgumentParser(prog="python -m effsearch.training.evidence_set")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--device", required=True, help="table of the latency bands")
    parser.add_argument("--centres-ms", default="", help="centres of the bands, comma-separated")
    parser.add_argument("--per-band", type=int, default=40)
    parser.add_argument("--degenerates", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/accuracy/architectures"))
    options = parser.parse_args(arguments)
    space, table = SearchSpace.load(options.space), DeviceTable.load(options.device)
    centres = [float(v) for v in options.centres_ms.split(",") if v] or _centres(
        space, table, options.seed
    )
    members = choose(space, table, centres, options.per_band, options.seed)
    members += others(table) + degenerates(table, options.degenerates)
    options.out.mkdir(parents=True, exist_ok=True)
    index = []
    for member in {m.architecture.digest(): m for m in members}.values():
        digest = member.architecture.digest()
        member.architecture.to_yaml(options.out / f"{digest}.yaml")
        index.append(
            {
                "digest": digest,
                "name": member.architecture.name,
                "origin": member.origin,
                "band": member.band,
                "mean_ms": round(member.mean_ms, 4),
                "gmacs": round(gmacs(member.architecture), 4),
            }
        )
    body = {
        "space": space.name,
        "device": table.name,
        "seed": options.seed,
        "centres_ms": [round(c, 3) for c in centres],
        "band_width": BAND_WIDTH,
        "members": index,
    }
    (options.out / "index.json").write_text(json.dumps(body, indent=1) + "\n")
    counts = Counter((m["origin"], m["band"]) for m in index)
    print(yaml.safe_dump({"centres_ms": body["centres_ms"], "total": len(index)}), end="")
    for (origin, band), count in sorted(counts.items()):
        print(f"{origin:<16}band {band:>2}: {count}")


def _centres(space: SearchSpace, table: DeviceTable, seed: int, bands: int = 6) -> list[float]:
    """Return centres that spread geometrically over the space's affordable latencies."""
    rng = np.random.default_rng(seed + 1)
    affordable = [a for a in (space.sample(rng) for _ in range(600)) if gmacs(a) <= MAX_GMACS]
    latencies = np.array([table.predict(a).mean_ms for a in affordable])
    low, high = np.percentile(latencies, [4, 92])
    if not low < high:
        raise UserError(f"{space.name}: its latencies on {table.name} don't spread")
    return [float(c) for c in np.geomspace(low, high, bands)]


if __name__ == "__main__":
    main()
