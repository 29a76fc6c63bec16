"""The plan of a profile: which networks it runs, and where its raw measurements are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from effsearch.files import LineLog
from effsearch.json_text import parse_json
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from effsearch.latency.timing.machine import check_threads, host, slug
from effsearch.latency.timing.runtimes import DEFAULT, find_runtime
from searchspace import Architecture, SearchSpace, UserError, zoo
from searchspace.units import Unit, units

MAX_MINUTES = 24 * 60
CANDIDATES = 8


@dataclass(frozen=True)
class ProfilePlan:
    """What to measure.

    Attributes:
        device: name of the table.
        space: name or file of the space.
        minutes: time to spend measuring.
        threads: of one operator.
        zoo: whether to run the published networks as well.
        seed: which networks of the space.
        runtime: name of what runs them.
        precision: of its arithmetic; its usual one where None.
    """

    device: str
    space: str = "mobile"
    minutes: float = 10.0
    threads: int = 1
    zoo: bool = True
    seed: int = 0
    runtime: str = DEFAULT
    precision: str | None = None

    def check(self) -> None:
        """Check the values.

        Raises:
            UserError: names what is wrong.
        """
        if not self.device or slug(self.device) != self.device:
            raise UserError(
                f"--device: {self.device!r} is not a table name; use lower case, digits and "
                f"dashes, such as {slug(self.device) or 'my-laptop'}"
            )
        if not 0 < self.minutes <= MAX_MINUTES:
            raise UserError(f"--minutes: {self.minutes} is not above 0 and up to {MAX_MINUTES}")
        check_threads(self.threads)
        if not find_runtime(self.runtime, self.precision).can_profile:
            raise UserError(
                f"--runtime: {self.runtime} does not tell the times of operators, so it can "
                f"measure but not profile; use {DEFAULT}"
            )


class Store:
    """Raw measurements in a folder: `plan.json` and `networks.jsonl`.

    Raises:
        UserError: where the folder holds another plan's or another machine's.
        OSError: where it can't be written.
    """

    def __init__(self, folder: Path, plan: ProfilePlan) -> None:
        self.path = folder / "networks.jsonl"
        # Minutes may differ: more of them continue the same sequence.
        # The host's identity has the precision.
        own = ("minutes", "device", "precision")
        body = {k: v for k, v in asdict(plan).items() if k not in own}
        body["host"] = host(find_runtime(plan.runtime, plan.precision))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            card = folder / "plan.json"
            if card.exists() and self.path.exists():
                # Plans of an earlier version name no runtime.
                found = {"runtime": DEFAULT} | parse_json(card.read_text("utf-8"))
                changed = [key for key in body if found.get(key) != body[key]]
                if changed:
                    raise UserError(
                        f"{folder}: holds measurements with another {' and '.join(changed)}; "
                        "give another --work folder, or remove this one"
                    )
            else:
                card.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        except UserError:
            raise
        except ValueError:
            raise UserError(f"{folder}/plan.json: not JSON; remove this folder") from None

    def read(self) -> list[ProfiledNetwork]:
        """Return what has been measured; a last line cut short by an interruption is left out."""
        records = []
        for line in self._lines():
            try:
                records.append(ProfiledNetwork.from_dict(parse_json(line)))
            except (ValueError, KeyError, TypeError, UserError):
                continue
        return records

    def batches(self) -> tuple[int, int, int]:
        """Return how many batches were measured, how many repeats they took, and were left out."""
        found = [b for b in map(_batch_line, self._lines()) if b is not None]
        return len(found), sum(b[0] for b in found), sum(b[1] for b in found)

    def _lines(self) -> list[str]:
        return LineLog(self.path).read()

    def append(
        self, records: list[ProfiledNetwork], repeats: int = 0, left_out: bool = False
    ) -> None:
        """Add a batch's records and how it went, on disk when this returns.

        Args:
            records: the batch's networks; none where it was left out.
            repeats: how often it was measured again.
            left_out: whether it was given up.
        """
        batch = {"repeats": repeats, "left_out": left_out}
        lines = [json.dumps(body) for body in (*(r.to_dict() for r in records), batch)]
        LineLog(self.path).append(*lines)


def _batch_line(line: str) -> tuple[int, int] | None:
    try:
        body = parse_json(line)
        return int(body["repeats"]), int(body["left_out"])
    except (ValueError, KeyError, TypeError):
        return None


def sequence(plan: ProfilePlan) -> Iterator[Architecture]:
    """Yield the networks to run, without end: first the published ones, then the space's.

    Every third is drawn at random; the others are the candidate with the most units that none
    before it had for the time it will take, so that rare operators come up early.
    """
    seen: set[Unit] = set()
    if plan.zoo:
        for name in zoo.names():
            yield zoo.load(name)
            seen.update(p.unit for p in units(zoo.load(name)))
    space = SearchSpace.load(plan.space)
    rng = np.random.default_rng(plan.seed)
    number = 0
    while True:
        drawn = [space.sample(rng) for _ in range(1 if number % 3 == 0 else CANDIDATES)]
        fresh = [{p.unit for p in units(a)} - seen for a in drawn]
        best = max(range(len(drawn)), key=lambda i: len(fresh[i]) / _cost(drawn[i]) ** 0.5)
        seen |= fresh[best]
        yield drawn[best]
        number += 1


def _cost(architecture: Architecture) -> float:
    """Return roughly how long a network takes, in any unit: products of width at each position."""
    parts = (p.unit for p in units(architecture))
    return float(sum(u.in_width * u.width * math.prod(u.size) for u in parts if u.role != "stem"))
