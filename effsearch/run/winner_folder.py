"""A winner's folder: architecture, model, card (for programs and people); checkpoint if trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch

from effsearch.errors import WorkFailedError
from effsearch.export.check import (
    TOLERANCE,
    check_onnx,
    difference,
    randomise,
    require_parity,
)
from effsearch.export.facts import export_facts
from effsearch.export.onnx_format import add_metadata
from effsearch.export.weights import Weights
from effsearch.onnx_io.compact import with_pattern_weights, with_weights
from effsearch.onnx_io.onnx_files import OPSET, to_onnx
from effsearch.report.model_card import MODEL_CARD, winner_card
from effsearch.run.cards import UNTRAINED, accuracy_number, number
from effsearch.run.winner_files import digests, put_in_place
from effsearch.targets import ARCHITECTURE, CARD, CHECKPOINT
from searchspace import Architecture, build
from searchspace.resolution import height_width

MODEL = "model.onnx"


def write_winner(
    folder: Path,
    architecture: Architecture,
    facts: Mapping[str, Any],
    seed: int = 0,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """Write a winner's folder and check what is in it.

    The ONNX export is checked on random weights, with which mistakes show; the file that is kept
    carries the given weights, or random ones that take little room (`with_pattern_weights`).

    Args:
        folder: to be made; in one that exists, what is not ours stays.
        architecture: the winner.
        facts: what else its card says: latency, score and so on.
        seed: of fresh weights.
        weights: what the kept file carries; random weights where None.

    Returns:
        The card.

    Raises:
        WorkFailedError: where the files do not give back the same network.
    """
    label = architecture.name or architecture.digest()
    side = architecture.resolution
    if weights is not None and weights.side is not None:
        side = weights.side
    torch.manual_seed(seed)
    proven = build(architecture, *([] if weights is None else [weights.network.num_classes]))
    randomise(proven, seed)
    model = to_onnx(proven, side=side)
    parity = check_onnx(proven, model, seed)
    require_parity(label, parity)
    if weights is None:
        plain = model
        model, values = with_pattern_weights(plain, seed)
        shipped = difference(with_weights(plain, values), model, seed)
    else:
        model = to_onnx(weights.network, side=side)
        shipped = check_onnx(weights.network, model, seed)
    require_parity(label, shipped)
    labels = None if weights is None else weights.labels
    known = export_facts(proven, weights is not None, labels, side)
    add_metadata(model, known)

    measured = {}
    if weights is not None and weights.accuracy is not None:
        measured = {"accuracy": accuracy_number(weights.accuracy(model))}

    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    architecture.to_yaml(temporary / ARCHITECTURE)
    if Architecture.from_yaml(temporary / ARCHITECTURE).digest() != architecture.digest():
        raise WorkFailedError(f"{label}: {ARCHITECTURE} does not read back as the same network")
    data = model.SerializeToString()
    (temporary / MODEL).write_bytes(data)
    if weights is not None and weights.checkpoint is not None:
        shutil.copyfile(weights.checkpoint, temporary / CHECKPOINT)
    card: dict[str, Any] = {
        "digest": architecture.digest(),
        "name": architecture.name,
        **facts,
        "input": known["input"],
        "classes": known["classes"],
        "labels": known["labels"],
        "onnx": {
            "file": MODEL,
            "opset": OPSET,
            "bytes": len(data),
            "input": ["input", [1, 3, *height_width(side)]],
            "output": ["logits", _output_shape(model)],
            "weights": UNTRAINED if weights is None else weights.text,
            **measured,
            "parity": number(
                parity,
                "of the logits' standard deviation",
                "measured",
                error=f"greatest difference on one random image; at most {TOLERANCE:g} is allowed",
                weights="random, with non-zero gains, layer scales and statistics",
            ),
        },
    }
    page = winner_card(architecture, card, (temporary / CHECKPOINT).is_file())
    (temporary / MODEL_CARD).write_text(page, encoding="utf-8")
    card["files"] = digests(temporary)
    (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n")
    put_in_place(temporary, folder)
    return card


def _output_shape(model: onnx.ModelProto) -> list[int]:
    """Return the shape of the logits."""
    return [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
