"""TARGET of the commands: whatever names a network, from a published one to a run's candidate."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from searchspace import Architecture, Operator, UserError, operators, zoo
from searchspace.errors import short
from searchspace.graph import CONTROL_FLOW
from searchspace.resolution import parse_resolution
from searchspace.schema import CLASSIFICATION

if TYPE_CHECKING:
    from effsearch.training.checkpoint import StoredNetwork

TRIALS = "trials.csv"  # of a run folder; has every recorded candidate with its architecture
ARCHITECTURE, CHECKPOINT = "architecture.yaml", "model.pt"  # of a winner's, or a training's, folder
CARD = "card.json"  # of a winner's folder
_YAML = (".yaml", ".yml")
_DEPLOYED = (".weights.pt", ".pt2", ".py", ".mlpackage")
_CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors")


@dataclass(frozen=True)
class Target:
    """A network that a command was pointed at.

    Attributes:
        label: as the user wrote it.
        architecture: None for an ONNX file.
        path: the file or folder; None for a published network.
        checkpoint: a file with its weights, where it has one.
        held: what that file holds, where it was read.
    """

    label: str
    architecture: Architecture | None
    path: Path | None
    checkpoint: Path | None = None
    held: StoredNetwork | None = None

    def stored(self) -> StoredNetwork | None:
        """Return the network with its weights; None where it has none.

        Raises:
            UserError: where the checkpoint is damaged.
        """
        if self.held is not None or self.checkpoint is None:
            return self.held
        from effsearch.training.checkpoint import load_network

        return load_network(self.checkpoint)

    def at(self, resolution: str | None) -> Target:
        """Return it with images of another resolution; None changes nothing.

        Raises:
            UserError: where that is no resolution, or the network cannot take it.
        """
        if resolution is None:
            return self
        if self.architecture is None:
            raise UserError(f"--resolution: {self.label} is an ONNX file, whose size is fixed")
        return replace(self, architecture=at_resolution(self.architecture, resolution))

    @property
    def model(self) -> Architecture | Path:
        """What a runtime runs: the architecture, or the ONNX file."""
        if self.architecture is not None:
            return self.architecture
        assert self.path is not None
        return self.path

    def operators(self) -> tuple[Operator, ...]:
        """Return what a device runs."""
        if isinstance(self.model, Architecture):
            return operators(self.model, "deploy")
        from effsearch.onnx_io.reading import read_operators

        return read_operators(self.model)


def load_target(text: str) -> Target:
    """Return what a person named.

    Args:
        text: name of a published network; an architecture's YAML; the folder of a winner or of a
            training; a checkpoint of `train` or of `export --format torch` or `safetensors`;
            `RUN#NUMBER` for a candidate in a run's table; or an ONNX file.

    Raises:
        UserError: where it is none of these.
    """
    if text in zoo.names(task=None):
        return Target(text, zoo.load(text), None)
    path = Path(text)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UserError(f"{text}: no such ONNX file")
        return Target(text, None, path)
    if text.endswith(_DEPLOYED):
        raise UserError(
            f"{text}: an export in this form only runs; name what was exported, or its export as "
            "torch, safetensors or ONNX"
        )
    if path.is_dir():
        return _in_folder(text, path)
    if path.suffix in _CHECKPOINTS:
        return _in_checkpoint(text, path)
    if path.suffix in _YAML or path.is_file():
        return Target(text, Architecture.from_yaml(path), path)
    run, mark, number = text.rpartition("#")
    if mark and Path(run).is_dir():
        return Target(text, _candidate(Path(run), number), Path(run))
    near = difflib.get_close_matches(text, zoo.names(task=None), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(
        f"{text}: neither a published network (`effsearch zoo` lists them), an architecture YAML, "
        f"a winner's folder, a checkpoint, RUN#NUMBER nor an ONNX file{hint}"
    )


def at_resolution(architecture: Architecture, resolution: str | None) -> Architecture:
    """Return a network at another resolution; None changes nothing.

    Raises:
        UserError: where it is none, or the network cannot take it.
    """
    if resolution is None:
        return architecture
    return replace(architecture, resolution=parse_resolution("--resolution", resolution))


def load_architecture(text: str) -> Architecture:
    """Return the architecture of a target; see `load_target`.

    Raises:
        UserError: where there is none; an ONNX file has none.
    """
    return load_built(text)[1]


def load_built(text: str) -> tuple[Target, Architecture]:
    """Return a target that can be built, and its architecture; see `load_target`.

    Raises:
        UserError: where there is none; an ONNX file has no architecture.
    """
    if Path(text).suffix == ".onnx":
        raise UserError(
            f"{text}: this command takes a published network's name, an architecture YAML, a "
            "winner's folder, a checkpoint or RUN#NUMBER, not an ONNX file"
        )
    target = load_target(text)
    assert target.architecture is not None
    return target, target.architecture


def load_classifier(text: str) -> Architecture:
    """Return the architecture of a target that is an image classifier; see `load_target`.

    Raises:
        UserError: where there is none, or it is for another task.
    """
    architecture = load_architecture(text)
    check_task(text, architecture, CLASSIFICATION)
    return architecture


def check_task(label: str, architecture: Architecture, task: str | None) -> None:
    """Check that a network is for a task; any is where the task is None.

    Raises:
        UserError: where it is not.
    """
    if task not in (None, architecture.task):
        takes = "image classifiers" if task == CLASSIFICATION else f"{task} networks"
        raise UserError(f"{label}: a {architecture.task} network; this takes {takes}")


def _in_folder(text: str, folder: Path) -> Target:
    held = folder / CHECKPOINT
    checkpoint = held if held.is_file() else None
    if (folder / ARCHITECTURE).is_file():
        return Target(text, Architecture.from_yaml(folder / ARCHITECTURE), folder, checkpoint)
    if checkpoint is not None:
        return replace(_in_checkpoint(text, held), path=folder)
    if (folder / TRIALS).is_file():
        raise UserError(
            f"{text}: a run has many networks; name a winner's folder ({folder / 'winners' / '1'}) "
            f"or a row of its {TRIALS} ({text}#NUMBER)"
        )
    raise UserError(f"{text}: a folder without {ARCHITECTURE} or {CHECKPOINT}")


def _in_checkpoint(text: str, path: Path) -> Target:
    from effsearch.training.checkpoint import load_network

    held = load_network(path)
    return Target(text, held.architecture, path, path, held)


def _candidate(run: Path, number: str) -> Architecture:
    """Return a candidate that a run recorded.

    Args:
        run: the run folder.
        number: the candidate's, as its table has it.

    Raises:
        UserError: where the run has no such table or candidate.
    """
    table = run / TRIALS
    if not table.is_file():
        raise UserError(
            f"{run}: no finished run (it has no {TRIALS}; `effsearch run --resume {run}` finishes "
            "one)"
        )
    numbers = []
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"number", "architecture"} <= set(rows.fieldnames or ()):
            raise UserError(
                f"{table}: has no column of architectures; `effsearch run --resume {run}` writes it"
            )
        for row in rows:
            if row["number"] == number:
                return Architecture.from_text(row["architecture"], f"{run}#{number}")
            numbers.append(row["number"])
    last = f", whose last is {numbers[-1]}" if numbers else ""
    raise UserError(f"{run}: no candidate {short(number)} in {TRIALS}{last}")


def control_flow_note(types: Iterable[str]) -> str:
    """Return what numbers of a network with branches or loops stand for; empty without them.

    Args:
        types: ONNX types of its operators.
    """
    found = sorted(CONTROL_FLOW.intersection(types))
    if not found:
        return ""
    return f"{', '.join(found)}: all branches count, and one turn of a loop; estimated"
