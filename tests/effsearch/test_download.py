"""Downloads from a server of this process: whole, cut off, wrong, refused."""

from __future__ import annotations

import hashlib

import pytest

from effsearch.download import DownloadError, download

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def silent(done, total):
    del done, total


def test_a_whole_file_and_its_progress(serve, tmp_path):
    site = serve({"/a": CONTENT})
    told = []
    download(f"{site.url}/a", tmp_path / "a", lambda *now: told.append(now), sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_what_was_cut_off_goes_on_where_it_was(serve, tmp_path):
    site = serve({"/a": CONTENT}, cut_at=100_000)
    with pytest.raises(DownloadError, match="cut off after 100000 of 256000 bytes"):
        download(f"{site.url}/a", tmp_path / "a", silent)
    assert (tmp_path / "a").stat().st_size == 100_000
    site.cut_at = None
    download(f"{site.url}/a", tmp_path / "a", silent, len(CONTENT), SHA256)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=100000-"]


def test_a_server_that_knows_no_ranges_sends_the_whole_again(serve, tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    site = serve({"/a": CONTENT}, knows_ranges=False)
    download(f"{site.url}/a", tmp_path / "a", silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_goes(serve, tmp_path):
    (tmp_path / "a").write_bytes(CONTENT + b"more")
    download(f"{serve({'/a': CONTENT}).url}/a", tmp_path / "a", silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sha256": "0" * 64}, f"SHA-256 {SHA256}, not {'0' * 64}; it was deleted"),
        ({"size_bytes": 12}, "256000 bytes, not 12; it was deleted"),
    ],
)
def test_another_file_than_the_published_one_is_deleted(serve, tmp_path, known, message):
    with pytest.raises(DownloadError, match=message):
        download(f"{serve({'/a': CONTENT}).url}/a", tmp_path / "a", silent, **known)
    assert not (tmp_path / "a").exists()


def test_what_hugging_face_says_on_the_way_is_checked(serve, tmp_path):
    names = {"X-Linked-Size": str(len(CONTENT)), "X-Linked-ETag": f'"{SHA256}"'}
    site = serve({"/a": CONTENT}, moved={"/right": ("/a", names)})
    download(f"{site.url}/right", tmp_path / "a", silent)
    assert (tmp_path / "a").read_bytes() == CONTENT
    site.moved["/wrong"] = ("/a", {**names, "X-Linked-ETag": f'"{"1" * 64}"'})
    with pytest.raises(DownloadError, match=f"not {'1' * 64}"):
        download(f"{site.url}/wrong", tmp_path / "b", silent)
    # A tag that is no hash says nothing.
    site.moved["/tag"] = ("/a", {"X-Linked-ETag": 'W/"5"'})
    download(f"{site.url}/tag", tmp_path / "c", silent)


def test_a_missing_file_and_a_missing_server(serve, tmp_path):
    site = serve({})
    with pytest.raises(DownloadError, match=r"/none answers 404 \(Not Found\)"):
        download(f"{site.url}/none", tmp_path / "a", silent)
    site.close()
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(f"{site.url}/a", tmp_path / "a", silent)
    assert not (tmp_path / "a").exists()
