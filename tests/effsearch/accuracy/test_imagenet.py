"""The default score: order, uncertainty, degenerates, held-out errors, and bad data files."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from effsearch.accuracy import degenerates
from effsearch.accuracy.features import SHAPE, TOTALS, shape
from effsearch.accuracy.imagenet import DATA, ImagenetEstimate
from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.published import published
from searchspace import Architecture, SearchSpace, UserError, operators, zoo

DEGENERATES = degenerates.load()
FAMILIES = {
    "shvit": ("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4"),
    "efficientvit": ("efficientvit_b0", "efficientvit_b1", "efficientvit_b2", "efficientvit_b3"),
    "efficientmod": ("efficientmod_xxs", "efficientmod_xs", "efficientmod_s"),
    "swiftformer": ("swiftformer_xs", "swiftformer_s", "swiftformer_l1", "swiftformer_l3"),
}


@pytest.fixture(scope="module")
def source() -> ImagenetEstimate:
    return ImagenetEstimate.load()


def gmacs(architecture: Architecture) -> float:
    return sum(o.macs for o in operators(architecture, "deploy")) / 1e9


def crude_device(architecture: Architecture) -> float:
    """A crude device: 2000 GMACs a second and 3 us an operator."""
    parts = operators(architecture, "deploy")
    return sum(o.macs for o in parts) / 2e9 + 0.003 * len(parts)


@cache
def iphone12() -> DeviceTable:
    return DeviceTable.load("iphone12")


def shipped_table(architecture: Architecture) -> float:
    return iphone12().predict(architecture).mean_ms


@pytest.mark.parametrize("names", FAMILIES.values(), ids=FAMILIES)
def test_order_within_families(source, names):
    scores = [source.score(zoo.load(name)) for name in names]
    values = [s.score for s in scores]
    bounds = [s.lower_bound for s in scores]
    assert values == sorted(values)
    assert bounds == sorted(bounds)


def test_published_networks_come_out_near_their_published_top1(source):
    record = published()
    estimates = [source.score(zoo.load(name)).score for name in record]
    top1 = [row.top1 for row in record.values()]
    assert kendalltau(estimates, top1)[0] >= 0.9
    plain = [e - t.top1 for e, t in zip(estimates, record.values(), strict=True) if not t.distilled]
    assert np.abs(plain).max() < 1.0
    # Without a teacher the others are worse than published, by about a point.
    distilled = [e - t.top1 for e, t in zip(estimates, record.values(), strict=True) if t.distilled]
    assert -2.0 < np.mean(distilled) < -0.3


def test_held_out_errors_meet_the_targets(source):
    row = source.held_out["leave_one_network_out"]
    assert row["networks"] == 16
    assert row["rmse"] <= 1.0
    assert row["kendall_tau"] >= 0.90
    assert 0.7 < row["error_over_std"] < 1.4


def test_there_are_many_degenerates():
    assert len(DEGENERATES) >= 20
    digests = {row.architecture.digest() for row in DEGENERATES}
    assert len(digests) == len(DEGENERATES)


@pytest.mark.parametrize("cost", [gmacs, crude_device, shipped_table])
def test_no_degenerate_outranks_the_published_of_equal_cost(source, cost):
    places = degenerates.places(source.score, cost)
    assert len(places) == len(DEGENERATES)
    assert [place.name for place in places if place.margin <= 0] == []


def test_no_degenerate_is_estimated_better_than_the_published_of_equal_macs(source):
    places = degenerates.places(source.score, gmacs)
    assert [p.name for p in places if p.score.score >= p.rival_score.score] == []


def test_counting_alone_falls_for_degenerates():
    """What the test above would show of a worse score."""
    fooled = degenerates.places(load_source("macs").score, crude_device)
    assert sum(place.margin < 0 for place in fooled) >= 3


def test_uncertainty_grows_away_from_the_published(source):
    # SHViT-S2 with its last stage ever wider, so that everything else stays.
    body = zoo.load("shvit_s2").to_dict()
    stds = []
    for width in (448, 640, 1024, 2048):
        body["stages"][2]["width"] = width
        _, std = source.estimate.log_error(source.features(Architecture.from_dict(body))[None])
        stds.append(float(std[0]))
    assert stds == sorted(stds)
    assert stds[-1] > 4 * stds[0]


def test_every_degenerate_is_less_certain_than_every_published(source):
    def std(architecture: Architecture) -> float:
        return float(source.estimate.log_error(source.features(architecture)[None])[1][0])

    worst = max(std(zoo.load(name)) for name in zoo.names())
    for row in DEGENERATES:
        assert std(row.architecture) > worst, row.architecture.name


def test_scores_do_not_depend_on_the_other_candidates(source):
    rng = np.random.default_rng(0)
    space = SearchSpace.load("tiny")
    networks = [space.sample(rng) for _ in range(20)]
    matrix = np.stack([source.features(a) for a in networks])
    scores, stds = source.score_features(matrix)
    for i, network in enumerate(networks):
        one = source.score(network)
        assert one.score == pytest.approx(scores[i], rel=1e-9)
        assert one.std == pytest.approx(stds[i], rel=1e-9)
    assert np.isfinite(scores).all()
    assert (stds > 0).all()
    assert (scores < 100).all()


def test_the_strangest_networks_still_get_a_percentage(source):
    strange = Architecture.from_dict(
        {
            "resolution": 1024,
            "stem": {"type": "shvit", "stride": 4, "width": 8},
            "stages": [
                {"width": 8, "blocks": [{"type": "shsa", "depth": 1, "heads": 8, "kernel": 15}]},
                {
                    "width": 4096,
                    "downsample": {"type": "patch_merging", "expansion": 1},
                    "blocks": [{"type": "shsa", "depth": 1, "partial_ratio": 0.01}],
                },
            ],
            "head": {"type": "shvit"},
        }
    )
    score = source.score(strange)
    assert 0 < score.score < 100
    assert np.isfinite(score.std)
    assert score.lower_bound < 0


@pytest.mark.parametrize("name", ["mobile", "supernet"])
def test_every_sample_gets_a_percentage(source, name):
    rng = np.random.default_rng(1)
    space = SearchSpace.load(name)
    for _ in range(60):
        score = source.score(space.sample(rng))
        assert 0 < score.score < 100
        assert 0 < score.std < 100


def test_the_known_networks_in_the_file_are_those_of_the_zoo(source):
    for row in source.card["networks"]:
        stored = np.array([row["totals"][name] for name in TOTALS])
        now = source.features(zoo.load(row["network"]))
        np.testing.assert_allclose(stored, now, atol=1e-5)


def test_totals_agree_with_the_operators(source):
    for name in ("shvit_s3", "efficientvit_b1", "efficientmod_xs", "swiftformer_s"):
        network = zoo.load(name)
        totals = dict(zip(TOTALS, source.features(network), strict=True))
        assert totals["gmacs"] == pytest.approx(gmacs(network))
        assert sum(v for k, v in totals.items() if k.endswith("depth") and k[0].isupper()) == (
            network.depth
        )
        assert 2 ** totals["last.log2_side"] == pytest.approx(network.sides[-1])
        assert 2 ** totals["stem.log2_stride"] == network.stem.stride


def test_more_of_the_same_family_is_estimated_better(source):
    """A whole SHViT, scaled between S2 and S4, moves with its size."""
    body = zoo.load("shvit_s3").to_dict()
    scores = []
    for factor in (0.8, 0.9, 1.0, 1.1):
        scaled = json.loads(json.dumps(body))
        for stage, width in zip(scaled["stages"], (192, 352, 448), strict=True):
            stage["width"] = round(width * factor / 16) * 16
        scaled["stem"]["width"] = scaled["stages"][0]["width"]
        scores.append(source.score(Architecture.from_dict(scaled)).score)
    assert scores == sorted(scores)


def climb(source: ImagenetEstimate, seed: int, steps: int = 60, children: int = 12) -> Architecture:
    """Climb the lower bound by mutation, MACs held at the start's within 10%."""
    rng = np.random.default_rng(seed)
    space = SearchSpace.load("mobile")
    best = space.sample(rng)
    while not 0.3 < gmacs(best) < 2.0:
        best = space.sample(rng)
    target = gmacs(best)
    bound = source.score(best).lower_bound
    for _ in range(steps):
        for _ in range(children):
            child = space.mutate(best, rng)
            value = source.score(child).lower_bound
            if value > bound and abs(np.log(gmacs(child) / target)) < 0.1:
                best, bound = child, value
    return best


@pytest.mark.parametrize("seed", range(4))
def test_a_search_at_fixed_macs_finds_nothing_absurd(source, seed):
    found = climb(source, seed)
    totals = source.features(found)[None]
    known = shape(np.array([[r["totals"][n] for n in TOTALS] for r in source.card["networks"]]))
    values = dict(zip(SHAPE, shape(totals)[0], strict=True))
    low = dict(zip(SHAPE, known.min(0), strict=True))
    high = dict(zip(SHAPE, known.max(0), strict=True))
    # Depth and width within a factor of 1.5 of what is published at that size, MACs spread over
    # two stages or more, no shift of more than a stage.
    assert low["depth"] - np.log(1.5) < values["depth"] < high["depth"] + np.log(1.5)
    assert low["width"] - 0.6 < values["width"] < high["width"] + 0.6
    assert values["evenness"] > 1.9
    assert low["early"] - 1 < values["early"] < high["early"] + 1
    # No better than the best network of twice the MACs.
    twice = [zoo.load(n) for n in zoo.names() if gmacs(zoo.load(n)) <= 2.0 * gmacs(found)]
    assert source.score(found).lower_bound < max(source.score(a).score for a in twice)


def broken(tmp_path: Path, change) -> Path:
    card = json.loads(DATA.read_text())
    change(card)
    path = tmp_path / "imagenet.json"
    path.write_text(json.dumps(card))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=99), "schema: 99"),
        (lambda c: c["prior"].pop("noise_std"), "prior.noise_std"),
        (lambda c: c["prior"].update(family_std="wide"), "prior.family_std"),
        (lambda c: c["prior"]["slopes"].pop("gmacs"), "prior.slopes.gmacs"),
        (lambda c: c["prior"]["scales"].update(depth=0), "prior.scales.depth"),
        (lambda c: c["option_ranges"]["shsa"].update(kernel=[3]), "option_ranges.shsa.kernel"),
        (lambda c: c.update(networks=[]), "networks"),
        (lambda c: c["networks"][3].update(top1=180), r"networks\[3\].top1"),
        (lambda c: c["networks"][3]["totals"].pop("gmacs"), r"networks\[3\].totals.gmacs"),
    ],
)
def test_a_broken_data_file_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        ImagenetEstimate.load(broken(tmp_path, change))


def test_a_missing_or_unreadable_data_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such score file"):
        ImagenetEstimate.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("not json")
    with pytest.raises(UserError, match="JSON"):
        ImagenetEstimate.load(tmp_path / "text.json")
