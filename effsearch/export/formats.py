"""Formats of `effsearch export`: what each one is, and what goes with it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from effsearch.precisions import FLOAT16, FLOAT32, INT8
from searchspace.errors import UserError, short

IMAGE, TENSOR = "image", "tensor"
FIXED, DYNAMIC = "fixed", "dynamic"
WEIGHTS_SUFFIX = ".weights.pt"  # of the file beside code
CARD_JSON, CARD_PAGE = ".card.json", ".card.md"  # behind the name of what they are of
OPSETS = range(13, 24)  # ONNX's: the oldest that has what is written, the newest that was tried


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: as `--format` takes it.
        suffix: of its files.
        words: what it is.
        precisions: those that it is written in, the default first.
        inputs: what a file can take, the default first: pixels (`image`) or what they are
            normalised to (`tensor`).
        batches: kinds of batch size that a file can have; none where each file takes any.
        opset: whether it has ONNX's versions.
        maps: whether it can hold a backbone, that gives maps in place of logits.
    """

    name: str
    suffix: str
    words: str
    precisions: tuple[str, ...] = (FLOAT32,)
    inputs: tuple[str, ...] = (TENSOR,)
    batches: tuple[str, ...] = ()
    opset: bool = False
    maps: bool = True


FORMATS = {
    format_.name: format_
    for format_ in (
        Format(
            "onnx",
            ".onnx",
            "ONNX",
            precisions=(FLOAT32, FLOAT16, INT8),
            batches=(FIXED, DYNAMIC),
            opset=True,
        ),
        Format(
            "coreml",
            ".mlpackage",
            "Core ML",
            precisions=(FLOAT16, FLOAT32),
            inputs=(IMAGE, TENSOR),
            batches=(FIXED,),
        ),
        Format("pt2", ".pt2", "a program of torch.export", batches=(FIXED, DYNAMIC)),
        Format("python", ".py", "plain PyTorch code"),
        Format("torch", ".pt", "a network that effsearch builds again", maps=False),
        Format("safetensors", ".safetensors", "the same in safetensors", maps=False),
    )
}


def find_format(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UserError: where there is none; names the nearest.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name.lower(), FORMATS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"--format: {short(name)} is unknown; use one of {', '.join(FORMATS)}{hint}"
        )
    return FORMATS[name]
