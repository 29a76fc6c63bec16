"""Chooses the architectures that are trained as evidence for the accuracy scores.

    python -m results.accuracy.campaign_set --device TABLE --out results/accuracy/architectures

Members of the mobile space in narrow bands of predicted latency, spread over block types, stem
strides and stage counts, so that comparisons at equal latency are dense; beside them small
versions of the published networks and some degenerates. `--space small:5 mobile:4` takes five
members of one space and four of another in each band.
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

from effsearch.latency import DeviceTable
from results.accuracy.degenerates import load as load_degenerates
from searchspace import Architecture, SearchSpace, Stage, UserError, operators, zoo

BAND_WIDTH = 1.08  # a band reaches from its centre divided to its centre multiplied by this
MAX_GMACS = 1.6  # dearer networks would take the time of several others
OUTSIDE_BANDS = ("small published", "degenerate")  # origins
SCALES = (0.5, 0.75)  # widths of the small versions of published networks


@dataclass(frozen=True)
class Member:
    """One architecture of the set.

    Attributes:
        architecture: the network.
        origin: name of the space it was drawn from, `small published` or `degenerate`.
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
    max_gmacs: float = MAX_GMACS,
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
        if candidate.depth > 20 or gmacs(candidate) > max_gmacs:
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
            members.append(Member(candidate, space.name, band, mean_ms))
    return members


def others(
    table: DeviceTable, per_family: int | None = None, max_gmacs: float = MAX_GMACS
) -> list[Member]:
    """Return small versions of the published networks, the cheapest `per_family` of each family."""
    found = [shrunk(zoo.load(name), scale) for name in zoo.names() for scale in SCALES]
    found += [zoo.load(name) for name in zoo.names()]
    found = sorted((a for a in found if gmacs(a) <= max_gmacs), key=gmacs)
    families: dict[str, list[Architecture]] = {}
    for architecture in found:
        families.setdefault(architecture.name.split("_")[0], []).append(architecture)
    return [
        Member(a, "small published", -1, table.predict(a).mean_ms)
        for family in families.values()
        for a in family[:per_family]
    ]


def degenerates(table: DeviceTable, limit: int, max_gmacs: float = MAX_GMACS) -> list[Member]:
    """Return degenerate architectures (see `results.accuracy.degenerates`), of several kinds."""
    found = [d.architecture for d in load_degenerates() if gmacs(d.architecture) <= max_gmacs]
    limit = min(limit, len(found))
    spread = [found[i * len(found) // limit] for i in range(limit)]
    return [Member(a, "degenerate", -1, table.predict(a).mean_ms) for a in spread]


def reprice(folder: Path, table: DeviceTable) -> None:
    """Write the latencies of another table into the index, and bands of as many networks each.

    Raises:
        UserError: where there is no index.
    """
    try:
        body = json.loads((folder / "index.json").read_text())
    except (OSError, ValueError):
        raise UserError(f"{folder / 'index.json'}: cannot be read") from None
    for member in body["members"]:
        architecture = Architecture.from_yaml(folder / f"{member['digest']}.yaml")
        member["mean_ms"] = round(table.predict(architecture).mean_ms, 4)
    drawn = sorted(
        (m for m in body["members"] if m["origin"] not in OUTSIDE_BANDS), key=lambda m: m["mean_ms"]
    )
    bands = [list(b) for b in np.array_split(np.array(drawn, object), len(body["centres_ms"]))]
    for number, band in enumerate(bands):
        for member in band:
            member["band"] = number
    latencies = [[m["mean_ms"] for m in band] for band in bands if band]
    body["centres_ms"] = [round(float(np.exp(np.log(b).mean())), 3) for b in latencies]
    body["band_width"] = round(max(math.sqrt(max(b) / min(b)) for b in latencies), 3)
    body["device"] = table.name
    (folder / "index.json").write_text(json.dumps(body, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the architectures and an index of them."""
    parser = argparse.ArgumentParser(prog="python -m results.accuracy.campaign_set")
    parser.add_argument(
        "--space",
        nargs="+",
        default=["mobile"],
        metavar="NAME[:PER_BAND]",
        help="spaces to draw from; the bands' latencies are those of the first",
    )
    parser.add_argument("--device", required=True, help="table of the latency bands")
    parser.add_argument("--centres-ms", default="", help="centres of the bands, comma-separated")
    parser.add_argument("--per-band", type=int, default=40)
    parser.add_argument("--published", type=int, help="small published networks of each family")
    parser.add_argument("--degenerates", type=int, default=10)
    parser.add_argument("--max-gmacs", type=float, default=MAX_GMACS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/accuracy/architectures"))
    parser.add_argument(
        "--reprice", action="store_true", help="only put the table's latencies into the index"
    )
    options = parser.parse_args(arguments)
    table, most = DeviceTable.load(options.device), options.max_gmacs
    if options.reprice:
        reprice(options.out, table)
        return
    named = [text.partition(":") for text in options.space]
    wanted = [(SearchSpace.load(name), int(n or options.per_band)) for name, _, n in named]
    centres = [float(v) for v in options.centres_ms.split(",") if v] or _centres(
        wanted[0][0], table, options.seed
    )
    members = others(table, options.published, most)
    members += degenerates(table, options.degenerates, most)
    for space, per_band in wanted:
        members += choose(space, table, centres, per_band, options.seed, max_gmacs=most)
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
        "spaces": [space.name for space, _ in wanted],
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
