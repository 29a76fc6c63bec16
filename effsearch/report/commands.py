"""What to do next with a run's winners, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from searchspace.schema import CLASSIFICATION


def next_commands(folder: Path, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what each command does, and the command; `IMAGES` stands for a person's images.

    Args:
        folder: of the run.
        summary: of the run.
    """
    run = shlex.quote(str(folder))
    if not summary["winners"]:
        return []
    first = shlex.quote(str(folder / summary["winners"][0]["path"]))
    commands = [
        ("Measure winner 1 on this machine", f"measure {first}"),
        ("Write it as a file to deploy", f"export {first} --format onnx --out winner-1.onnx"),
    ]
    classifiers = summary.get("task", CLASSIFICATION) == CLASSIFICATION  # others are not trained
    if classifiers:
        train = f"train {first} --data IMAGES --out trained"
        commands.insert(0, ("Train winner 1 on your images", train))
    if classifiers and "refined" not in summary:
        commands.append(
            (
                "Train the best five, and rank them by that",
                f"run --resume {run} --refine 5 --data IMAGES",
            )
        )
    return [(what, f"effsearch {command}") for what, command in commands]
