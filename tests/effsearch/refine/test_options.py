from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from effsearch.cli import main
from effsearch.refine.options import RefineOptions
from effsearch.refine.request import FILE, RefineRequest, describe
from searchspace import UserError


def say(line):
    del line


@pytest.fixture
def recipe_file(quick, tmp_path):
    quick.to_yaml(tmp_path / "quick.yaml")
    return str(tmp_path / "quick.yaml")


@pytest.fixture
def options(squares, recipe_file):
    return RefineOptions(2, squares, None, recipe_file, None)


def test_a_request_reads_back(options, tmp_path):
    request = options.make(None, say)
    assert (request.data.classes, request.data.train_images, request.data.val_images) == (3, 48, 60)
    request.write(tmp_path)
    assert RefineRequest.read(tmp_path) == request
    assert RefineRequest.read(tmp_path / "elsewhere") is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(UserError, match=FILE):
        RefineRequest.read(tmp_path)


@pytest.mark.parametrize(("gpu", "name"), [(False, "evidence-cpu"), (True, "small")])
def test_defaults(squares, monkeypatch, gpu, name):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert RefineOptions().make(None, say) is None
    request = RefineOptions(2, squares, epochs=7).make(None, say)
    assert request.recipe.epochs == 7
    assert request.concurrent is None
    assert request.recipe.name == name


def test_a_resumed_run_keeps_what_it_was_asked(options, squares, recipe_file, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    assert RefineOptions().resumed(folder, None, say) is None
    request = options.resumed(folder, None, say)  # refining may be asked for later
    request.write(folder)
    assert RefineOptions().resumed(folder, None, say) == request
    assert options.resumed(folder, None, say) == request
    more = RefineOptions(count=5, concurrent=1).resumed(folder, None, say)
    assert (more.count, more.concurrent, more.recipe) == (5, 1, request.recipe)
    for wrong, words in (
        (RefineOptions(epochs=9), "--refine-epochs"),
        (RefineOptions(recipe="small"), "--refine-recipe"),
        (RefineOptions(data=tmp_path), "--data"),
        (RefineOptions(count=0), "--refine"),
    ):
        with pytest.raises(UserError, match=words):
            wrong.resumed(folder, None, say)


def test_changed_images_end_a_resumed_run(options, squares, tmp_path):
    tree, folder = tmp_path / "tree", tmp_path / "run"
    shutil.copytree(squares, tree)
    folder.mkdir()
    RefineOptions(2, tree, recipe=options.recipe).make(None, say).write(folder)
    shutil.copy(tree / "val/class0/0.png", tree / "val/class0/more.png")
    with pytest.raises(UserError, match="changed"):
        RefineOptions().resumed(folder, None, say)


def test_only_imagenet_is_called_so(options):
    data = options.make(None, say).data
    assert "is not ImageNet" in describe(data)["note"]


def remove(root, pattern):
    for path in sorted(root.glob(pattern), reverse=True):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def spoil(root: Path, how: str) -> None:
    if how == "empty":
        remove(root, "*")
    elif how == "no val":
        remove(root, "val")
    elif how == "one class":
        remove(root, "*/class[12]")
    elif how == "no images":
        remove(root, "*/*/*.png")
    elif how == "other classes":
        (root / "val" / "class2").rename(root / "val" / "class7")
    elif how == "unreadable":
        for path in root.glob("train/*/*.png"):
            path.write_bytes(b"junk")


GOOD = {"--budget-ms": "0.6", "--device": "iphone12", "--space": "tiny", "--refine": "2"}


def call(capsys, options):
    with pytest.raises(SystemExit) as caught:
        main(["run", *(x for pair in options.items() if pair[1] is not None for x in pair)])
    out, err = capsys.readouterr()
    lines = [line for line in err.strip().splitlines() if not line.startswith("looking at")]
    return caught.value.code, out, lines


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["--refine", "--data"]),
        ({"--refine": "0"}, ["--refine", "0"]),
        ({"--refine": "-2"}, ["--refine", "-2"]),
        ({"--refine": "some"}, ["--refine"]),
        ({"--refine": None, "--data": "{tree}"}, ["--data"]),
        ({"--refine": None, "--refine-epochs": "3"}, ["--refine-epochs", "--refine K"]),
        ({"--refine": None, "--refine-recipe": "small"}, ["--refine-recipe", "--refine K"]),
        ({"--refine": None, "--refine-concurrent": "1"}, ["--refine-concurrent", "--refine K"]),
        ({"--data": "/nowhere"}, ["/nowhere"]),
        ({"--data": "{tree}", "--refine-epochs": "0"}, ["--refine-epochs"]),
        ({"--data": "{tree}", "--refine-concurrent": "0"}, ["--refine-concurrent"]),
        ({"--data": "{tree}", "--refine-recipe": "huge"}, ["huge", "standard"]),
    ],
)
def test_bad_requests_are_one_line_before_anything_starts(
    changes, words, squares, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = {**GOOD, **changes}
    options = {k: v and v.format(tree=squares) for k, v in options.items()}
    code, out, lines = call(capsys, options)
    assert code == 2
    assert out == ""
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("empty", "train"),
        ("no val", "'val'"),
        ("one class", "one class"),
        ("no images", "no images"),
        ("other classes", "same classes"),
        ("unreadable", "unreadable"),
    ],
)
def test_bad_images_are_one_line_before_anything_starts(
    how, words, squares, capsys, tmp_path, monkeypatch
):
    tree = tmp_path / "tree"
    shutil.copytree(squares, tree)
    spoil(tree, how)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    code, out, lines = call(capsys, {**GOOD, "--data": str(tree)})
    assert code == 2
    assert out == ""
    assert len(lines) == 1, lines
    assert words in lines[0]
    assert list((tmp_path / "cwd").iterdir()) == []


def test_a_file_that_is_no_archive(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.zip").write_text("no zip")
    code, _, lines = call(capsys, {**GOOD, "--data": str(tmp_path / "images.zip")})
    assert code == 2
    assert "zip" in lines[0]


def test_request_files_are_plain(options, tmp_path):
    options.make(None, say).write(tmp_path)
    body = json.loads((tmp_path / FILE).read_text())
    assert body["recipe"]["epochs"] == 3
    assert body["data"]["imagenet"] is False
