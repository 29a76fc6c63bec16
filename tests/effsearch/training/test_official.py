"""Official checkpoints, fetched from a server of this process."""

from __future__ import annotations

import argparse

import pytest
import torch

from effsearch.errors import WorkFailedError
from effsearch.training import official
from effsearch.training.checkpoint import load_tensors
from effsearch.training.official import get, held, official_path
from searchspace import zoo
from searchspace.errors import UserError
from tests.fixtures.official import SMALLEST, write_official


def silent(done, total):
    del done, total


def test_every_published_network_says_where_its_checkpoint_is():
    catalogue = official._catalogue()
    assert set(catalogue.checkpoints) == set(zoo.names(task=None))
    for name, found in catalogue.checkpoints.items():
        assert found.origin.licence in ("MIT", "Apache-2.0")
        assert found.where or name == "efficientvit_b0"
        assert all(url.startswith("https://") for url in (found.url, found.page) if url)
    # Two networks with one file would be a mistake in the list.
    places = [found.where for found in catalogue.checkpoints.values() if found.where]
    assert len(set(places)) == len(places)


def test_a_checkpoint_is_fetched_once_and_kept(serve, publish, tmp_path):
    # Training scripts keep their options in the file.
    more = {"args": argparse.Namespace(lr=1e-3), "epoch": 299}
    network = write_official(tmp_path / "a.pth", SMALLEST, **more)
    content = (tmp_path / "a.pth").read_bytes()
    site = serve({"/a": content}, cut_at=50_000)
    publish(SMALLEST, url=f"{site.url}/a", size_bytes=len(content))
    with pytest.raises(UserError, match=f"not here; `effsearch zoo get {SMALLEST}` gets it"):
        held(SMALLEST)
    with pytest.raises(WorkFailedError, match="cut off after 50000") as error:
        get(SMALLEST, silent)
    assert f"Download {site.url}/a and put the file at {official_path(SMALLEST)}" in str(
        error.value
    )
    assert not official_path(SMALLEST).exists()
    site.cut_at = None
    path = get(SMALLEST, silent)
    assert (path, path.read_bytes()) == (held(SMALLEST), content)
    assert len(site.ranges) == 2
    assert get(SMALLEST, silent) == path
    assert len(site.ranges) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    loaded = zoo.load_official(SMALLEST, load_tensors(path)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


def test_a_page_in_place_of_the_file_is_told_and_left(serve, publish):
    site = serve({"/a": b"<html>Do you want to download this large file?</html>"})
    publish(SMALLEST, url=f"{site.url}/a", page="https://example.org/view")
    with pytest.raises(WorkFailedError, match="gave no checkpoint of it") as error:
        get(SMALLEST, silent)
    assert "Download https://example.org/view and put the file at" in str(error.value)
    assert list(official_path(SMALLEST).parent.iterdir()) == []


def test_a_checkpoint_of_another_network_is_told(serve, publish, tmp_path):
    write_official(tmp_path / "a.pth", "shvit_s1")
    site = serve({"/a": (tmp_path / "a.pth").read_bytes()})
    publish(SMALLEST, url=f"{site.url}/a")
    with pytest.raises(WorkFailedError, match="the checkpoint has no key 'backbone"):
        get(SMALLEST, silent)


def test_what_only_people_can_fetch_and_what_nobody_can(publish):
    publish(SMALLEST, page="https://example.org/folder")
    with pytest.raises(WorkFailedError, match="no program can fetch its checkpoint"):
        get(SMALLEST, silent)
    with pytest.raises(WorkFailedError, match="links no checkpoint of it; if you have one, put it"):
        get("efficientvit_b0", silent)
    with pytest.raises(UserError, match="no published network of that name; did you mean shvit_s4"):
        get("shvit_s9", silent)


def test_a_file_put_there_by_hand_is_checked(publish, tmp_path):
    publish(SMALLEST, page="https://example.org/folder")
    path = official_path(SMALLEST)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    with pytest.raises(WorkFailedError, match="damaged or no checkpoint; delete it and get it"):
        get(SMALLEST, silent)
    write_official(path, SMALLEST)
    assert get(SMALLEST, silent) == path
