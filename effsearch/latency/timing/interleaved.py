"""Networks timed in turns, between references that tell the machine's speed at the moment.

A shared machine changes its speed within seconds: neighbours take caches, clocks change, other
programs take a core. So networks take short turns over a longer time, and two references are probed
before and after each: a matrix product inside the cache, which follows the clock, and a network
that streams its weights, which follows the caches and, with several threads, what passes between
cores. Turns in which the operating system gave a core to others, or around which a reference was
slow, do not count; networks that lack turns get more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from effsearch.latency.machine_speed import MachineSpeed
from effsearch.latency.timing.measure import Measurement, median_error

try:
    import resource
except ImportError:  # not on Windows: there all runs count as left alone
    resource = None  # type: ignore[assignment]

PATIENCE = 3  # a turn makes at most so many times the runs it needs
MS_PER_BLIP = 10.0  # losing a core once in so long is usual
SLOW = 1.10  # of a reference, over its calm time
CALM_QUANTILE = 0.25
MIN_CALM_TURNS = 3
CALM_TURNS = 4  # below that a network gets more
EXTENSION = 1.0  # most time for further turns, over the time planned
_MAX_RUNS = 100


@dataclass(frozen=True)
class TimedTurn:
    """A few runs of one network, one after another, the first left out.

    Attributes:
        times_ms: of each run.
        kept: whether the operating system left the cores to it.
    """

    times_ms: tuple[float, ...]
    kept: tuple[bool, ...]

    @property
    def median_ms(self) -> float:
        """Median over the runs kept; over all where none was."""
        kept = [ms for ms, good in zip(self.times_ms, self.kept, strict=True) if good]
        return float(np.median(kept or self.times_ms))

    @property
    def disturbed(self) -> bool:
        """Whether no run was left alone."""
        return not any(self.kept)


def preemptions() -> int:
    """Return how often this process has lost a core that it was still using."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0


def take_turn(run: Callable[[], object], seconds: float, min_runs: int = 2) -> TimedTurn:
    """Return runs over some seconds, and until enough of them were left alone.

    Args:
        run: what is timed; runs once more before, to fill the caches.
        seconds: least length.
        min_runs: runs to be left alone; three times as many are tried.
    """
    run()
    times: list[float] = []
    kept: list[bool] = []
    end = time.perf_counter() + seconds
    while len(times) < _MAX_RUNS:
        before = preemptions()
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        times.append((now - start) * 1e3)
        # A program that computes takes a core every few ms; a short loss costs nothing.
        kept.append(preemptions() - before <= int(times[-1] / MS_PER_BLIP))
        enough = sum(kept) >= min_runs or len(times) >= PATIENCE * min_runs
        if enough and now >= end:
            break
    return TimedTurn(tuple(times), tuple(kept))


class TurnTaker:
    """A network timed in turns with others.

    Args:
        run: runs the network once.
        rounds: how often it takes its turn.
        seconds: least length of a turn.
        min_runs: least number of runs in a turn.
    """

    def __init__(
        self, run: Callable[[], object], rounds: int, seconds: float, min_runs: int = 2
    ) -> None:
        self.run, self.rounds, self.seconds, self.min_runs = run, rounds, seconds, min_runs
        self.turns: list[TimedTurn] = []
        self.probes: list[tuple[MachineSpeed, MachineSpeed]] = []

    def take(self) -> None:
        """Take a turn."""
        self.turns.append(take_turn(self.run, self.seconds, self.min_runs))


def take_turns(
    takers: Sequence[TurnTaker], probe: Callable[[], MachineSpeed]
) -> tuple[MachineSpeed, float]:
    """Give all takers their turns; return the machine's speed and its relative standard error.

    Those with fewer rounds than others sit some out, evenly. Those that lack calm turns in the end
    get more, for as long again.

    Args:
        takers: what is timed.
        probe: returns the machine's speed at the moment; called before and after each turn.
    """
    probes = [probe()]

    def turn(taker: TurnTaker) -> None:
        taker.take()
        probes.append(probe())
        taker.probes.append((probes[-2], probes[-1]))

    start = time.perf_counter()
    rounds = max(s.rounds for s in takers)
    for number in range(rounds):
        for taker in takers:
            if (number + 1) * taker.rounds // rounds - number * taker.rounds // rounds:
                turn(taker)
    now = time.perf_counter()
    end = now + EXTENSION * (now - start)
    while lacking := [
        s
        for s, calm in zip(takers, calm_turns(takers), strict=True)
        if sum(calm) < min(CALM_TURNS, s.rounds)
    ]:
        for taker in lacking:
            turn(taker)
        if time.perf_counter() >= end:
            break
    return calm_speed(probes)


def calm_limits(probes: Sequence[MachineSpeed]) -> MachineSpeed:
    """Return what the references may take at most beside a turn that counts."""
    return MachineSpeed(
        SLOW * float(np.quantile([p.reference_ms for p in probes], CALM_QUANTILE)),
        SLOW * float(np.quantile([p.product_ms for p in probes], CALM_QUANTILE)),
    )


def calm_speed(probes: Sequence[MachineSpeed]) -> tuple[MachineSpeed, float]:
    """Return the median speed over calm probes, and the reference network's standard error."""
    limit = calm_limits(probes)
    calm = [p for p in probes if _within(p, limit)] or probes
    networks = [p.reference_ms for p in calm]
    products = [p.product_ms for p in calm]
    return MachineSpeed(float(np.median(networks)), float(np.median(products))), median_error(
        networks
    )


def _within(probe: MachineSpeed, limit: MachineSpeed) -> bool:
    return probe.reference_ms <= limit.reference_ms and probe.product_ms <= limit.product_ms


def calm_turns(takers: Sequence[TurnTaker]) -> list[list[bool]]:
    """Return which turns of each count: left alone, and no reference was slow around them."""
    limit = calm_limits([p for s in takers for pair in s.probes for p in pair])
    return [
        [
            not turn.disturbed and all(_within(p, limit) for p in pair)
            for turn, pair in zip(s.turns, s.probes, strict=True)
        ]
        for s in takers
    ]


def summarise(taker: TurnTaker, calm: Sequence[bool], threads: int, limit: float) -> Measurement:
    """Return the median over calm turns, with its error.

    Args:
        taker: what took turns.
        calm: which of them count.
        threads: of one operator.
        limit: highest relative error of a measurement that is not noisy.
    """
    turns = [t for t, good in zip(taker.turns, calm, strict=True) if good] or taker.turns
    medians = [t.median_ms for t in turns]
    values = [ms for t in turns for ms, good in zip(t.times_ms, t.kept, strict=True) if good]
    values = values or [ms for t in turns for ms in t.times_ms]
    low, high = (float(q) for q in np.quantile(values, [0.1, 0.9]))
    error = median_error(medians)
    noisy = error > limit or sum(calm) < MIN_CALM_TURNS
    return Measurement(float(np.median(medians)), len(values), threads, error, low, high, noisy)
