"""How far a measured table is from this machine, on networks that its profile never ran.

    python -m results.latency.benchmark_host --networks 100 --table NAME --out results/latency/

samples architectures of the table's space that the profile never ran, exports them, measures them
end to end, and compares; the published networks as well. Writes host.json and host.csv, or, with
another runtime, another precision, or two threads and more, host-openvino-int8-2t.json and so on.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.models.measured import MeasuredTable
from effsearch.latency.profile.fit import error_summary
from effsearch.latency.profile.session import MOVED_LIMIT
from effsearch.latency.table import DeviceTable
from effsearch.latency.timing.interleaved import SLOW
from effsearch.latency.timing.machine import host, matches_this_machine, slug
from effsearch.latency.timing.measure import NOISE_LIMIT
from effsearch.latency.timing.runtimes import find_runtime, runtime_of
from effsearch.precisions import FLOAT32
from results.latency.benchmark_timings import measure_all
from searchspace import Architecture, SearchSpace, UserError, zoo

NOISY_SHARE = 0.1
TARGETS = {"median": 0.03, "p90": 0.05, "p98": 0.10}
SPEARMAN_TARGET = 0.995
ZOO_TARGET = 0.10


def unseen(table: DeviceTable, count: int, seed: int) -> list[Architecture]:
    """Return architectures of the table's space that its profile never ran.

    Raises:
        UserError: where the table was not measured by `effsearch profile`.
    """
    profile = table.meta.get("profile")
    if table.kind != "measured" or not isinstance(profile, dict):
        raise UserError(f"--table: {table.name} is not measured by `effsearch profile`")
    ran = set(profile["ran"])
    space = SearchSpace.load(profile["space"])
    rng = np.random.default_rng([seed, 7])
    found: list[Architecture] = []
    while len(found) < count:
        drawn = space.sample(rng)
        if drawn.digest() not in ran:
            ran.add(drawn.digest())
            found.append(drawn)
    return found


def benchmark(
    table: DeviceTable, count: int, seed: int, work: Path | None = None
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return the summary and one row a network: set, name, measured, predicted and its error."""
    model = table.model
    if not isinstance(model, MeasuredTable):
        raise UserError(f"--table: {table.name} is not measured by `effsearch profile`")
    threads = int(table.meta["threads"])
    networks = [*unseen(table, count, seed), *(zoo.load(name) for name in zoo.names())]
    runtime = runtime_of(table.meta)
    timed = measure_all(networks, threads, work, runtime)
    rows: list[list[Any]] = []
    for i, (network, t) in enumerate(zip(networks, timed, strict=True)):
        p = table.predict(network)
        low, high = p.interval_ms
        slower = float(model.slower(table.features(network)[None], t.speed)[0])
        rows.append(
            [
                "sampled" if i < count else "published", network.name or network.digest(),
                round(t.median_ms, 4), round(p.mean_ms, 4), round(p.std_ms, 4),
                round(p.mean_ms / t.median_ms - 1, 5), low <= t.median_ms <= high, p.kind,
                t.runs, round(t.spread, 4), round(t.speed.reference_ms, 4),
                round(t.speed.product_ms, 4), round(t.median_ms / slower, 4),
                round(p.mean_ms * slower / t.median_ms - 1, 5),
            ]
        )  # fmt: skip
    noisy = sum(t.noisy for t in timed)
    summary: dict[str, Any] = {
        "quiet": noisy <= NOISY_SHARE * len(timed),
        "did_not_repeat": noisy,
        "table": table.name,
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": seed,
        "differences_from_table": matches_this_machine(table.meta, runtime),
        "host": host(runtime),
    }
    for which in ("sampled", "published"):
        part = [dict(zip(COLUMNS, row, strict=True)) for row in rows if row[0] == which]
        measured, predicted, std, corrected = (
            np.array([row[key] for row in part])
            for key in ("measured_ms", "predicted_ms", "std_ms", "measured_at_tables_speed_ms")
        )
        errors: dict[str, Any] = error_summary(predicted, measured, std)
        errors["largest"] = float(np.abs(predicted / measured - 1).max())
        at_speed: dict[str, Any] = error_summary(predicted, corrected, std)
        at_speed["largest"] = float(np.abs(predicted / corrected - 1).max())
        errors["at_the_tables_speed"] = at_speed
        errors["slower_than_the_table"] = float(np.median(measured / corrected) - 1)
        summary[which] = errors
    summary["targets"] = TARGETS | {"spearman": SPEARMAN_TARGET, "published": ZOO_TARGET}
    summary["met"] = _met(summary["sampled"], summary["published"])
    summary["met_at_the_tables_speed"] = _met(
        *(summary[which]["at_the_tables_speed"] for which in ("sampled", "published"))
    )
    references = np.array([t.speed.reference_ms for t in timed])
    summary["reference_spread"] = float(np.ptp(references) / np.median(references))
    return summary, rows


def _met(sampled: dict[str, Any], published: dict[str, Any]) -> dict[str, bool]:
    met = {key: sampled[key] <= limit for key, limit in TARGETS.items()}
    met["spearman"] = sampled["spearman"] >= SPEARMAN_TARGET
    met["published"] = published["largest"] <= ZOO_TARGET
    return {key: bool(value) for key, value in met.items()}


def page(summary: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    host_ = summary["host"]
    lines = [
        f"# Measured against predicted: `{summary['table']}`",
        "",
        f"    {summary['command']}",
        "",
        f"Random members of the space that the profile never ran, and the published networks, on "
        f"{host_.get('cpu', 'this machine')}, {host_['runtime']}, {host_['precision']}, "
        f"{summary['threads']} thread(s), "
        f"{summary['date']}. {summary['did_not_repeat']} networks are not known to "
        f"{NOISE_LIMIT:.0%}: the machine was {'quiet' if summary['quiet'] else 'NOT quiet'}.",
        "",
        "| networks | number | median error | 90 % within | 98 % within | largest | Spearman | "
        "80 % intervals hold |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for which in ("sampled", "published"):
        e = summary[which]
        for name, a in ((which, e), (f"{which}, speed corrected", e["at_the_tables_speed"])):
            lines.append(
                f"| {name} | {a['networks']} | {a['median']:.1%} | {a['p90']:.1%} | "
                f"{a['p98']:.1%} | {a['largest']:.1%} | {a['spearman']:.4f} | "
                f"{a['coverage_80']:.0%} |"
            )
    slower = summary["sampled"]["slower_than_the_table"]
    raw, corrected = (
        ", ".join(f"{k} {'met' if v else 'missed'}" for k, v in summary[key].items())
        for key in ("met", "met_at_the_tables_speed")
    )
    return "\n".join(
        [
            *lines,
            "",
            "Plain lines are what a user gets: the table's number against a measurement on this "
            f"day. The machine was {abs(slower):.1%} {'slower' if slower > 0 else 'faster'} "
            "(median) than when the table was measured, by two references that took turns with "
            "the networks: SHViT-S1, which streams its weights from beyond the core's caches, and "
            "a product inside them. *MachineSpeed corrected* divides each measurement by what the "
            "references say for a network that streams as much as it does; that factor comes from "
            "the references and the table alone. Turns next to which a reference was more than "
            f"{SLOW - 1:.0%} over its calm time did not count, and batches in which the reference "
            f"network was over {MOVED_LIMIT:.0%} slower than in calmer ones were measured again; "
            "neither looks at the table.",
            "",
            "Targets (3 %, 5 %, 10 %, 0.995; published within 10 %):",
            "",
            f"- as measured: {raw};",
            f"- speed corrected: {corrected}.",
            "",
        ]
    )


def file_name(own: dict[str, Any], threads: int) -> str:
    """Return the name of a result's files, in which the usual runtime and precision go unsaid."""
    parts = ["host"]
    if own["runtime"] != find_runtime().identity()["runtime"]:
        parts.append(slug(own["runtime"]))
    if own["precision"] != FLOAT32:
        parts.append(own["precision"])
    if threads > 1:
        parts.append(f"{threads}t")
    return "-".join(parts)


COLUMNS = (
    "set", "network", "measured_ms", "predicted_ms", "std_ms", "error", "inside_80",
    "kind", "runs", "spread", "reference_ms", "product_ms", "measured_at_tables_speed_ms",
    "error_at_tables_speed",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 the machine was too noisy, 2 the request was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", required=True)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results/latency"))
    parser.add_argument("--work", type=Path, help="file of measurements, to resume from")
    given = parser.parse_args(arguments)
    try:
        if given.networks < 5:
            raise UserError(f"--networks: {given.networks} is too few; give 5 or more")
        table = DeviceTable.load(given.table)
        summary, rows = benchmark(table, given.networks, given.seed, given.work)
    except UserError as error:
        print(f"benchmark_host: error: {error}", file=sys.stderr)
        return 2
    summary["command"] = (
        f"python -m results.latency.benchmark_host --table {given.table} "
        f"--networks {given.networks} --seed {given.seed} --out {given.out}"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    name = file_name(summary["host"], summary["threads"])
    with (given.out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    (given.out / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    (given.out / f"{name}.md").write_text(page(summary), "utf-8")
    for which in ("sampled", "published"):
        e = summary[which]
        print(
            f"{which}: {e['networks']} networks, median error {e['median']:.2%}, 90 % within "
            f"{e['p90']:.2%}, 98 % within {e['p98']:.2%}, largest {e['largest']:.1%}, "
            f"Spearman {e['spearman']:.4f}, 80 % intervals hold {e['coverage_80']:.0%}"
        )
        a = e["at_the_tables_speed"]
        print(
            f"  the machine was {e['slower_than_the_table']:+.1%} slower than when the table was "
            f"measured; with that taken out: median {a['median']:.2%}, 90 % within {a['p90']:.2%}, "
            f"98 % within {a['p98']:.2%}"
        )
    met = (f"{k} {'yes' if v else 'NO'}" for k, v in summary["met"].items())
    print("targets met:", ", ".join(met))
    if not summary["quiet"]:
        print(
            f"the machine was not quiet: {summary['did_not_repeat']} of {len(rows)} networks did "
            f"not repeat within {NOISE_LIMIT:.0%}; close other programs and run this again"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
