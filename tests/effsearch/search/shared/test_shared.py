"""Several drivers on one study."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from optuna.exceptions import StorageInternalError

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import SAMPLED, Candidate, Outcome
from effsearch.search.executors import SerialExecutor
from effsearch.search.limits import Limits
from effsearch.search.loop import InterruptedSearchError
from effsearch.search.planner import Planner
from effsearch.search.progress import Silent
from effsearch.search.shared import study as shared_study
from effsearch.search.shared.loop import search_shared
from effsearch.search.shared.storage import open_storage
from effsearch.search.shared.study import SharedStudy
from searchspace import SearchSpace, UserError, zoo

LIMITS = Limits(0.55)
numbers = itertools.count()


@pytest.fixture
def join(url, tiny):
    """Lets drivers join a new study."""
    name = f"study {next(numbers)}"

    def joined(space=tiny, question=None):
        return SharedStudy(open_storage(url), name, space, question or {"budget": 1})

    return joined


def members(tiny, count, seed=0):
    rng = np.random.default_rng(seed)
    found = {c.digest: c for c in (Candidate(tiny.sample(rng), SAMPLED) for _ in range(9 * count))}
    return list(found.values())[:count]


def digests(items):
    return [getattr(item, "candidate", item).digest for item in items]


def test_a_candidate_is_claimed_once_and_what_is_told_is_read_by_all(join, tiny, evaluator):
    one, other = join(), join()
    wanted = members(tiny, 4)
    wanted[0] = Candidate(zoo.load("shvit_s1"), "published", "shvit_s1", member=False)
    mine, theirs = one.claim(wanted[:3], 0, 9), other.claim(wanted[1:], 0, 9)
    assert digests(mine) == digests(wanted[:3])
    assert digests(theirs) == digests(wanted[3:])
    assert digests(one.read().pending) == digests(wanted)
    outcomes = evaluator([c.architecture for c in wanted])
    for claim, outcome in zip(mine, outcomes, strict=False):
        one.tell(claim, outcome, LIMITS)
    other.tell(theirs[0], Outcome(error="no such kernel"), LIMITS)
    found = [trial.system_attrs["constraints"] for trial in one._trials() if trial.values]
    assert found == [list(LIMITS.excess(o).values()) for o in outcomes[:3]]
    for driver in (one, other, join()):
        state = driver.read()
        assert [r.candidate for r in state.records] == wanted
        assert [r.outcome for r in state.records[:3]] == outcomes[:3]
        assert [r.excess for r in state.records[:3]] == [LIMITS.excess(o) for o in outcomes[:3]]
        assert state.records[3].outcome.error == "no such kernel"
        assert state.pending == []
    assert other.claim(wanted, 0, 9) == []


def test_a_study_gets_no_more_than_it_shall_have(join, tiny):
    one, other = join(), join()
    wanted = members(tiny, 6)
    assert len(one.claim(wanted[:4], 0, 5)) == 4
    assert digests(other.claim(wanted[4:], 0, 5)) == digests(wanted[4:5])
    assert len(one.read().pending) == 5


def test_what_a_dead_driver_was_at_is_given_up_and_claimed_again(
    join, tiny, evaluator, monkeypatch
):
    dead, living, other = join(), join(), join()
    lost, kept = members(tiny, 2)
    (claim,) = dead.claim([lost], 0, 9)
    living.claim([kept], 0, 9)
    assert other.bury() == 0  # it has to stand still for long
    monkeypatch.setattr(shared_study, "GRACE_S", -1.0)
    living._study.set_user_attr(living._beat, 1)
    assert other.bury() == 1
    assert digests(other.read().pending) == digests([kept])
    dead.tell(claim, evaluator([lost.architecture])[0], LIMITS)  # it was only slow
    assert other.read().records == []
    (again,) = other.claim([lost], 1, 9)
    other.tell(again, evaluator([lost.architecture])[0], LIMITS)
    assert digests(dead.read().records) == [lost.digest]


def test_drivers_that_live_say_so(join, monkeypatch):
    monkeypatch.setattr(shared_study, "BEAT_S", 0.01)
    one, other = join(), join()
    with one.alive():
        beats = set()
        while len(beats) < 3:
            beats.add(other._study.user_attrs.get(one._beat))


def planner(tiny, trials):
    made = Planner(tiny, 0, trials)
    made.initial, made.batch, made.exhaustive = 20, 5, False
    return made


def drive(join, evaluator, tiny, found, trials, executor=None, **options):
    executor = executor or SerialExecutor(evaluator)
    arguments = (LIMITS, join(), planner(tiny, trials), executor, Silent(), 2)
    found.append(search_shared(*arguments, **options))


def test_drivers_at_once_evaluate_nothing_twice_and_end_with_the_same(join, evaluator, tiny):
    evaluated, found = [], []

    class Noting:
        def __call__(self, architectures):
            evaluated.extend(a.digest() for a in architectures)
            return evaluator(architectures)

    given = (join, evaluator, tiny, found, 60, SerialExecutor(Noting()))
    drivers = [threading.Thread(target=drive, args=given) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(evaluated) == len(set(evaluated)) == 60
    assert len(found) == 3
    assert {tuple(digests(records)) for records in found} == {tuple(digests(found[0]))}
    assert sorted(digests(found[0])) == sorted(evaluated)
    drive(join, evaluator, tiny, found, 60)
    assert digests(found[-1]) == digests(found[0])
    drive(join, evaluator, tiny, found, 65)
    assert len(found[-1]) == 65


def test_a_driver_that_is_stopped_leaves_no_claim(join, evaluator, tiny):
    asked = itertools.count()
    with pytest.raises(InterruptedSearchError):
        drive(join, evaluator, tiny, [], 90, stop=lambda: next(asked) == 7)
    state = join().read()
    assert state.pending == []
    assert 0 < len(state.records) < state.trials


def test_a_storage_that_fails_is_a_failure_that_keeps_what_was_told(join, evaluator, tiny):
    study = join()
    told = itertools.count()

    def fails(trial, state, values=None):
        if state.name == "COMPLETE" and next(told) == 3:
            raise StorageInternalError("connection lost")
        return real(trial, state, values)

    real, study._storage.set_trial_state_values = study._storage.set_trial_state_values, fails
    with pytest.raises(WorkFailedError, match=r"the storage failed \(connection lost"):
        search_shared(LIMITS, study, planner(tiny, 90), SerialExecutor(evaluator), Silent(), 2)
    assert len(join().read().records) == 3


def test_a_study_of_another_question_or_program_is_refused(join, tiny, url):
    join()
    with pytest.raises(UserError, match=r"was begun with another budget"):
        join(question={"budget": 2})
    storage = open_storage(url)
    import optuna

    optuna.create_study(storage=storage, study_name=f"foreign {url}").ask()
    with pytest.raises(UserError, match="another program's"):
        SharedStudy(storage, f"foreign {url}", tiny, {})
    study = join()
    study.claim(members(tiny, 1), 0, 9)
    with pytest.raises(UserError, match=r"not (of|in) the space"):
        join(space=SearchSpace.load("mobile")).read()
