"""Refining for every task: ranked, kept and told by the task's own metric."""

from __future__ import annotations

import dataclasses
import json

import pytest

from effsearch.refine.ranking import standard_error
from effsearch.refine.refinement import refine
from effsearch.refine.request import ImageData, RefineRequest
from effsearch.run.refined_entries import refined_summary, trained_numbers, trained_weights
from effsearch.search.candidates import Candidate, Outcome, Record
from effsearch.training import checkpoint as checkpoints
from effsearch.training.tasks.registry import TASKS
from searchspace import UserError
from tests.fixtures.refine import KilledError
from tests.fixtures.tasks import ROWS, network


def record(number, architecture):
    outcome = Outcome(0.5, 0.05, 0.55, 80.0 - number, 1.0, 79.0 - number, 200_000, 10_000_000)
    return Record(number, 0, Candidate(architecture, "sampled"), outcome, {"latency": -0.1})


@pytest.fixture(params=sorted(TASKS))
def task(request):
    return TASKS[request.param]


@pytest.fixture
def wanted(task, tmp_path):
    row = ROWS[task.name]
    data = row.write(tmp_path / "data")
    return RefineRequest(2, ImageData.check(data, row.recipe.source_side, task.name), row.recipe, 1)


@pytest.fixture
def records(task):
    first = network(task.name)
    (block,) = first.stages[0].blocks
    deeper = dataclasses.replace(first.stages[0], blocks=(dataclasses.replace(block, depth=2),))
    return [
        record(0, first),
        record(1, dataclasses.replace(first, stages=(deeper, *first.stages[1:]))),
    ]


def test_a_request_reads_back_with_its_task(wanted, task, tmp_path):
    wanted.write(tmp_path)
    assert RefineRequest.read(tmp_path) == wanted
    assert wanted.data.task == task.name


def test_networks_are_ranked_by_the_tasks_metric(task, wanted, records, serial, tmp_path):
    said = []
    found = refine(wanted, 0, tmp_path / "refine", records, None, 1, say=said.append)
    lines = (tmp_path / "refine" / "results.jsonl").read_text().splitlines()
    values = {}
    for line in map(json.loads, lines):
        values[line["digest"]] = line[task.key]
    assert any(f"{task.metric} " in line for line in said)
    for entrant in found.entrants:
        held = checkpoints.load(entrant.checkpoint)
        assert held.metrics[task.key] == entrant.training.value == values[entrant.digest]
        stated = held.metrics.get(f"{task.key}_std")
        images = wanted.data.val_images
        by_formula = standard_error(entrant.training.value, images)
        assert entrant.training.std(images) == (by_formula if stated is None else stated)
    ends = [e.training for e in found.order if e.training.state == "finished"]
    assert ends == sorted(ends, key=lambda t: -t.value)


def test_summary_and_card_name_metric_and_error(task, wanted, records, serial, tmp_path):
    found = refine(wanted, 0, tmp_path / "refine", records, None, 1)
    winners = found.reorder(records)
    body = refined_summary(found, winners, None)
    assert json.loads(json.dumps(body))["networks"] == body["networks"]
    assert body["unit"] == f"{task.metric} in % on data"
    assert (body["key"], body["metric"]) == (task.key, task.metric)
    first, best = body["networks"][0], found.order[0]
    assert first[task.key] == best.training.value
    assert first[f"{task.key}_std"] == best.training.std(wanted.data.val_images) > 0
    for words in (body["statement"], body["rule"], body["data"]["note"]):
        assert task.metric in words
    assert task.benchmark in body["data"]["note"]
    card = trained_numbers(found, best.digest)
    assert card["unit"] == f"{task.metric} in % on data"
    assert (card["value"], card["std"]) == (first[task.key], first[f"{task.key}_std"])
    weights = trained_weights(found, winners[0].candidate.architecture)
    assert f"{best.training.value:.2f} % {task.metric} there" in weights.text
    assert weights.network.num_classes == wanted.data.classes


def test_a_network_that_the_recipe_does_not_fit_is_said_and_the_others_are_trained(
    serial, tmp_path
):
    row, misfit = ROWS["segmentation"], record(1, network("segmentation"))
    recipe = row.recipe.replace(image_side=(36, 72), epochs=1)  # its maps are 9x18 and 5x9
    data = ImageData.check(row.write(tmp_path / "data"), recipe.source_side, "segmentation")
    wanted = RefineRequest(2, data, recipe, 1)
    first = misfit.candidate.architecture
    options = tuple({**first.head.option, "stages": 1}.items())
    fits = record(
        0, dataclasses.replace(first, head=dataclasses.replace(first.head, options=options))
    )
    for _ in range(2):  # a resumed one likewise
        said = []
        found = refine(wanted, 0, tmp_path / "refine", [fits, misfit], None, 1, say=said.append)
        (line,) = (line for line in said if "cannot be trained" in line)
        assert line.startswith(f"{misfit.candidate.digest} cannot be trained by the recipe quick: ")
        assert [e.digest for e in found.order] == [fits.candidate.digest]
        assert "the maps of strides 4, 8" in found.entrants[1].training.reason
    with pytest.raises(UserError, match="quick fits none of the networks: resolution: at 36x72"):
        refine(wanted, 0, tmp_path / "none", [misfit], None, 1)


def test_a_refinement_that_was_killed_ends_as_another(task, wanted, records, serial, tmp_path):
    whole = refine(wanted, 0, tmp_path / "whole", records, None, 1)
    serial.after = 2
    with pytest.raises(KilledError):
        refine(wanted, 0, tmp_path / "parts", records, None, 1)
    serial.after = None
    parts = refine(wanted, 0, tmp_path / "parts", records, None, 1)
    for mine, other in zip(parts.order, whole.order, strict=True):
        assert mine.training.curve == other.training.curve
        assert mine.training.stds == other.training.stds
