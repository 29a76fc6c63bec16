"""Winners of a search by a supernet: exported with the weights that they were scored with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx

from effsearch.accuracy.supernet_source import SupernetScore
from effsearch.export.classify import correct
from effsearch.run.cards import number
from effsearch.run.winner_folder import Weights
from effsearch.training.checkpoint import Checkpoint
from effsearch.training.data.augment import MEAN, STD, prepare
from searchspace import Architecture, build

_BATCH = 64


def inherited_weights(source: SupernetScore, architecture: Architecture, folder: Path) -> Weights:
    """Return what a winner is exported with: inherited weights, batch norms recalibrated.

    The model takes images of the side at which the supernet was trained and the winner scored,
    which may be smaller than the architecture's own.

    Args:
        source: what scored it.
        architecture: the winner.
        folder: where its checkpoint may be put until it is copied.
    """
    inherited = source.inherited
    side = inherited.side(architecture)
    network = build(architecture, len(source.classes)).eval()
    network.load_state_dict(source.network(architecture).cpu().state_dict())
    data = source.options.data.stem
    text = (
        f"inherited from a supernet of the space {source.space.name} trained on {data} "
        f"({len(source.classes)} classes), batch norms recalibrated; not trained further"
    )
    if side != architecture.resolution:
        text += (
            f"; the model takes {side} px, as the supernet was trained, the latency is that of "
            f"{architecture.resolution} px"
        )
    checkpoint = folder / f"{architecture.digest()}.pt"
    Checkpoint(
        architecture=architecture.to_yaml(),
        digest=architecture.digest(),
        state_dict=network.state_dict(),
        classes=source.classes,
        recipe=source.recipe,
        epoch=0,
        top1=source.score(architecture).score,
        training={},
    ).save(checkpoint)

    def accuracy(model: onnx.ModelProto) -> dict[str, Any]:
        batches = ((prepare(x, side), labels) for x, labels in inherited.pictures(_BATCH))
        right, count = correct(model, batches)
        share = right / count
        return number(
            100 * right / count,
            f"top-1 % on {data}",
            "measured",
            100 * math.sqrt(max(share * (1 - share), 1e-6) / count),
            images=count,
            correct=right,
            error="that of drawing the images",
            note=f"{data} is what the supernet was trained on: no ImageNet accuracy",
            runtime="ONNX Runtime on the CPU",
            preprocessing={
                "decoded": f"shorter edge to {source.recipe.source_side} px, centre square, RGB",
                "input_px": side,
                "mean": MEAN,
                "std": STD,
            },
            classes=list(source.classes),
        )

    return Weights(network, text, checkpoint, accuracy, side)
