"""The default score: order, uncertainty, degenerates, held-out errors, and bad data files."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from effsearch.accuracy.estimate import COEFFICIENTS, TERMS, columns, shapes, top1_of
from effsearch.accuracy.features import (
    FAMILIES,
    TOTALS,
    attention_amount,
    option_ranges,
    units_totals,
)
from effsearch.accuracy.imagenet import DATA, ImagenetEstimate, ImagenetOptions
from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.published import published
from results.accuracy import degenerates
from searchspace import Architecture, SearchSpace, UserError, operators, zoo
from searchspace.schema import BLOCKS
from searchspace.units import Unit, units

DEGENERATES = degenerates.load()
SIZES = {
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


@pytest.mark.parametrize("names", SIZES.values(), ids=SIZES)
def test_order_within_families(source, names):
    scores = [source.score(zoo.load(name)) for name in names]
    values = [s.score for s in scores]
    bounds = [s.lower_bound for s in scores]
    assert values == sorted(values)
    assert bounds == sorted(bounds)


def changed(name: str, **values) -> Architecture:
    """A published network with values set by path, `stages__1__width=64`."""
    body = zoo.load(name).to_dict()
    for path, value in values.items():
        at = body
        *parents, last = path.split("__")
        for part in parents:
            at = at[int(part)] if part.isdigit() else at[part]
        at[int(last) if last.isdigit() else last] = value
    return Architecture.from_dict(body)


@pytest.mark.parametrize("distilled", [False, True])
def test_published_networks_come_out_near_their_published_top1(distilled):
    source = ImagenetEstimate.load(options=ImagenetOptions(recipe_distilled=distilled))
    rows = [(name, row.top1) for name, row in published().items() if row.distilled == distilled]
    gaps = [source.score(zoo.load(name)).score - top1 for name, top1 in rows]
    assert len(rows) >= 7
    assert np.abs(gaps).max() < 0.7
    assert abs(np.mean(gaps)) < 0.3


def test_distillation_is_worth_about_a_point_and_says_so(source):
    taught = ImagenetEstimate.load(options=ImagenetOptions(recipe_distilled=True))
    for name in zoo.names():
        gain = taught.score(zoo.load(name)).score - source.score(zoo.load(name)).score
        assert 0.5 < gain < 2.5
    assert "without" in source.note
    assert "without" not in taught.note


def test_a_recipe_that_the_evidence_does_not_know_is_refused():
    with pytest.raises(UserError, match="a recipe that the evidence doesn't know"):
        ImagenetOptions.of_flags("imagenet", {"recipe_distilled": "by JFT"})


@pytest.mark.parametrize(
    ("before", "after", "published_change"),
    [
        ("efficientvit_b1", {"resolution": 256}, 0.5),
        ("efficientvit_b1", {"resolution": 288}, 1.0),
        (
            "shvit_s3",
            {
                "stages__1__blocks__0__partial_ratio": 0.125,
                "stages__2__blocks__0__partial_ratio": 0.125,
            },
            -0.3,
        ),
        (
            "shvit_s3",
            {
                "stages__1__blocks": [{"type": "shvit_conv", "depth": 5}],
                "stages__2__blocks": [{"type": "shvit_conv", "depth": 5}],
            },
            -1.1,
        ),
    ],
)
def test_published_changes_have_the_right_sign_and_size(source, before, after, published_change):
    change = source.score(changed(before, **after)).score - source.score(zoo.load(before)).score
    assert np.sign(change) == np.sign(published_change)
    assert abs(change - published_change) < 0.5


@pytest.mark.parametrize(
    "name", ["shvit_s2", "efficientvit_b1", "efficientmod_xs", "swiftformer_s"]
)
def test_resolution_helps_ever_less(source, name):
    sides = (160, 192, 224, 256, 320, 384)
    top1 = [source.score(changed(name, resolution=side)).score for side in sides]
    gains = np.diff(top1) / np.diff(np.log(sides))
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()


def test_held_out_errors_meet_the_targets(source):
    network = source.held_out["leave_one_network_out"]
    assert network["networks"] == 16
    assert network["rmse"] <= 0.72
    assert network["kendall_tau"] >= 0.90
    family = source.held_out["leave_one_family_out"]
    assert family["rmse"] <= 1.5
    assert 0.7 <= family["within_80"] <= 0.9
    for pairs in ("pairs_without_recipe", "pairs_without_pair"):
        assert source.held_out[pairs]["sign_right"] >= 0.9
        assert source.held_out[pairs]["kendall_tau"] >= 0.8


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
    stds = []
    for width in (448, 640, 1024, 2048):
        totals = source.features(changed("shvit_s2", stages__2__width=width))[None]
        stds.append(float(source.estimate.log_error(totals)[1][0]))
    assert stds == sorted(stds)
    assert stds[-1] > 2 * stds[0]


def test_a_mixture_is_the_mean_of_its_families_and_less_certain(source):
    """Judged at the same totals, so that nothing but the families' shares differs."""
    rows = [np.where([name[0].isupper() for name in TOTALS], 0.0, source.features(zoo.load(n)))
            for n in ("shvit_s3", "shvit_s3", "shvit_s3")]  # fmt: skip
    for row, shares in zip(rows, ((1, 0), (0, 1), (1, 1)), strict=True):
        for family, share in zip(("SHViT", "EfficientMod"), shares, strict=True):
            for what in ("gmacs", "blocks"):
                row[TOTALS.index(f"{family}.{what}")] = share
    mean, std = source.estimate.log_error(np.array(rows))
    # Up to how far its attention lies outside of either family's.
    assert mean[2] == pytest.approx((mean[0] + mean[1]) / 2, abs=0.03)
    assert std[2] > source.estimate.mixing_std
    source.estimate.mixing_std, kept = 0.0, source.estimate.mixing_std
    assert source.estimate.log_error(np.array(rows))[1][2] < std[2]
    source.estimate.mixing_std = kept


def test_published_members_lie_within_every_range(source):
    totals = np.array([source.features(zoo.load(name)) for name in zoo.names()])
    unpublished = columns(totals, source.estimate.ranges)[:, list(TERMS).index("unpublished_shape")]
    np.testing.assert_allclose(unpublished, 0, atol=1e-3)
    for name, values in shapes(totals).items():
        assert np.isfinite(values).all(), name


def test_top1_is_log_normal_and_stays_in_order_towards_chance():
    log_error = np.linspace(2.5, 8, 200)
    top1, std = top1_of(log_error, np.full(200, 0.05))
    assert (np.diff(top1) <= 0).all()
    assert (top1 > 0.0999).all()
    assert (std >= 0).all()
    below = log_error < 4.0
    np.testing.assert_allclose(top1[below], 100 - np.exp(log_error[below] + 0.05**2 / 2))
    assert (np.diff(top1[log_error < 6]) < 0).all()


def test_tiny_networks_are_told_apart(source):
    rng = np.random.default_rng(0)
    space = SearchSpace.load("tiny")
    scores = [source.score(space.sample(rng)).score for _ in range(10)]
    assert len(set(np.round(scores, 6))) >= 9


def test_what_grows_without_bound_never_gains(source):
    """Slopes of squared and one-sided terms without evidence mean harm."""
    at = dict(zip(COEFFICIENTS, source.estimate.mean, strict=True))
    for name in ("parameter_balance", "activation_balance", "depth_squared", "widening"):
        assert at[name] > 0, name
    for name in ("narrow_options", "wide_options", "unpublished_shape", "one_scale"):
        assert at[name] > 0, name


def test_a_block_type_of_another_package_gets_the_mean_level_and_more_doubt(source, monkeypatch):
    spec = BLOCKS["shvit_conv"]
    unit = next(p.unit for p in units(zoo.load("shvit_s3")) if p.unit.type == "shvit_conv")
    ours = units_totals([unit], source.card["option_ranges"])[0]
    other = {"shvit_conv": replace(spec, family="Theirs")}
    monkeypatch.setattr("effsearch.accuracy.features.BLOCKS", other)
    theirs = units_totals([unit], source.card["option_ranges"])[0]
    assert theirs[TOTALS.index("other.blocks")] == 1
    assert ours[TOTALS.index("SHViT.blocks")] == 1
    same = [i for i, name in enumerate(TOTALS) if not name[0].isupper() and "other" not in name]
    np.testing.assert_array_equal(theirs[same], ours[same])
    levels = dict(zip(COEFFICIENTS, source.estimate.mean, strict=True))
    known = [levels[f"level.{family}"] for family in FAMILIES]
    assert levels["level.other"] == pytest.approx(np.mean(known), abs=1e-4)
    row = np.array([source.features(zoo.load("shvit_s3"))] * 2)
    for what in ("gmacs", "blocks"):
        a, b = TOTALS.index(f"SHViT.{what}"), TOTALS.index(f"other.{what}")
        row[1, b], row[1, a] = row[1, a], 0
    mean, std = source.estimate.log_error(row)
    assert std[1] > 2 * std[0]
    assert abs(mean[1] - mean[0]) < 0.1


def test_attention_counts_ever_less_with_more_channels():
    amounts = [attention_amount(r) for r in (0.01, 0.125, 0.2143, 1.0)]
    assert amounts == sorted(amounts)
    assert amounts[-1] == 1
    assert amounts[2] - amounts[1] < amounts[1]


def test_option_ranges_are_by_name():
    ranges = option_ranges([zoo.load(name) for name in zoo.names()])
    assert ranges["kernel"] == [3, 7]
    assert set(ranges) >= {"expansion", "kernel", "head_width", "partial_ratio", "qk_dim"}


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


def test_totals_of_units_add_up(source):
    network = zoo.load("efficientvit_b1")
    parts = source.units_features([p.unit for p in units(network)])
    np.testing.assert_allclose(np.sum(parts, axis=0), source.features(network))
    assert isinstance(next(iter(units(network))).unit, Unit)


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
    assert score.lower_bound < 50


@pytest.mark.parametrize("name", ["mobile", "supernet"])
def test_every_sample_gets_a_percentage(source, name):
    rng = np.random.default_rng(1)
    space = SearchSpace.load(name)
    for _ in range(60):
        score = source.score(space.sample(rng))
        assert 0 < score.score < 100
        assert 0 < score.std < 100


def test_totals_agree_with_the_operators(source):
    for name in ("shvit_s3", "efficientvit_b1", "efficientmod_xs", "swiftformer_s"):
        network = zoo.load(name)
        totals = dict(zip(TOTALS, source.features(network), strict=True))
        assert totals["gmacs"] == pytest.approx(gmacs(network))
        assert sum(v for k, v in totals.items() if k.endswith(".blocks")) == network.depth
        assert 2 ** totals["last.log2_side"] == pytest.approx(network.sizes[-1][0])
        assert 2 ** totals["stem.log2_side"] == pytest.approx(network.resolution)


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
    # Depth within a factor of 1.35 of published members, MACs spread as theirs or a little less.
    values = {name: float(v[0]) for name, v in shapes(source.features(found)[None]).items()}
    ranges = source.estimate.ranges
    assert ranges["blocks"][0] - 0.3 < values["blocks"] < ranges["blocks"][1] + 0.3
    assert ranges["stride"][0] - 0.3 < values["stride"] < ranges["stride"][1] + 0.3
    assert values["one_scale"] < ranges["one_scale"][1] + 0.25
    assert values["last_stride"] < 6.5
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
        (lambda c: c.update(schema=1), "schema: 1 is not"),
        (lambda c: c.pop("noise_std"), "noise_std"),
        (lambda c: c.update(mixing_std="wide"), "mixing_std"),
        (lambda c: c["coefficients"].pop("compute"), "coefficients.compute"),
        (lambda c: c["coefficients"]["kernel"].update(mean=None), "coefficients.kernel.mean"),
        (lambda c: c["covariance"].pop(), "covariance"),
        (lambda c: c["covariance"][3].pop(), "covariance"),
        (lambda c: c["covariance"][3].__setitem__(0, "x"), r"covariance\[3\]"),
        (lambda c: c["option_ranges"].update(kernel=[3]), "option_ranges.kernel"),
        (lambda c: c["shape_ranges"].pop("blocks"), "shape_ranges.blocks"),
        (lambda c: c.pop("held_out"), "held_out"),
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
