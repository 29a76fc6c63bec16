"""Core ML packages."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effsearch.errors import WorkFailedError
from effsearch.export.facts import as_texts
from effsearch.export.formats import FORMATS
from effsearch.export.half import for_half
from effsearch.export.job import Job, Written
from effsearch.onnx_io.onnx_files import output_names
from effsearch.onnx_io.static import StaticNetwork
from effsearch.precisions import FLOAT16
from searchspace import UserError
from searchspace.errors import first_line
from searchspace.schema import CLASSIFICATION

LABEL, PROBABILITIES = "label", "probabilities"  # the second becomes Core ML's "label_probs"
_METADATA = "effsearch."  # before the keys of ours


class Deployed(nn.Module):
    """A network as phones run it: pixels in, where it takes an image, and probabilities out.

    Args:
        job: what is written.
        network: in place of the job's, where it was made ready for float16.
    """

    def __init__(self, job: Job, network: Any) -> None:
        super().__init__()
        self.network = StaticNetwork(network, batch=job.input_shape[0])
        self.image, self.probabilities = job.image, _classifies(job)
        wanted = job.facts["input"]
        mean, std = (torch.tensor(wanted[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        # Not folded into the first convolution: it pads with zeros, which are no pixels.
        self.gain, self.shift = nn.Buffer(1 / (255 * std)), nn.Buffer(-mean / std)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run on a normalised input, or on pixels of 0 to 255."""
        found: Tensor | tuple[Tensor, ...] = self.network(
            x * self.gain + self.shift if self.image else x
        )
        return found.softmax(1) if self.probabilities and isinstance(found, Tensor) else found


def write(job: Job) -> Written:
    """Write the package.

    Raises:
        UserError: where coremltools is not installed, or two classes have one name.
        WorkFailedError: where coremltools cannot convert it.
    """
    try:
        import coremltools
    except ImportError:
        raise UserError(
            "--format coreml: needs coremltools; install it with `pip install effsearch[coreml]`"
        ) from None
    labels = _labels(coremltools, job)
    network, words = job.network, ""
    if job.precision == FLOAT16:
        half = for_half(network, job.trained, str(job.path))
        network, words = half.network, f"; {half.words}"
    example = torch.zeros(job.input_shape)
    with torch.no_grad():
        traced = torch.jit.trace(Deployed(job, network).eval(), example)  # type: ignore[no-untyped-call]
    try:
        model = coremltools.convert(
            traced,
            inputs=[_input(coremltools, job, tuple(example.shape))],
            outputs=_outputs(coremltools, job),
            classifier_config=labels,
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision(job.precision),
            convert_to="mlprogram",
        )
        model.short_description = f"{job.facts['words']} (architecture {job.facts['digest']})"
        for key, value in as_texts(job.facts).items():
            model.user_defined_metadata[f"{_METADATA}{key}"] = value
        _save(model, job.path)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise WorkFailedError(
            f"{job.path}: coremltools could not convert it: {first_line(error)}"
        ) from None
    checked = (
        f"converted to an ML program ({job.precision}); Core ML runs on macOS and iOS only, not "
        f"run here{words}"
    )
    return Written(checked, [output.name for output in model.get_spec().description.output])


def _classifies(job: Job) -> bool:
    return bool(job.facts["labels"]) and job.network.architecture.task == CLASSIFICATION


def _input(coremltools: Any, job: Job, shape: tuple[int, ...]) -> Any:
    if job.image:
        return coremltools.ImageType("image", shape=shape, color_layout=coremltools.colorlayout.RGB)
    return coremltools.TensorType("input", shape=shape)


def _outputs(coremltools: Any, job: Job) -> list[Any]:
    names = (PROBABILITIES,) if _classifies(job) else output_names(job.network)
    return [coremltools.TensorType(name) for name in names]


def _labels(coremltools: Any, job: Job) -> Any:
    if not _classifies(job):
        return None
    twice = [label for label, count in Counter(job.facts["labels"]).items() if count > 1]
    if twice:
        raise UserError(
            f"--labels: {twice[0]!r} names two classes; Core ML gives probabilities by name, so "
            "names must differ"
        )
    return coremltools.ClassifierConfig(
        list(job.facts["labels"]),
        predicted_feature_name=LABEL,
        predicted_probabilities_output=PROBABILITIES,
    )


def _save(model: Any, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        package = Path(folder) / f"network{FORMATS['coreml'].suffix}"  # coremltools wants it
        model.save(str(package))
        if path.exists():  # a folder takes no other's place
            path.replace(Path(folder) / "before")
        package.replace(path)
