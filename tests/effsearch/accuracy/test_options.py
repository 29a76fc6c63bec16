from pathlib import Path

import pytest

from effsearch.accuracy.options import SupernetOptions
from searchspace import UserError


def test_plain_data_round_trips():
    for options in (
        SupernetOptions(Path("/a.pt"), Path("/tree"), 10, 2, "cpu", Path("/cache")),
        SupernetOptions(Path("/a.pt"), Path("/tree")),
    ):
        assert SupernetOptions.from_dict(options.to_dict()) == options


def test_other_sources_take_none():
    assert SupernetOptions.of("macs", None, None) is None
    assert SupernetOptions.of("macs", None, Path("x"), data_is_for_others=True) is None
    with pytest.raises(UserError, match="--data: is for --proxy supernet, not macs"):
        SupernetOptions.of("macs", None, Path("x"))
