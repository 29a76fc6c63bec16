from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from effsearch.validation import read
from searchspace import UserError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Layer(Strict):
    width: Annotated[int, Field(ge=8)]
    kind: Literal["conv", "linear"] = "conv"


class Whole(Strict):
    name: str
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    layers: list[Layer] = []
    by_name: dict[str, Layer] = {}
    side: int | str = 1
    even: int = 2

    @field_validator("even")
    @classmethod
    def _even(cls, value):
        if value % 2:
            raise ValueError(f"{value} is not even")
        return value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "whole.name: is missing"),
        ([], "whole: [] is not an object"),
        ({"name": 3}, "whole.name: 3 is not text"),
        ({"name": "a", "share": 1.0}, "whole.share: 1.0 is not below 1"),
        ({"name": "a", "share": "x"}, "whole.share: 'x' is not a number"),
        ({"name": "a", "share": float("inf")}, "whole.share: inf is not below 1"),
        ({"name": "a", "layers": 1}, "whole.layers: 1 is not a list"),
        (
            {"name": "a", "layers": [{"width": 8}, {"width": 4}]},
            "whole.layers[1].width: 4 is not 8 or more",
        ),
        ({"name": "a", "layers": [{}]}, "whole.layers[0].width: is missing"),
        (
            {"name": "a", "layers": [{"width": 8, "kind": "pool"}]},
            "whole.layers[0].kind: 'pool' is not 'conv' or 'linear'",
        ),
        (
            {"name": "a", "by_name": {"x": {"width": 8, "wdith": 4}}},
            "whole.by_name.x.wdith: is unknown; use width, kind",
        ),
        (
            {"name": "a", "other": 4},
            "whole.other: is unknown; use name, share, layers, by_name, side, even",
        ),
        ({"name": "a", "side": 1.5}, "whole.side: 1.5 is not a whole number or text"),
        ({"name": "a", "even": 3}, "whole.even: 3 is not even"),
        ({"name": "a", "even": "x" * 500}, None),
    ],
)
def test_a_wrong_field_is_told_in_one_line(data, message):
    with pytest.raises(UserError) as caught:
        read(Whole, data, "whole")
    text = str(caught.value)
    assert message in (None, text)
    assert "\n" not in text
    assert len(text) < 200


def test_a_file_is_named_before_the_field():
    with pytest.raises(UserError) as caught:
        read(Whole, {"name": 3}, Path("a/whole.json"))
    assert str(caught.value) == "a/whole.json: name: 3 is not text"


def test_what_is_right_is_returned():
    assert read(Whole, {"name": "a", "layers": [{"width": 16}]}, "whole").layers[0].width == 16
