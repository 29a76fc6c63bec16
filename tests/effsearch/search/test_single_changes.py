"""Single changes of a network: their effects add up to what the changed networks are."""

import pytest

from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.single_changes import effects, gains, savings
from searchspace import SearchSpace, UserError, zoo


@pytest.fixture(scope="module")
def evaluator():
    return EvaluatorSpec("iphone12", "imagenet", 0.8).make()


@pytest.fixture(scope="module")
def explained(evaluator):
    space = SearchSpace.load("small")
    architecture = space.nearest(zoo.load("shvit_s1"))
    return space, architecture, *effects(space, architecture, evaluator)


def test_every_change_is_of_one_axis_and_has_its_networks_own_numbers(explained, evaluator):
    space, architecture, own, found = explained
    changes = list(space.changes(architecture))
    assert len(found) == len(changes) > 10
    for change, effect in zip(changes, found, strict=True):
        assert space.choices(architecture)[change.axis] == change.before != change.after
        assert space.choices(change.architecture)[change.axis] == change.after
        other = evaluator.evaluate(change.architecture)
        assert own.mean_ms + effect.latency_ms == pytest.approx(other.mean_ms)
        assert own.score + effect.score == pytest.approx(other.score)
        assert own.params + effect.params == other.params


def test_reasons_add_up_to_the_change_of_the_score(explained, evaluator):
    space, architecture, own, _ = explained
    for change in space.changes(architecture):
        other = evaluator.evaluate(change.architecture)
        difference = other.score - own.score
        points = sum(evaluator.source.reasons(architecture, change.architecture).values())
        # To first order; families that mix add doubt, which moves the mean by a little.
        assert points == pytest.approx(difference, abs=0.05 + 0.1 * abs(difference))


def test_the_best_deals_come_first(explained):
    *_, found = explained
    saved, gained = savings(found), gains(found)
    assert all(e.latency_ms < 0 for e in saved)
    assert all(e.lower_bound > 0 for e in gained)
    rates = [e.latency_ms / e.lower_bound for e in saved if e.lower_bound < 0]
    assert rates == sorted(rates, reverse=True)
    free = [e.latency_ms <= 0 for e in gained]
    assert free == sorted(free, reverse=True)


def test_what_is_not_in_the_space_is_refused(evaluator):
    with pytest.raises(UserError, match="not in the space tiny"):
        effects(SearchSpace.load("tiny"), zoo.load("shvit_s1"), evaluator)
