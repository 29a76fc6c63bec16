"""`Refiner`: chooses a run's winners by training the best candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from effsearch.refine.finalists import choose_finalists
from effsearch.refine.refinement import FOLDER, Refinement, refine
from effsearch.refine.request import RefineRequest
from effsearch.run.by_hand import best_published
from effsearch.run.request import SearchRequest
from effsearch.search.candidates import Record
from effsearch.search.measured_here import MeasuredHere
from searchspace import SearchSpace


@dataclass(frozen=True)
class Refiner:
    """Trains the best candidates of a run, and takes its winners in that order.

    Attributes:
        wanted: how many, on what and how.
        request: of the run.
        folder: of the run.
        cores: to use on this machine.
        address: of a Ray cluster; None for this machine.
        say: takes lines on the progress.
        stop: asked again and again whether to end early.
    """

    wanted: RefineRequest
    request: SearchRequest
    folder: Path
    cores: int
    address: str | None
    say: Callable[[str], None]
    stop: Callable[[], bool]

    def choose(
        self, space: SearchSpace, records: Sequence[Record], here: MeasuredHere
    ) -> tuple[list[Record], Refinement | None]:
        """Return the winners by training, and what came of it; None where nothing fits.

        Raises:
            UserError: there is no cluster at the address.
            InterruptedSearchError: `stop` said so; the folder has what was done.
            WorkFailedError: Ray failed, or every training did.
        """
        folder, wanted = self.folder / FOLDER, self.wanted
        count = max(wanted.count, self.request.winners)
        chosen = choose_finalists(space, records, count, here, folder)
        if not chosen:
            return [], None
        if len(chosen) < wanted.count:
            self.say(
                f"--refine {wanted.count}: the search found {len(chosen)} candidates within the "
                "limits; all of them are trained"
            )
        refinement = refine(
            wanted,
            self.request.seed,
            folder,
            chosen[: wanted.count],
            best_published(records),
            self.cores,
            self.address,
            self.say,
            self.stop,
        )
        return refinement.reorder(chosen)[: self.request.winners], refinement
