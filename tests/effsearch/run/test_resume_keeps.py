"""What a resumed run keeps: people's files, what was asked for last, and the question."""

import json

import pytest

FIRST = (
    "run", "--budget-ms", 5, "--device", "iphone12", "--space", "tiny", "--workers", 1,
    "--winners", 1, "--trials", 30,
)  # fmt: skip


@pytest.fixture
def finished(effsearch, tmp_path):
    folder = tmp_path / "r"
    assert effsearch(*FIRST, "--out", folder)[0] == 0
    return folder


def test_winners_keep_what_a_person_put_there_and_more_trials_are_remembered(finished, effsearch):
    weights = finished / "winners" / "1" / "model.pt"
    weights.write_bytes(b"an hour of training")
    (finished / "winners" / "notes.txt").write_text("mine")
    status, _, err = effsearch("run", "--resume", finished, "--trials", 31, "--workers", 1)
    assert status == 0, err
    kept = list((finished / "winners").rglob("model.pt"))
    assert [path.read_bytes() for path in kept] == [b"an hour of training"]
    assert (finished / "winners" / "notes.txt").read_text() == "mine"
    assert json.loads((finished / "request.json").read_text())["trials"] == 31
    assert effsearch("run", "--resume", finished, "--workers", 1)[0] == 0
    assert json.loads((finished / "summary.json").read_text())["candidates"] == 31


@pytest.mark.parametrize(("field", "value"), [("budget_ms", 4.0), ("confidence", 0.5)])
def test_a_request_that_was_edited_is_another_question(effsearch, tmp_path, field, value):
    from effsearch.run.request import SearchRequest

    SearchRequest("iphone12", 5.0, space="tiny").write(tmp_path, {})
    path = tmp_path / "request.json"
    assert SearchRequest.read(tmp_path)[0].budget_ms == 5.0
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    status, _, err = effsearch("run", "--resume", tmp_path)
    assert status == 2
    assert "request.json: was changed" in err
