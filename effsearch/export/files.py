"""`effsearch export`: a network to a file in one of the formats, checked against it."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from effsearch.errors import FULL, WorkFailedError
from effsearch.export.half import TOLERANCE, Half, for_half, to_half
from effsearch.files import atomic_write, file_name
from effsearch.targets import at_resolution, load_built
from searchspace import Backbone, Network, UserError, build, zoo
from searchspace.errors import first_line
from searchspace.resolution import height_width
from searchspace.zoo import load_official

SUFFIX = {"onnx": ".onnx", "coreml": ".mlpackage", "torch": ".pt"}
PRECISIONS = {  # of each format, the default first
    "onnx": ("float32", "float16"),
    "coreml": ("float16", "float32"),
    "torch": ("float32",),
}
_PACKAGE_FILE = "Manifest.json"  # what makes a folder a Core ML package


def write_export(
    target: str,
    format_: str,
    out: Path | None,
    weights: Path | None,
    num_classes: int | None,
    seed: int,
    force: bool = False,
    resolution: str | None = None,
    features: bool = False,
    stages: Sequence[int] | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Write a network's deployed form and say what was checked.

    The file takes its place when it was checked; until then what is there stays as it is.

    Args:
        target: what `effsearch.targets.load_target` takes, but for ONNX files.
        format_: onnx, coreml or torch.
        out: the file; in the working folder under the network's name where None.
        weights: checkpoint of ours or, for a published network, the official one.
        num_classes: classes where there are no weights; None for the network's own.
        seed: of fresh weights.
        force: whether an earlier export may be replaced; what is exported never is.
        resolution: of the image, as text, in place of the network's own.
        features: whether the stages' maps are wanted in place of logits.
        stages: with `features`, which stages', from 0; None for all.
        precision: float32 or float16; None for float16 in Core ML, float32 elsewhere.

    Raises:
        UserError: where target, weights or `out` can't be used, or `out` exists.
        WorkFailedError: where the file does not agree with the network.
    """
    from effsearch.onnx_io.onnx_files import output_names

    allowed = PRECISIONS[format_]
    used = precision or allowed[0]
    if used not in allowed:
        raise UserError(f"--precision: {format_} has {' or '.join(allowed)}, not {used!r}")
    whole, trained = load_network(target, weights, num_classes, seed)
    whole.architecture = at_resolution(whole.architecture, resolution)
    network: Network | Backbone = whole
    name = file_name(whole.architecture.name or Path(target).stem)
    if features:
        if format_ == "torch":
            raise UserError(
                "--features-only: a PyTorch file holds the whole network; "
                "build(architecture, features_only=True).load_network(network) takes its backbone"
            )
        network = Backbone(whole.architecture, stages).load_network(whole).eval()
        name += "-features"
    path = out or Path(f"{name}{SUFFIX[format_]}")
    _check_free(path, [Path(target)] + ([] if weights is None else [weights]), force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if format_ == "torch":
            check = _torch(whole, path, trained)
        elif used == "float16":
            half = for_half(network, trained, str(path))
            if format_ == "onnx":
                check = _onnx_half(half, path)
            else:
                check = _coreml(half.network, path, used)
            check += f"; an emulation of float16 moves outputs by {half.drift:.1e} of their spread"
        else:
            check = _onnx(network, path) if format_ == "onnx" else _coreml(network, path, used)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UserError(f"--out: cannot write {path}: {error.strerror or error}") from None
    return {
        "target": target,
        "format": format_,
        "precision": used,
        "path": str(path),
        "trained": trained,
        "digest": network.architecture.digest(),
        "num_classes": None if features else whole.num_classes,
        "outputs": list(output_names(network)),
        "check": check,
    }


def _check_free(path: Path, inputs: list[Path], force: bool) -> None:
    """Check that a file may be written: it is no input, and new unless `force` is given."""
    if any(source.exists() and path.exists() and path.samefile(source) for source in inputs):
        raise UserError(f"--out: {path} is what is exported; name another file")
    if path.is_dir() and not (path / _PACKAGE_FILE).is_file():
        raise UserError(f"--out: {path} is a folder; name a file")
    if path.exists() and not force:
        raise UserError(f"--out: {path} exists; name another file, or replace it with --force")


def load_network(
    target: str, weights: Path | None, num_classes: int | None, seed: int
) -> tuple[Network, bool]:
    """Return a network in eval mode, and whether its weights are trained.

    Args:
        target: what `effsearch.targets.load_target` takes, but for ONNX files.
        weights: checkpoint of ours or, for a published network, the official one; None for none.
        num_classes: classes where there are no weights; None for the network's own.
        seed: of fresh weights.

    Raises:
        UserError: where target or weights can't be used.
    """
    from effsearch.training.checkpoint import EXPORTED, FORMAT, load_tensors, stored_network

    found, architecture = load_built(target)
    held = found.stored() if weights is None else None
    if held is not None:
        return held.build(), held.trained
    if weights is None:
        torch.manual_seed(seed)
        return build(architecture, num_classes).eval(), False
    content = load_tensors(weights)
    if isinstance(content, dict) and content.get("format") in (FORMAT, EXPORTED):
        held = stored_network(content, weights)
        return replace(held, architecture=architecture).build(), held.trained
    if target not in zoo.names(task=None):
        raise UserError(
            f"--weights: {weights} is no checkpoint of `effsearch train`; official checkpoints fit "
            "published networks only"
        )
    return load_official(target, content, num_classes), True


def _onnx(network: Network | Backbone, path: Path) -> str:
    from effsearch.export.check import TOLERANCE as EXACT
    from effsearch.export.check import check_onnx, randomise
    from effsearch.onnx_io.onnx_files import to_onnx

    # Fresh weights silence branches; a twin with random ones shows mistakes that they hide.
    twin = copy.deepcopy(network)
    randomise(twin)
    model = to_onnx(network)
    error = max(check_onnx(network, model), check_onnx(twin, to_onnx(twin)))
    if not error <= EXACT:
        raise WorkFailedError(
            f"{path}: not written: ONNX Runtime differs from PyTorch by {error:.2e} of the "
            f"outputs' spread, more than {EXACT:g}"
        )
    with atomic_write(path, "wb") as file:
        file.write(model.SerializeToString())
    return f"ONNX Runtime agrees with PyTorch to {error:.1e} of the outputs' spread"


def _onnx_half(half: Half, path: Path) -> str:
    from effsearch.export.check import check_onnx
    from effsearch.onnx_io.onnx_files import to_onnx

    error = check_onnx(half.shown, to_half(to_onnx(half.shown)))
    if not error <= TOLERANCE:
        raise WorkFailedError(
            f"{path}: not written: in float16, ONNX Runtime differs from PyTorch by {error:.1%} of "
            f"the outputs' spread, more than {TOLERANCE:.0%}; use --precision float32"
        )
    with atomic_write(path, "wb") as file:
        file.write(to_half(to_onnx(half.network)).SerializeToString())
    return f"ONNX Runtime agrees with float32 PyTorch to {error:.1e} of the outputs' spread"


def _coreml(network: Network | Backbone, path: Path, precision: str) -> str:
    try:
        import coremltools
    except ImportError:
        raise UserError(
            "--format coreml: needs coremltools; install it with `pip install effsearch[coreml]`"
        ) from None
    from effsearch.onnx_io.onnx_files import output_names
    from effsearch.onnx_io.static import StaticNetwork

    static = StaticNetwork(network).eval()
    example = torch.zeros(1, 3, *height_width(network.architecture.resolution))
    with torch.no_grad():
        traced = torch.jit.trace(static, example)  # type: ignore[no-untyped-call]
    try:
        model = coremltools.convert(
            traced,
            inputs=[coremltools.TensorType("input", shape=example.shape)],
            outputs=[coremltools.TensorType(name) for name in output_names(network)],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision(precision),
            convert_to="mlprogram",
        )
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            package = Path(folder) / f"network{SUFFIX['coreml']}"  # coremltools wants its suffix
            model.save(str(package))
            if path.is_dir():
                shutil.rmtree(path)
            package.replace(path)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise WorkFailedError(
            f"{path}: coremltools could not convert it: {first_line(error)}"
        ) from None
    return (
        f"converted to an ML program ({precision}); Core ML runs on macOS and iOS only, not run "
        "here"
    )


def _torch(network: Network, path: Path, trained: bool) -> str:
    from effsearch.training.checkpoint import load_network, save_network

    image = torch.randn(1, 3, *height_width(network.architecture.resolution))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        save_network(network, written, trained)
        with torch.no_grad():
            same = bool(torch.equal(load_network(written).build()(image), network(image)))
        if not same:
            raise WorkFailedError(f"{path}: what was read back differs from the network")
        written.replace(path)
    return "read back, it gives the same logits"
