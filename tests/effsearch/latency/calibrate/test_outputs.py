"""A kit's folder of benchmark output, and the scripts that fill it."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from effsearch.latency.calibrate import kit
from effsearch.latency.calibrate.outputs import read_outputs
from searchspace import SearchSpace, UserError

SAMPLES = Path(__file__).parents[3] / "fixtures" / "benchmark_outputs"
SCRIPTS = Path(kit.__file__).parent
TRTEXEC = (
    "&&&& RUNNING TensorRT.trtexec # trtexec --onnx={model}\n"
    "[I] Latency: min = 1 ms, median = {ms} ms\n"
)


@pytest.fixture
def folder(tmp_path):
    """A kit's folder with all but true models, which no program here runs."""
    space, rng = SearchSpace.load("tiny"), np.random.default_rng(0)
    for part in ("architectures", "models", "logs"):
        (tmp_path / "kit" / part).mkdir(parents=True)
    for number in range(6):
        path = tmp_path / "kit" / "architectures" / f"{number:02d}.yaml"
        space.sample(rng).to_yaml(path)
        (tmp_path / "kit" / "models" / f"{number:02d}.onnx").write_text("a model")
    csv = "# device: my-phone\n# os: Android 16\nfile\n"
    (tmp_path / "kit" / "measurements.csv").write_text(csv)
    for script in kit.SCRIPTS:
        shutil.copyfile(SCRIPTS / script, tmp_path / "kit" / script)
    return tmp_path / "kit"


def write(folder, **outputs):
    for name, text in outputs.items():
        (folder / "logs" / f"{name.lstrip('_')}.log").write_text(text)


def trtexec(count):
    return {f"_0{n}": TRTEXEC.format(model=f"0{n}.onnx", ms=n + 1.5) for n in range(count)}


def test_rows_are_the_networks_of_the_files(folder):
    write(folder, **trtexec(5))
    (folder / "logs" / ".part").write_text("cut off")
    found = read_outputs(folder / "logs")
    assert [row.latency_ms for row in found.rows] == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert found.header == {"device": "my-phone", "os": "Android 16", "runtime": "TensorRT"}
    named = [kit.Architecture.from_yaml(folder / row.target).digest() for row in found.rows]
    assert [row.identity for row in found.rows] == named
    assert all(row.operators and row.blocks for row in found.rows)


def test_a_file_of_any_name_is_known_by_its_model(folder):
    write(folder, **trtexec(5))
    (folder / "logs" / "04.log").rename(folder / "logs" / "last.txt")
    assert [row.target[-7:] for row in read_outputs(folder / "logs").rows][-1] == "04.yaml"


def test_a_kit_without_its_csv(folder):
    write(folder, **trtexec(5))
    (folder / "measurements.csv").unlink()
    assert read_outputs(folder / "logs").header == {"runtime": "TensorRT"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("03.log", "", r"03.log: is empty"),
        ("03.log", "target,latency_ms\n", r"03.log: is of no tool known here"),
        ("03.log", TRTEXEC[:40], r"03.log: lacks the line"),
        ("03.log", TRTEXEC.format(model="02.onnx", ms=2), r"03.log: has run network 02, not 03"),
        ("x.log", TRTEXEC.format(model="x.onnx", ms=2), r"x.log: is of no network.*00 to 05"),
        ("03.json", '[{"latencyMs": 2}]', r"03.log: is of the same network as .*03.json"),
        ("05.log", (SAMPLES / "onnxruntime_perf_test.log").read_text(),
         r"05.log: has the median of onnxruntime_perf_test, 00.log the median of trtexec"),
        ("05.mlperf", "", r"05.mlperf: Xcode's report cannot be read; copy its median"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_in_one_line(folder, name, text, complaint):
    write(folder, **trtexec(5))
    (folder / "logs" / name).write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        read_outputs(folder / "logs")
    assert "\n" not in str(caught.value)


def test_mean_and_median_do_not_mix(folder):
    for number in range(5):
        name = "benchmark_model.log" if number < 4 else "benchmark_model_litert_2.log"
        text = (SAMPLES / name).read_text().replace("03.tflite", f"0{number}.tflite")
        write(folder, **{f"_0{number}": text})
    with pytest.raises(UserError, match=r"04.log: has the mean of benchmark_model, 00.log the med"):
        read_outputs(folder / "logs")


def test_a_wrong_folder_is_told(folder, tmp_path):
    with pytest.raises(UserError, match="is a kit; name its measurements"):
        read_outputs(folder)
    with pytest.raises(UserError, match="is empty; put"):
        read_outputs(folder / "logs")
    write(folder, **trtexec(4))
    with pytest.raises(UserError, match=r"4 measured networks \(00.log, .*at least 5"):
        read_outputs(folder / "logs")
    (tmp_path / "logs").mkdir()
    with pytest.raises(UserError, match="not in a kit's folder, beside architectures"):
        read_outputs(tmp_path / "logs")


# A phone: a folder where `adb push` writes; `adb shell` answers with what the tool prints.
ADB = """#!/bin/sh
phone={phone}
echo "$*" >> "$phone/asked"
case $1 in
    start-server) ;;
    get-state) cat "$phone/state" ;;
    push) [ -f "$2" ] && cp "$2" "$phone/" && echo "1 file pushed, 0 skipped." ;;
    shell)
        case $2 in
            *./*perf_test*) last=${{2##* }}
                [ -f "$phone/$last" ] || {{ echo "no $last on the phone"; exit 1; }}
                [ "$last" != "$(cat "$phone/broken")" ] || {{ echo "Aborted"; exit 134; }}
                cat {samples}/onnxruntime_perf_test.log ;;
            *./*benchmark_model*) last=${{2##*--graph=}}
                sed "s/03.tflite/$last/" {samples}/benchmark_model.log ;;
            "rm "*) rm "$phone/$(basename "$2")" ;;
        esac ;;
    *) exit 1 ;;
esac
"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "state").write_bytes(b"device\r\n")
    (tmp_path / "phone" / "broken").write_text("")
    program(tmp_path / "bin" / "adb", ADB.format(phone=tmp_path / "phone", samples=SAMPLES))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PAUSE_S", "0")
    for name in ("onnxruntime_perf_test", "android_aarch64_benchmark_model", "libonnxruntime.so"):
        (tmp_path / "tools").mkdir(exist_ok=True)
        (tmp_path / "tools" / name).write_text("for Android")
    return tmp_path / "phone"


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(script, *arguments):
    done = subprocess.run(
        ["sh", str(script), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def logs(folder):
    return sorted(path.name for path in (folder / "logs").iterdir())


def test_android_from_the_script_to_the_rows(folder, phone):
    status, told = run(folder / "measure_android.sh", phone.parent / "tools/onnxruntime_perf_test")
    assert (status, "effsearch calibrate" in told) == (0, True), told
    assert "6 of 6: P50 Latency: 0.00815086 s" in told
    found = read_outputs(folder / "logs")
    assert [row.latency_ms for row in found.rows] == pytest.approx([8.15086] * 6)
    assert (phone / "libonnxruntime.so").exists()
    assert not list(phone.glob("*.onnx"))
    asked = (phone / "asked").read_text()
    assert "./onnxruntime_perf_test -I -s -m times -r 50 -e cpu -x 1 -y 1 05.onnx" in asked


def test_android_goes_on_where_it_stopped(folder, phone):
    tool = phone.parent / "tools/onnxruntime_perf_test"
    (phone / "broken").write_text("03.onnx")
    status, told = run(folder / "measure_android.sh", tool, "-x", "4")
    assert status == 1
    assert (
        "03.onnx did not run; failed.log has what onnxruntime_perf_test printed, at its end: Abo"
        in told
    )
    assert logs(folder) == ["00.log", "01.log", "02.log"]
    (phone / "broken").write_text("")
    (phone / "asked").unlink()
    assert run(folder / "measure_android.sh", tool, "-x", "4")[0] == 0
    assert len(logs(folder)) == 6
    asked = (phone / "asked").read_text()
    assert "02.onnx" not in asked
    assert "-r 50 -x 4 03.onnx" in asked


def test_android_with_litert(folder, phone):
    tool = phone.parent / "tools/android_aarch64_benchmark_model"
    status, told = run(folder / "measure_android.sh", tool)
    assert status == 2
    assert "tflite has no *.tflite" in told
    (folder / "tflite").mkdir()
    for number in range(5):
        (folder / "tflite" / f"0{number}.tflite").write_text("converted")
    assert run(folder / "measure_android.sh", tool)[0] == 0
    found = read_outputs(folder / "logs")
    assert [row.latency_ms for row in found.rows] == pytest.approx([16.988] * 5)
    assert found.header["runtime"] == "LiteRT"


@pytest.mark.parametrize(
    ("state", "tool", "complaint"),
    [
        ("error: no devices/emulators found", "onnxruntime_perf_test", "no phone ready (error: no"),
        ("error: more than one device/emulator", "onnxruntime_perf_test", "in ANDROID_SERIAL"),
        ("unauthorized", "onnxruntime_perf_test", "allow this computer"),
        ("device", "none/onnxruntime_perf_test", "there is no file"),
        ("device", "libonnxruntime.so", "libonnxruntime.so is not known; give onnxruntime_perf"),
        ("device", "", "name the tool, as in"),
    ],
)
def test_android_says_in_one_line_what_is_missing(folder, phone, state, tool, complaint):
    (phone / "state").write_text(f"{state}\n")
    arguments = [phone.parent / "tools" / tool] if tool else []
    status, told = run(folder / "measure_android.sh", *arguments)
    assert (status, told.count("\n")) == (2, 1), told
    assert complaint in told
    assert logs(folder) == []


def test_android_without_adb(folder, phone, monkeypatch):
    few = phone.parent / "few"
    few.mkdir()
    for name in ("sh", "dirname", "basename"):
        (few / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(few))
    status, told = run(folder / "measure_android.sh", phone.parent / "tools/onnxruntime_perf_test")
    assert (status, told.count("\n")) == (2, 1), told
    assert "adb is not found; install" in told


def test_jetson_from_the_script_to_the_rows(folder, tmp_path, monkeypatch):
    program(
        tmp_path / "bin" / "trtexec",
        "#!/bin/sh\n[ -f broken ] && exit 1\n"
        f'sed "s:/home[^ ]*03.onnx:${{1#--onnx=}}:" {SAMPLES}/trtexec.log\n'
        f'echo "$*" >> {tmp_path}/asked\n',
    )
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "bin" / "none"))
    status, told = run(folder / "measure_jetson.sh")
    assert (status, told.count("\n")) == (2, 1), told
    assert "libnvinfer-bin" in told
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "bin" / "trtexec"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").touch()
    status, told = run(folder / "measure_jetson.sh", "--fp16")
    assert status == 1
    assert "00.onnx did not run; failed.log" in told
    (tmp_path / "broken").unlink()
    status, told = run(folder / "measure_jetson.sh", "--fp16")
    assert status == 0, told
    found = read_outputs(folder / "logs")
    assert [row.latency_ms for row in found.rows] == [1.69824] * 6
    assert found.header["runtime"] == "TensorRT"
    assert "05.onnx --noDataTransfers --useSpinWait --fp16" in (tmp_path / "asked").read_text()
