"""`effsearch export`: a network to a file in one of the formats, checked against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from effsearch.errors import FULL
from effsearch.export.facts import export_facts
from effsearch.export.formats import CARD_JSON, CARD_PAGE, FORMATS, IMAGE, WEIGHTS_SUFFIX, Format
from effsearch.export.job import Job, Written
from effsearch.export.request import ExportRequest
from effsearch.export.source import load_source
from effsearch.files import file_name
from searchspace import Architecture, Backbone, Network, UserError

WRITERS = {
    "onnx": "onnx_format:write",
    "coreml": "coreml_format:write",
    "pt2": "torch_formats:write_program",
    "python": "torch_formats:write_code",
    "torch": "torch_formats:write_network",
    "safetensors": "torch_formats:write_network",
}
_PACKAGE_FILE = "Manifest.json"  # what makes a folder a Core ML package


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        architecture: the network's.
        path: the file.
        files: what each file is, by name.
        format: the file's.
        facts: plain values on it: what was asked for, what it holds, what was checked.
    """

    architecture: Architecture
    path: Path
    files: Mapping[str, str]
    format: Format
    facts: Mapping[str, Any]


def write_export(request: ExportRequest) -> Exported:
    """Write a network's deployed form and say what was checked.

    The file takes its place when it was checked; until then what is there stays as it is.

    Raises:
        UserError: where what is asked for can't be, or the file exists.
        WorkFailedError: where the file does not agree with the network.
    """
    format_ = request.checked()
    source = load_source(request)
    network: Network | Backbone = source.network
    if request.features:
        network = Backbone(network.architecture, request.stages).load_network(network).eval()
    facts = export_facts(network, source.trained, None if request.features else source.labels)
    facts["takes"] = request.input_of(format_)
    path = request.out or _default_path(request, network, format_)
    inputs = [Path(request.target), *filter(None, (request.weights, request.labels))]
    _check_suffix(path, format_)
    files = _files(path, format_)
    cards = [path.with_name(path.name + suffix) for suffix in (CARD_JSON, CARD_PAGE)]
    for file in [*files, *(cards if request.card else ())]:
        _check_free(file, inputs, request.force)
    job = Job(
        network,
        source.trained,
        facts,
        path,
        request.precision or format_.precisions[0],
        request.images,
        request.opset,
        facts["takes"] == IMAGE,
        request.data,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = _writer(format_)(job)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UserError(f"--out: cannot write {path}: {error.strerror or error}") from None
    said = {
        "target": request.target,
        "weights": None if request.weights is None else str(request.weights),
        "format": format_.name,
        "precision": job.precision,
        "batch": job.batch,
        "takes": facts["takes"],
        "path": str(path),
        "trained": source.trained,
        "digest": facts["digest"],
        "num_classes": facts["classes"],
        "labels": facts["labels"],
        "input": facts["input"],
        "outputs": list(written.outputs),
        "check": written.check,
    }
    words = {file.name: text for file, text in files.items()}
    return Exported(network.architecture, path, words, format_, said)


def _writer(format_: Format) -> Callable[[Job], Written]:
    # Each format's libraries are imported for it alone.
    module, _, name = WRITERS[format_.name].partition(":")
    writer: Callable[[Job], Written] = getattr(import_module(f"{__package__}.{module}"), name)
    return writer


def _default_path(request: ExportRequest, network: Network | Backbone, format_: Format) -> Path:
    name = file_name(network.architecture.name or Path(request.target).stem)
    return Path(f"{name}{'-features' if request.features else ''}{format_.suffix}")


def _files(path: Path, format_: Format) -> dict[Path, str]:
    """Return the files that an export is, with what each one is."""
    files = {path: format_.words}
    if format_.name == "python":
        files[path.with_suffix(WEIGHTS_SUFFIX)] = "its weights, a PyTorch state"
    return files


def _check_suffix(path: Path, format_: Format) -> None:
    """Check that a file that effsearch reads again has the suffix by which its format is told."""
    own = FORMATS["safetensors"]
    if not format_.maps and (path.suffix == own.suffix) != (format_ == own):
        raise UserError(
            f"--out: {path}: {own.suffix} is the end of --format {own.name}, and its alone"
        )


def _check_free(path: Path, inputs: list[Path], force: bool) -> None:
    """Check that a file may be written: it is no input, and new unless `force` is given."""
    if any(source.exists() and path.exists() and path.samefile(source) for source in inputs):
        raise UserError(f"--out: {path} is what is exported; name another file")
    if path.is_dir() and not (path / _PACKAGE_FILE).is_file():
        raise UserError(f"--out: {path} is a folder; name a file")
    if path.exists() and not force:
        raise UserError(f"--out: {path} exists; name another file, or replace it with --force")
