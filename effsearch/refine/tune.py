"""Trainings on Ray Tune: on this machine, or on a cluster."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from effsearch.errors import WorkFailedError
from effsearch.refine.asha import JournaledASHA
from effsearch.refine.resources import Share
from effsearch.refine.trial import TrialSpec, run_trial
from effsearch.search.loop import InterruptedSearchError
from effsearch.search.ray_executor import connect_ray

_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is for the command line to handle
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_STORAGE = ".tune"


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Mapping[str, float]]:
    """Connect to a Ray cluster, or start one here, and give its resources.

    Args:
        address: of the cluster; None for this machine.
        cpus: cores to use where it is this machine.

    Raises:
        UserError: there is no cluster at the address.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    ray, owner = connect_ray(address, cpus)
    try:
        yield {str(name): float(value) for name, value in ray.cluster_resources().items()}
    finally:
        if owner:
            ray.shutdown()


def train_all(
    specs: Sequence[TrialSpec],
    share: Share,
    scheduler: JournaledASHA,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train networks until all are done, stopped or failed; the scheduler knows which.

    Args:
        specs: what to train, in the order in which to begin.
        share: what each training gets.
        scheduler: decides who goes on.
        folder: where Ray may keep files while this runs; on a cluster, one that all nodes share.
        stop: asked again and again whether to end early.

    Raises:
        InterruptedSearchError: `stop` said so.
        WorkFailedError: Ray itself failed.
    """
    from ray import tune

    by_digest = {spec.digest: spec for spec in specs}

    class Asked(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return stop()

    storage = folder / _STORAGE
    shutil.rmtree(storage, ignore_errors=True)
    trainable = tune.with_resources(
        tune.with_parameters(_train, specs=by_digest), {"cpu": share.cpus, "gpu": share.gpus}
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"digest": tune.grid_search([spec.digest for spec in specs])},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=share.concurrent,
            trial_dirname_creator=lambda trial: str(trial.config["digest"]),
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage), name="refine", verbose=0, stop=Asked()
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        # What Ray prints is on its own files; stdout belongs to the command.
        with contextlib.redirect_stdout(io.StringIO()):
            tuner.fit()
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise WorkFailedError(f"Ray Tune failed: {reason}") from None
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if stop():
        raise InterruptedSearchError
    for digest in by_digest:
        if scheduler.training(digest) is None:
            scheduler.fail(digest, "it ended without a result")


def _train(config: dict[str, Any], specs: Mapping[str, TrialSpec]) -> None:
    from ray import tune

    # Ray asks each report for what is ranked by; a failure has none.
    spec = specs[config["digest"]]
    empty = {"epoch": 0, spec.task.key: math.nan}
    run_trial(spec, lambda result: tune.report({**empty, **result}))
