import json
import shutil

import pytest

from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import SHIPPED, table_paths, user_folder
from effsearch.latency.models import registry
from effsearch.latency.overview import summaries
from searchspace import UserError


def test_an_unknown_device_names_the_nearest_and_all_known():
    with pytest.raises(UserError, match=r"did you mean iphone12\?.*iphone13"):
        DeviceTable.load("iphone_12")
    with pytest.raises(UserError, match=r"no such|cannot read"):
        DeviceTable.load("nowhere/at/all.json")


def test_a_persons_own_tables_are_found_first(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "devices"
    assert set(table_paths()) == {p.stem for p in SHIPPED.glob("*.json")}
    user_folder().mkdir()
    shutil.copy(SHIPPED / "iphone12.json", user_folder() / "myphone.json")
    shutil.copy(SHIPPED / "iphone13.json", user_folder() / "iphone12.json")
    paths = table_paths()
    assert paths["myphone"].parent == user_folder()
    assert paths["iphone12"].parent == user_folder()
    assert DeviceTable.load("myphone").name == "myphone"
    rows = {row["name"]: row for row in summaries()}
    assert not rows["myphone"]["shipped"]
    assert rows["iphone13"]["shipped"]


def test_every_shipped_table_states_kind_references_and_held_out_error(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path))
    rows = summaries()
    assert {"iphone12"} <= {row["name"] for row in rows}
    for row in rows:
        assert row["kind"] in {"measured", "fitted"}
        assert row["references"] > 0
        assert 0 < row["held_out_error"] < 1


@pytest.mark.parametrize("chain", [("a",), ("a", "b"), ("a", "b", "c")])
def test_tables_that_stand_on_each_other_are_told(monkeypatch, tmp_path, chain):
    def based(card, path, load_model):
        return load_model(card["base"])

    monkeypatch.setitem(registry._SHIPPED, "based", based)
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path))
    (tmp_path / "devices").mkdir()
    for name, base in zip(chain, (*chain[1:], chain[0]), strict=True):
        body = {"model": "based", "base": base}
        (tmp_path / "devices" / f"{name}.json").write_text(json.dumps(body))
    with pytest.raises(UserError, match="stands on itself"):
        DeviceTable.load("a")
    assert len(summaries(lambda text: None)) == len(list(SHIPPED.glob("*.json")))


def test_a_broken_table_hides_no_other_in_the_overview(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path))
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "broken.json").write_text("{")
    told = []
    names = {row["name"] for row in summaries(told.append)}
    assert {"iphone12", "iphone13"} <= names
    assert "broken" not in names
    assert len(told) == 1
    assert "broken.json" in told[0]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 400 + "}", "[]", "nan"])
def test_json_that_is_no_card_is_one_line(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="broken table"):
        DeviceTable.load(tmp_path / "x.json")
