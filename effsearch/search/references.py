"""The published networks that a search starts from and that its winners are compared with."""

from __future__ import annotations

from dataclasses import replace

from searchspace import Architecture, SearchSpace, zoo
from searchspace.architecture import head
from searchspace.resolution import resolution_text
from searchspace.schema import SEGMENTATION


def references(space: SearchSpace) -> dict[str, Architecture]:
    """Return the published networks of a space's task by name, members of the space or not.

    Segmentation networks are those with the classes of the space, at the resolutions of the space
    where it has not their own: what they take grows with it, and their weights take any.
    """
    spec = space.spec
    found = {name: zoo.load(name) for name in zoo.names(task=spec.task)}
    if spec.task != SEGMENTATION:
        return found
    classes = {axes["classes"][0] for axes in spec.heads.values()}
    networks = [network for network in found.values() if network.num_classes in classes]
    return {
        network.name: network
        for published in networks
        for network in (
            [published]
            if published.resolution in spec.resolution
            else [
                replace(published, resolution=r, name=f"{published.name} at {resolution_text(r)}")
                for r in spec.resolution
            ]
        )
    }


def published_backbones(space: SearchSpace) -> dict[str, Architecture]:
    """Return the published classifiers' backbones under heads of a space of another task, by name.

    With the widest use of stages, at the middle of the space's resolutions and with the published
    proportions; nothing for classifiers themselves.
    """
    spec = space.spec
    if spec.task != SEGMENTATION:
        return {}
    found = {}
    for name in zoo.names():
        network = zoo.load(name)
        for type_, axes in spec.heads.items():
            stride = axes["stride"][0]
            used = spec.head_axes(type_, len(network.stages), network.reductions[0])["stages"]
            found[name] = replace(
                network,
                resolution=spec.resolution[len(spec.resolution) // 2],
                head=head(
                    type_,
                    stages=max(used),
                    stride=stride,
                    width=max(8, network.stages[-1].width // 32 * 8),
                ),
            )
    return found
