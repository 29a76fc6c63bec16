from __future__ import annotations

import dataclasses
import json
import re

import pytest

from effsearch.refine.ranking import FAILED, FINISHED, STOPPED, Training
from effsearch.refine.refinement import Entrant, Refinement
from effsearch.report.refined import refined_lines
from effsearch.report.refined_section import refined_section
from effsearch.run.refined_entries import (
    add_refined,
    refined_summary,
    trained_numbers,
    trained_weights,
)
from effsearch.training.checkpoint import Checkpoint
from searchspace import build

DEVICE = ("CPU, 1 thread(s)",)


@pytest.fixture
def baseline(networks):
    found = dataclasses.replace(networks[3].candidate, origin="published", source="shvit_s1")
    return dataclasses.replace(networks[3], candidate=found)


@pytest.fixture
def refinement(wanted, networks, baseline, tmp_path):
    """By score 0, 1, 2, baseline; by training 1, baseline, 0, with 2 failed."""
    curves = {0: (40, STOPPED), 1: (50, 70, 90, FINISHED), 2: (FAILED,), 3: (45, 60, 60, FINISHED)}

    def entrant(number, record):
        *values, state = curves[number]
        digest, reason = record.candidate.digest, "out of memory" if state == FAILED else ""
        curve = tuple((i, float(v)) for i, v in enumerate(values, 1))
        name = "shvit_s1" if number == 3 else digest
        training = Training(digest, curve, state, reason, 2.0, DEVICE)
        return Entrant(name, record, training, tmp_path / digest / "model.pt")

    records = [*networks[:3], baseline]
    return Refinement(wanted, 0, tuple(entrant(i, r) for i, r in enumerate(records)))


def with_training(refinement, place, *values, state):
    entrants = list(refinement.entrants)
    curve = tuple((i, float(v)) for i, v in enumerate(values, 1))
    old = entrants[place]
    training = Training(old.digest, curve, state)
    entrants[place] = dataclasses.replace(old, training=training)
    return dataclasses.replace(refinement, entrants=tuple(entrants))


def test_both_orders_and_what_each_network_got(refinement, networks, baseline):
    winners = refinement.reorder(networks[:3])
    assert [r.number for r in winners] == [1, 0, 2]
    found = refined_summary(refinement, winners, baseline)
    assert json.loads(json.dumps(found)) == found
    rows = found["networks"]
    ranks = [(row["rank_by_score"], row["rank_by_training"], row["stopped_at"]) for row in rows]
    assert ranks == [(2, 1, None), (4, 2, None), (1, 3, 1), (3, None, None)]
    assert [row["path"] for row in rows] == ["winners/1", None, "winners/2", "winners/3"]
    assert [row["top1"] for row in rows] == [90, 60, 40, None]
    assert (found["pairs"], found["pairs_kept"], found["failed"]) == (3, 1, 1)
    assert found["kendall_tau"] == pytest.approx(-1 / 3)
    assert "over 3 networks: 1 of 3 pairs" in found["sureness"]
    assert "60 validation images" in found["sureness"]
    assert found["devices"] == list(DEVICE)
    assert found["gain"]["top1"] == 30
    assert found["gain"]["clear"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            None,
            ["reaches 90.00 % top-1 in 3 epochs", "+30.00", "winner 1 is better there"],
        ),
        ((3, 45, 60, 89), ["shvit_s1", "cannot tell which is better"]),
        ((3, 45, 60, 99.9), ["-9.90", "published network is better there"]),
    ],
)
def test_statement_says_which_is_better(refinement, networks, baseline, change, words):
    if change is not None:
        refinement = with_training(refinement, change[0], *change[1:], state=FINISHED)
    winners = [networks[1]]
    text = refined_summary(refinement, winners, baseline)["statement"]
    for word in (*words, "is not ImageNet", "one seed"):
        assert word in text


def test_statement_compares_at_the_epoch_that_both_did(refinement, networks, baseline):
    stopped = with_training(refinement, 3, 45, state=STOPPED)
    text = refined_summary(stopped, [networks[1]], baseline)["statement"]
    assert (
        "45.00 % top-1 in 1 epoch, where ASHA stopped it: +5.00 after 1 epoch, which both did (80%"
        in text
    )
    failed = with_training(refinement, 3, state=FAILED)
    text = refined_summary(failed, [networks[1]], baseline)["statement"]
    assert "baseline's training failed" in text
    none = dataclasses.replace(refinement, entrants=refinement.entrants[:3])
    assert "no published network fits" in refined_summary(none, [networks[1]], None)["statement"]


def test_the_runs_summary_takes_it_over(refinement, networks, baseline):
    winners = refinement.reorder(networks[:3])
    summary = {
        "winners": [{"digest": r.candidate.digest} for r in winners],
        "baseline": {"digest": baseline.candidate.digest},
        "notes": [],
        "statement": "by score",
    }
    add_refined(summary, refinement, winners, baseline)
    first, second, third = summary["winners"]
    assert first["trained"]["top1"] == 90
    assert first["trained"]["kind"] == "measured"
    assert second["trained"]["state"] == "stopped"
    assert third["trained"]["top1"] is None
    assert summary["baseline"]["trained"]["rank_by_training"] == 2
    assert summary["statement"] == summary["refined"]["statement"]
    assert [note for note in summary["notes"] if "out of memory" in note]


def test_cards_and_weights_state_the_training(refinement, networks, tmp_path):
    record = networks[1]
    architecture, digest = record.candidate.architecture, record.candidate.digest
    network = build(architecture, 3).eval()
    Checkpoint(
        architecture.to_yaml(), digest, network.state_dict(), ("a", "b", "c"),
        refinement.wanted.recipe, 3, 90.0, {},
    ).save(tmp_path / digest / "model.pt")  # fmt: skip
    numbers = trained_numbers(refinement, digest)
    assert (numbers["value"], numbers["kind"], numbers["epochs"]) == (90, "measured", 3)
    assert numbers["rank_by_score"] == 2
    assert numbers["interval_80"][0] < 90 < numbers["interval_80"][1]
    weights = trained_weights(refinement, architecture.renamed("winner"))
    assert weights.network.num_classes == 3
    assert "3 of 3 epochs at 32 px: 90.00 % top-1 there" in weights.text
    assert "takes 64 px, at which its accuracy was not measured" in weights.text
    failed = networks[2].candidate
    assert trained_numbers(refinement, failed.digest) is None
    assert trained_weights(refinement, failed.architecture) is None


def test_page_and_console_show_it(refinement, networks, baseline):
    found = refined_summary(refinement, refinement.reorder(networks[:3]), baseline)
    page = refined_section(found)
    assert "SHViT-S1 (baseline)" in page
    assert len(re.findall(r'<line class="(up|down|same)"', page)) == 3
    assert "1 of 3, stopped by ASHA" in page
    assert "failed after 0<br><small>out of memory</small>" in page
    assert "not ImageNet" in page
    lines = refined_lines(found)
    assert lines[1].split()[:2] == ["1", "2"]
    assert "winners/1" in lines[1]
    assert lines[4].startswith("-")
    assert lines[-1] == found["sureness"]


def test_page_escapes_what_a_refinement_says(refinement, networks, baseline):
    found = refined_summary(refinement, refinement.reorder(networks[:3]), baseline)
    page = refined_section(found | {"sureness": "<b>", "recipe": "'&'"})
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "recipe &#39;&amp;&#39;" in page
