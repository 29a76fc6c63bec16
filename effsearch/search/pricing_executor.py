"""`PricingExecutor`: prices here, and takes slow scores from a cache or from workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from effsearch.accuracy.score_cache import KeptScore, ScoreCache
from effsearch.search.candidates import Outcome
from effsearch.search.evaluation import Evaluator, joined
from effsearch.search.executors import Arrivals, Executor
from searchspace import Architecture


class PricingExecutor:
    """Prices candidates while workers score them, so that parts they share are looked at once."""

    def __init__(
        self, workers: Executor, evaluator: Evaluator, cache: ScoreCache | None = None
    ) -> None:
        """Take what scores.

        Args:
            workers: give scores.
            evaluator: prices.
            cache: of scores; None for none.
        """
        self._workers, self._evaluator, self._cache = workers, evaluator, cache

    def start(self, architectures: Sequence[Architecture]) -> Arrivals:
        """See `Executor`."""
        known = [self._known(architecture) for architecture in architectures]
        pairs = zip(architectures, known, strict=True)
        arrivals = self._workers.start([a for a, outcome in pairs if outcome is None])
        self._evaluator.prepare(architectures)
        priced = [self._evaluator.priced(architecture) for architecture in architectures]
        return self._arrive(architectures, priced, known, arrivals)

    def _arrive(
        self,
        architectures: Sequence[Architecture],
        priced: Sequence[Outcome],
        known: Sequence[Outcome | None],
        arrivals: Arrivals,
    ) -> Arrivals:
        scored: deque[Outcome] = deque()
        for architecture, price, outcome in zip(architectures, priced, known, strict=True):
            if outcome is None:
                while not scored:
                    scored.extend(next(arrivals))
                    if not scored:
                        yield []
                outcome = scored.popleft()
                self._keep(architecture, outcome)
            yield [price if price.error else joined(price, outcome)]

    def _known(self, architecture: Architecture) -> Outcome | None:
        kept = None if self._cache is None else self._cache.get(architecture.digest())
        if kept is None:
            return None
        return Outcome(score=kept.score, score_std=kept.std, lower_bound=kept.lower_bound)

    def _keep(self, architecture: Architecture, outcome: Outcome) -> None:
        if self._cache is not None and not outcome.error:
            kept = KeptScore(outcome.score, outcome.score_std, outcome.lower_bound)
            self._cache.add(architecture.digest(), kept)

    def close(self) -> None:
        """See `Executor`."""
        self._workers.close()
