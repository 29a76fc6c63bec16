"""What a run's summary and cards say of a refinement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from effsearch.export.weights import Weights
from effsearch.refine.ranking import (
    FAILED,
    STOPPED,
    Training,
    agreement,
    difference,
    level,
    sureness,
    undecided,
)
from effsearch.refine.refinement import Entrant, Refinement
from effsearch.refine.request import describe
from effsearch.run.cards import number
from effsearch.search.candidates import Record
from effsearch.targets import CHECKPOINT
from effsearch.training import checkpoint as checkpoints
from effsearch.training.tasks.registry import TASKS
from effsearch.training.tasks.task import Task
from searchspace import Architecture, build
from searchspace.resolution import resolution_text

RULE = (
    "Networks that got all epochs are ordered by their last {metric}; one that ASHA stopped takes "
    "its place by its {metric} at the epoch where it stopped, against the others' at that same "
    "epoch."
)


def add_refined(
    summary: dict[str, Any],
    refinement: Refinement,
    winners: Sequence[Record],
    baseline: Record | None,
) -> None:
    """Put a refinement into a run's summary: its own part, the rows, the statement and notes.

    The gain by score stays beside the one by training.

    Args:
        summary: changed in place.
        refinement: what came of it.
        winners: as handed back, best first.
        baseline: the published network to compare with.
    """
    refined = refined_summary(refinement, winners, baseline)
    summary["refined"] = refined
    rows = {row["digest"]: row for row in refined["networks"]}
    for place in [*summary["winners"], *filter(None, [summary["baseline"]])]:
        row = rows.get(place["digest"])
        if row is not None:
            key = refined["key"]
            names = (key, f"{key}_std", "epochs", "state", "rank_by_score", "rank_by_training")
            place["trained"] = {name: row[name] for name in names} | {
                "kind": refined["kind"],
                "unit": refined["unit"],
            }
    summary["statement"] = refined["statement"]
    if refined["taken"] < refined["requested"]:
        summary["notes"].append(
            f"{refined['requested']} candidates were to be trained, and the search found "
            f"{refined['taken']} within the limits."
        )
    for row in refined["networks"]:
        if row["state"] == FAILED:
            summary["notes"].append(f"Training {row['name']} failed: {row['reason']}")


def refined_summary(
    refinement: Refinement, winners: Sequence[Record], baseline: Record | None
) -> dict[str, Any]:
    """Return the summary's part on a refinement.

    Args:
        refinement: what came of it.
        winners: as handed back, best first.
        baseline: the published network to compare with.
    """
    wanted, images = refinement.wanted, refinement.wanted.data.val_images
    task = _task(refinement)
    order = refinement.order
    paths = {r.candidate.digest: f"winners/{rank}" for rank, r in enumerate(winners, 1)}
    ranked = [e for e in refinement.entrants if e.training.state != FAILED]
    groups = level([e.training for e in order])
    found = agreement([e.digest for e in ranked], [[t.digest for t in group] for group in groups])
    close, pairs = undecided([e.training for e in order], images)
    failed = [e for e in refinement.entrants if e.training.state == FAILED]
    devices = sorted({d for e in refinement.entrants for d in e.training.devices})
    taken = len(refinement.entrants) - (baseline is not None)
    words = [sureness(found)]
    if pairs:
        words.append(
            f"The {images} validation images cannot tell {close} of the {pairs} pairs apart (80 % "
            "interval), and each network was trained from one seed only."
        )
    return {
        "requested": wanted.count,
        "taken": taken,
        "failed": len(failed),
        "data": describe(wanted.data),
        "recipe": wanted.recipe.name,
        "recipe_digest": wanted.recipe.digest(),
        "epochs": wanted.recipe.epochs,
        "image_side_px": wanted.recipe.image_side,
        "seed": refinement.seed,
        "devices": devices,
        "kind": "measured",
        "key": task.key,
        "metric": task.metric,
        "unit": f"{task.metric} in % on {wanted.data.name}",
        "rule": RULE.format(metric=task.metric),
        "kendall_tau": None if math.isnan(found.tau) else found.tau,
        "pairs": found.pairs,
        "pairs_kept": found.kept,
        "pairs_level": found.level,
        "chance": found.chance,
        "pairs_undecided": close,
        "sureness": " ".join(words),
        "gain": _gain(refinement, winners, baseline),
        "statement": _statement(refinement, winners, baseline),
        "networks": [
            _row(refinement, e, None if place is None else place + 1, paths, baseline)
            for place, e in [*enumerate(order), *((None, e) for e in failed)]
        ],
    }


def _row(
    refinement: Refinement,
    entrant: Entrant,
    place: int | None,
    paths: dict[str, str],
    baseline: Record | None,
) -> dict[str, Any]:
    training, outcome = entrant.training, entrant.record.outcome
    trained = training.state != FAILED
    images, key = refinement.wanted.data.val_images, _task(refinement).key
    return {
        "name": entrant.name,
        "digest": entrant.digest,
        "baseline": baseline is not None and entrant.digest == baseline.candidate.digest,
        "path": paths.get(entrant.digest),
        "rank_by_score": refinement.entrants.index(entrant) + 1,
        "rank_by_training": place,
        "score": outcome.score,
        "score_std": outcome.score_std,
        "lower_bound": outcome.lower_bound,
        "mean_ms": outcome.mean_ms,
        key: training.value if trained else None,
        f"{key}_std": training.std(images) if trained else None,
        "epochs": training.epochs,
        "state": training.state,
        "stopped_at": training.epochs if training.state == STOPPED else None,
        "reason": training.reason,
        "seconds": round(training.seconds, 1),
        "curve": [list(point) for point in training.curve],
    }


def _gain(
    refinement: Refinement, winners: Sequence[Record], baseline: Record | None
) -> dict[str, Any] | None:
    first = refinement.entrant(winners[0].candidate.digest) if winners else None
    other = None if baseline is None else refinement.entrant(baseline.candidate.digest)
    if first is None or other is None:
        return None
    key = _task(refinement).key
    found = difference(first.training, other.training, refinement.wanted.data.val_images, key)
    return {
        key: found[key],
        "std": found["std"],
        "interval": [found["low"], found["high"]],
        "probability": 0.8,
        "epoch": found["epoch"],
        "over": other.name,
        "clear": found["low"] > 0,
        "error": "from the number of validation images alone; one seed",
    }


def _statement(refinement: Refinement, winners: Sequence[Record], baseline: Record | None) -> str:
    data, task = refinement.wanted.data, _task(refinement)
    note = describe(data)["note"]
    first = refinement.entrant(winners[0].candidate.digest) if winners else None
    if first is None:
        return f"No winner was trained to the end of an epoch on {data.name}; winners are by score."
    words = f"Trained on {data.name}, winner 1 reaches {_reached(first.training, task)}"
    found = _gain(refinement, winners, baseline)
    if found is None:
        why = "no published network fits" if baseline is None else "the baseline's training failed"
        return f"{words}; {why}, so there is nothing to compare it with. Mind that {note}."
    assert baseline is not None
    other = refinement.entrant(baseline.candidate.digest)
    assert other is not None
    low, high = found["interval"]
    epochs = {first.training.epochs, other.training.epochs}
    at = "" if len(epochs) == 1 else f" after {_epochs(found['epoch'])}, which both did"
    verdict = (
        "winner 1 is better there" if low > 0
        else "the published network is better there" if high < 0
        else "these images cannot tell which is better"
    )  # fmt: skip
    return (
        f"{words}, and {other.name}, the best published network that fits, "
        f"{_reached(other.training, task)}: {found[task.key]:+.2f}{at} (80% interval {low:+.2f} to "
        f"{high:+.2f} from {data.val_images} validation images; one seed), so {verdict}. "
        f"Mind that {note}."
    )


def _reached(training: Training, task: Task) -> str:
    stopped = ", where ASHA stopped it" if training.state == STOPPED else ""
    return f"{training.value:.2f} % {task.metric} in {_epochs(training.epochs)}{stopped}"


def _task(refinement: Refinement) -> Task:
    return TASKS[refinement.wanted.data.task]


def _epochs(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"


def trained_numbers(refinement: Refinement, digest: str) -> dict[str, Any] | None:
    """Return what a card says of a network's training; None where it has no place by training."""
    entrant = refinement.entrant(digest)
    if entrant is None:
        return None
    wanted, training = refinement.wanted, entrant.training
    return number(
        training.value,
        f"{_task(refinement).metric} in % on {wanted.data.name}",
        "measured",
        training.std(wanted.data.val_images),
        error=f"from the {wanted.data.val_images} validation images alone; one seed",
        data=wanted.data.path,
        note=describe(wanted.data)["note"],
        classes=wanted.data.classes,
        epochs=training.epochs,
        epochs_max=wanted.recipe.epochs,
        state=training.state,
        recipe=wanted.recipe.to_dict(),
        image_side_px=wanted.recipe.image_side,
        seed=refinement.seed,
        devices=list(training.devices),
        rank_by_score=refinement.entrants.index(entrant) + 1,
        rank_by_training=refinement.order.index(entrant) + 1,
        checkpoint=CHECKPOINT,
    )


def trained_weights(refinement: Refinement, architecture: Architecture) -> Weights | None:
    """Return the weights that a winner is exported with; None where it was not trained."""
    entrant = refinement.entrant(architecture.digest())
    if entrant is None:
        return None
    held = checkpoints.load(entrant.checkpoint)
    network = build(architecture, len(held.classes))
    held.load_into(network, architecture.digest())
    wanted, training = refinement.wanted, entrant.training
    side = wanted.recipe.image_side
    text = (
        f"trained on {wanted.data.name} ({len(held.classes)} classes) for {training.epochs} of "
        f"{wanted.recipe.epochs} epochs at {resolution_text(side)} px: {training.value:.2f} % "
        f"{_task(refinement).metric} there"
    )
    if training.state == STOPPED:
        text += "; stopped early by ASHA, so not trained to the end"
    if side != architecture.resolution:
        text += (
            f"; the model takes {resolution_text(architecture.resolution)} px, at which its "
            "accuracy was not measured"
        )
    return Weights(network.eval(), text, entrant.checkpoint, labels=held.classes)
