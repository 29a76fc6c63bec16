import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "No such command"),
        (("predict",), "Missing"),
        (("predict", "shvit_s1"), "device"),
        (("predict", "shvit_s1", "--device", "iphone99"), "did you mean iphone"),
        (("predict", "shvit_s9", "--device", "iphone12"), "did you mean shvit_s"),
        (("predict", "shvit_s1", "--device", "iphone12", "--budget-ms", "0"), "--budget-ms"),
        (("predict", "shvit_s1", "--device", "iphone12", "--budget-ms", "x"), "budget"),
        (("describe", "missing.yaml"), "no such architecture file"),
        (("sample", "--out", "x", "-n", "0"), "-n"),
        (("sample", "--out", "x", "--space", "mobil"), "did you mean mobile"),
        (
            ("export", "shvit_s1", "--format", "tflite"),
            "onnx, coreml, pt2, python, torch, safetensors",
        ),
        (("export", "shvit_s1", "--weights", "missing.pt"), "missing.pt"),
        (("score", "nothing"), "neither a published network"),
        (("--nosuch",), "No such option"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(effsearch, arguments, message):
    status, out, err = effsearch(*arguments)
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("effsearch: error: ")
    assert message in err


def test_without_arguments_the_commands_are_listed(effsearch):
    status, _, err = effsearch()
    assert status == 2
    assert "predict" in err


def test_help_is_no_mistake(effsearch):
    assert effsearch("--help")[0] == 0
    assert effsearch("run", "--help")[0] == 0


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 10**400])
@pytest.mark.parametrize(
    "command",
    [
        ("run", "--budget-ms", 2, "--device", "iphone12", "--out", "o"),
        ("sample", "--out", "o"),
        ("export", "shvit_s1", "--out", "o"),
        ("kit", "--device", "new", "--out", "o"),
        ("profile", "--device", "new", "--out", "o"),
        ("train", "shvit_s1", "--data", "none", "--out", "o"),
        ("supernet", "train", "--data", "none", "--out", "o"),
    ],
)
def test_a_seed_that_no_generator_takes_is_told_at_the_door(
    effsearch, tmp_path, monkeypatch, command, seed
):
    monkeypatch.chdir(tmp_path)
    status, _, err = effsearch(*command, "--seed", seed)
    assert status == 2
    assert "--seed" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_largest_seed_is_taken(effsearch, tmp_path):
    command = ("sample", "--space", "tiny", "--out", tmp_path / "o")
    assert effsearch(*command, "--seed", 2**63 - 1)[0] == 0
