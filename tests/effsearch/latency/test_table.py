"""One contract for all latency tables."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from effsearch.latency import DeviceTable, Prediction
from effsearch.latency.calibrate.calibration import calibrate, install
from effsearch.latency.calibrate.rows import Measurements, Row
from effsearch.latency.catalogue import SHIPPED
from effsearch.latency.models import registry
from effsearch.latency.models.card import block_types
from effsearch.latency.models.registry import table_kinds
from effsearch.latency.table import quantile_ms
from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.onnx_io.reading import read_graph
from searchspace import SearchSpace, UserError, build, operators, zoo
from searchspace.architecture import block
from searchspace.operators import from_graph
from searchspace.schema import BLOCKS
from searchspace.units import block_unit

KINDS = {"measured", "fitted", "transferred", "estimated"}


def calibrated_card():
    """A table calibrated from the networks of iphone13, two fifths slower."""
    base = DeviceTable.load("iphone13")
    rows = tuple(
        Row(i + 2, name, name, operators(zoo.load(name), "deploy"),
            1.4 * base.predict(zoo.load(name)).mean_ms, block_types(zoo.load(name)))
        for i, name in enumerate(zoo.names()[:8])
    )  # fmt: skip
    return calibrate(Measurements(rows, {"runtime": "Core ML"}), "calibrated")


# Shipped tables, and one of each kind of which none is shipped.
MADE = {"calibrated": calibrated_card}


@pytest.fixture(scope="module", params=[*sorted(p.stem for p in SHIPPED.glob("*.json")), *MADE])
def table_file(request, tmp_path_factory):
    if request.param not in MADE:
        return SHIPPED / f"{request.param}.json"
    return install(MADE[request.param](), tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def table(table_file):
    return DeviceTable.load(table_file)


def test_every_kind_of_table_stands_in_this_contract():
    cards = [json.loads(p.read_text()) for p in SHIPPED.glob("*.json")]
    assert {card["model"] for card in cards} | set(MADE) == set(table_kinds())


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(7)
    space = SearchSpace.load("mobile")
    return [space.sample(rng) for _ in range(6)]


def test_a_prediction_is_positive_and_its_parts_sum_to_it(table, samples):
    for architecture in [zoo.load("shvit_s1"), *samples]:
        p = table.predict(architecture)
        assert p.mean_ms > 0
        assert p.std_ms > 0
        assert p.kind in KINDS
        assert sum(part.mean_ms for part in p.breakdown) == pytest.approx(p.mean_ms)
        assert sum(ms for _, ms, _ in p.stages()) == pytest.approx(p.mean_ms)


def test_no_operator_is_free(table, samples):
    for architecture in samples[:3]:
        for operator in operators(architecture, "deploy"):
            features = table.model.features([operator])
            assert table.model.attribute(features[None])[0] > 0, operator


def test_features_add_up_over_operators(table):
    parts = operators(zoo.load("efficientmod_xxs"), "deploy")
    whole = table.model.features(parts)
    split = table.model.features(parts[:50]) + table.model.features(parts[50:])
    np.testing.assert_allclose(whole, split, rtol=1e-9)


def test_an_architecture_and_its_exported_file_cost_the_same(table, tmp_path, samples):
    for architecture in (zoo.load("shvit_s1"), samples[0]):
        path = tmp_path / "network.onnx"
        path.write_bytes(to_onnx(build(architecture)).SerializeToString())
        direct = table.predict(architecture)
        read = table.predict_operators(from_graph(read_graph(path)))
        assert read.mean_ms == pytest.approx(direct.mean_ms, rel=0.02)
        # A file does not say which block types it has, so only the architecture can be less sure.
        assert read.std_ms <= 1.02 * direct.std_ms
        assert {name for name, _, _ in read.stages()} == {name for name, _, _ in direct.stages()}


def test_a_deeper_network_is_slower(table):
    base = zoo.load("swiftformer_xs")
    stage = base.stages[2]
    deeper = replace(stage, blocks=(replace(stage.blocks[0], depth=12), *stage.blocks[1:]))
    stages = (*base.stages[:2], deeper, base.stages[3])
    assert table.predict(replace(base, stages=stages)).mean_ms > table.predict(base).mean_ms


@pytest.mark.parametrize("type_", sorted(BLOCKS))
def test_only_blocks_that_a_network_measured_here_has_are_fitted(table, type_):
    measured = type_ in table.meta.get("blocks", {}).get("measured", ())
    for width, side in ((32, 28), (64, 14), (224, 14), (384, 7), (100, 9)):
        _, kind = table.unit_features(block_unit(block(type_, 2), width, (side, side), 0))
        # An operator of the block may have been timed itself, on its own or another's behalf.
        assert kind in (KINDS if measured else KINDS - {"fitted"})


@pytest.mark.parametrize("network", ["efficientmod_xxs", "swiftformer_xs", "shvit_s1"])
def test_a_network_is_no_surer_than_its_blocks(table, network):
    prediction = table.predict(zoo.load(network))
    blocks = {part.type for part in prediction.breakdown if ".blocks" in part.name}
    assert blocks
    if table.kind == "fitted" and not blocks & set(table.meta["blocks"]["measured"]):
        assert prediction.kind not in {"measured", "fitted"}


def test_blocks_carried_over_from_related_devices_are_less_sure(table):
    architecture = zoo.load("efficientmod_xxs")
    prediction = table.predict(architecture)
    if "efficient_mod" in table.meta.get("blocks", {}).get("transferred", ()):
        assert prediction.kind == "transferred"
        sure = table.predict_operators(operators(architecture, "deploy"))
        assert prediction.std_ms > sure.std_ms
        assert prediction.mean_ms == pytest.approx(sure.mean_ms, rel=0.02)


def test_an_unknown_operator_is_marked_estimated(table):
    parts = operators(zoo.load("shvit_s1"), "deploy")
    odd = replace(parts[5], kind="other", op="GridSample", name="odd/GridSample_1")
    prediction = table.predict_operators([*parts, odd])
    assert prediction.estimated_operators == {"GridSample"}
    assert not table.predict_operators(parts).estimated_operators


def test_what_a_table_says_of_itself(table):
    meta = table.meta
    for field in ("kind", "device", "runtime", "precision", "date"):
        assert meta[field], field
    assert meta["kind"] in {"measured", "fitted"}
    assert meta["held_out"], "every table states its held-out error"


def test_a_broken_file_names_the_file_and_the_field(table_file, tmp_path):
    source = table_file
    card = json.loads(source.read_text())
    path = tmp_path / "broken.json"
    path.write_text(source.read_text()[: len(source.read_text()) // 2])
    with pytest.raises(UserError, match=r"broken\.json"):
        DeviceTable.load(path)
    path.write_text(json.dumps(card | {"format": 999}))
    with pytest.raises(UserError, match=r"broken\.json.*(format|version)"):
        DeviceTable.load(path)
    for field in ("device", "runtime"):
        path.write_text(json.dumps({k: v for k, v in card.items() if k != field}))
        with pytest.raises(UserError, match=rf"broken\.json.*{field}"):
            DeviceTable.load(path)
    path.write_text(json.dumps(card | {"model": "magic"}))
    with pytest.raises(UserError, match=r"broken\.json: model: 'magic' is not one of .*fitted"):
        DeviceTable.load(path)
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match=r"broken\.json"):
        DeviceTable.load(path)


def test_a_card_of_an_earlier_version_that_names_no_model_still_reads(table, table_file, tmp_path):
    card = json.loads(table_file.read_text())
    assert card.pop("model") in table_kinds()
    path = tmp_path / table_file.name
    path.write_text(json.dumps(card))
    if table_file.with_suffix(".csv").exists():
        shutil.copy(table_file.with_suffix(".csv"), tmp_path)
    again = DeviceTable.load(path)
    assert type(again.model) is type(table.model)
    assert (
        again.predict(zoo.load("shvit_s2")).mean_ms == table.predict(zoo.load("shvit_s2")).mean_ms
    )


def test_an_installed_package_adds_a_kind_of_table(monkeypatch, tmp_path):
    class Flat:
        kind = "estimated"
        measured_blocks = frozenset()

        def __init__(self, card):
            self.meta = card

        def features(self, operators):
            return np.array([float(len(operators))])

        def as_transferred(self, features, block):
            return features

        def evaluate(self, features):
            mean = self.meta["ms_per_operator"] * features.sum(1)
            return mean, 0.1 * mean

        def attribute(self, features):
            return self.meta["ms_per_operator"] * features.sum(1)

        def mark(self, operators):
            return "estimated"

    readers = {"flat": lambda card, path, load_model: Flat(card)}
    monkeypatch.setattr(registry, "installed", {"effsearch.tables": readers}.__getitem__)
    path = tmp_path / "flat.json"
    path.write_text(json.dumps({"model": "flat", "kind": "estimated", "ms_per_operator": 0.01}))
    expected = 0.01 * len(operators(zoo.load("shvit_s1"), "deploy"))
    assert DeviceTable.load(path).predict(zoo.load("shvit_s1")).mean_ms == pytest.approx(expected)


def test_the_probability_of_a_budget_agrees_with_the_quantiles():
    p = Prediction("x", "fitted", 2.0, 0.3, ())
    for probability in (0.1, 0.5, 0.8, 0.99):
        assert p.within(p.quantile(probability)) == pytest.approx(probability)
    assert p.within(0) == 0
    assert p.within(1e-9) == pytest.approx(0)
    assert p.within(100) == pytest.approx(1)
    low, high = p.interval_ms
    assert p.within(high) - p.within(low) == pytest.approx(0.8)
    draws = np.random.default_rng(0).lognormal(*_log_moments(2.0, 0.3), 200_000)
    assert draws.mean() == pytest.approx(2.0, rel=0.01)
    assert draws.std() == pytest.approx(0.3, rel=0.02)
    assert np.quantile(draws, 0.8) == pytest.approx(quantile_ms(2.0, 0.3, 0.8), rel=0.01)


def _log_moments(mean, std):
    variance = np.log1p((std / mean) ** 2)
    return np.log(mean) - variance / 2, np.sqrt(variance)
