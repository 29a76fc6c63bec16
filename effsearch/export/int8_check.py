"""A network quantised by a user's images, and what that did to its answers."""

from __future__ import annotations

from pathlib import Path

import onnx

from effsearch.export.calibration_images import CalibrationImages
from effsearch.export.classify import answers
from effsearch.export.int8 import behind_quotients, quantise
from effsearch.messages import say
from searchspace import Network

FOR_RANGES = 128
FOR_JUDGING = 500


def quantise_checked(
    network: Network, model: onnx.ModelProto, data: Path, trained: bool
) -> tuple[onnx.ModelProto, str]:
    """Return a network's model in int8, and a sentence on how its answers changed.

    Args:
        network: the network.
        model: its float32 export, for one image.
        data: images; training images give the ranges, validation images judge.
        trained: whether the network's weights are trained; fresh ones answer nothing.

    Raises:
        UserError: where the images can't be used.
    """
    images = CalibrationImages(data, network.architecture.resolution)
    say(f"quantising by {images.count_for_ranges(FOR_RANGES)} training images of {data}")
    found = quantise(model, images.for_ranges(FOR_RANGES))
    before, labels = answers(model, images.for_judging(FOR_JUDGING))
    after, _ = answers(found, images.for_judging(FOR_JUDGING))
    words = (
        f"int8 and float32 give the same class on {(before == after).mean():.1%} of "
        f"{len(labels)} validation images"
    )
    if not trained:
        words += " (with fresh weights, which says nothing of a trained network)"
    elif len(images.classes) == network.num_classes:
        words += (
            f"; top-1 is {(after == labels).mean():.1%} in int8 and "
            f"{(before == labels).mean():.1%} in float32"
        )
    kept = behind_quotients(model)
    if kept:
        words += f"; {len(kept)} products that a quotient is computed from stay in float32"
    return found, words
