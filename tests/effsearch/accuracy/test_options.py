"""Options of score sources, and the flags that say them."""

import json
from pathlib import Path
from typing import Annotated

import pytest

from effsearch.accuracy.options import Flag, ScoreOptions, flag_name
from effsearch.accuracy.registry import entries, find, read_options
from effsearch.accuracy.supernet_options import SupernetOptions
from searchspace import UserError


@pytest.mark.parametrize("name", entries())
def test_fields_with_flags_are_written_like_them(name):
    options = find(name).options
    assert set(options.flags()) <= set(options.model_fields)
    for field, flag in options.flags().items():
        assert flag.help
        assert not flag.help.endswith(".")
        assert not options.model_fields[field].is_required() or flag.needs
        assert flag_name(field).startswith("--")


def test_options_read_back_from_json():
    for options in (
        SupernetOptions(checkpoint="/a.pt", data="/tree", images=10, device="cpu"),
        SupernetOptions(checkpoint="/a.pt", data="/tree"),
    ):
        text = json.dumps(options.model_dump(mode="json"))
        assert SupernetOptions.model_validate(json.loads(text)) == options


def test_paths_are_absolute():
    options = SupernetOptions(checkpoint="a.pt", data="tree")
    assert options.checkpoint == Path.cwd() / "a.pt"
    assert options.data == Path.cwd() / "tree"


def test_a_source_takes_its_own_flags_only():
    given = {"checkpoint": None, "data": Path("x"), "images": None}
    assert read_options("macs", {"checkpoint": None}) == ScoreOptions()
    assert read_options("macs", given, shared=("data",)) == ScoreOptions()
    with pytest.raises(UserError, match=r"^--data: is for --proxy supernet, not macs$"):
        read_options("macs", given)


def test_what_is_missing_or_wrong_names_its_flag():
    with pytest.raises(UserError, match=r"^--proxy supernet: needs --checkpoint FILE \("):
        read_options("supernet", {"data": Path("x")})
    with pytest.raises(UserError, match=r"^--proxy supernet: needs --data DIR, images"):
        read_options("supernet", {"checkpoint": Path("x")})
    both = {"checkpoint": Path("x"), "data": Path("x")}
    with pytest.raises(UserError, match=r"^--images: 0 is not an integer of 1 or more$"):
        read_options("supernet", {**both, "images": 0})


def test_other_flags_of_a_resumed_run_are_refused():
    class Own(ScoreOptions):
        folder: Annotated[Path, Flag("Where")]
        side: Annotated[int, Flag("How wide")] = 3

    own = Own(folder=Path("/a"))
    own.check_same({"folder": Path("/a"), "side": None}, Path("run"))
    own.check_same({"data": Path("/b")}, Path("run"), shared=("data",))
    for given in ({"folder": Path("/b")}, {"side": 4}, {"data": Path("/b")}):
        with pytest.raises(UserError, match=r"differs from .* of the run in run; leave it away"):
            own.check_same(given, Path("run"))
