"""Which candidates are trained, or handed back untrained; the same again in a resumed run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from effsearch.files import atomic_write_text
from effsearch.json_text import parse_json
from effsearch.search.candidates import Record
from effsearch.search.measured_here import MeasuredHere
from effsearch.search.winners import choose_winners
from searchspace import SearchSpace

FILE = "finalists.json"


def choose_finalists(
    space: SearchSpace,
    records: Sequence[Record],
    count: int,
    here: MeasuredHere,
    folder: Path,
) -> list[Record]:
    """Return the best candidates that differ from each other, by score, best first.

    The choice is written down: where candidates are measured, a second choice could be another,
    and what was trained would not be asked for any more.

    Args:
        space: of the candidates.
        records: all that was evaluated.
        count: how many to return, fewer where not so many fit.
        here: measures them where the table is this machine's.
        folder: of the refinement.
    """
    path = folder / FILE
    key = {"candidates": len(records), "count": count}
    by_digest = {r.candidate.digest: r for r in records if not r.candidate.reference}
    try:
        stored = parse_json(path.read_text("utf-8"))
        if {name: stored[name] for name in key} == key:
            chosen = [by_digest[digest] for digest in stored["digests"]]
            here.restore(stored["measured"])
            return chosen
    except (OSError, ValueError, KeyError, TypeError):
        pass
    chosen = choose_winners(space, records, count, here.accept)
    body = {
        **key,
        "digests": [record.candidate.digest for record in chosen],
        "measured": here.to_dict(),
    }
    atomic_write_text(path, json.dumps(body, indent=2) + "\n")
    return chosen
