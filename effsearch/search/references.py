"""The published networks that a search starts from and that its winners are compared with."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

from searchspace import Architecture, SearchSpace, zoo
from searchspace.architecture import head
from searchspace.errors import UserError
from searchspace.resolution import resolution_text
from searchspace.schema import SEGMENTATION, OptionValue


def references(space: SearchSpace) -> dict[str, Architecture]:
    """Return the published networks of a space's task by name, members of the space or not.

    Segmentation networks are those with as many classes as the space's, or else all with their
    classifier changed, at the resolutions of the space where it has not their own: what they take
    grows with it, and their weights take any.
    """
    found = [zoo.load(name) for name in zoo.names(task=space.spec.task)]
    if space.spec.task == SEGMENTATION:
        classes = next(axes["classes"][0] for axes in space.spec.heads.values())
        same = [network for network in found if network.num_classes == classes]
        known = same or [_with_classes(network, classes) for network in found]
        found = []
        for network in known:
            at_home = network.resolution in space.spec.resolution
            found += [network] if at_home else _at_other_resolutions(network, space)
    return {network.name: network for network in found}


def scalable(space: SearchSpace) -> dict[str, Architecture]:
    """Return what is scaled by hand: `references`, and segmentation ones at other resolutions."""
    found = references(space)
    if space.spec.task == SEGMENTATION:
        others = [n for network in found.values() for n in _at_other_resolutions(network, space)]
        found |= {network.name: network for network in others}
    return found


def published_backbones(space: SearchSpace) -> dict[str, Architecture]:
    """Return the published classifiers' backbones under a segmentation space's heads, by name.

    Their widths are in the published proportion and all else the most that the space has, at the
    middle of its resolutions; nothing where the space is of classifiers itself.
    """
    spec, found = space.spec, {}
    if spec.task == SEGMENTATION:
        resolution = spec.resolution[len(spec.resolution) // 2]
        for type_, name in itertools.product(spec.heads, zoo.names()):
            network = zoo.load(name)
            axes = spec.head_axes(type_, len(network.stages), network.reductions[0])
            options = {option: values[-1] for option, values in axes.items() if values}
            options["width"] = max(8, network.stages[-1].width // 32 * 8)
            with contextlib.suppress(UserError):  # its maps do not fit each other there
                own = head(type_, **options)
                found[name] = replace(network, resolution=resolution, head=own)
    return found


def _with_classes(network: Architecture, classes: OptionValue) -> Architecture:
    options = {**network.head.option, "classes": classes}
    changed = replace(network.head, options=tuple(options.items()))
    return replace(network, head=changed, name=f"{network.name} with {classes} classes")


def _at_other_resolutions(network: Architecture, space: SearchSpace) -> list[Architecture]:
    """Return a network at the other resolutions that a space has, where its maps fit them."""
    base, found = network.name.split(" at ")[0], []
    for other in space.spec.resolution:
        if other != network.resolution:
            with contextlib.suppress(UserError):
                name = f"{base} at {resolution_text(other)}"
                found.append(replace(network, resolution=other, name=name))
    return found
