"""The tables, the picture and the page, from records of a small search."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.report.commands import next_commands
from effsearch.report.figure import limits, short_label, split
from effsearch.report.front_chart import MOST_CANDIDATES, choices, front_chart, rows_of
from effsearch.report.html import write_report
from effsearch.report.progress import progress_chart
from effsearch.report.run_files import FRONT, read_card, read_summary, read_trials
from effsearch.report.write import regenerate
from effsearch.run.by_hand import best_published
from effsearch.run.request import SearchRequest
from effsearch.run.searching import Searched
from effsearch.run.summary import gain, make_summary, write_summary
from effsearch.run.tables import write_tables
from effsearch.search.candidates import SAMPLED, Candidate, Outcome, Record
from effsearch.search.evaluation import Evaluator
from effsearch.search.planner import published
from searchspace import SearchSpace, UserError


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(DeviceTable.load("iphone12"), load_source("macs"), 0.8)


@pytest.fixture(scope="module")
def request_():
    return SearchRequest("iphone12", 2.0, space="tiny", proxy="macs")


@pytest.fixture(scope="module")
def records(evaluator, request_):
    space = SearchSpace.load("tiny")
    rng = np.random.default_rng(0)
    candidates = [c for c in published(space) if c.reference]
    candidates += [Candidate(space.sample(rng), SAMPLED) for _ in range(40)]
    found = []
    for number, candidate in enumerate(candidates):
        outcome = evaluator.evaluate(candidate.architecture)
        found.append(Record(number, 0, candidate, outcome, request_.limits.excess(outcome)))
    broken = Candidate(space.sample(rng), SAMPLED)
    found.append(Record(len(found), 0, broken, Outcome(error='broken, "really"\nso'), {}))
    return found


@pytest.fixture
def folder(records, evaluator, request_, tmp_path):
    write_tables(tmp_path, records)
    summary = make_summary(
        request_, evaluator, SearchSpace.load("tiny"), Searched(records, len(records)), [], 1.0
    )
    write_summary(tmp_path, summary)
    return tmp_path


def test_tables_read_back(records, folder):
    trials = read_trials(folder)
    assert list(trials["digest"]) == [r.candidate.digest for r in records]
    assert list(trials["mean_ms"][:-1]) == [r.outcome.mean_ms for r in records[:-1]]
    assert list(trials["state"][-2:]) == ["complete", "failed"]
    assert np.isnan(trials["score"].iloc[-1])
    front = read_trials(folder, FRONT)
    assert front["quantile_ms"].is_monotonic_increasing
    assert front["lower_bound"].is_monotonic_increasing
    assert (front["origin"] != "published").all()


def test_digests_stay_text(records, tmp_path):
    class Digits(Candidate):
        digest = "0012345678901234"

    candidate = records[20].candidate
    record = dataclasses.replace(
        records[20], candidate=Digits(candidate.architecture, candidate.origin)
    )
    write_tables(tmp_path, [record])
    assert list(read_trials(tmp_path)["digest"]) == ["0012345678901234"]


def test_baseline_is_the_best_published_that_fits(records):
    baseline = best_published(records)
    fits = [r for r in records if r.candidate.reference and r.outcome.quantile_ms <= 2.0]
    assert 0 < len(fits) < 16
    assert baseline.outcome.score == max(r.outcome.score for r in fits)
    assert best_published([r for r in records if not r.candidate.reference]) is None


def with_score(record, score, std):
    return dataclasses.replace(
        record, outcome=dataclasses.replace(record.outcome, score=score, score_std=std)
    )


@pytest.mark.parametrize(("score", "clear"), [(81.0, True), (80.2, False), (79.0, False)])
def test_gain_and_whether_it_is_clear(records, evaluator, request_, score, clear):
    baseline = with_score(best_published(records), 80.0, 0.3)
    winner = with_score(records[20], score, 0.4)
    found = gain(winner, baseline)
    assert found["score"] == pytest.approx(score - 80)
    assert found["std"] == pytest.approx(0.5)
    low, high = found["interval"]
    assert (low, high) == pytest.approx((score - 80 - 0.6408, score - 80 + 0.6408), abs=1e-3)
    assert found["clear"] is clear
    summary = make_summary(
        request_,
        evaluator,
        SearchSpace.load("tiny"),
        Searched([baseline, winner], 2),
        [winner],
        1.0,
    )
    says_no = "has weights: take it" in summary["statement"]
    assert says_no is not clear


def test_summary_counts(records, evaluator, request_):
    summary = make_summary(
        request_, evaluator, SearchSpace.load("tiny"), Searched(records, len(records)), [], 12.3
    )
    assert summary["failed"] == 1
    assert summary["scored"] == summary["priced"] == len(records) - 1
    assert summary["kind"] == "fitted"
    assert summary["latency"]["kind"] == "fitted"
    assert json.loads(json.dumps(summary)) == summary


def test_page_is_one_offline_file(folder):
    paths = regenerate(folder)
    assert [p.name for p in paths] == ["pareto.png", "report.html"]
    text = paths[1].read_text()
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']https?:""", outside)
    assert "<link" not in outside
    assert not re.search(r"<script[^>]*\ssrc=", text)
    assert "fitted" in outside
    assert "SHViT-S1" in outside


def test_no_two_elements_of_the_page_have_one_id(folder):
    regenerate(folder)
    found = re.findall(r'\bid="([^"]+)"', (folder / "report.html").read_text())
    assert len(found) > 10
    assert len(set(found)) == len(found)


def test_page_escapes_what_comes_from_outside(folder):
    trials, front = read_trials(folder), read_trials(folder, FRONT)
    summary = read_summary(folder) | {"device": "<b>x</b>", "statement": "a < b"}
    write_report(folder / "page.html", trials, front, summary, [])
    text = (folder / "page.html").read_text()
    assert "<h1>Backbones for &lt;b&gt;x&lt;/b&gt;" in text
    assert "a &lt; b" in text


def test_a_page_of_very_many_candidates_stays_light(folder):
    trials, front, summary = read_trials(folder), read_trials(folder, FRONT), read_summary(folder)
    candidates = split(trials)[0]
    many = pd.concat([trials, *[candidates] * (30_000 // len(candidates))], ignore_index=True)
    chart = front_chart(many, front, summary)
    drawn = sum(len(g.points) for g in chart.groups if g.key in ("over", "within"))
    assert drawn <= MOST_CANDIDATES
    assert chart.left_out == len(split(many)[0]) - MOST_CANDIDATES
    write_report(folder / "page.html", many, front, summary, [])
    assert (folder / "page.html").stat().st_size < 2_000_000
    assert f"{chart.left_out:,} are left out" in (folder / "page.html").read_text()


def test_what_is_drawn_and_what_is_beyond_the_edges_is_all_there_is(folder):
    trials, front, summary = read_trials(folder), read_trials(folder, FRONT), read_summary(folder)
    chart = front_chart(trials, front, summary)
    done = (trials["state"] == "complete").sum()
    assert len(chart.points) + chart.beyond == done + len(front)
    assert all(0 <= x <= 100 and 0 <= y <= 100 for g in chart.groups for x, y in g.places)


def test_rows_are_filtered_by_what_their_networks_have(records, folder):
    trials = read_trials(folder)
    for record, row in zip(records, rows_of(trials), strict=True):
        network = record.candidate.architecture
        found = choices(row)
        assert found["blocks"] == sorted({b.type for s in network.stages for b in s.blocks})
        assert (found["stem"], found["stages"]) == (network.stem.type, len(network.stages))


def test_older_runs_without_architectures_and_progress_make_a_page(folder):
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("considered", "progress", "families", "also", "yours", "baseline_scaled"):
        summary.pop(name, None)
    (folder / "summary.json").write_text(json.dumps(summary))
    for name in ("trials.csv", FRONT):
        pd.read_csv(folder / name).drop(columns="architecture").to_csv(folder / name, index=False)
    text = regenerate(folder)[1].read_text()
    assert "SHViT-S1" in text
    assert "stage by stage" not in text


def test_commands_name_the_run_as_a_shell_takes_it():
    summary = {"winners": [{"path": "winners/1"}]}
    commands = [shlex.split(text) for _, text in next_commands(Path("my runs/a"), summary)]
    assert [words[:2] for words in commands] == [
        ["effsearch", name] for name in ("train", "measure", "export", "run")
    ]
    assert commands[0][2] == "my runs/a/winners/1"
    assert commands[3][2:4] == ["--resume", "my runs/a"]
    assert len(next_commands(Path("a"), summary | {"refined": {}})) == 3
    assert next_commands(Path("a"), {"winners": []}) == []


@pytest.mark.parametrize(
    ("facts", "images"),
    [({}, "train/CLASS/*.jpg"), ({"task": "segmentation"}, "train/masks/*.png")],
)
def test_the_page_says_what_the_images_of_its_commands_are(folder, facts, images):
    summary = read_summary(folder) | facts
    winner = {**summary["baseline"], "path": "winners/1", "blocks": "mbconvx1"}
    card = {
        "latency": {"breakdown": []},
        "onnx": {"weights": "", "parity": {"value": 0.0, "kind": "measured", "weights": ""}},
    }
    trials, front = read_trials(folder), read_trials(folder, FRONT)
    write_report(folder / "page.html", trials, front, summary | {"winners": [winner]}, [card])
    text = (folder / "page.html").read_text()
    assert "IMAGES stands for a folder of your images" in text
    assert images in text


def test_limits_hold_the_budget_and_the_networks_near_it(folder):
    trials, summary = read_trials(folder), read_summary(folder)
    left, right, bottom, top = limits(summary, trials)
    near = trials[(trials["origin"] == "published") & (trials["quantile_ms"] <= 12)]
    assert left < 2.0 < right
    assert ((near["quantile_ms"] > left) & (near["quantile_ms"] < right)).all()
    assert ((near["lower_bound"] > bottom) & (near["lower_bound"] < top)).all()


@pytest.mark.parametrize("score", [0.0, 1.0, -1e200])
def test_networks_of_one_score_make_a_page(folder, score):
    for name in ("trials.csv", FRONT):
        table = pd.read_csv(folder / name)
        table.assign(score=score, lower_bound=score).to_csv(folder / name, index=False)
    summary = read_summary(folder) | {
        "importance": {"method": "PED-ANOVA", "trials": 60, "score": [], "latency": []}
    }
    write_summary(folder, summary)
    assert "budget 2 ms" in regenerate(folder)[1].read_text()


def test_labels_are_the_papers():
    assert short_label("shvit_s1") == "SHViT-S1"
    assert short_label("efficientmod_s_conv") == "EfficientMod-S (conv)"
    assert short_label("swiftformer_l3") == "SwiftFormer-L3"


@pytest.mark.parametrize("name", ["summary.json", "trials.csv", "front.csv"])
@pytest.mark.parametrize("text", [None, "", "junk", "[1]"])
def test_a_damaged_run_is_a_clear_mistake(folder, name, text):
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=name):
        regenerate(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "not a summary of this version"),
        ({"budget_ms": "two"}, "budget_ms: 'two' is not a number"),
        ({"winners": [{"path": "winners/1"}]}, r"winners\[0\]\.digest: is missing"),
    ],
)
def test_a_wrong_field_of_the_summary_is_named(folder, change, message):
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | change))
    with pytest.raises(UserError, match=message):
        regenerate(folder)


def test_a_wrong_field_of_a_card_is_named(tmp_path):
    number = {"value": 1.5, "unit": "ms", "kind": "fitted"}
    latency = {"mean": number, "quantile": {"value": 2, "unit": "ms"}, "breakdown": []}
    onnx = {"weights": "fresh", "parity": {**number, "weights": "random"}}
    card = {"latency": latency, "score": {"value": number}, "onnx": onnx}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"card\.json: latency\.quantile\.kind: is missing"):
        read_card(tmp_path)
    latency["quantile"] = number
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert read_card(tmp_path) == card


def test_the_front_grows_with_the_candidates(folder):
    trials, summary = read_trials(folder), read_summary(folder)
    found = progress_chart(summary, trials)
    heights = [float(pair.split(",")[1]) for pair in found.line.split()]
    assert heights == sorted(heights, reverse=True)  # from below
    first, last = found.points
    assert first["hypervolume"] < last["hypervolume"]
    fits = trials[(trials["feasible"] == 1) & (trials["origin"] != "published")]
    assert last["best_lower_bound"] == fits["lower_bound"].max()
    assert progress_chart(summary, trials[:0]) is None
