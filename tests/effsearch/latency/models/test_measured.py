"""Measured tables: entries, interpolation, floors, additivity, calibration, files."""

import json
from dataclasses import replace

import numpy as np
import pytest

from effsearch.latency.catalogue import SHIPPED
from effsearch.latency.machine_speed import MachineSpeed
from effsearch.latency.models.interpolation import Interpolator, left_out_errors
from effsearch.latency.models.measured import FEATURES, SUMS, signature
from effsearch.latency.models.measured_file import write_table
from effsearch.latency.models.registry import read_model
from effsearch.latency.profile.fit import error_summary, fit_table, table_of
from effsearch.latency.profile.fit_calibration import PLAIN, fit_calibration
from effsearch.latency.profile.fit_entries import fit_entries, profiler_cost_ms, samples
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from effsearch.latency.table import DeviceTable
from effsearch.latency.timing.machine_rates import Peak
from searchspace import SearchSpace, UserError, operators, zoo
from searchspace.operators import Operator

PEAK = Peak(gmacs_per_ms=0.1, mb_per_ms=100.0, stream_mb_per_ms=20.0)
PROFILER_MS = 0.0015


def true_ms(operator):
    """A machine that charges dispatch, arithmetic and traffic; activations are fused."""
    if operator.kind == "activation" and operator.follows.endswith("conv"):
        return 0.0, 0
    rate = {"depthwise_conv": 0.02, "linear": 0.05}.get(operator.kind, 0.06)
    moved = operator.input_bytes + operator.output_bytes + operator.weight_bytes
    return 0.001 + operator.macs / 1e9 / rate + moved / 1e6 / 40.0, 1


def record(index, architecture, rng, noise=0.01, slow_from_mb=np.inf):
    parts = operators(architecture, "deploy")
    base = np.array([true_ms(o)[0] for o in parts])
    kernels = np.array([true_ms(o)[1] for o in parts])
    weights = sum(o.weight_bytes for o in parts) / 1e6
    slow = 1.05 if weights > slow_from_mb else 1.0
    ms = base * slow * rng.lognormal(0, noise, len(base))
    return ProfiledNetwork(
        index, architecture, float(ms.sum()) + 0.05, 0.005, 2.5,
        tuple(ms + PROFILER_MS * kernels), tuple(int(k) for k in kernels), 0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    space = SearchSpace.load("tiny")
    return [record(i, space.sample(rng), rng) for i in range(40)]


@pytest.fixture(scope="module")
def table(records):
    return fit_table(records, PEAK, "toy", 1, {"space": "tiny"})


def test_the_profilers_cost_is_found(records):
    assert profiler_cost_ms(samples(records)) == pytest.approx(PROFILER_MS, rel=0.3)


def test_entries_are_what_was_measured(records):
    found = samples(records)
    entries = fit_entries(found, PROFILER_MS, PEAK.stream_mb_per_ms)
    assert set(entries) == {key for s in found for key in s.signatures}
    shared = [e for e in entries.values() if e.networks >= 10 and e.kernels == 1]
    assert shared
    error = [e.ms / true_ms(e.operator)[0] - 1 for e in shared]
    assert np.max(np.abs(error)) < 0.03
    assert sum(e.count for e in entries.values()) == sum(len(r.operator_ms) for r in records)
    assert all(0 <= e.spread < 0.1 for e in shared)


def test_networks_never_profiled_are_predicted(table):
    rng = np.random.default_rng(99)
    space = SearchSpace.load("tiny")
    device = DeviceTable("toy", table)
    networks = [space.sample(rng) for _ in range(20)]
    truth = np.array([record(0, a, rng, noise=0.0).ms for a in networks])
    predicted = [device.predict(a) for a in networks]
    error = np.abs([p.mean_ms / t - 1 for p, t in zip(predicted, truth, strict=True)])
    assert np.median(error) < 0.02
    assert error.max() < 0.10
    assert all(p.std_ms > 0 for p in predicted)


def test_features_add_up_and_equal_those_of_any_split(table):
    parts = operators(zoo.load("efficientvit_b1"), "deploy")
    whole = table.features(parts)
    assert whole.shape == (len(FEATURES),)
    for cut in (1, 17, len(parts) - 1):
        np.testing.assert_allclose(
            table.features(parts[:cut]) + table.features(parts[cut:]), whole, rtol=1e-9
        )
    backwards = table.features(parts[::-1])
    np.testing.assert_allclose(backwards, whole, rtol=1e-9)


def test_parts_and_overhead_make_the_mean(table):
    prediction = DeviceTable("toy", table).predict(zoo.load("shvit_s1"))
    assert sum(p.mean_ms for p in prediction.breakdown) == pytest.approx(prediction.mean_ms)


def test_no_operator_is_free_nor_faster_than_the_machine(table):
    for operator in operators(zoo.load("efficientmod_xs"), "deploy"):
        ms, kernels, _ = table.price(operator)
        assert ms > 0
        assert ms >= operator.macs / 1e9 / PEAK.gmacs_per_ms
        if kernels >= 0.5:
            moved = operator.input_bytes + operator.weight_bytes + operator.output_bytes
            assert ms >= moved / 1e6 / PEAK.mb_per_ms


def test_an_entry_below_the_floor_is_priced_at_the_floor(table):
    entry = next(e for e in table.entries.values() if e.operator.kind == "pointwise_conv")
    wrong = {signature(entry.operator): replace(entry, ms=1e-9)}
    other = table_of(dict(table.entries) | wrong, table.calibration, PEAK, {})
    assert other.price(entry.operator)[0] >= other.floor_ms(entry.operator) > 1e-9


def test_adding_an_operator_never_makes_a_network_faster(table):
    parts = list(operators(zoo.load("shvit_s1"), "deploy"))
    base, _ = table.evaluate(table.features(parts)[None])
    for extra in parts[:60]:
        more, _ = table.evaluate(table.features([*parts, extra])[None])
        assert more[0] > base[0]


def test_intervals_widen_where_nothing_was_measured(table):
    known = next(iter(table.entries.values())).operator
    rows = [e.operator for e in table.entries.values() if e.operator.kind == "pointwise_conv"]
    near = replace(rows[0], output_shape=(1, 37, *rows[0].output_shape[2:]))
    far = replace(rows[0], macs=rows[0].macs * 300, output_shape=(1, 4096, 97, 97))
    assert table.price(known)[2] == 0
    assert 0 < table.price(near)[2] < table.price(far)[2]
    parts = operators(zoo.load("shvit_s1"), "deploy")
    fine = table.features(parts)
    doubtful = fine + table.features([far] * 3)
    mean, std = table.evaluate(np.stack([fine, doubtful]))
    assert std[1] / mean[1] > std[0] / mean[0]


def test_operators_of_no_measured_kind_are_estimated(table):
    strange = Operator("x", "other", "Det", (1, 8, 8, 8), (1, 8), 0, 1, 1, 0, 0, 2048, 0, 32, "")
    assert table.mark([strange]) == "estimated"
    ms, _, error = table.price(strange)
    assert ms > 0
    assert error >= 0.5
    measured = [e.operator for e in table.entries.values()][:5]
    assert table.mark(measured) == "measured"
    unseen = replace(measured[-1], input_shape=(1, 7, 13, 13), macs=12345)
    assert table.mark([unseen]) in ("fitted", "estimated")


def test_interpolation_is_close_inside_the_data():
    def conv(width, side):
        return Operator(
            "x", "pointwise_conv", "Conv", (1, width, side, side), (1, width, side, side), 1, 1,
            1, width * width * side * side, 0, 4 * width * side * side, 4 * width * width,
            4 * width * side * side, "",
        )  # fmt: skip

    rows = [(conv(w, s), *true_ms(conv(w, s))) for w in range(32, 320, 32) for s in (7, 14, 28, 56)]
    errors = left_out_errors(rows)
    assert errors["pointwise_conv", "Conv", ""] < 0.15
    model = Interpolator(rows, errors)
    for width, side in ((80, 14), (144, 28), (240, 7)):
        ms, kernels, _ = model.price(conv(width, side))
        assert ms == pytest.approx(true_ms(conv(width, side))[0], rel=0.15)
        assert kernels == 1


def test_calibration_learns_what_sums_miss():
    rng = np.random.default_rng(1)
    features = np.zeros((300, len(FEATURES)))
    features[:, : len(SUMS)] = rng.lognormal(0, 1, (300, len(SUMS)))
    at = {name: i for i, name in enumerate(FEATURES)}
    features[:, at["weights.mb"]] = rng.lognormal(3, 0.8, 300)
    features[:, at["activations.mb"]] = 10 * features[:, : len(SUMS)].sum(axis=1)
    slow = np.where(features[:, at["weights.mb"]] > 20, 1.05, 1.0)
    ms = (features[:, : len(SUMS)].sum(axis=1) * slow + 0.1) * rng.lognormal(0, 0.005, 300)
    fitted = fit_calibration(features, ms)
    mean, std = fitted.evaluate(features)
    plain, _ = PLAIN.evaluate(features)
    assert np.median(np.abs(mean / ms - 1)) < 0.5 * np.median(np.abs(plain / ms - 1))
    assert fitted.run_ms > 0
    assert min(fitted.weights) > 0
    assert (std > 0).all()


def test_the_machines_speed_is_taken_out(records):
    """Networks measured while the machine was slow come out as if it had not been."""
    rng = np.random.default_rng(8)
    slow = [
        replace(
            r, ms=r.ms * f, reference_ms=r.reference_ms * f, product_ms=r.product_ms * f,
            operator_ms=tuple(f * x for x in r.operator_ms),
        )
        for r, f in zip(records, rng.choice([1.0, 1.2], len(records), p=[0.7, 0.3]), strict=True)
    ]  # fmt: skip
    steady = fit_table(records, PEAK, "toy", 1, {"space": "tiny"})
    table = fit_table(slow, PEAK, "toy", 1, {"space": "tiny"})
    assert table.speed == steady.speed == MachineSpeed(2.5, 0.5)
    space = SearchSpace.load("tiny")
    features = np.stack([table.features(operators(space.sample(rng), "deploy")) for _ in range(20)])
    again, _ = table.evaluate(features)
    usual, _ = steady.evaluate(features)
    assert np.median(np.abs(again / usual - 1)) < 0.02
    assert table.drift_std > 0.05 > steady.drift_std
    np.testing.assert_allclose(table.slower(features, MachineSpeed(3.0, 0.6)), 1.2)
    np.testing.assert_allclose(table.slower(features, table.speed), 1.0)


def test_a_table_that_names_no_speed_corrects_nothing(table):
    card = {k: v for k, v in table.card.items() if k != "drift"}
    other = table_of(dict(table.entries), table.calibration, PEAK, card)
    assert other.speed is None
    assert other.slower(np.ones((2, len(FEATURES))), MachineSpeed(3.0, 0.6)).tolist() == [1.0, 1.0]


def test_error_summary_of_known_errors():
    measured = np.full(100, 2.0) + np.arange(100) / 100
    predicted = measured * np.where(np.arange(100) < 90, 1.01, 1.2)
    summary = error_summary(predicted, measured)
    assert summary["median"] == pytest.approx(0.01)
    assert summary["within_5_percent"] == pytest.approx(0.9)
    assert summary["networks"] == 100


def test_files_read_back_to_the_same_prices(table, tmp_path):
    path = write_table(table, tmp_path)
    again = read_model(path)
    parts = operators(zoo.load("shvit_s1"), "deploy")
    np.testing.assert_allclose(again.features(parts), table.features(parts), rtol=2e-3)
    mean, std = table.evaluate(table.features(parts)[None])
    mean2, std2 = again.evaluate(again.features(parts)[None])
    assert mean2 == pytest.approx(mean, rel=2e-3)
    assert std2 == pytest.approx(std, rel=2e-2)
    assert again.meta["errors"]["median"] < 0.05
    assert again.kind == "measured"
    loaded = DeviceTable.load(path).predict(zoo.load("shvit_s1"))
    assert loaded.mean_ms == pytest.approx(mean[0], rel=2e-3)


def _set(body, path, value):
    *parents, last = path.split(".")
    for name in parents:
        body = body[name]
    body[last] = value


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("format", 99, "newer"),
        ("format", "one", "format"),
        ("threads", "one", "threads"),
        ("cpu", None, "cpu"),
        ("peak.gmacs_per_ms", 0, r"peak\.gmacs_per_ms"),
        ("calibration.weights", [1.0], r"calibration\.weights"),
        ("calibration.weights", [1.0] * 6 + [-1.0], r"calibration\.weights"),
        ("calibration.std", float("nan"), r"calibration\.std"),
        ("group_errors", 3, "group_errors"),
        ("errors", [], "errors"),
        ("drift", [], "drift"),
        ("drift.reference_ms", 0, r"drift\.reference_ms"),
    ],
)
def test_broken_cards_name_file_and_field(table, tmp_path, field, value, expected):
    path = write_table(table, tmp_path)
    body = json.loads(path.read_text())
    _set(body, field, value)
    path.write_text(json.dumps(body))
    with pytest.raises(UserError, match=expected) as error:
        read_model(path)
    assert "toy.json" in str(error.value)


def test_broken_entries_name_the_line(table, tmp_path):
    path = write_table(table, tmp_path)
    entries = path.with_suffix(".csv")
    text = entries.read_text()
    entries.write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"toy\.csv"):
        read_model(path)
    entries.write_text(text.replace("\npointwise_conv", "\nsideways_conv", 1))
    with pytest.raises(UserError, match="line"):
        read_model(path)
    entries.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="columns"):
        read_model(path)
    entries.unlink()
    with pytest.raises(UserError, match=r"toy\.csv"):
        read_model(path)
    path.write_text('{"kind": "measured", "format"')
    with pytest.raises(UserError, match="not JSON"):
        read_model(path)


SHIPPED_TABLES = [
    path
    for path in sorted(SHIPPED.glob("*.json"))
    if json.loads(path.read_text("utf-8")).get("kind") == "measured"
]


@pytest.mark.parametrize("path", SHIPPED_TABLES, ids=lambda p: p.stem)
def test_shipped_tables_say_where_they_come_from_and_price_the_published_networks(path):
    device = DeviceTable.load(path.stem)
    meta = device.meta
    assert meta["kind"] == "measured"
    for key in ("cpu", "runtime_version", "threads", "date", "errors", "profile", "not_covered"):
        assert meta[key], key
    assert meta["errors"]["networks"] >= 100
    entries = device.model.entries
    assert all(e.count >= 1 and e.networks >= 1 and e.spread >= 0 for e in entries.values())
    order = {}
    for name in zoo.names():
        prediction = device.predict(zoo.load(name))
        assert prediction.kind == "measured", name
        assert prediction.std_ms < 0.15 * prediction.mean_ms
        order[name] = prediction.mean_ms
    assert order["shvit_s1"] < order["shvit_s2"] < order["shvit_s3"] < order["shvit_s4"]
    assert order["swiftformer_xs"] < order["swiftformer_s"] < order["swiftformer_l1"]
