"""A candidate with the weights that it inherits from a supernet, ready to be exported."""

from __future__ import annotations

from pathlib import Path

import onnx

from effsearch.export.classify import correct
from effsearch.export.weights import Accuracy, Weights
from effsearch.training.checkpoint import Checkpoint
from effsearch.training.data.augment import MEAN, STD, prepare
from effsearch.training.supernet.evaluate import InheritedScorer
from searchspace import Architecture, build
from searchspace.resolution import resolution_text

_BATCH = 64


def inherited_weights(
    inherited: InheritedScorer, architecture: Architecture, top1: float, data: str, folder: Path
) -> Weights:
    """Return what a candidate is exported with: inherited weights, batch norms recalibrated.

    The model takes images of the side at which the supernet was trained and the candidate scored,
    which may be smaller than the architecture's own.

    Args:
        inherited: the supernet and its images.
        architecture: the candidate.
        top1: what it was scored at, in %.
        data: name of the data set.
        folder: where its checkpoint may be put until it is copied.
    """
    side = inherited.side(architecture)
    network = build(architecture, len(inherited.classes)).eval()
    network.load_state_dict(inherited.network(architecture).cpu().state_dict())
    text = (
        f"inherited from a supernet of the space {inherited.supernet.space.name} trained on {data} "
        f"({len(inherited.classes)} classes), batch norms recalibrated; not trained further"
    )
    if side != architecture.resolution:
        text += (
            f"; the model takes {resolution_text(side)} px, as the supernet was trained, "
            "the latency is that of "
            f"{resolution_text(architecture.resolution)} px"
        )
    checkpoint = folder / f"{architecture.digest()}.pt"
    Checkpoint(
        architecture=architecture.to_yaml(),
        digest=architecture.digest(),
        state_dict=network.state_dict(),
        classes=inherited.classes,
        recipe=inherited.recipe,
        epoch=0,
        top1=top1,
        training={},
    ).save(checkpoint)

    def accuracy(model: onnx.ModelProto) -> Accuracy:
        batches = ((prepare(x, side), labels) for x, labels in inherited.pictures(_BATCH))
        right, count = correct(model, batches)
        return Accuracy(
            data,
            right,
            count,
            f"{data} is what the supernet was trained on: no ImageNet accuracy",
            {
                "runtime": "ONNX Runtime on the CPU",
                "preprocessing": {
                    "decoded": f"shorter edge to {inherited.recipe.source_side} px, centre "
                    "square, RGB",
                    "input_px": side,
                    "mean": MEAN,
                    "std": STD,
                },
                "classes": list(inherited.classes),
            },
        )

    return Weights(network, text, checkpoint, accuracy, side, inherited.classes)
