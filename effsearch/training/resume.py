"""Whether a training may go on from a checkpoint: all that it was begun with is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from effsearch.training import checkpoint as checkpoints
from effsearch.training.checkpoint import Checkpoint
from effsearch.training.config import TrainConfig
from searchspace.errors import UserError


def held_checkpoint(
    path: Path,
    config: TrainConfig,
    digest: str,
    classes: Sequence[str],
    start: Mapping[str, Any],
    teacher: str | None,
) -> Checkpoint | None:
    """Return the checkpoint to go on from; None where the training begins.

    Args:
        path: of the checkpoint.
        config: of the training.
        digest: of its architecture.
        classes: of its images.
        start: facts of what it starts from.
        teacher: SHA-256 of the teacher's file; None where there is no teacher.

    Raises:
        UserError: there is a checkpoint and `resume` is not asked for, or the other way round, or
            it is of another training.
    """
    if not config.resume:
        if path.exists():
            raise UserError(f"{path} exists: resume it with --resume, or choose another --out")
        return None
    if not path.exists():
        raise UserError(f"{path} does not exist, so there is nothing to resume")
    held = checkpoints.load(path)
    if held.digest != digest:
        raise UserError(
            f"{path} is a checkpoint of another architecture ({held.digest}) than the target "
            f"({digest}); resume with the same target"
        )
    if held.classes != tuple(classes):
        raise UserError(
            f"{path} was trained on other classes than {config.data}; resume with the same data"
        )
    if held.recipe.digest() != config.recipe.digest():
        raise UserError(
            f"{path} was trained by another recipe ({held.recipe.digest()}) than the given "
            f"one ({config.recipe.digest()}); resume with the same recipe"
        )
    if held.training.get("seed") != config.seed:
        raise UserError(
            f"{path} was begun with seed {held.training.get('seed')}; resume with the same seed"
        )
    if held.training.get("teacher", teacher) != teacher:  # older files don't say
        begun = "with another --teacher" if held.training["teacher"] else "without --teacher"
        raise UserError(f"{path} was begun {begun}; resume with the same")
    if _decisive(held.start) != _decisive(start):
        raise UserError(f"{path} was begun {_start(held.start)}; resume with the same")
    return held


def _decisive(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a start has to be the same: a file may be called otherwise now."""
    return {name: value for name, value in facts.items() if name != "weights"}


def _start(facts: Mapping[str, Any]) -> str:
    if not facts:
        return "with fresh weights, without --init"
    option = "--init-backbone" if facts.get("part") == "backbone" else "--init"
    return (
        f"with {option} {facts.get('weights')} (SHA-256 {str(facts.get('sha256'))[:12]}...), "
        f"--freeze-stages {facts.get('freeze_stages')}, --layer-decay {facts.get('layer_decay')}"
    )
