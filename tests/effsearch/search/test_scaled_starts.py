from effsearch.search.candidates import SCALED
from effsearch.search.limits import Limits
from effsearch.search.scaled_starts import scaled_starts
from searchspace import SearchSpace


def test_starts_are_the_best_scaled_networks_that_fit(evaluator):
    space = SearchSpace.load("mobile")
    limits = Limits(4.0, max_params_m=20)
    starts = scaled_starts(space, evaluator, limits)
    assert all(c.origin == SCALED and c.member and " x width " in c.source for c in starts)
    outcomes = [evaluator.evaluate(c.architecture) for c in starts]
    assert all(e <= 0 for o in outcomes for e in limits.excess(o).values())
    bounds = [o.lower_bound for o in outcomes]
    assert bounds == sorted(bounds, reverse=True)
    families = {c.source.split("_")[0] for c in starts}
    assert families == {"shvit", "swiftformer", "efficientmod", "efficientvit"}


def test_nothing_fits_nothing_starts(evaluator):
    assert scaled_starts(SearchSpace.load("mobile"), evaluator, Limits(1e-6)) == []


def test_a_space_without_scaled_networks_starts_without(tiny, evaluator):
    assert scaled_starts(tiny, evaluator, Limits(100.0)) == []
