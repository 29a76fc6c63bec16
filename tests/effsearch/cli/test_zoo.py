import re
from importlib import resources
from pathlib import Path

import onnx
import pytest

from effsearch.files import file_sha256
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import Architecture, SearchSpace, build, zoo
from tests.fixtures.official import SMALLEST, write_official


def test_the_zoo_lists_all_networks(effsearch):
    _, body, _ = effsearch("zoo", "--json")
    assert {row["name"] for row in body["networks"]} == set(zoo.names())
    assert "swiftformer_l3" in effsearch("zoo")[1]


def test_a_checkpoint_is_fetched_once_and_shown_as_here(effsearch, serve, publish, tmp_path):
    write_official(tmp_path / "a.pth", SMALLEST)
    site = serve({"/a": (tmp_path / "a.pth").read_bytes()})
    publish(SMALLEST, url=f"{site.url}/a")

    def shown():
        _, body, _ = effsearch("zoo", "--task", "segmentation", "--json")
        return {row["name"]: row["checkpoint"]["here"] for row in body["networks"]}[SMALLEST]

    assert not shown()
    status, body, _ = effsearch("zoo", "get", SMALLEST, "--json")
    assert status == 0
    assert body["sha256"] == file_sha256(tmp_path / "a.pth") == file_sha256(body["path"])
    assert (body["licence"], body["url"]) == ("Apache-2.0", f"{site.url}/a")
    assert shown()
    site.close()
    status, out, _ = effsearch("zoo", "get", SMALLEST)
    assert (status, f"its weights fit {SMALLEST}" in out) == (0, True)


def test_without_a_network_it_says_what_to_do(effsearch, publish):
    publish(SMALLEST, url="http://127.0.0.1:9/none.pt")
    status, out, err = effsearch("zoo", "get", SMALLEST)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert "Download http://127.0.0.1:9/none.pt and put the file at" in err
    status, _, err = effsearch("zoo", "get", "shvit_s9")
    assert (status, len(err.splitlines())) == (2, 1)


def test_the_lists_say_how_a_checkpoint_is_had(effsearch):
    lines = effsearch("zoo")[1].splitlines()
    found = {line.split()[0]: line for line in lines}
    assert " zoo get " in found["shvit_s1"]
    assert " by hand " in found["efficientmod_s"]
    assert " none " in found["efficientvit_b0"]


def test_describe_shows_weights_and_memory_of_networks_and_files(effsearch, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(to_onnx(build(zoo.load("shvit_s1")).eval()), path)
    bodies = [effsearch("describe", target, "--json")[1] for target in ("shvit_s1", path)]
    for body in bodies:
        assert body["weight_bytes"] == 25_230_384
        assert body["peak_memory_bytes"] == 4 * (3 * 224**2 + 16 * 112**2)
    out = effsearch("describe", "shvit_s1")[1]
    assert "25.23 MB of weights" in out
    assert "1.40 MB of activations" in out


def test_describe_counts_like_the_published_figures(effsearch):
    _, body, _ = effsearch("describe", "shvit_s1", "--json")
    assert body["params"] == 6330808
    assert abs(body["macs"] / 244114048 - 1) < 0.01
    assert body["units"][0]["output_shape"] == [1, 128, 14, 14]
    assert sum(unit["params"] for unit in body["units"]) == body["params"]
    assert "stages.2.blocks.0" in effsearch("describe", "shvit_s1")[1]


def test_samples_are_members_and_follow_the_seed(effsearch, tmp_path):
    digests = []
    for folder in ("a", "b"):
        _, body, _ = effsearch(
            "sample", "--space", "mobile", "-n", "3", "--seed", "5", "--out", tmp_path / folder,
            "--json",
        )  # fmt: skip
        members = [Architecture.from_yaml(path) for path in body["architectures"]]
        assert all(m in SearchSpace.load("mobile") for m in members)
        digests.append([m.digest() for m in members])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 3


def test_a_folder_that_cannot_be_written_is_a_mistake_in_the_request(effsearch, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = effsearch("sample", "--out", tmp_path / "file" / "below")
    assert status == 2
    assert "cannot write" in err


def test_a_space_s_name_is_no_path(effsearch, tmp_path):
    text = resources.files("searchspace").joinpath("spaces/tiny.yaml").read_text()
    (tmp_path / "x.yaml").write_text(re.sub(r"(?m)^name:.*", "name: ../../X", text))
    assert "../../X" in (tmp_path / "x.yaml").read_text()
    out = tmp_path / "deep" / "er" / "o"
    status, body, _ = effsearch("sample", "--space", tmp_path / "x.yaml", "--out", out, "--json")
    assert status == 0
    assert [Path(p).parent for p in body["architectures"]] == [out]
    assert len(list(out.iterdir())) == 1


def test_zoo_lists_segmentation_networks_and_detectors(effsearch):
    status, body, _ = effsearch("zoo", "--task", "segmentation", "--json")
    assert status == 0
    found = {row["name"]: row for row in body["networks"]}
    assert len(found) == 7
    assert found["efficientvit_seg_b0_cityscapes"]["miou"] == 75.653
    assert found["efficientvit_seg_b3_ade20k"]["resolution"] == 512
    assert found["efficientvit_seg_b3_cityscapes"]["resolution"] == [1024, 2048]
    # The paper and the official tables round to two digits.
    assert found["efficientvit_seg_b0_cityscapes"]["macs"] / 1e9 == pytest.approx(4.4, rel=0.05)
    _, body, _ = effsearch("zoo", "--task", "detection", "--json")
    assert {"shvit_s4", "efficientmod_s"} <= {row["network"] for row in body["results"]}
    status, _, errors = effsearch("zoo", "--task", "depth")
    assert status == 2
    assert "--task: depth is unknown; use classification, segmentation or detection" in errors
