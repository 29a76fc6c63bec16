"""`refine`: train the finalists and the baseline, and say how the order changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effsearch.errors import WorkFailedError
from effsearch.refine.journal import FILE as JOURNAL
from effsearch.refine.journal import Entry, Journal
from effsearch.refine.progress import RefineProgress
from effsearch.refine.ranking import FAILED, Training, rank
from effsearch.refine.request import RefineRequest
from effsearch.refine.resources import Share, gpu_bytes, needed_bytes, share
from effsearch.search.candidates import Record
from effsearch.training.tasks.registry import TASKS
from effsearch.training.trainer import FINAL, LAST
from searchspace import Architecture, UserError

if TYPE_CHECKING:
    from effsearch.refine.asha import JournaledASHA

FOLDER = "refine"


@dataclass(frozen=True)
class Entrant:
    """A network that was trained, or was to be.

    Attributes:
        name: the published name of the baseline; else its digest.
        record: what the search knows of it.
        training: what came of training it.
        checkpoint: its last weights; there is none where it failed in its first epoch.
    """

    name: str
    record: Record
    training: Training
    checkpoint: Path

    @property
    def digest(self) -> str:
        """The network's digest."""
        return self.record.candidate.digest


@dataclass(frozen=True)
class Refinement:
    """What came of a refinement.

    Attributes:
        wanted: what was asked for.
        seed: of weights, order and augmentation, the same for all.
        entrants: by score, best first; the baseline among them.
    """

    wanted: RefineRequest
    seed: int
    entrants: tuple[Entrant, ...]

    @cached_property
    def order(self) -> list[Entrant]:
        """The entrants whose training did not fail, by training, best first."""
        places = {t.digest: i for i, t in enumerate(rank([e.training for e in self.entrants]))}
        return sorted(
            (e for e in self.entrants if e.digest in places), key=lambda e: places[e.digest]
        )

    def entrant(self, digest: str) -> Entrant | None:
        """Return a network's entrant where its training has a place in the order."""
        return next((e for e in self.order if e.digest == digest), None)

    def reorder(self, winners: Sequence[Record]) -> list[Record]:
        """Return winners by training; those without a place follow in their order."""
        places = {e.digest: i for i, e in enumerate(self.order)}
        return sorted(winners, key=lambda r: places.get(r.candidate.digest, len(places)))


def refine(
    wanted: RefineRequest,
    seed: int,
    folder: Path,
    finalists: Sequence[Record],
    baseline: Record | None,
    cpus: int,
    address: str | None = None,
    say: Callable[[str], None] = lambda message: None,
    stop: Callable[[], bool] = lambda: False,
) -> Refinement:
    """Train networks under successive halving, or continue to.

    The baseline begins: it is what the others have to beat. What is done is kept in the folder, a
    checkpoint an epoch; a resumed refinement trains what is not at its end and decides as before.

    Args:
        wanted: how many, on what and how.
        seed: of everything random; the same for all networks.
        folder: for checkpoints and results, the same path on all nodes of a cluster.
        finalists: candidates, best first.
        baseline: the published network to compare with; None where none fits.
        cpus: cores to use on this machine.
        address: of a Ray cluster; None for this machine.
        say: takes lines on the progress.
        stop: asked again and again whether to end early.

    Raises:
        UserError: there is no cluster at the address, or no network fits the recipe.
        InterruptedSearchError: `stop` said so; the folder has what was done.
        WorkFailedError: Ray failed, or every training did.
    """
    from effsearch.refine.asha import JournaledASHA
    from effsearch.refine.tune import cluster, train_all

    folder = folder.resolve()
    networks = [*([] if baseline is None else [baseline]), *finalists]
    names = {
        r.candidate.digest: (r.candidate.source if r is baseline else r.candidate.digest)
        for r in networks
    }
    journal = _journal(folder, wanted)
    scheduler = JournaledASHA(wanted.recipe, journal)
    todo = [r for r in networks if scheduler.training(r.candidate.digest) is None]
    if todo:
        fit = _that_fit(networks, names, wanted, say)
        images = wanted.data.train_images + wanted.data.val_images
        memory = needed_bytes(fit, wanted.recipe, images)
        say(f"training {len(todo)} of {len(networks)} networks on {wanted.data.name}: up to "
            f"{wanted.recipe.epochs} epochs of the recipe {wanted.recipe.name} each")  # fmt: skip
        with cluster(address, cpus) as available:
            known = None if address is not None else gpu_bytes()
            part = share(available, len(todo), wanted.concurrent, memory, known)
            say(part.text())
            scheduler = JournaledASHA(
                wanted.recipe, journal, _progress(networks, names, scheduler, wanted, part, say)
            )
            specs = [_spec(r, wanted, seed, folder, part, journal) for r in todo]
            train_all(specs, part, scheduler, folder, stop)
    entrants = []
    for record in sorted(networks, key=lambda r: (-r.outcome.lower_bound, r.number)):
        digest = record.candidate.digest
        training = scheduler.training(digest)
        assert training is not None
        entrants.append(Entrant(names[digest], record, training, folder / digest / FINAL))
    if all(e.training.state == FAILED for e in entrants):
        raise WorkFailedError(
            f"none of the {len(entrants)} trainings came to its end; the first failed: "
            f"{entrants[0].training.reason} (what the search found is in its study; "
            "--resume tries again)"
        )
    for entrant in entrants:
        if entrant.training.state != FAILED:
            (folder / entrant.digest / LAST).unlink(missing_ok=True)
    return Refinement(wanted, seed, tuple(entrants))


def _that_fit(
    networks: Sequence[Record],
    names: Mapping[str, str],
    wanted: RefineRequest,
    say: Callable[[str], None],
) -> list[Architecture]:
    """Return the networks that the recipe can train, and say of the others why it cannot.

    Those stay among the entrants, as trainings that failed.

    Raises:
        UserError: it can train none.
    """
    task, recipe, fit, why = TASKS[wanted.data.task], wanted.recipe, [], ""
    for record in networks:
        candidate = record.candidate
        try:
            task.fitted(candidate.architecture, recipe, wanted.data.classes)
        except UserError as error:
            why = str(error)
            say(f"{names[candidate.digest]} cannot be trained by the recipe {recipe.name}: {why}")
        else:
            fit.append(candidate.architecture)
    if not fit:
        raise UserError(f"--refine-recipe: {recipe.name} fits none of the networks: {why}")
    return fit


def _journal(folder: Path, wanted: RefineRequest) -> Journal:
    """Return what is known of trainings that can go on; the others begin anew."""
    from effsearch.refine.asha import JournaledASHA

    def keep(entry: Entry) -> bool:
        # A training that died may fare better now; one that diverged would diverge again.
        if entry.failed:
            return entry.final
        return (folder / entry.digest / FINAL).exists()

    path, key = folder / JOURNAL, TASKS[wanted.data.task].key
    journal = Journal.open(path, keep, key)
    scheduler = JournaledASHA(wanted.recipe, journal)
    lost = {
        entry.digest
        for entry in journal.entries
        if scheduler.training(entry.digest) is None and not (folder / entry.digest / LAST).exists()
    }
    return Journal.open(path, lambda entry: entry.digest not in lost, key) if lost else journal


def _spec(
    record: Record,
    wanted: RefineRequest,
    seed: int,
    folder: Path,
    part: Share,
    journal: Journal,
) -> Any:
    from effsearch.refine.trial import TrialSpec

    digest = record.candidate.digest
    return TrialSpec(
        digest=digest,
        architecture=record.candidate.architecture.to_dict(),
        data=wanted.data.path,
        out=str(folder / digest),
        recipe=wanted.recipe.to_dict(),
        seed=seed,
        device=part.device,
        threads=part.threads,
        reported=journal.epochs(digest),
    )


def _progress(
    networks: Sequence[Record],
    names: dict[str, str],
    scheduler: JournaledASHA,
    wanted: RefineRequest,
    part: Share,
    say: Callable[[str], None],
) -> RefineProgress:
    digests = list(names)
    return RefineProgress(
        names,
        {r.candidate.digest: r.outcome.macs for r in networks},
        wanted.recipe.epochs,
        {digest: scheduler.journal.epochs(digest) for digest in digests},
        {digest for digest in digests if scheduler.training(digest) is not None},
        min(part.concurrent, len(digests)),
        say,
        TASKS[wanted.data.task].metric,
    )
