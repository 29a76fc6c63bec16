"""Winners written again over what a person put beside them."""

import json

import pytest

from effsearch.run.winner_files import digests, drop_beyond, put_in_place


def make(folder, digest, **files):
    """Write a winner's folder as a run does."""
    folder.mkdir(parents=True)
    for name, text in {"architecture.yaml": digest, "model.onnx": digest, **files}.items():
        (folder / name).write_text(text)
    card = {"digest": digest, "files": digests(folder)}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def content(folder):
    return {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}


@pytest.fixture
def place(tmp_path):
    return make(tmp_path / "winners" / "1", "a")


def test_our_own_files_are_replaced(place):
    new = make(place.parent / ".1.tmp", "b", **{"model.pt": "weights"})
    wanted = content(new)
    put_in_place(new, place)
    assert content(place) == wanted
    assert [p.name for p in place.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("again", [1, 3])
def test_what_a_person_put_beside_the_same_network_stays(place, again):
    (place / "model.pt").write_text("trained by hand")
    (place / "notes").mkdir()
    (place / "notes" / "n.txt").write_text("mine")
    for _ in range(again):
        new = make(place.parent / ".1.tmp", "a")
        put_in_place(new, place)
    assert (place / "model.pt").read_text() == "trained by hand"
    assert (place / "notes" / "n.txt").read_text() == "mine"
    assert json.loads((place / "card.json").read_text())["digest"] == "a"


def test_a_person_s_file_gives_way_to_ours_of_that_name(place):
    (place / "model.pt").write_text("trained by hand")
    put_in_place(make(place.parent / ".1.tmp", "a", **{"model.pt": "ours"}), place)
    assert (place / "model.pt").read_text() == "ours"
    assert (place / "kept-model.pt").read_text() == "trained by hand"


def test_a_file_of_ours_that_a_person_changed_is_theirs(place):
    (place / "model.onnx").write_text("quantised")
    put_in_place(make(place.parent / ".1.tmp", "a"), place)
    assert (place / "model.onnx").read_text() == "a"
    assert (place / "kept-model.onnx").read_text() == "quantised"


def test_with_another_network_the_folder_is_renamed(place):
    (place / "model.pt").write_text("trained by hand")
    for digest in ("b", "c"):
        put_in_place(make(place.parent / ".1.tmp", digest), place)
    assert content(place)["architecture.yaml"] == "c"
    assert "model.pt" not in content(place)
    kept = place.with_name("1-kept")
    assert content(kept)["architecture.yaml"] == "a"
    assert content(kept)["model.pt"] == "trained by hand"


@pytest.mark.parametrize("card", ["", "[]", "{", '{"files": 3}', None])
def test_without_a_readable_card_everything_is_a_person_s(place, card):
    (place / "card.json").unlink() if card is None else (place / "card.json").write_text(card)
    put_in_place(make(place.parent / ".1.tmp", "a"), place)
    assert content(place.with_name("1-kept"))["model.onnx"] == "a"


def test_ranks_that_are_no_more_go_unless_a_person_used_them(place):
    winners = place.parent
    for rank in "234":
        make(winners / rank, rank)
    (winners / "3" / "notes.txt").write_text("mine")
    (winners / "mine").mkdir()
    (winners / ".4.tmp").mkdir()
    drop_beyond(winners, 1)
    assert sorted(p.name for p in winners.iterdir()) == ["1", "3-kept", "mine"]
    assert (winners / "3-kept" / "notes.txt").read_text() == "mine"
