"""The estimate of Cityscapes mIoU."""

import json
from dataclasses import replace

import numpy as np
import pytest

from effsearch.accuracy.cityscapes import DATA, CityscapesEstimate, smaller_images
from effsearch.accuracy.registry import load_source
from effsearch.published import dense_results
from searchspace import SearchSpace, UserError, zoo

SEEN = [r for r in dense_results() if r.dataset == "Cityscapes"]
B1 = zoo.load("efficientvit_seg_b1_cityscapes")


@pytest.fixture(scope="module")
def source():
    return load_source("cityscapes")


def with_head(network, **options):
    head = replace(network.head, options=tuple({**network.head.option, **options}.items()))
    return replace(network, head=head)


@pytest.mark.parametrize("published", SEEN, ids=lambda p: p.network)
def test_published_networks_are_near_what_was_published(source, published):
    found = source.score(zoo.load(published.network))
    assert abs(found.score - published.value) < 0.5
    assert 0.2 < found.std < 1.5


def test_smaller_images_cost_points_and_certainty(source):
    sides = [(1024, 2048), (768, 1536), (512, 1024), (256, 512)]
    found = [source.score(replace(B1, resolution=side)) for side in sides]
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert [f.std for f in found] == sorted(f.std for f in found)
    assert smaller_images(np.log2([2**10.5, 2**9.5])) == pytest.approx([0, 1])
    # STDC1-Seg from 768x1536 to 512x1024: 74.5 to 72.2 (arXiv 2104.13188).
    assert 1.5 < found[1].score - found[2].score < 3.0


@pytest.mark.parametrize(
    "options",
    [{"width": 32}, {"width": 128}, {"depth": 1}, {"stages": 2}, {"final_expansion": 0.0}],
)
def test_a_head_that_nobody_published_costs_certainty_alone(source, options):
    published, other = source.score(B1), source.score(with_head(B1, **options))
    assert other.std > published.std
    assert other.score == pytest.approx(published.score, abs=0.2)


def test_a_coarser_finest_map_costs_certainty(source):
    """SHViT's maps begin at stride 16, which nobody published for segmentation."""
    space = SearchSpace.load("segmentation")
    coarse = space.nearest(zoo.load("shvit_s3"))
    assert coarse.reductions[-coarse.head.option["stages"]] == 32
    fine = replace(coarse, stem=replace(coarse.stem, stride=8))
    assert source.score(coarse).std > source.score(fine).std


def test_other_families_are_less_sure(source):
    space = SearchSpace.load("segmentation")
    kin, stranger = (
        space.nearest(
            replace(zoo.load(name), resolution=(1024, 2048), head=with_head(B1, width=width).head)
        )
        for name, width in (("efficientvit_b1", 64), ("efficientmod_xs", 72))
    )
    assert source.score(stranger).std > 1.5 * source.score(kin).std


def test_classifiers_are_refused(source):
    with pytest.raises(UserError, match="a classification network; cityscapes scores segmentation"):
        source.score(zoo.load("shvit_s1"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"slope": "steep"}, "slope"),
        ({"head_std": {}}, "head_std"),
    ],
)
def test_a_wrong_file_is_refused_by_field(tmp_path, change, words):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**json.loads(DATA.read_text()), **change}))
    with pytest.raises(UserError, match=words) as caught:
        CityscapesEstimate.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
