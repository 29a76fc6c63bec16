import pytest

from searchspace.errors import UserError, short
from searchspace.yaml_text import MAX_BYTES, MAX_LEVELS, parse_yaml, read_yaml


@pytest.mark.parametrize(
    "text",
    [
        "a: 2020-99-99",
        "a: &x [*x]",
        "&x {a: {b: *x}}",
        "[" * (MAX_LEVELS + 1) + "]" * (MAX_LEVELS + 1),
        "[" * 100_000,
        "a: " + "9" * 5000,
        "!!python/object/apply:os.system [id]",
        '!!int ""',
        "a: [",
        "\x00",
    ],
)
def test_what_is_no_plain_data_is_one_line(text):
    with pytest.raises(UserError, match=r"x\.yaml: not YAML") as error:
        parse_yaml(text, "x.yaml", "space")
    assert len(str(error.value)) < 200


def test_an_alias_of_what_is_complete_is_plain_data():
    assert parse_yaml("a: &x [1]\nb: *x", "x", "space") == {"a": [1], "b": [1]}


def test_depth_counts_from_the_root_alone():
    assert len(parse_yaml("- [1]\n" * (2 * MAX_LEVELS), "x", "space")) == 2 * MAX_LEVELS


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("# \n" * MAX_BYTES)
    with pytest.raises(UserError, match="larger than"):
        read_yaml(path, "space")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\xc3"])
def test_bytes_that_are_no_text_are_told(tmp_path, content):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(UserError, match="not text"):
        read_yaml(tmp_path / "x.yaml", "space")


def test_a_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="Is a directory"):
        read_yaml(tmp_path, "space")


def test_values_in_messages_are_short_however_deep():
    value = "x" * 100
    for _ in range(20):
        value = [value] * 20
    assert len(short(value)) < 1000
    value = []
    value.append(value)
    assert len(short(value)) < 100
