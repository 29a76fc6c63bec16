"""The proxy card as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TITLES = {"all": "Over all pairs", "near": "Pairs within {near:.0%} of each other's latency"}


def markdown(card: Mapping[str, Any]) -> str:
    """Return the whole card."""
    recipe = card["recipe"]
    top1, noise = card["top1"], card["seed_noise_std_points"]
    seeds = (
        f"seeds alone move top-1 by {noise:.2f} points (standard deviation, "
        f"{card['networks_with_more_seeds']} networks of several seeds)"
        if noise is not None
        else "no network has been trained with several seeds yet, so the noise is unknown"
    )
    lines = [
        "# Proxy card: how well each score ranks trained networks",
        "",
        f"Made by `{card['command']}`.",
        "",
        f"Truth: {card['networks']} networks of this space trained from scratch for "
        f"{recipe['epochs']} epochs on {recipe['data']} (recipe {recipe['name']}, "
        f"{recipe['side_px']} px, {recipe['trained_on']}); top-1 {top1['min']} to {top1['max']} %, "
        f"median {top1['median']} %; {seeds}. Latencies of {card['device']}.",
        "",
        "These networks started unequally: the official zero residual gains for SHViT's blocks, "
        "none for EfficientViT's. Their ranks measure initialisation beside design, and no score "
        "of the product rests on them. Nor is a short training on small images ImageNet.",
        "",
        *_fidelity(card.get("fidelity")),
    ]
    for key, table in card["agreement"].items():
        title = _TITLES[key].format(near=card["near_within"])
        lines += ["", f"## {title}", "", *_agreement(table, card)]
    lines += ["", "## Inside each latency band", "", *_bands(card["per_band"])]
    lines += ["", "## Degenerates", "", *_degenerates(card)]
    if card.get("published"):
        lines += ["", "## The 16 published networks", "", *_published(card["published"])]
    return "\n".join(lines) + "\n"


def _fidelity(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return ["Whether a longer training ranks networks alike was not measured."]
    low, high = found["tau_interval_95"]
    return [
        f"Fidelity: on {found['networks']} networks the ranking after {found['epochs']} epochs has "
        f"tau {found['tau']:.2f} ({low:.2f} to {high:.2f}) with that after "
        f"{found['epochs_longer']} epochs."
    ]


def _agreement(table: Mapping[str, Any], card: Mapping[str, Any]) -> list[str]:
    ceiling = table["noise_ceiling"]
    ceiling = "unknown" if ceiling is None else f"{ceiling:.2f}"
    lines = [
        f"{table['pairs']} pairs. Ceiling that seed noise sets to any score's tau: {ceiling}. "
        "95% bootstrap intervals over networks. Lead: of inherited accuracy over the best score "
        "that needs no training, on the networks that both have.",
        "",
        "| score | kind | tau | 95% | lead | 95% | Spearman | ms a candidate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(table["scores"], key=lambda row: -row["tau"]):
        low, high = row["interval"]
        lead, between = "", ""
        if "lead" in row:
            lead = f"{row['lead']:+.2f}"
            between = f"{row['lead_interval'][0]:+.2f} to {row['lead_interval'][1]:+.2f}"
        ms = card["ms_per_candidate"].get(row["score"])
        spearman = card["spearman"][row["score"]]
        name = row["score"] + (f" ({row['networks']} networks)" if "networks" in row else "")
        lines.append(
            f"| {name} | {row['group']} | {row['tau']:.2f} | {low:.2f} to {high:.2f} | "
            f"{lead} | {between} | {spearman:.2f} | {'' if ms is None else f'{ms:.2f}'} |"
        )
    return lines


def _bands(bands: Sequence[Mapping[str, Any]]) -> list[str]:
    if not bands:
        return ["No band has enough networks."]
    names = list(bands[0]["tau"])
    lines = [
        "Tau of the pairs inside a band. A band has few pairs: single numbers say little.",
        "",
        "| score | " + " | ".join(f"{b['mean_ms']:.2f} ms, {b['networks']}" for b in bands) + " |",
        "|---" * (len(bands) + 1) + "|",
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{band['tau'][name]:.2f}" for band in bands) + " |"
        for name in names
    ]
    return lines


def _degenerates(card: Mapping[str, Any]) -> list[str]:
    lines = [
        "Planted degenerates that outrank the best published network of no more MACs, of "
        + f"{card['planted_of']}: "
        + ", ".join(f"{name} {count}" for name, count in card["planted"].items())
        + ".",
    ]
    if not card["degenerates"]:
        return lines
    names = list(card["degenerates"][0]["ahead_of"])
    lines += [
        "",
        "Those that were trained: the share of all trained networks that each is ahead of.",
        "",
        "| by | " + " | ".join(row["name"] for row in card["degenerates"]) + " |",
        "|---" * (len(card["degenerates"]) + 1) + "|",
    ]
    for name in names:
        places = " | ".join(f"{row['ahead_of'][name]:.0%}" for row in card["degenerates"])
        lines.append(f"| {name} | {places} |")
    return lines


def _published(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "Kendall's tau with the published ImageNet-1k top-1, over all and by whether it was "
        "reached with distillation; and the left-one-out error of top-1 estimated from the score "
        "alone, by a line in its logarithm with a step for distillation.",
        "",
        "| score | all | without distillation | with | RMSE, points |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        error = row["line_rmse_points"]
        lines.append(
            f"| {row['score']} | {row['all']:.2f} | {row['without_distillation']:.2f} | "
            f"{row['with_distillation']:.2f} | {'undefined' if error is None else f'{error:.2f}'} |"
        )
    return lines
