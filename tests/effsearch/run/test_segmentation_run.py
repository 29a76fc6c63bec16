"""`effsearch run --task segmentation`: a whole run, and what a wrong request is told."""

import csv
import json

import pytest
import yaml

from effsearch.latency.scope import largest_side_px, scope_note
from effsearch.report.run_files import read_card, read_summary
from effsearch.training import recipe as recipes
from searchspace import Architecture, SearchSpace, UserError, build, zoo
from tests.fixtures.tasks import write_masks

SPACE = {
    "name": "streets",
    "resolution": ["128x256"],
    "stage_count": 4,
    "stem": {"efficientvit": {"stride": [2], "width": [8, 16], "depth": [1]}},
    "blocks": {
        "mbconv": {"expansion": [4]},
        "shvit_conv": {},
        "lite_mla": {"head_dim": [16]},
    },
    "downsample": {"mbconv": {"expansion": [4], "fewer_norm": [False, True]}},
    "head": {"efficientvit_seg": {"stages": [2, 3], "width": [16, 32, 64], "depth": [1, 3]}},
    "stages": [
        {"width": [16, 32], "depth": [1, 2], "block": ["mbconv", "shvit_conv"]},
        {"width": [32, 64], "depth": [1, 2], "block": ["mbconv", "shvit_conv"]},
        {"width": [64, 128], "depth": [1, 2, 3], "block": ["mbconv", "lite_mla"]},
        {"width": [128, 256], "depth": [1, 2, 3], "block": ["mbconv", "lite_mla"]},
    ],
}
BASE = ("run", "--task", "segmentation", "--device", "epyc-zen5-1t", "--workers", 1)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "streets.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


@pytest.fixture
def asked(space):
    return (
        *BASE, "--space", space, "--budget-ms", 5, "--consider", 1500, "--trials", 60,
        "--winners", 2,
    )  # fmt: skip


def test_a_run_leaves_networks_with_heads_and_speaks_of_miou(asked, effsearch, tmp_path):
    folder = tmp_path / "r"
    status, out, err = effsearch(*asked, "--out", folder)
    assert status == 0, err
    summary = read_summary(folder)
    assert summary["task"] == "segmentation"
    assert summary["score"]["unit"] == "Cityscapes mIoU, %"
    assert summary["score"]["held_out_error"]["leave_one_network_out"]["networks"] == 4
    assert "score is Cityscapes mIoU, %" in out
    assert "(all EfficientViT-Seg; no other family was published on Cityscapes)" in out
    assert summary["second_opinion"] is None
    # The published networks, at the resolution that is asked for.
    assert summary["baseline"]["name"] == "efficientvit_seg_b0_cityscapes at 128x256"
    assert summary["baseline"]["published_miou"] == 75.653
    assert summary["baseline"]["published_resolution"] == "1024x2048"
    assert summary["baseline_scaled"]["published_miou"] is None
    assert "trained at 1024x2048" in summary["statement"]
    assert summary["baseline_scaled"]["lower_bound"] >= summary["baseline"]["lower_bound"]
    for rank, row in enumerate(summary["winners"], 1):
        place = folder / "winners" / str(rank)
        network = Architecture.from_yaml(place / "architecture.yaml")
        assert network in SearchSpace.load(folder / "space.yaml")
        assert network.resolution == (128, 256)
        # The budget is on the whole network, head included.
        card = read_card(place)
        assert row["quantile_ms"] <= 5
        assert any(part["part"] == "head" for part in card["latency"]["breakdown"])
        assert card["params"]["value"] == sum(p.numel() for p in build(network).parameters())
        assert card["onnx"]["output"] == ["logits", [1, 19, 16, 32]]
        assert card["onnx"]["parity"]["value"] < 1e-4
        assert card["score"]["value"]["unit"] == "Cityscapes mIoU, %"
        assert card["peak_memory"]["value"] > 0
    assert "Cityscapes mIoU, %" in (folder / "report.html").read_text()
    with (folder / "trials.csv").open(newline="") as file:
        origins = {row["origin"] for row in csv.DictReader(file)}
    assert {"published", "scaled", "evolved"} <= origins
    again = tmp_path / "again"
    status, body, err = effsearch(*asked, "--out", again, "--json")
    assert status == 0, err
    assert [w["digest"] for w in body["winners"]] == [w["digest"] for w in summary["winners"]]


def test_own_networks_and_counts_as_scores(asked, effsearch, tmp_path):
    mine = zoo.load("efficientvit_seg_b0_cityscapes").to_dict() | {"resolution": [128, 320]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**mine, "name": "mine"}))
    status, body, err = effsearch(
        *asked, "--enqueue", tmp_path / "mine.yaml", "--proxy", "macs", "--out", tmp_path / "r",
        "--json",
    )  # fmt: skip
    assert status == 0, err
    assert body["yours"][0]["name"] == "mine"
    assert body["score"]["unit"] == "multiply-accumulates"


def test_prices_beyond_a_tables_networks_are_said_to_be_extrapolated(effsearch, tmp_path):
    status, out, err = effsearch(
        *BASE, "--resolution", "256x512", "--budget-ms", 12, "--consider", 400, "--trials", 40,
        "--winners", 1, "--blocks", "mbconv,lite_mla", "--out", tmp_path / "r",
    )  # fmt: skip
    assert status == 0, err
    assert "rests on networks at 288 px or less: latencies at 256x512 are extrapolated" in out
    summary = read_summary(tmp_path / "r")
    assert summary["kind"] == summary["latency"]["kind"] == "estimated"
    assert "extrapolated" in summary["latency"]["note"]
    assert "extrapolated" in read_card(tmp_path / "r" / "winners" / "1")["latency"]["note"]
    assert "extrapolated" in (tmp_path / "r" / "report.html").read_text()
    status, _, err = effsearch(
        *BASE, "--resolution", "256x512", "--budget-ms", 0.1, "--consider", 300, "--trials", 30,
        "--out", tmp_path / "none",
    )  # fmt: skip
    assert status == 3
    assert "efficientvit_seg_b0_cityscapes at 256x512" in err
    assert "latencies at 256x512 are extrapolated" in err


def test_scope_of_a_table():
    assert largest_side_px({"form": {"max_resolution": 288}}) == 288
    assert largest_side_px({"profile": {"space": "mobile"}}) == 288
    assert largest_side_px({"profile": {"space": "segmentation"}}) == pytest.approx(2**10.5)
    assert largest_side_px({}) is None
    assert scope_note("mine", {"profile": {"space": "mobile"}}, 288) == ""
    assert scope_note("mine", {}, 288) == ""
    assert "does not say at what resolutions" in scope_note("mine", {}, (256, 512))
    assert "288 px" in scope_note("mine", {"profile": {"space": "mobile"}}, (256, 512))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "poetry"), "--task: 'poetry' is unknown; use classification or segmentation"),
        (("--task", "segmentation", "--space", "mobile"),
         "--space: mobile is a space of classification networks; use --task classification or a "
         "space of segmentation networks, such as segmentation"),
        (("--space", "segmentation"),
         "--space: segmentation is a space of segmentation networks; use --task segmentation"),
        (("--task", "segmentation", "--proxy", "imagenet"),
         "--proxy: imagenet scores classification networks; with --task segmentation use "
         "cityscapes"),
        (("--proxy", "cityscapes"), "--proxy: cityscapes scores segmentation networks"),
        (("--task", "segmentation", "--resolution", "360x480"),
         "--resolution: 360x480 is not in this space; it has 256, 256x512"),
        (("--task", "segmentation", "--max-memory", 4), "--max-memory: cannot be held against"),
        (("--task", "segmentation", "--enqueue", "shvit_s1"),
         "--enqueue: shvit_s1: a classification network; this takes segmentation networks"),
        (("--enqueue", "efficientvit_seg_b0_cityscapes"),
         "a segmentation network; this takes image classifiers"),
        (("--task", "segmentation", "--refine", 2, "--data", "nowhere"), "nowhere"),
        (("--task", "segmentation", "--refine", 2),
         "--refine: needs --data DIR, the images to train on (train/images and val/images"),
    ],
)  # fmt: skip
def test_wrong_requests_get_one_line(options, words, effsearch, tmp_path):
    status, _, err = effsearch(
        "run", "--device", "iphone12", "--budget-ms", 5, "--out", tmp_path / "r", *options
    )
    assert status == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_a_head_that_no_resolution_fits_is_refused_by_file(effsearch, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump({**SPACE, "resolution": ["360x480"]}))
    status, _, err = effsearch(*BASE, "--space", path, "--budget-ms", 5)
    assert status == 2
    assert "at 360x480 the maps of strides 8, 16, 32" in err
    assert "384x480 would do" in err


def test_a_run_stays_what_it_was_begun_for(asked, effsearch, tmp_path):
    folder = tmp_path / "r"
    assert effsearch(*asked, "--out", folder)[0] == 0
    stored = json.loads((folder / "request.json").read_text())
    assert stored["task"] == "segmentation"
    status, _, err = effsearch("run", "--resume", folder, "--task", "classification")
    assert status == 2
    assert "--task: classification differs from segmentation" in err


@pytest.mark.slow
def test_the_best_are_trained_on_masks_and_ranked_by_miou(asked, effsearch, tmp_path):
    data, folder = write_masks(tmp_path / "masks", size=(72, 96)), tmp_path / "r"
    recipe = tmp_path / "quick.yaml"
    recipe.write_text(yaml.safe_dump({
        **recipes.load("segment-cpu").to_dict(), "image_side": [64, 96], "source_side": [64, 96],
        "epochs": 2,
    }))  # fmt: skip
    status, out, err = effsearch(
        *asked, "--refine", 2, "--data", data, "--refine-recipe", recipe, "--out", folder
    )
    assert status == 0, err
    refined = read_summary(folder)["refined"]
    assert refined["metric"] == "mIoU"
    assert refined["unit"] == "mIoU in % on masks"
    assert all(row["miou"] is not None for row in refined["networks"])
    assert [r["rank_by_training"] for r in refined["networks"]] == [1, 2, 3]
    assert "mIoU" in out
    card = read_card(folder / "winners" / "1")
    assert card["trained"]["unit"] == "mIoU in % on masks"
    assert card["onnx"]["output"] == ["logits", [1, 3, 16, 32]]
    assert (folder / "winners" / "1" / "model.pt").is_file()
    assert "mIoU in % on masks" in (folder / "report.html").read_text()


def test_no_supernet_shares_such_a_space():
    from searchspace.supernet import Supernet

    with pytest.raises(UserError, match="segmentation networks; a supernet is of classifiers"):
        Supernet(SearchSpace.load("segmentation"))
