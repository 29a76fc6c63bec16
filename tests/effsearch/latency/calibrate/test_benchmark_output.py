"""One contract for all readers of benchmark tools' output.

The samples in tests/fixtures/benchmark_outputs have made-up figures in the tools' formats, whose
sources the readers name; the forms of older versions are those in public logs: TensorRT 8's summary
has the end-to-end line, TensorFlow Lite's of 2021 no median, ONNX Runtime's of 2020 other wording.
"""

import random
from pathlib import Path

import pytest

from effsearch.latency.calibrate.benchmark_output import READERS, read_output
from searchspace import UserError
from tests.fixtures import mutations

SAMPLES = Path(__file__).parents[3] / "fixtures" / "benchmark_outputs"
# File, reader, statistic, latency in ms, the model's name, the text from which on it is cut off.
KNOWN = [
    ("trtexec.log", "the log of trtexec", "median", 1.69824, "03.onnx", "=== Perf"),
    ("trtexec_8.log", "the log of trtexec", "median", 11.5547, "03.engine", "Latency: min"),
    ("trtexec_times.json", "JSON of trtexec --exportTimes", "median", 1.875, "",
     ', "latencyMs" : 4'),
    ("benchmark_model.log", "the log of benchmark_model (LiteRT)", "median", 16.988, "03.tflite",
     "INFO: Inference timings"),
    ("benchmark_model_2021.log", "the log of benchmark_model (LiteRT)", "mean", 1171.03,
     "03.tflite", ", Inference (avg)"),
    ("benchmark_model_litert_2.log", "the log of benchmark_model (LiteRT)", "mean", 17.2, "",
     "Inference (avg)"),
    ("onnxruntime_perf_test.log", "the log of onnxruntime_perf_test -s", "median", 8.15086, "",
     "Min Latency"),
    ("onnxruntime_perf_test_2020.log", "the log of onnxruntime_perf_test -s", "median", 8.15086,
     "", "P50"),
]  # fmt: skip
by_sample = pytest.mark.parametrize(
    ("file", "reader", "statistic", "ms", "model", "cut"), KNOWN, ids=[known[0] for known in KNOWN]
)


def refused(tmp_path, data, complaint):
    path = tmp_path / "07.log"
    path.write_bytes(data)
    with pytest.raises(UserError, match=complaint) as caught:
        read_output(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_every_reader_and_every_sample_is_held_to_the_contract():
    assert {known[1] for known in KNOWN} == set(READERS)
    assert {known[0] for known in KNOWN} == {path.name for path in SAMPLES.iterdir()}


@by_sample
def test_the_figure_is_read(file, reader, statistic, ms, model, cut):
    reading = read_output(SAMPLES / file)
    assert reading.latency_ms == pytest.approx(ms)
    assert reading.statistic == statistic
    assert Path(reading.model).name == model
    assert reading.tool in reader
    assert reading.runtime


@by_sample
def test_no_other_reader_takes_it(file, reader, statistic, ms, model, cut):
    text = (SAMPLES / file).read_text()
    assert [name for name, read in READERS.items() if read(text) is not None] == [reader]


@by_sample
def test_cut_off_before_its_figure_it_is_refused(tmp_path, file, reader, statistic, ms, model, cut):
    text = (SAMPLES / file).read_text()
    assert cut in text
    refused(tmp_path, text[: text.index(cut)].encode(), "lacks the line|is cut off|no tool known")


@by_sample
def test_cut_off_anywhere_it_is_refused_or_whole(tmp_path, file, reader, statistic, ms, model, cut):
    text = (SAMPLES / file).read_text()
    whole, path = read_output(SAMPLES / file), tmp_path / file
    taken = 0
    for end in range(text.index(cut), len(text), 3):
        path.write_text(text[:end])
        try:
            assert read_output(path) == whole, text[end - 40 : end]
            taken += 1
        except UserError:
            assert not taken, "refused although a shorter piece was not"


@by_sample
def test_spoiled_it_is_read_or_refused_in_one_line(
    tmp_path, file, reader, statistic, ms, model, cut
):
    content = (SAMPLES / file).read_bytes()
    path = tmp_path / file
    for number in range(100):
        rng = random.Random(f"{file} {number}")
        kinds = mutations.JSON if path.suffix == ".json" else mutations.TEXT
        path.write_bytes(rng.choice(kinds)(content, rng))
        try:
            told = f"{path}: {read_output(path).latency_ms} ms"
        except UserError as error:
            told = str(error)
        assert told.startswith(f"{path}: ")
        assert "\n" not in told


@by_sample
def test_two_runs_in_a_file_are_refused(tmp_path, file, reader, statistic, ms, model, cut):
    text = (SAMPLES / file).read_text()
    refused(tmp_path, (text + text).encode(), "has 2 lines|is cut off or changed")


@by_sample
def test_line_ends_and_encodings_of_windows(tmp_path, file, reader, statistic, ms, model, cut):
    text = (SAMPLES / file).read_text().replace("\n", "\r\n")
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / file).write_bytes(text.encode(encoding))
        assert read_output(tmp_path / file) == read_output(SAMPLES / file)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("target,latency_ms\nshvit_s1,2\n", "of no tool known here; .*trtexec.*perf_test -s"),
        ('[\n  { "count" : 10 }\n, { "name" : "conv", "timeMs" : 3.1 }\n]\n', "of no tool known"),
        ("\0\1\2 binary \xff", "of no tool known"),
        ('[{"latencyMs": null}]', "cut off or changed"),
        ('[{"latencyMs": 1' + "0" * 400 + "}]", "cut off or changed"),
        ('[{"latencyMs": NaN}]', "states nan ms"),
        ('[{"latencyMs": 0}]', "states 0 ms"),
        ("[" * 100_000 + '"latencyMs"', "cut off or changed"),
        ("Session creation time cost: 0.03 s\nAverage inference time cost: 8.2 ms\n",
         "lacks the line 'P50 Latency'; run onnxruntime_perf_test with -s"),
        ("&&&& FAILED TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=03.onnx\n",
         "lacks the line 'Latency: ... median"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8201]\n[I] Latency: min = 1 ms, mean = 2 ms\n",
         "lacks the line 'Latency: ... median"),
    ],
)  # fmt: skip
def test_what_is_no_whole_output_is_refused_in_one_line(tmp_path, text, complaint):
    refused(tmp_path, text.encode("latin-1"), complaint)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read it"):
        read_output(tmp_path)
