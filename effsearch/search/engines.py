"""`make_executor`: where candidates are evaluated, by the engine that a person names."""

from __future__ import annotations

from collections.abc import Callable

from effsearch.accuracy.score_cache import ScoreCache
from effsearch.search.evaluation import Evaluator, EvaluatorSpec
from effsearch.search.executors import RAY_WAIT_S, Executor, LocalExecutor, SerialExecutor
from effsearch.search.pricing_executor import PricingExecutor
from searchspace import UserError

ENGINES = ("local", "ray")


def make_executor(
    engine: str,
    spec: EvaluatorSpec,
    evaluator: Evaluator,
    workers: int,
    address: str | None = None,
    ray_wait_s: float = RAY_WAIT_S,
    say: Callable[[str], None] = lambda message: None,
    cache: ScoreCache | None = None,
) -> Executor:
    """Return an executor.

    Args:
        engine: one of `ENGINES`.
        spec: what workers make their evaluators from.
        evaluator: this process's own, which serves where one local worker is asked for, and no
            score takes long: what is under way in a process of its own can be dropped. Where scores
            take long, it prices.
        workers: processes or actors.
        address: of a Ray cluster; None starts one here.
        ray_wait_s: how long to wait for a cluster's first free CPU.
        say: told what a cluster lacks.
        cache: of scores that take long; None for none.

    Raises:
        UserError: where the engine is unknown, workers are fewer than 1, or there is no cluster.
    """
    if engine not in ENGINES:
        raise UserError(f"--engine: {engine!r} is unknown; use one of {', '.join(ENGINES)}")
    if workers < 1:
        raise UserError(f"--workers: {workers} is not an integer of 1 or more")
    if address is not None and engine != "ray":
        raise UserError("--ray-address: needs --engine ray")
    if engine == "ray":
        from effsearch.search.ray_executor import RayExecutor

        executor: Executor = RayExecutor(spec, workers, address, ray_wait_s, say)
    elif workers == 1 and not spec.slow:
        return SerialExecutor(evaluator)
    else:
        executor = LocalExecutor(spec, workers)
    return PricingExecutor(executor, evaluator, cache) if spec.slow else executor
