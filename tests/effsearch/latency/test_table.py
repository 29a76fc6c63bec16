"""One contract for all latency tables."""

import json
from dataclasses import replace

import numpy as np
import pytest

from effsearch.latency import DeviceTable, Prediction
from effsearch.latency.catalogue import table_paths
from effsearch.latency.table import quantile_ms
from effsearch.onnx_io.onnx_files import read_graph, to_onnx
from searchspace import SearchSpace, UserError, build, operators, zoo
from searchspace.operators import from_graph

KINDS = {"measured", "fitted", "transferred", "estimated"}


@pytest.fixture(scope="module", params=sorted(table_paths()))
def table(request):
    return DeviceTable.load(request.param)


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


def test_block_types_not_measured_on_the_device_are_transferred_and_less_sure(table):
    architecture = zoo.load("efficientmod_xxs")
    unmeasured = table.model.transferred_blocks
    prediction = table.predict(architecture)
    for part in prediction.breakdown:
        if part.type in unmeasured:
            assert part.kind == "transferred"
    if "efficient_mod" in unmeasured:
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


def test_a_broken_file_names_the_file_and_the_field(table, tmp_path):
    source = table_paths()[table.name]
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
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match=r"broken\.json"):
        DeviceTable.load(path)


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
