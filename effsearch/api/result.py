"""`Result`: what a run found, read from its folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from effsearch.accuracy.score import Score
from effsearch.json_text import parse_json
from effsearch.report.run_files import FRONT, read_summary, read_trials
from effsearch.report.write import PAGE, regenerate
from effsearch.targets import TRIALS, load_target
from searchspace import Architecture, Network, UserError, build
from searchspace.drawing import in_words, table_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Latency:
    """Latency of a network for one image, as a run took it.

    Attributes:
        device: name of the table.
        kind: `measured`, `fitted`, `transferred` or `estimated`.
        mean_ms: expected latency.
        std_ms: standard deviation of the prediction.
        interval_ms: 80 % interval.
        quantile_ms: what is not exceeded with the run's confidence.
    """

    device: str
    kind: str
    mean_ms: float
    std_ms: float
    interval_ms: tuple[float, float]
    quantile_ms: float


@dataclass(frozen=True)
class Found:
    """A network of a run, with its numbers.

    Attributes:
        name: `winner 1`, or that of a network known before.
        architecture: the network.
        latency: on the run's device.
        score: by the run's score source.
        params: parameters.
        macs: multiply-accumulates.
    """

    name: str
    architecture: Architecture
    latency: Latency
    score: Score
    params: int
    macs: int

    def build(self, num_classes: int = 1000) -> Network:
        """Return the network with fresh weights."""
        return build(self.architecture, num_classes)


@dataclass(frozen=True)
class Winner(Found):
    """A winner of a run.

    Attributes:
        rank: from 1.
        folder: with its architecture.yaml, model.onnx and card.json.
    """

    rank: int
    folder: Path

    def trained(self) -> Network:
        """Return the network with the weights that the run trained or inherited for it.

        Raises:
            UserError: where it has none: the run searched, and trained nothing.
        """
        stored = load_target(str(self.folder)).stored()
        if stored is None:
            raise UserError(f"{self.folder}: was not trained; `effsearch train` trains it")
        return stored.build()


class Result:
    """What a run found.

    Attributes:
        folder: the run folder.
        summary: its summary.json.
    """

    def __init__(
        self, folder: Path, temporary: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self.folder = folder
        self.summary = read_summary(folder)
        self._temporary = temporary  # removed with this object

    @cached_property
    def winners(self) -> list[Winner]:
        """The winners, best first."""
        winners = []
        for rank, row in enumerate(self.summary["winners"], 1):
            place = self.folder / row["path"]
            architecture = load_target(str(place)).architecture
            assert architecture is not None
            winners.append(Winner(f"winner {rank}", architecture, *self._numbers(row), rank, place))
        return winners

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every recorded candidate: its numbers, `architecture`, and `stem`, `blocks`, `widths`."""
        return _readable(self._recorded)

    @cached_property
    def front(self) -> pd.DataFrame:
        """The Pareto front, as `trials`."""
        return _readable(self._recorded_front)

    @property
    def baseline(self) -> Found | None:
        """The best published network that meets the budget; None where none does."""
        return self._by_hand("baseline")

    @property
    def baseline_scaled(self) -> Found | None:
        """The best that scaling a published family by hand gives; None where nothing fits."""
        return self._by_hand("baseline_scaled")

    def plot(self) -> Figure:
        """Return the picture of candidates, front, budget and published networks."""
        from effsearch.report.figure import pareto_figure

        return pareto_figure(self._recorded, self._recorded_front, self.summary)

    def report(self) -> Path:
        """Return the report's page, made again where it is missing."""
        page = self.folder / PAGE
        if not page.is_file():
            regenerate(self.folder)
        return page

    def save(self, folder: str | Path) -> Result:
        """Copy the run folder, and return the result in its new place.

        Raises:
            UserError: where there is something at that place, or it can't be written.
        """
        if Path(folder).exists():
            raise UserError(f"{folder}: exists; name a new folder")
        try:
            shutil.copytree(self.folder, folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None
        regenerate(Path(folder))  # the page's commands name the folder
        return load(folder)

    def __repr__(self) -> str:
        """Return a line a network."""
        head = f"Result on {self.summary['device']} within {self.summary['budget_ms']:g} ms"
        return "\n".join([head, *("  " + ", ".join(row) for row in self._rows())])

    def _repr_html_(self) -> str:
        """Return a table of the winners and what they have to beat, for notebooks."""
        head = ("", "latency, ms", self.summary["score"]["unit"], "M parameters", "network")
        statement = escape(self.summary["statement"])
        return f"{table_html(head, self._rows())}<p>{statement}</p>"

    @cached_property
    def _recorded(self) -> pd.DataFrame:
        return read_trials(self.folder)

    @cached_property
    def _recorded_front(self) -> pd.DataFrame:
        return read_trials(self.folder, FRONT)

    def _rows(self) -> list[tuple[str, ...]]:
        found = [*self.winners, self.baseline, self.baseline_scaled]
        return [
            (
                one.name,
                f"{one.latency.mean_ms:.3f} ± {one.latency.std_ms:.3f}",
                f"{one.score.score:.2f} ± {one.score.std:.2f}",
                f"{one.params / 1e6:.2f}",
                in_words(one.architecture),
            )
            for one in found
            if one is not None
        ]

    def _by_hand(self, key: str) -> Found | None:
        row = self.summary.get(key)
        if row is None:
            return None
        (network,) = _networks(self._recorded[self._recorded["digest"] == row["digest"]][:1])
        return Found(row["name"], network, *self._numbers(row))

    def _numbers(self, row: Mapping[str, Any]) -> tuple[Latency, Score, int, int]:
        low, high = row["interval_ms"]
        numbers = row["kind"], row["mean_ms"], row["std_ms"], (low, high), row["quantile_ms"]
        latency = Latency(self.summary["device"], *numbers)
        return latency, Score(row["score"], row["score_std"]), row["params"], row["macs"]


def load(folder: str | Path) -> Result:
    """Return the result of a finished run.

    Raises:
        UserError: where the folder is none.
    """
    return Result(Path(folder))


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a run's table with architectures as such, and with columns for people."""
    networks = _networks(frame)
    return frame.assign(
        architecture=pd.Series(networks, frame.index, dtype=object),
        stem=[f"{a.stem.type} /{a.stem.stride} @{a.stem.width}" for a in networks],
        widths=["-".join(str(stage.width) for stage in a.stages) for a in networks],
    )


def _networks(frame: pd.DataFrame) -> list[Architecture]:
    """Return the architectures of a run's table.

    Raises:
        UserError: where the table lacks them, or one is none.
    """
    if "architecture" not in frame:
        raise UserError(
            f"{TRIALS}: has no column of architectures; `effsearch run --resume` writes it"
        )
    try:
        return [Architecture.from_dict(parse_json(text)) for text in frame["architecture"]]
    except (TypeError, ValueError) as error:
        raise UserError(f"{TRIALS}: {error}") from None
