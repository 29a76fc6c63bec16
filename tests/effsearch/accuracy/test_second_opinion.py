import math

from effsearch.accuracy.second_opinion import second_opinion
from searchspace import SearchSpace
from searchspace.zoo import load


def test_finalists_are_scored_and_ordered():
    import numpy as np

    networks = {
        "published": load("efficientvit_b0"),
        "found": SearchSpace.load("tiny").sample(np.random.default_rng(0)),
    }
    opinion = second_opinion(networks)
    assert set(opinion["order"]) == set(networks)
    means = [opinion["networks"][name]["mean"] for name in opinion["order"]]
    assert means == sorted(means, reverse=True)
    assert all(math.isfinite(row["scores"]["naswot"]) for row in opinion["networks"].values())
    assert "MACs" in opinion["note"]
    assert second_opinion(networks) == opinion
