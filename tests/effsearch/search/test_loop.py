"""The whole loop on a space that can be searched by brute force."""

from __future__ import annotations

import itertools

import pytest

from effsearch.errors import WorkFailedError
from effsearch.run.request import SearchRequest
from effsearch.search.candidates import Candidate, Outcome, Record
from effsearch.search.executors import SerialExecutor
from effsearch.search.loop import InterruptedSearchError, search
from effsearch.search.parameters import enumerate_space
from effsearch.search.pareto import front
from effsearch.search.planner import Planner
from effsearch.search.progress import Silent
from effsearch.search.study import StudyStore
from effsearch.search.winners import choose_winners

BUDGET = 0.55


def request(**changes):
    return SearchRequest(**{"device": "toy", "budget_ms": BUDGET, "space": "tiny", **changes})


def run(asked, space, evaluator, folder, stop=lambda: False, executor=None, exhaustive=None):
    folder.mkdir(exist_ok=True)
    planner = Planner(space, asked.seed, asked.trials)
    if exhaustive is not None:
        planner.exhaustive = exhaustive
    store = StudyStore(folder, space)
    try:
        return search(
            asked.limits, store, planner, executor or SerialExecutor(evaluator), Silent(), stop
        )
    finally:
        store.close()


def key(records):
    return [(r.number, r.batch, r.candidate.digest, r.outcome) for r in records]


@pytest.fixture(scope="module")
def brute_force(tiny, evaluator):
    asked = request()
    records = []
    for number, architecture in enumerate(enumerate_space(tiny)):
        outcome = evaluator.evaluate(architecture)
        candidate = Candidate(architecture, "enumerated")
        records.append(Record(number, 0, candidate, outcome, asked.limits.excess(outcome)))
    assert len(records) == tiny.size()
    return records


def test_the_toy_budget_cuts_the_space(brute_force):
    assert 0.2 < sum(r.feasible for r in brute_force) / len(brute_force) < 0.8


def test_a_small_space_is_searched_whole(tiny, evaluator, brute_force, tmp_path):
    records = run(request(trials=1000), tiny, evaluator, tmp_path)
    members = {r.candidate.digest for r in records if r.candidate.member}
    assert members == {r.candidate.digest for r in brute_force}
    assert {r.candidate.digest for r in front(records)} == {
        r.candidate.digest for r in front(brute_force)
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_evolution_finds_the_brute_force_front(
    tiny, evaluator, brute_force, tmp_path, seed, monkeypatch
):
    monkeypatch.setattr(Planner, "initial", 60)
    monkeypatch.setattr(Planner, "batch", 40)
    records = run(request(trials=300, seed=seed), tiny, evaluator, tmp_path, exhaustive=False)
    assert len(records) == 300
    points = {(r.outcome.lower_bound, r.outcome.quantile_ms) for r in front(records)}
    expected = {(r.outcome.lower_bound, r.outcome.quantile_ms) for r in front(brute_force)}
    assert points == expected


def test_no_winner_breaks_the_budget(tiny, evaluator, tmp_path):
    asked = request(trials=1000, max_params_m=0.3, max_macs_m=20)
    records = run(asked, tiny, evaluator, tmp_path)
    winners = choose_winners(tiny, records, 5)
    assert len(winners) == 5
    for record in winners:
        outcome = evaluator.evaluate(record.candidate.architecture)
        assert outcome.quantile_ms <= BUDGET
        assert outcome.params <= 0.3e6
        assert outcome.macs <= 20e6
    assert any(r.outcome.quantile_ms > BUDGET for r in records)


def test_the_same_seed_gives_the_same_run(tiny, evaluator, tmp_path, monkeypatch):
    monkeypatch.setattr(Planner, "initial", 60)
    monkeypatch.setattr(Planner, "batch", 40)
    runs = [
        key(run(request(trials=160, seed=seed), tiny, evaluator, tmp_path / name, exhaustive=False))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("kept", [0, 7, 40, 95, 140])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tiny, evaluator, tmp_path, kept, lag, monkeypatch
):
    """Wherever the file was cut: between batches, inside one, inside a line."""
    monkeypatch.setattr(Planner, "initial", 60)
    monkeypatch.setattr(Planner, "batch", 20)
    monkeypatch.setattr(Planner, "lag", lag)
    asked = request(trials=160)
    whole = run(asked, tiny, evaluator, tmp_path / "whole", exhaustive=False)
    lines = (tmp_path / "whole" / "study.log").read_bytes().splitlines(keepends=True)
    header = len(lines) - 160
    torn = tmp_path / "torn"
    torn.mkdir()
    text = b"".join(lines[: header + kept]) + lines[header + kept][:100]
    (torn / "study.log").write_bytes(text)
    assert key(run(asked, tiny, evaluator, torn, exhaustive=False)) == key(whole)


def test_a_stopped_run_keeps_its_batches_and_goes_on(tiny, evaluator, tmp_path, monkeypatch):
    monkeypatch.setattr(Planner, "initial", 60)
    monkeypatch.setattr(Planner, "batch", 40)
    asked = request(trials=160)
    with pytest.raises(InterruptedSearchError):
        run(asked, tiny, evaluator, tmp_path / "a", stop=lambda: True, exhaustive=False)
    resumed = run(asked, tiny, evaluator, tmp_path / "a", exhaustive=False)
    whole = run(asked, tiny, evaluator, tmp_path / "b", exhaustive=False)
    assert key(resumed) == key(whole)


class Counting:
    """An executor that counts how many batches are under way."""

    def __init__(self, evaluator):
        self.evaluator, self.most, self.waiting = evaluator, 0, []

    def start(self, architectures):
        self.waiting.append(list(architectures))
        self.most = max(self.most, len(self.waiting))
        return self.arrive(self.waiting[-1])

    def arrive(self, architectures):
        yield from ([self.evaluator.evaluate(a)] for a in architectures)
        assert self.waiting.pop(0) is architectures

    def close(self):
        pass


def test_batches_ahead_keep_workers_busy_and_are_planned_alike_whoever_works(
    tiny, evaluator, tmp_path, monkeypatch
):
    monkeypatch.setattr(Planner, "initial", 60)
    monkeypatch.setattr(Planner, "batch", 10)
    monkeypatch.setattr(Planner, "lag", 2)
    asked, ahead = request(trials=160), Counting(evaluator)
    first = run(asked, tiny, evaluator, tmp_path / "a", executor=ahead, exhaustive=False)
    assert ahead.most == 3
    assert ahead.waiting == []
    assert len({r.candidate.digest for r in first}) == 160
    again = run(asked, tiny, evaluator, tmp_path / "b", exhaustive=False)
    assert key(again) == key(first)


@pytest.mark.parametrize("lag", [0, 2])
def test_more_trials_continue_a_finished_run(tiny, evaluator, tmp_path, lag, monkeypatch):
    monkeypatch.setattr(Planner, "initial", 60)
    monkeypatch.setattr(Planner, "batch", 20)
    monkeypatch.setattr(Planner, "lag", lag)
    run(request(trials=110), tiny, evaluator, tmp_path / "a", exhaustive=False)
    more = run(request(trials=170), tiny, evaluator, tmp_path / "a", exhaustive=False)
    whole = run(request(trials=170), tiny, evaluator, tmp_path / "b", exhaustive=False)
    assert key(more) == key(whole)


def test_a_budget_that_nothing_meets_ends_at_the_fastest(
    tiny, evaluator, brute_force, tmp_path, monkeypatch
):
    monkeypatch.setattr("effsearch.search.planner.PATIENCE", 60)
    monkeypatch.setattr(Planner, "initial", 60)
    records = run(request(trials=400, budget_ms=0.01), tiny, evaluator, tmp_path, exhaustive=False)
    assert len(records) < 400
    assert not any(r.feasible for r in records)
    fastest = min(r.outcome.quantile_ms for r in brute_force)
    assert min(r.outcome.quantile_ms for r in records if r.candidate.member) == fastest


def test_failures_are_recorded_and_do_not_stop_the_search(tiny, evaluator, tmp_path):
    numbers = itertools.count()

    class Flaky:
        def __call__(self, architectures):
            return [
                Outcome(error="broken") if next(numbers) % 5 == 0 else evaluator.evaluate(a)
                for a in architectures
            ]

    records = run(request(trials=1000), tiny, evaluator, tmp_path, executor=SerialExecutor(Flaky()))
    failed = [r for r in records if r.failed]
    assert 0.15 < len(failed) / len(records) < 0.25
    assert not any(r.feasible for r in failed)
    again = run(request(trials=1000), tiny, evaluator, tmp_path)
    assert key(again) != []
    assert [r.failed for r in again] == [r.failed for r in records]


def test_a_search_where_everything_fails_says_why(tiny, evaluator, tmp_path):
    class Broken:
        def __call__(self, architectures):
            return [Outcome(error="no such kernel") for _ in architectures]

    with pytest.raises(WorkFailedError, match="no such kernel"):
        run(request(), tiny, evaluator, tmp_path, executor=SerialExecutor(Broken()))


class Slow:
    """An executor whose outcomes come one by one, and that fails or is stopped in between."""

    def __init__(self, evaluator, after, error):
        self.evaluator, self.after, self.error = evaluator, after, error

    def start(self, architectures):
        for number, architecture in enumerate(architectures):
            if number == self.after:
                raise self.error
            yield []
            yield self.evaluator([architecture])

    def close(self):
        pass


@pytest.mark.parametrize("error", [WorkFailedError("died"), KeyboardInterrupt()])
def test_what_arrived_before_a_failure_is_kept(tiny, evaluator, tmp_path, error):
    whole = run(request(), tiny, evaluator, tmp_path / "whole")
    with pytest.raises(type(error)):
        run(request(), tiny, evaluator, tmp_path / "cut", executor=Slow(evaluator, 7, error))
    store = StudyStore(tmp_path / "cut", tiny)
    assert key(store.records()) == key(whole[:7])
    store.close()
    assert key(run(request(), tiny, evaluator, tmp_path / "cut")) == key(whole)


def test_a_stop_is_heard_within_a_batch(tiny, evaluator, tmp_path):
    asked = []

    def stop():
        asked.append(None)
        return len(asked) == 5

    with pytest.raises(InterruptedSearchError):
        run(request(), tiny, evaluator, tmp_path, stop)
    store = StudyStore(tmp_path, tiny)
    assert len(store.records()) == 5
    store.close()


def test_what_comes_slowly_is_written_and_counted_before_the_batch_ends(
    tiny, evaluator, tmp_path, monkeypatch
):
    monkeypatch.setattr("effsearch.search.loop._WRITE_S", 0.0)
    seen = []

    class Count(Silent):
        def advance(self, done, records):
            log = (tmp_path / "study.log").read_text()
            seen.append((done, log.count('op_code":4')))

    store = StudyStore(tmp_path, tiny)
    planner = Planner(tiny, 0, 12)
    search(request().limits, store, planner, SerialExecutor(evaluator), Count())
    store.close()
    assert seen == [(n, n) for n in range(1, 13)]
