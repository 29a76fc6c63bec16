import json
import math

from effsearch.accuracy.second_opinion import second_opinion
from effsearch.run.cards import opinion_numbers
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


def test_what_is_not_defined_is_null_in_json(monkeypatch):
    from effsearch.accuracy import second_opinion as module

    nan = math.nan
    found = {"a": {"synflow": nan, "naswot": 170.0, "zico": 600.0}, "b": dict.fromkeys(
        ("synflow", "naswot", "zico"), nan)}  # fmt: skip
    monkeypatch.setattr(module, "member_scores", lambda architecture, seed: found[architecture])
    opinion = second_opinion({name: name for name in found})
    assert opinion["order"] == ["a"]
    assert opinion["networks"]["a"]["scores"]["synflow"] is None
    for name in found:
        card = opinion_numbers(opinion, name)
        assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert opinion_numbers(opinion, "b")["value"]["value"] is None
