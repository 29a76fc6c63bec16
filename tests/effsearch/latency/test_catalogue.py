import shutil

import pytest

from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import SHIPPED, table_paths, user_folder
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
