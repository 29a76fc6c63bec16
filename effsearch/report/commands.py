"""What to do next with a run's winners, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from searchspace.schema import CLASSIFICATION, SEGMENTATION

IMAGES = {
    CLASSIFICATION: "a folder of your images (train/CLASS/*.jpg, val/CLASS/*.jpg)",
    SEGMENTATION: (
        "a folder of your images with masks (classes.txt, train/images/*.jpg, train/masks/*.png, "
        "and val likewise)"
    ),
}
"""What `IMAGES` stands for in the commands, by task."""


def next_commands(folder: Path, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what each command does, and the command.

    Args:
        folder: of the run.
        summary: of the run.
    """
    run = shlex.quote(str(folder))
    if not summary["winners"]:
        return []
    first = shlex.quote(str(folder / summary["winners"][0]["path"]))
    task = summary.get("task", CLASSIFICATION)
    of = "" if task == CLASSIFICATION else f" --task {task}"
    commands = [
        ("Train winner 1 on your images", f"train {first}{of} --data IMAGES --out trained"),
        ("Measure it on this machine", f"measure {first}"),
        ("Write it as a file to deploy", f"export {first} --format onnx --out winner-1.onnx"),
    ]
    if "refined" not in summary:
        commands.append(
            (
                "Train the best five, and rank them by that",
                f"run --resume {run} --refine 5 --data IMAGES",
            )
        )
    return [(what, f"effsearch {command}") for what, command in commands]
