"""`graph_features`: what the ImageNet estimate sees of any classifier's ONNX file."""

from __future__ import annotations

import math
from pathlib import Path

from effsearch.accuracy.features import Array, graph_totals
from effsearch.onnx_io.reading import graph_operators, read_graph
from searchspace.errors import UserError
from searchspace.graph import Graph


def graph_features(path: str | Path) -> Array:
    """Return the totals of an image classifier from its graph alone, (len(TOTALS),).

    Graph inputs after the first are taken for weights, as are initialisers. Its last layer is
    counted as ImageNet's, of 1000 classes.

    Raises:
        UserError: where the file is no ONNX graph of an image classifier.
    """
    graph = read_graph(path)
    height, width, classes = _image_and_classes(graph, path)
    try:
        return graph_totals(graph_operators(graph, path), round(math.sqrt(height * width)), classes)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: no image classifier: {error}") from None


def _image_and_classes(graph: Graph, path: str | Path) -> tuple[int, int, int]:
    """Return height, width and classes of a graph's first input and output."""
    image = graph.shapes.get(graph.inputs[0], ())
    if len(image) != 4 or image[1] != 3 or min(image[2:]) < 2:
        raise UserError(
            f"{path}: no image classifier: its input is {_text(image)}, an image would be 1x3xHxW"
        )
    if image[0] != 1:
        raise UserError(f"{path}: its batch is {image[0]}; export it for one image")
    logits = graph.shapes.get(graph.outputs[0], ())
    classes = logits[1] if len(logits) > 1 else 0
    if classes < 2 or math.prod(logits) != classes:
        raise UserError(
            f"{path}: no image classifier: its output is {_text(logits)}, logits would be 1xCLASSES"
        )
    return image[2], image[3], classes


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape) or "a scalar"
