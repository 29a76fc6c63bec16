import json

import numpy as np
import pytest

from effsearch.cli import main
from effsearch.latency import DeviceTable
from searchspace import SearchSpace, zoo


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def filled_in(tmp_path):
    """Latencies as an iPhone's table has them, a fifth slower."""
    table = DeviceTable.load("iphone13")
    rows = [f"{n},{1.2 * table.predict(zoo.load(n)).mean_ms}" for n in zoo.names()[4:]]
    path = tmp_path / "m.csv"
    path.write_text("\n".join(["# device: My Phone", "target,latency_ms", *rows]))
    return path


def test_kit_is_written_and_said(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("effsearch.latency.calibrate.kit.POOL", 20)
    folder = tmp_path / "kit"
    status, out, err = call(
        capsys, "kit", "--device", "my-phone", "--space", "tiny", "--networks", "5",
        "--out", str(folder), "--json",
    )  # fmt: skip
    body = json.loads(out)
    assert status == 0
    assert body["networks"] == 5
    assert (folder / "measurements.csv").samefile(body["csv"])
    assert "wrote network 5 of 5" in err
    status, out, err = call(capsys, "kit", "--device", "my-phone", "--out", str(folder))
    assert status == 2
    assert "not empty" in err
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("kit", "--device", "My Phone"), "--device"),
        (("kit", "--device", "a", "--networks", "3"), "--networks"),
        (("kit", "--device", "a", "--seed", "-1"), "--seed"),
        (("kit", "--device", "a", "--space", "moble"), "did you mean mobile"),
        (("calibrate", "none.csv"), "none.csv"),
        (("calibrate", "none.csv", "--base", "iphone12", "--guide", "iphone13"), "exclude"),
        (("calibrate", "none.csv", "--base", "iphon12"), "did you mean iphone12"),
        (("calibrate", "none.csv", "--guide", "nothing"), "--guide"),
    ],
)
def test_mistakes_are_one_line(capsys, home, arguments, complaint):
    status, out, err = call(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1


def test_calibrated_table_is_listed_and_used(capsys, home, filled_in):
    status, out, _ = call(capsys, "calibrate", str(filled_in), "--json")
    body = json.loads(out)
    assert status == 0
    assert body["device"] == "my-phone"
    assert body["networks"] == 12
    assert body["leave_one_out"]["median_error_percent"][0] > 0
    status, out, _ = call(capsys, "devices", "--json")
    row = next(r for r in json.loads(out)["devices"] if r["name"] == "my-phone")
    assert row["kind"] == "fitted"
    assert row["references"] == 12
    status, out, _ = call(capsys, "predict", "shvit_s1", "--device", "my-phone", "--json")
    assert status == 0
    assert json.loads(out)["predictions"][0]["kind"] in ("fitted", "estimated")


def test_a_benchmark_tools_output_makes_the_same_table_as_its_medians(capsys, home, tmp_path):
    space, rng = SearchSpace.load("tiny"), np.random.default_rng(0)
    for part in ("architectures", "logs"):
        (tmp_path / "kit" / part).mkdir(parents=True)
    rows = ["file,latency_ms"]
    for number in range(6):
        space.sample(rng).to_yaml(tmp_path / "kit" / "architectures" / f"0{number}.yaml")
        rows.append(f"architectures/0{number}.yaml,{number + 1.5}")
        text = f"Session creation time cost: 1 s\nP50 Latency: {(number + 1.5) / 1000} s\n"
        (tmp_path / "kit" / "logs" / f"0{number}.log").write_text(text)
    (tmp_path / "kit" / "measurements.csv").write_text("\n".join(rows))
    answers = []
    for name in ("logs", "measurements.csv"):
        status, out, _ = call(
            capsys, "calibrate", str(tmp_path / "kit" / name), "--device", "mine", "--json"
        )
        assert status == 0
        answers.append(json.loads(out))
    assert answers[0] == answers[1]
    (tmp_path / "kit" / "logs" / "03.log").write_text("Session creation time cost: 1 s\n")
    status, out, err = call(capsys, "calibrate", str(tmp_path / "kit" / "logs"), "--device", "mine")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "03.log: lacks the line 'P50 Latency'" in err


def test_refining_is_closer_than_the_table_it_started_from(capsys, home, filled_in):
    arguments = ("calibrate", str(filled_in), "--base", "iphone13", "--device", "mine", "--json")
    status, out, _ = call(capsys, *arguments)
    assert status == 0
    assert json.loads(out)["leave_one_out"]["median_error_percent"][0] < 5
    status, out, _ = call(capsys, "calibrate", str(filled_in), "--base", "iphone13",
                          "--device", "iphone13")  # fmt: skip
    assert status == 2


def test_the_old_names_of_options_still_work_and_say_so(capsys, home, filled_in):
    results = []
    for option, table, warning in (
        ("--refine", "iphone13", "--refine is now --base"),
        ("--base", "iphone13", ""),
        ("--base", "epyc-zen5-1t", "--guide from the next version on"),
        ("--guide", "epyc-zen5-1t", ""),
    ):
        status, out, err = call(
            capsys, "calibrate", str(filled_in), option, table, "--device", "mine", "--json"
        )
        assert status == 0
        assert warning in err
        assert ("next version" in err) == bool(warning)
        results.append(json.loads(out))
    assert results[0] == results[1]
    assert results[2] == results[3]


def test_what_remains_uncertain_is_said(capsys, home, filled_in):
    status, out, _ = call(capsys, "calibrate", str(filled_in), "--device", "mine")
    assert status == 0
    assert "median error of" in out
    assert "uncertain" in out


def test_a_table_that_stands_before_a_shipped_one_is_told(capsys, home, filled_in):
    status, _, err = call(capsys, "calibrate", str(filled_in), "--device", "iphone12")
    assert status == 0
    assert "iphone12 is a shipped table too; the one to be stands before it" in err
    assert DeviceTable.load("iphone12").meta["kind"] == "fitted"
    assert json.loads((home / "devices" / "iphone12.json").read_text())["reference_count"] == 12
    status, _, err = call(capsys, "calibrate", str(filled_in))
    assert status == 0
    assert "shipped" not in err
