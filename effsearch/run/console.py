"""What a finished run prints for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from effsearch.messages import percent, show
from effsearch.report.held_out_error import error_text
from effsearch.report.own import own_words
from effsearch.report.refined import refined_lines
from effsearch.run.winner_words import edge_line


def show_run(folder: Path, summary: dict[str, Any]) -> None:
    """Print a run's winners, what they are held against, and where the files are.

    Args:
        folder: the run folder.
        summary: as written to it.
    """
    unit = summary["score"]["unit"]
    show(
        f"{summary['considered']} networks considered in {summary['seconds']:.0f} s; of "
        f"{summary['recorded']} recorded, {summary['within_budget']} within "
        f"{summary['budget_ms']:g} ms on {summary['device']} "
        f"({summary['kind']} latency, {percent(summary['confidence'])} confidence)"
    )
    for other in summary["also"]:
        budget = other["budget_ms"]
        held = "no budget" if budget is None else f"within {budget:g} ms too"
        show(f"on {other['device']} ({other['kind']} latency): {held}")
    devices = [other["device"] for other in summary["also"]]
    names = [summary["device"] if devices else "latency", *devices]
    heads = "".join(f"{f'{name}, ms':<18}" for name in names)
    show(f"{'':<4}{heads}{'kind':<13}{'score':<18}{'params':<10}{'MACs':<10}{'memory':<10}network")
    for rank, row in enumerate(summary["winners"], 1):
        merits = f" ({', '.join(row['best_at'])})" if row["best_at"] else ""
        _row(f"{rank}", row, row["blocks"] + merits)
    baseline, scaled = summary["baseline"], summary["baseline_scaled"]
    if baseline is not None:
        _row("", baseline, f"{baseline['name']}, the best published one that fits")
    if scaled is not None and (baseline is None or scaled["name"] != baseline["name"]):
        _row("", scaled, f"{scaled['name']}, the best that scaling one by hand gives")
    for family, row in summary["families"].items():
        _row("", row, f"the best of {family} alone: {row['blocks']}")
    for own in summary["yours"]:
        if "error" in own:
            show(f"{own['name']}, yours, has no score: {own['error']}")
        else:
            _row("", own, f"{own['name']}, {own_words(own)}: {own['blocks']}")
    for what in ("latency", "score"):
        facts = summary[what]
        error = error_text(facts["held_out_error"])
        show(f"{what}: {facts['source']}, {facts['kind']}; error: {error}")
    for other in summary["also"]:
        error = error_text(other["held_out_error"])
        show(f"latency: {other['source']}, {other['kind']}; error: {error}")
    for facts in (summary["latency"], *summary["also"]):
        if facts.get("note"):
            show(facts["note"])
    show(f"score is {unit}")
    if "refined" in summary:
        for line in refined_lines(summary["refined"]):
            show(line)
    show(summary["statement"])
    opinion = summary["second_opinion"]
    if opinion is not None:
        order = " > ".join(opinion["order"])
        show(f"second opinion, zero-cost scores: {order}. {opinion['note']}")
    for note in summary.get("notes", []):
        show(note)
    edge = edge_line(summary["edge"], len(summary["winners"]))
    if edge:
        show(edge)
    show(f"run folder: {folder} (report.html, pareto.png, winners/)")


def _row(label: str, row: dict[str, Any], text: str) -> None:
    latencies = [(of["mean_ms"], of["std_ms"]) for of in (row, *row["elsewhere"])]
    latency = "".join(f"{f'{mean:.3f} ± {std:.3f}':<18}" for mean, std in latencies)
    if "measured_ms" in row:
        text += f" (measured here: {row['measured_ms']:.3f} ms"
        if "measured_at_table_speed_ms" in row:
            text += f", {row['measured_at_table_speed_ms']:.3f} at the table's speed"
        text += ")"
    score = f"{row['score']:.2f} ± {row['score_std']:.2f}"
    params, macs = f"{row['params'] / 1e6:.2f} M", f"{row['macs'] / 1e6:.0f} M"
    memory = f"{row['peak_memory_bytes'] / 1e6:.2f} MB"
    show(f"{label:<4}{latency}{row['kind']:<13}{score:<18}{params:<10}{macs:<10}{memory:<10}{text}")
