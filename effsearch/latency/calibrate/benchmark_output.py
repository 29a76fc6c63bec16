"""What benchmark tools print or write of one network, read for its latency.

One reader a format, in `READERS`. A reader returns None of what is not its tool's, and complains of
its tool's output where the figure is missing, so that nothing is taken from a run that was cut off.
Xcode's report on a Core ML package has no reader: no description of its format was found.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from searchspace import UserError

_NUMBER = r"(\d+\.?\d*(?:e[+-]?\d+)?)"


@dataclass(frozen=True)
class Reading:
    """One network's latency as a tool states it.

    Attributes:
        tool: the program.
        runtime: what it runs networks with.
        statistic: of its runs, median or mean.
        latency_ms: for one run.
        model: the file that was run, as the tool names it; empty where it does not.
    """

    tool: str
    runtime: str
    statistic: str
    latency_ms: float
    model: str = ""


Reader = Callable[[str], Reading | None]


def trtexec_log(text: str) -> Reading | None:
    """Read what TensorRT's trtexec prints.

    Taken is the median of its "Latency": of one query, transfers included unless they are left out
    by `--noDataTransfers` (NVIDIA, TensorRT's "Performance Benchmarking"; the line itself in
    samples/common/sampleReporting.cpp of NVIDIA/TensorRT).

    Raises:
        UserError: where that line is missing, or there are several.
    """
    if "TensorRT.trtexec" not in text and "=== Performance summary ===" not in text:
        return None
    found = re.findall(rf"^(?:\[.*\] )?Latency: min = .*\bmedian = {_NUMBER} ms", text, re.M)
    latency = _only(found, "'Latency: ... median = ... ms'", "let trtexec run to its end")
    model = re.search(r"--(?:onnx|loadEngine)=(\S+)", text) or re.search(r"\] Model: (\S+)", text)
    return Reading("trtexec", "TensorRT", "median", latency, model[1] if model else "")


def trtexec_times(text: str) -> Reading | None:
    """Read the JSON of `trtexec --exportTimes`: an object for each query, with `latencyMs`.

    Source: exportJSONTrace in samples/common/sampleReporting.cpp of NVIDIA/TensorRT. Older versions
    list warm-up runs too, too few to move the median.

    Raises:
        UserError: where it is cut off.
    """
    if not text.lstrip().startswith("[") or '"latencyMs"' not in text:
        return None
    try:
        times = [float(query["latencyMs"]) for query in json.loads(text)]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UserError("is cut off or changed; let trtexec --exportTimes write it anew") from None
    return Reading("trtexec", "TensorRT", "median", statistics.median(times))


def benchmark_model(text: str) -> Reading | None:
    """Read what LiteRT's (TensorFlow Lite's) benchmark_model prints.

    Taken is the median, which newer versions print of the runs after warm-up, else the mean.
    Sources: "Performance measurement" in LiteRT's documentation and
    tensorflow/lite/tools/benchmark/benchmark_model.cc ("Inference timings in us", microseconds);
    for LiteRT 2, whose figures are in ms, the log in issue 1134 of mlcommons/mobile_app_open.

    Raises:
        UserError: where the mean is missing, or there are several.
    """
    if not re.search(r"Inference timings in us|Running benchmark for at least|"
                     r"benchmark_litert_model|The input model file size", text):  # fmt: skip
        return None
    graph = re.search(r"Graph: \[(.+?)\]", text) or re.search(r"Loaded model (\S+)", text)
    model = graph[1] if graph else ""
    of_litert_2 = re.findall(rf"Inference \(avg\): +{_NUMBER} ms", text)
    # The figure ends its line: without the line's end it may lack digits.
    in_us = re.findall(rf"Inference timings in us: .*\bInference \(avg\): {_NUMBER}\s*\n", text)
    mean = _only(
        of_litert_2 + in_us, "'Inference (avg): ...'", "let benchmark_model run to its end"
    )
    if of_litert_2:
        return Reading("benchmark_model", "LiteRT", "mean", mean, model)
    # One line of the warm-up, then one of the runs that count.
    before = text[: text.index("Inference timings in us")]
    runs = re.findall(r"\bcount=\d+ first=.*", before)
    median = re.search(rf"\bmedian={_NUMBER}", runs[-1]) if runs else None
    if median:
        return Reading("benchmark_model", "LiteRT", "median", float(median[1]) / 1e3, model)
    return Reading("benchmark_model", "LiteRT", "mean", mean / 1e3, model)


def onnxruntime_perf_test(text: str) -> Reading | None:
    """Read what ONNX Runtime's onnxruntime_perf_test prints with `-s`.

    Taken is "P50 Latency", in seconds ("is ...sec" in older versions). The model is not named.
    Source: onnxruntime/test/perftest/performance_runner.cc of microsoft/onnxruntime.

    Raises:
        UserError: where that line is missing, or there are several.
    """
    if not re.search(r"Session creation time cost|inference time cost|^P50 Latency", text, re.M):
        return None
    found = re.findall(rf"^P50 Latency(?::| is) ?{_NUMBER} ?s", text, re.M)
    seconds = _only(found, "'P50 Latency'", "run onnxruntime_perf_test with -s, to its end")
    return Reading("onnxruntime_perf_test", "ONNX Runtime", "median", seconds * 1e3)


READERS: dict[str, Reader] = {
    "the log of trtexec": trtexec_log,
    "JSON of trtexec --exportTimes": trtexec_times,
    "the log of benchmark_model (LiteRT)": benchmark_model,
    "the log of onnxruntime_perf_test -s": onnxruntime_perf_test,
}


def read_output(path: Path) -> Reading:
    """Read a tool's output file, by whichever reader knows it.

    Raises:
        UserError: where it cannot be read, is of no known tool, or lacks its figure; names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    # PowerShell writes what a program prints as UTF-16.
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8-sig", errors="replace").replace("\r", "")
    if not text.strip():
        raise UserError(f"{path}: is empty; run the benchmark of this network again")
    for reader in READERS.values():
        try:
            reading = reader(text)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        if reading is None:
            continue
        if not (math.isfinite(reading.latency_ms) and reading.latency_ms > 0):
            raise UserError(f"{path}: states {reading.latency_ms:g} ms; run the benchmark again")
        return reading
    raise UserError(f"{path}: is of no tool known here; what can be read: {', '.join(READERS)}")


def _only(found: list[str], line: str, remedy: str) -> float:
    """Return the one figure that there should be."""
    if not found:
        raise UserError(f"lacks the line {line}; {remedy}")
    if len(found) > 1:
        raise UserError(f"has {len(found)} lines {line}; keep one run in a file")
    return float(found[0])
