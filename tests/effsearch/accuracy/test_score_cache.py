"""Scores kept over runs: what is found again, by whom, and what is not."""

from __future__ import annotations

import multiprocessing

import pytest

from effsearch.accuracy.options import ScoreOptions
from effsearch.accuracy.score import Score, ScoreSource
from effsearch.accuracy.score_cache import KeptScore, ScoreCache

KEPT = KeptScore(1 / 3, 0.1, 1 / 3 - 0.08416)


class Source(ScoreSource):
    name, kind, unit = "mine", "estimated", "points"

    def __init__(self, card=None):
        self.card = card

    def score(self, architecture):
        return Score(1.0, 0.0)


class Options(ScoreOptions):
    images: int = 1


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path))
    return tmp_path


def test_a_score_comes_back_to_the_bit_in_another_run_and_while_both_are_open(tmp_path):
    first, second = ScoreCache(tmp_path / "a.txt"), ScoreCache(tmp_path / "a.txt")
    assert first.get("x") is None
    first.add("x", KEPT)
    assert second.get("x") == first.get("x") == ScoreCache(tmp_path / "a.txt").get("x") == KEPT
    assert (first.found, second.found) == (1, 1)


def test_all_that_scores_depend_on_tells_caches_apart(home, tmp_path, monkeypatch):
    paths = [ScoreCache.of(Source(), Options()).path]
    assert ScoreCache.of(Source(), Options()).path == paths[0]
    paths.append(ScoreCache.of(Source({"checkpoint": "a"}), Options()).path)
    paths.append(ScoreCache.of(Source({"checkpoint": "b"}), Options()).path)
    paths.append(ScoreCache.of(Source(), Options(images=2)).path)
    module = tmp_path / "own_scores.py"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Source, "__module__", "own_scores")
    for text in ("a = 1\n", "a = 2\n"):
        module.write_text(text)
        paths.append(ScoreCache.of(Source(), Options()).path)
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {home / "scores"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("0.1", "0.2"),
        lambda text: text.replace("[", "", 1),
        lambda text: text[:20],
        lambda text: "\x00" * 40 + "\n",
        lambda text: "not utf-8: \udcff\n",
    ],
)
def test_damaged_lines_are_left_out_and_told(tmp_path, damage):
    path = tmp_path / "a.txt"
    ScoreCache(path).add("x", KEPT)
    path.write_text(damage(path.read_text()), errors="surrogateescape")
    ScoreCache(path).add("y", KEPT)
    again = ScoreCache(path)
    assert (again.get("x"), again.get("y")) == (None, KEPT)
    assert again.damaged == 1
    again.add("x", KEPT)
    assert ScoreCache(path).get("x") == KEPT


def test_a_line_that_another_process_is_writing_is_not_damaged(tmp_path):
    path = tmp_path / "a.txt"
    writer = ScoreCache(path)
    writer.add("x", KEPT)
    text = path.read_bytes()
    path.write_bytes(text[:20])
    reader = ScoreCache(path)
    assert reader.get("x") is None
    path.write_bytes(text)
    assert reader.get("x") == KEPT
    assert reader.damaged == 0


def write_many(path, name):
    cache = ScoreCache(path)
    for number in range(200):
        cache.add(f"{name}{number}", KeptScore(float(number), 0.0, float(number)))


def test_processes_append_at_once(tmp_path):
    path, context = tmp_path / "a.txt", multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    cache = ScoreCache(path)
    assert cache.damaged == 0
    assert all(cache.get(f"{name}{i}").score == i for name in "abc" for i in range(200))


def test_a_file_that_cannot_be_written_loses_no_score(tmp_path):
    cache = ScoreCache(tmp_path / "a.txt")
    cache.path.mkdir()
    cache.add("x", KEPT)
    assert cache.get("x") == KEPT
    assert "directory" in cache.failure
