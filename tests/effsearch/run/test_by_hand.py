"""Baselines, winners' words and the edge of the space."""

import dataclasses

import numpy as np
import pytest

from effsearch.run.by_hand import best_of_families, best_published, best_scaled, families_of
from effsearch.run.winner_words import edge_line, edges, merits
from effsearch.search.candidates import EVOLVED, PUBLISHED, SCALED, Candidate, Outcome, Record
from effsearch.search.winners import choose_winners, design
from searchspace import SearchSpace, zoo
from searchspace.scaling import scaled


def record(number, architecture, origin=EVOLVED, score=70.0, std=1.0, ms=1.0, member=True):
    outcome = Outcome(ms, 0.1, ms + 0.1, score, std, score - std, 1_000_000 + number, 10_000_000)
    candidate = Candidate(architecture, origin, architecture.name or "", member)
    return Record(number, 0, candidate, outcome, {"latency": ms - 2.0})


@pytest.fixture(scope="module")
def by_hand():
    s1 = zoo.load("shvit_s1")
    return [
        record(0, s1, PUBLISHED, 72.0, 0.4),
        record(1, scaled(s1, 1.2, 1.0).renamed("shvit_s1 x width 1.2"), SCALED, 74.0, 0.5),
        record(2, scaled(s1, 1.5, 1.5).renamed("shvit_s1 x width 1.5"), SCALED, 78.0, 0.5, ms=3.0),
        record(3, zoo.load("efficientvit_b0"), PUBLISHED, 71.0, 0.2),
    ]


def test_baselines_are_the_best_that_fit(by_hand):
    assert best_published(by_hand).candidate.source == "shvit_s1"
    assert best_scaled(by_hand).candidate.source == "shvit_s1 x width 1.2"
    assert best_scaled([r for r in by_hand if r.candidate.origin == PUBLISHED]) is None
    assert best_published(by_hand[1:3]) is None


def test_what_anyone_has_is_no_winner(by_hand):
    space = SearchSpace.load("mobile")
    found = record(9, space.sample(np.random.default_rng(0)), score=60.0)
    again = dataclasses.replace(by_hand[1], candidate=Candidate(
        by_hand[1].candidate.architecture, EVOLVED))  # fmt: skip
    assert choose_winners(space, [*by_hand, again, found], 3) == [found]


def test_winners_are_of_other_designs_while_there_are_any():
    space, rng = SearchSpace.load("mobile"), np.random.default_rng(1)
    base = space.nearest(zoo.load("shvit_s2"))
    copies = [space.mutate(base, rng) for _ in range(60)]
    copies = [c for c in copies if design(c) == design(base)][:20]
    others = [space.sample(rng) for _ in range(4)]
    records = [record(i, a, score=75 - 0.01 * i) for i, a in enumerate([base, *copies])]
    records += [record(100 + i, a, score=74.5) for i, a in enumerate(others)]
    chosen = choose_winners(space, records, 3)
    assert chosen[0] is records[0]
    assert len({design(r.candidate.architecture) for r in chosen}) == 3
    alone = choose_winners(space, records[:20], 3)
    assert len(alone) == 3  # nothing else there is: the same design again


def test_families_are_pure_and_within_the_budget(by_hand):
    best = best_of_families(by_hand)
    assert list(best) == ["SHViT", "EfficientViT"]
    assert best["SHViT"].number == 1
    assert families_of(zoo.load("swiftformer_xs")) == ["SwiftFormer"]


def test_merits_go_to_one_winner_each():
    networks = [zoo.load(name) for name in ("shvit_s1", "shvit_s2", "efficientvit_b0")]
    winners = [
        record(5, networks[0], score=75, std=0.5, ms=1.0),
        record(4, networks[1], score=76, std=2.0, ms=1.5),
        record(3, networks[2], score=73, std=0.2, ms=1.0),
    ]
    found = merits(winners)
    assert "most accurate by the bound" in found[0]
    assert "highest estimate" in found[1]
    assert {"surest estimate", "fewest parameters"} <= set(found[2])
    assert not any("fastest" in words for words in found)  # two tie
    assert merits(winners[:1]) == [[]]


def test_the_edge_is_where_a_size_ends():
    space = SearchSpace.load("mobile")
    inner = space.nearest(zoo.load("shvit_s2"))
    deepest = max(space.spec.stages[2].depth)
    stage = inner.stages[2]
    at_end = dataclasses.replace(
        inner,
        stages=(
            *inner.stages[:2],
            dataclasses.replace(
                stage, blocks=(dataclasses.replace(stage.blocks[0], depth=deepest),)
            ),
        ),
    )
    assert "stage3.depth" not in space.ends(inner)
    assert space.ends(at_end)["stage3.depth"] == ("most", deepest)
    rows = edges(space, [record(0, at_end), record(1, inner)])
    row = next(r for r in rows if r["axis"] == "stage3.depth")
    assert row == {"axis": "stage3.depth", "end": "most", "value": deepest, "winners": [1]}
    assert f"stage3.depth {deepest} (most there is)" in edge_line(rows, 2)
    assert edge_line([], 2) == ""
