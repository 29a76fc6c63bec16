"""The page that goes with a kit: how to measure its networks."""

from __future__ import annotations

_PAGE = """\
# Measuring {device}

{count} networks of the space `{space}`, most telling first: after the first {first} a usable table
can be made, and each further one sharpens it. Write the **median latency for one image in
milliseconds** of each into the column `latency_ms` of `measurements.csv` (`runs`, how many times it
was run, is optional), fill in the lines at its top that begin with `#`, and run

    effsearch calibrate measurements.csv --device {device}

The files stay where they are: the CSV finds each network beside it. Rows left empty are skipped.

What makes good numbers, everywhere:
- One way of running for all of them: the same runtime, compute unit, precision and threads.
- A cool, charged, otherwise idle device, no battery saver; pause when it gets warm. Measure the
  first network again at the end: it should repeat within 2 %.
- Warm up first (the first runs compile and cache), then at least 20 runs; take the median.

## iPhone and iPad (Xcode's Core ML performance report)
1. {coreml}
2. Connect the device (iOS 16 or later) by cable, unlock it, turn Developer Mode on (Settings >
   Privacy & Security).
3. Open a package in Xcode, choose the tab *Performance*, then *+*, the device, and compute units
   *All* (or *CPU and Neural Engine*; the same for all of them), and *Run Test*.
4. Copy *Prediction, median* in ms into the row of the same number; *Load* and *Compilation* are of
   no use here. The report also shows where each operator ran: worth a look when a network is much
   slower than its neighbours. The report's own file is not read by `calibrate`.

## Android
On a computer with `adb` (Windows: in Git Bash or WSL), the phone connected, USB debugging on
(Settings > Developer options):

    sh measure_android.sh path/to/onnxruntime_perf_test
    effsearch calibrate logs --device {device}

The script pushes each network, runs the tool on one thread of the CPU, and keeps what it prints as
`logs/NN.log`; interrupted, it goes on where it stopped. `onnxruntime_perf_test` has to be built
for Android once ("Build for Android" in ONNX Runtime's documentation). Options after the tool stand
in place of `-e cpu -x 1 -y 1`: `-x` is the number of threads, `-e` the execution provider (`cpu`,
`nnapi`, `xnnpack`, `qnn`).

With LiteRT: convert `models/NN.onnx` to `tflite/NN.tflite` (the kit has no such files), download
Google's `android_aarch64_benchmark_model`, and give that as the tool.

## Jetson
Copy this folder to the Jetson, set the power mode of your application (`sudo nvpmodel`), fix the
clocks (`sudo jetson_clocks`), and run

    sh measure_jetson.sh --fp16

It builds each network with TensorRT's `trtexec`, which takes a minute or so, and keeps what that
prints as `logs/NN.log`. Copy `logs` back into this folder and run

    effsearch calibrate logs --device {device}

## Any of these tools, run by hand
`calibrate` reads a folder of their output beside `architectures`, one file for each network, named
after it (`07.log`): the log of `trtexec` or the JSON of its `--exportTimes`, the log of LiteRT's
`benchmark_model` or of `onnxruntime_perf_test -s`. Of any other tool, enter the medians in the CSV:
calibration sees nothing but totals.

## Anything with ONNX Runtime and Python
`measure.py` in this folder needs only Python, `numpy` and `onnxruntime`, and fills in the CSV:

    python measure.py --threads 1

Interrupted, it goes on where it stopped; `--first {first}` measures the first {first} only, and
`--provider` names another execution provider. Where effsearch itself is installed,
`effsearch measure architectures/{example_yaml} --threads 1` measures one network as well.

## More rows
Any network helps, above all the winners of a run: add a row with its path (an architecture YAML, a
winner's folder, an ONNX file, or the name of a published network) in the column `file` and its
latency, and calibrate again.
"""
_WITH_PACKAGES = "The folder `coreml` holds the packages: `NN.mlpackage` is row NN of the CSV."
_WITHOUT_PACKAGES = (
    "Make the packages first: `pip install effsearch[coreml]`, then write the kit again; or, one "
    "by one, `effsearch export architectures/NN.yaml --format coreml`."
)


def page(device: str, space: str, count: int, first: int, packages: bool) -> str:
    """Return the page as Markdown.

    Args:
        device: the table to be.
        space: name of the space.
        count: networks in the kit.
        first: how many give a usable table.
        packages: whether the kit has Core ML packages.
    """
    return _PAGE.format(
        device=device, space=space, count=count, first=first, example_yaml="00.yaml",
        coreml=_WITH_PACKAGES if packages else _WITHOUT_PACKAGES,
    )  # fmt: skip
