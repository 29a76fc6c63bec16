"""What a report says of networks that a person enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

OWN = "#0b7285"  # their colour in pictures


def own_words(row: Mapping[str, Any]) -> str:
    """Return in words what became of a network of a person's own.

    Args:
        row: of the summary's `yours`.
    """
    words = ["yours"] if row["in_space"] else ["yours", "outside of the space, so not varied"]
    if row["winner"] is not None:
        words.append(f"winner {row['winner']}")
    words += [
        f"{name} over the limit by {100 * excess:.1f} %"
        for name, excess in row["excess"].items()
        if excess > 0
    ]
    if row["winner_gains"] is not None and row["fits"]:
        words.append(f"winner 1 is at {row['winner_gains']['score']:+.2f} to it")
    return ", ".join(words)


def own_rows(trials: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the trials of networks that were enqueued and scored, `source` their names.

    Args:
        trials: the table of trials.
        rows: the summary's `yours`.
    """
    names = {row["digest"]: row["name"] for row in rows}
    found = trials[trials["digest"].isin(list(names)) & (trials["state"] == "complete")]
    return found.assign(source=found["digest"].map(names))
