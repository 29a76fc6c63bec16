"""What is exported: a network with its weights, and the names of its classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from effsearch.export.request import ExportRequest
from effsearch.targets import at_resolution, load_built
from searchspace import Network, UserError, build, zoo
from searchspace.zoo import load_official


@dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
        network: in eval mode, at the resolution that is wanted.
        trained: whether its weights are trained; else they are fresh.
        labels: names of its classes in the order of its outputs; None where they are not known.
    """

    network: Network
    trained: bool
    labels: tuple[str, ...] | None

    def named(self, labels: tuple[str, ...] | None, where: Path | None) -> Source:
        """Return it with other names of its classes; None changes nothing.

        Raises:
            UserError: where they are not as many as there are classes.
        """
        if labels is None:
            return self
        if len(labels) != self.network.num_classes:
            raise UserError(
                f"--labels: {where} has {len(labels)} names for {self.network.num_classes} classes"
            )
        return replace(self, labels=labels)


def load_source(request: ExportRequest) -> Source:
    """Return what a request is about.

    Raises:
        UserError: where target, weights or labels can't be used.
    """
    labels = None if request.labels is None else read_labels(request.labels)
    source = _load(request, None if labels is None else len(labels)).named(labels, request.labels)
    network = source.network
    network.architecture = at_resolution(network.architecture, request.resolution)
    return source


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, a line each.

    Raises:
        UserError: where it is missing, is no text, or has an empty line.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"--labels: cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--labels: {path} is no UTF-8 text") from None
    names = tuple(line.strip() for line in lines)
    if not names or "" in names:
        line = names.index("") + 1 if names else 1
        raise UserError(f"--labels: {path}: line {line} is empty; each line names a class")
    return names


def _load(request: ExportRequest, named: int | None) -> Source:
    from effsearch.training.checkpoint import EXPORTED, FORMAT, load_tensors, stored_network

    weights, classes = request.weights, request.num_classes
    found, architecture = load_built(request.target)
    held = found.stored() if weights is None else None
    if weights is None and held is None:
        torch.manual_seed(request.seed)
        return Source(build(architecture, classes or named).eval(), False, None)
    if weights is not None:
        content = load_tensors(weights)
        if isinstance(content, dict) and content.get("format") in (FORMAT, EXPORTED):
            held = replace(stored_network(content, weights), architecture=architecture)
        elif request.target not in zoo.names(task=None):
            raise UserError(
                f"--weights: {weights} is no checkpoint of effsearch; official checkpoints fit "
                "published networks only"
            )
        else:
            return Source(load_official(request.target, content, classes), True, None)
    assert held is not None
    if classes not in (None, held.num_classes):
        raise UserError(
            f"--classes: the weights have {held.num_classes}, not {classes}; drop --classes"
        )
    return Source(held.build(), held.trained, held.classes)
