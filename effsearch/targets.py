"""TARGET of the commands: a published network's name, an architecture file, or an ONNX file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from searchspace import Architecture, Operator, UserError, operators, zoo
from searchspace.graph import CONTROL_FLOW

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Target:
    """A network that a command was pointed at.

    Attributes:
        label: as the user wrote it.
        architecture: None for an ONNX file.
        path: the file, None for a published network.
    """

    label: str
    architecture: Architecture | None
    path: Path | None

    def operators(self) -> tuple[Operator, ...]:
        """Return what a device runs."""
        if self.architecture is not None:
            return operators(self.architecture, "deploy")
        from effsearch.onnx_io.reading import read_operators

        assert self.path is not None
        return read_operators(self.path)


def load_target(text: str) -> Target:
    """Return a published network, an architecture file or an ONNX file.

    Raises:
        UserError: where it is none of the three.
    """
    if text in zoo.names():
        return Target(text, zoo.load(text), None)
    path = Path(text)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UserError(f"{text}: no such ONNX file")
        return Target(text, None, path)
    if path.suffix in _YAML or path.is_file():
        return Target(text, Architecture.from_yaml(path), path)
    near = difflib.get_close_matches(text, zoo.names(), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(
        f"{text}: neither a published network (`effsearch zoo` lists them), an architecture YAML "
        f"nor an ONNX file{hint}"
    )


def load_architecture(text: str) -> Architecture:
    """Return a published network or an architecture file.

    Raises:
        UserError: where it is neither; an ONNX file is not one.
    """
    if Path(text).suffix == ".onnx":
        raise UserError(
            f"{text}: this command takes a published network's name or an architecture YAML, not "
            "an ONNX file"
        )
    architecture = load_target(text).architecture
    assert architecture is not None
    return architecture


def control_flow_note(types: Iterable[str]) -> str:
    """Return what numbers of a network with branches or loops stand for; empty without them.

    Args:
        types: ONNX types of its operators.
    """
    found = sorted(CONTROL_FLOW.intersection(types))
    if not found:
        return ""
    return f"{', '.join(found)}: all branches count, and one turn of a loop; estimated"
