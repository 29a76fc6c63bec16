"""Options of an export that don't go together are told, each with what to drop."""

from pathlib import Path

import pytest

from effsearch.export.formats import FORMATS
from effsearch.export.request import ExportRequest
from effsearch.export.source import read_labels
from searchspace import UserError


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"format": "onxx"}, r"use one of onnx, .*; did you mean onnx\?$"),
        ({"format": "CoreML"}, r"did you mean coreml\?$"),
        ({"format": "tflite"}, r"use one of .*safetensors"),
        ({"format": "coreml", "opset": 17}, "drop --opset or --format coreml$"),
        ({"opset": 12}, "--opset: 12 is not one of 13 to 23$"),
        ({"format": "torch", "precision": "float16"}, "drop --precision float16 or --format torch"),
        ({"precision": "float61"}, "--precision: 'float61' is unknown; use one of float32, "),
        ({"format": "coreml", "batch": "dynamic"}, "drop --batch dynamic or --format coreml$"),
        ({"format": "python", "batch": "2"}, "drop --batch 2 or --format python$"),
        ({"format": "coreml", "batch": "2"}, "drop --batch 2 or add --input tensor$"),
        ({"batch": "many"}, "--batch: 'many' is neither 1 to 4096 nor dynamic$"),
        ({"batch": "0"}, "--batch: '0' is neither"),
        ({"batch": "²"}, "--batch: '²' is neither"),
        ({"batch": "9" * 50}, "--batch: '9+...9+' is neither"),
        ({"input": "image"}, "--input image goes with --format coreml; drop"),
        ({"input": "video"}, "--input: 'video' is unknown; use one of tensor, image$"),
        ({"format": "safetensors", "features": True}, "drop --features-only or --format saf"),
        ({"features": True, "labels": "x"}, "drop --labels or --features-only$"),
        ({"stages": [1]}, "add --features-only$"),
        ({"num_classes": 0}, "--classes: 0 is not 1 or more$"),
        ({"out": Path(".")}, "--out: . is a folder; name a file$"),
    ],
)
def test_what_does_not_go_together_is_told(wanted, message):
    with pytest.raises(UserError, match=message) as error:
        ExportRequest("shvit_s1", **wanted).checked()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_all_that_a_format_names_goes_with_it(name):
    format_ = FORMATS[name]
    for precision in format_.precisions:
        data = Path("images") if precision == "int8" else None
        assert ExportRequest("x", name, precision=precision, data=data).checked() == format_
    for taken in format_.inputs:
        assert ExportRequest("x", name, input=taken).checked() == format_
    for kind in format_.batches:
        batch = "dynamic" if kind == "dynamic" else "4"
        request = ExportRequest("x", name, batch=batch, input="tensor")
        assert request.checked() == format_
        assert request.images == (None if kind == "dynamic" else 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1 is empty"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"\xff\xfe", "is no UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_labels_that_are_none_are_told(data, message, tmp_path):
    path = tmp_path / "labels.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=f"^--labels: .*{message}"):
        read_labels(path)
    path.write_text("a b\r\n größer \n")
    assert read_labels(path) == ("a b", "größer")
    path.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")  # as Windows writes it
    assert read_labels(path) == ("cat", "dog")
