import numpy as np

from effsearch.accuracy.features import Features
from effsearch.accuracy.trained.encoding import GROUPS, NAMES, Encoder, columns
from searchspace import SearchSpace, zoo


def encoder(source):
    return Encoder(Features(source.card["option_ranges"]))


def test_encodings_are_finite_and_name_their_columns(source):
    space, rng = SearchSpace.load("mobile"), np.random.default_rng(0)
    encoded = encoder(source).points([space.sample(rng) for _ in range(60)]).encodings
    assert encoded.shape == (60, len(NAMES))
    assert np.isfinite(encoded).all()
    assert len(set(NAMES)) == len(NAMES)
    found = [column for group in GROUPS for column in columns([group])]
    assert sorted(found) == list(range(len(NAMES)))


def test_it_sees_what_a_network_is_made_of(source):
    row = dict(zip(NAMES, encoder(source)(zoo.load("shvit_s1")), strict=True))
    assert row["stem.log2_stride"] == 4
    assert row["stages"] == 3
    assert row["SHViT.share"] == 1
    assert row["mixing"] == 0
    assert row["lite_mla.depth"] == 0 < row["shsa.depth"]
    # Stride 16 at 224 px: 14, 7 and 4 tokens a side.
    assert [row[f"side{i}.depth"] > 0 for i in range(4)] == [False, False, True, True]


def test_heads_and_partial_ratio_are_seen(source):
    space, rng = SearchSpace.load("mobile"), np.random.default_rng(1)
    encoded = encoder(source).points([space.sample(rng) for _ in range(80)]).encodings
    for name in ("heads.log2", "partial_ratio.log2", "kernel.log2", "expansion.log2"):
        assert encoded[:, NAMES.index(name)].std() > 0.05
