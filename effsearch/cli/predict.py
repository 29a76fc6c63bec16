"""`effsearch devices` and `predict`: the tables, and what they say of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effsearch.cli import JsonFlag, ResolutionFlag, Targets, emit_json, say, show

if TYPE_CHECKING:
    from effsearch.latency import DeviceTable, Prediction
    from effsearch.targets import Target


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("devices")(devices)
    app.command("predict")(predict)


def devices(as_json: JsonFlag = False) -> None:
    """List the latency tables: kind, runtime, references, held-out error."""
    from effsearch.latency.overview import summaries

    rows = summaries(say)
    if as_json:
        emit_json({"devices": rows})
        return
    show(f"{'device':<22}{'kind':<10}{'references':>10}  {'held-out error':<26}runtime")
    for row in rows:
        error = row["held_out_error"]
        shown = "not stated" if error is None else f"median {error:.1%}"
        if row.get("rank_correlation") is not None:
            shown += f", rank {row['rank_correlation']:.3f}"
        show(
            f"{row['name']:<22}{row['kind']:<10}{row['references'] or '?':>10}  {shown:<26}"
            f"{row['runtime']}, {row['precision']}"
        )


def predict(
    targets: Targets,
    device: Annotated[str, typer.Option("--device", help="Table, or several: a,b.")],
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", help="Show the chance of meeting this.")
    ] = None,
    resolution: ResolutionFlag = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw where the time goes to this PNG.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Predict latency with its uncertainty, and where it goes, stage by stage."""
    from effsearch.api.questions import predicted
    from effsearch.latency import DeviceTable
    from effsearch.targets import load_target
    from searchspace import UserError

    if budget_ms is not None and not budget_ms > 0:
        raise UserError(f"--budget-ms: {budget_ms} is not a positive number of milliseconds")
    tables = [DeviceTable.load(name.strip()) for name in device.split(",") if name.strip()]
    if not tables:
        raise UserError("--device: name one table or more (`effsearch devices` lists them)")
    found = [load_target(text).at(resolution) for text in targets]
    results = [(t, table, predicted(table, t)) for table in tables for t in found]
    if plot is not None:
        from effsearch.report.waterfall import draw_waterfall

        draw_waterfall([(t.label, p) for t, _, p in results], plot)
    if as_json:
        body: dict[str, Any] = {"predictions": [_row(t, p, budget_ms) for t, _, p in results]}
        if len(tables) > 1:
            body["ranking_changes"] = _changes(found, tables, results)
        emit_json(body)
        return
    for target, table, prediction in results:
        _show(target, table, prediction, budget_ms)
    if len(tables) > 1:
        changes = _changes(found, tables, results)
        for change in changes:
            show(change["text"])
        if not changes:
            show("The ranking of these targets is the same on all devices.")


def _row(target: Target, p: Prediction, budget_ms: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "target": target.label,
        "device": p.device,
        "kind": p.kind,
        "mean_ms": p.mean_ms,
        "std_ms": p.std_ms,
        "interval_ms": list(p.interval_ms),
        "breakdown": [
            {
                "name": part.name,
                "stage": part.stage,
                "type": part.type,
                "mean_ms": part.mean_ms,
                "kind": part.kind,
            }
            for part in p.breakdown
        ],
        "estimated_operators": sorted(p.estimated_operators),
    }
    if budget_ms is not None:
        row["budget_ms"] = budget_ms
        row["within_budget"] = p.within(budget_ms)
    return row


def _show(target: Target, table: DeviceTable, p: Prediction, budget_ms: float | None) -> None:
    from effsearch.targets import control_flow_note

    low, high = p.interval_ms
    line = (
        f"{target.label} on {p.device}: {p.mean_ms:.3f} ms ({p.kind}; 80 % interval "
        f"{low:.3f} to {high:.3f} ms)"
    )
    if budget_ms is not None:
        line += f"; {p.within(budget_ms):.0%} likely within {budget_ms:g} ms"
    show(line)
    if p.estimated_operators:
        names = ", ".join(sorted(p.estimated_operators))
        show(f"  estimated, not known to this table: {names}")
    note = control_flow_note(p.estimated_operators)
    if note:
        show(f"  {note}")
    for name, mean_ms, kind in p.stages():
        bar = "#" * round(40 * mean_ms / p.mean_ms)
        show(f"  {name:<12}{mean_ms:>9.3f} ms  {kind:<12}{bar}")


def _changes(
    found: list[Target],
    tables: list[DeviceTable],
    results: list[tuple[Target, DeviceTable, Prediction]],
) -> list[dict[str, Any]]:
    """Pairs of targets whose order differs between the first device and another."""
    by_device = {
        table.name: {id(t): p for t, owner, p in results if owner is table} for table in tables
    }
    first = tables[0].name
    changes = []
    for other in (table.name for table in tables[1:]):
        for i, a in enumerate(found):
            for b in found[i + 1 :]:
                here = by_device[first][id(a)].mean_ms - by_device[first][id(b)].mean_ms
                there = by_device[other][id(a)].mean_ms - by_device[other][id(b)].mean_ms
                if here * there < 0:
                    fast, slow = (a, b) if here < 0 else (b, a)
                    changes.append(
                        {
                            "faster": fast.label,
                            "slower": slow.label,
                            "on": first,
                            "reversed_on": other,
                            "text": f"{fast.label} is faster than {slow.label} on {first}, and "
                            f"slower on {other}.",
                        }
                    )
    return changes
