import json

import numpy as np
import pytest

from effsearch.latency import DeviceTable
from effsearch.latency.calibrate import calibration as calibrate
from effsearch.latency.calibrate.price_fit import fit, residual_std
from effsearch.latency.calibrate.rows import Measurements, Row, read_rows
from effsearch.latency.models import processor_features as processor
from effsearch.latency.models.calibrated import CalibratedTable
from effsearch.latency.models.feature_sets import ACCELERATOR, PROCESSOR, feature_set
from effsearch.latency.models.price_prior import PricePrior, processor_prior
from effsearch.latency.models.registry import load_model, read_model
from effsearch.latency.overview import summaries
from searchspace import SearchSpace, UserError, operators, zoo

PROCESSOR_ONLY = {"feature_sets": (PROCESSOR,)}


def a_device(seed):
    """Prices of a made-up device, drawn from the prior at twice a processor's speed."""
    prior = processor_prior()
    rng = np.random.default_rng(seed)
    return prior.price * 0.5 * np.exp(rng.normal(0, 0.3, len(prior.price)))


def ms_of(parts, price):
    totals = processor.of_network(processor.features(parts)[None])[0]
    totals[0] = 1
    return float(totals @ price)


def measured(space, count, price, seed, noise=0.01):
    rng = np.random.default_rng(seed)
    rows = []
    while len(rows) < count:
        architecture = space.sample(rng)
        if architecture.digest() in {r.identity for r in rows}:
            continue
        parts = operators(architecture, "deploy")
        ms = ms_of(parts, price) * float(np.exp(rng.normal(0, noise)))
        rows.append(Row(len(rows) + 2, "x", architecture.digest(), parts, ms))
    return Measurements(tuple(rows), {"runtime": "some runtime"})


@pytest.fixture(scope="module")
def space():
    return SearchSpace.load("tiny")


@pytest.fixture(scope="module")
def price():
    return a_device(0)


@pytest.fixture(scope="module")
def card(space, price):
    return calibrate.calibrate(measured(space, 15, price, 1), "made-up", **PROCESSOR_ONLY)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class TestFit:
    def test_prices_of_a_known_device_come_back(self):
        rng = np.random.default_rng(0)
        truth = np.array([0.5, 2.0, 0.1])
        totals = np.column_stack([np.ones(60), rng.gamma(1, size=60), rng.gamma(1, 20, size=60)])
        prior = PricePrior(np.ones(3), np.eye(3) + 9.0)
        found = fit(totals, np.zeros(60), totals @ truth, prior, 0.01)
        assert found.price == pytest.approx(truth, rel=0.01)

    def test_linearised_left_out_errors_are_those_of_fits_without_the_row(self):
        rng = np.random.default_rng(1)
        totals = rng.gamma(1, size=(20, 4))
        latency = totals @ np.array([1.0, 0.5, 2.0, 0.2]) * np.exp(rng.normal(0, 0.05, 20))
        prior = PricePrior(np.ones(4), np.eye(4))
        floor = np.zeros(20)
        found = fit(totals, floor, latency, prior, 0.05)
        exact = []
        for row in range(20):
            keep = np.arange(20) != row
            fewer = fit(totals[keep], floor[keep], latency[keep], prior, 0.05)
            exact.append(np.log(latency[row]) - fewer.log_ms(totals[[row]], floor[[row]])[0])
        assert found.left_out == pytest.approx(np.array(exact), abs=0.02)

    def test_without_measurements_of_a_total_its_prior_stays(self):
        totals = np.column_stack([np.ones(8), np.arange(1.0, 9.0), np.zeros(8)])
        prior = PricePrior(np.array([1.0, 1.0, 3.0]), np.diag([1.0, 1.0, 0.25]))
        found = fit(totals, np.zeros(8), totals @ np.array([0.5, 0.5, 1.0]), prior, 0.01)
        assert found.covariance[2, 2] == pytest.approx(0.25)

    def test_one_wild_reading_moves_little(self):
        rng = np.random.default_rng(2)
        totals = np.column_stack([np.ones(30), rng.gamma(2, size=30)])
        truth = np.array([0.3, 1.0])
        latency = totals @ truth * np.exp(rng.normal(0, 0.01, 30))
        latency[4] *= 5
        prior = PricePrior(np.ones(2), np.eye(2) + 9.0)
        found = fit(totals, np.zeros(30), latency, prior, 0.02)
        assert found.price == pytest.approx(truth, rel=0.05)

    def test_residual_spread_is_what_prices_do_not_explain(self):
        rng = np.random.default_rng(3)
        variance = np.full(4000, 0.03**2)
        error = rng.normal(0, np.hypot(0.03, 0.04), 4000)
        assert residual_std(error, variance) == pytest.approx(0.04, rel=0.06)


class TestCalibrate:
    def test_networks_not_in_the_kit_are_predicted(self, space, price, card):
        table = CalibratedTable.from_card(card, load_model)
        tests = measured(space, 20, price, 99, noise=0.0).rows
        totals = np.stack([table.features(row.operators) for row in tests])
        mean, std = table.evaluate(totals)
        truth = np.array([row.latency_ms for row in tests])
        assert np.median(np.abs(mean / truth - 1)) < 0.03
        assert (std > 0).all()

    def test_left_out_error_is_reported_as_shipped_tables_do(self, card):
        found = card["held_out"]["leave_network_out"]
        estimate, low, high = found["median_error_percent"]
        assert low <= estimate <= high < 10
        assert found["spearman"][0] > 0.9
        assert card["reference_count"] == 15
        assert card["kind"] == "fitted"
        assert card["runtime"] == "some runtime"

    def test_nothing_is_free(self, card):
        assert all(entry["ms"] > 0 for entry in card["prices"])

    def test_more_networks_leave_less_uncertain(self, space, price, card):
        fewer = calibrate.calibrate(measured(space, 6, price, 1), "few", **PROCESSOR_ONLY)
        assert np.trace(as_matrix(card)) < np.trace(as_matrix(fewer))

    def test_what_no_network_had_stays_uncertain_and_estimated(self, price):
        rows = []
        for name in ("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4", "efficientvit_b0"):
            parts = operators(zoo.load(name), "deploy")
            rows.append(Row(len(rows) + 2, name, name, parts, ms_of(parts, price)))
        found = calibrate.calibrate(Measurements(tuple(rows), {}), "few", **PROCESSOR_ONLY)
        never = {e["total"] for e in found["prices"] if e["networks"] == 0}
        assert "gelu.mb" in never
        assert never <= {e["total"] for e in calibrate.uncertain(found)}
        assert {e["kind"] for e in found["prices"] if e["total"] in never} == {"estimated"}
        table = CalibratedTable.from_card(found, load_model)
        assert table.mark(operators(zoo.load("shvit_s4"), "deploy")) == "fitted"
        assert table.mark(operators(zoo.load("swiftformer_xs"), "deploy")) == "estimated"

    def test_intervals_grow_away_from_what_was_measured(self, space, card):
        table = DeviceTable("made-up", CalibratedTable.from_card(card, load_model))
        near = table.predict(space.sample(np.random.default_rng(5)))
        far = table.predict(zoo.load("efficientvit_b3"))
        assert far.std_ms / far.mean_ms > near.std_ms / near.mean_ms

    def test_phone_like_device_is_told_from_a_processor(self, space):
        charged = feature_set(ACCELERATOR, load_model)
        rows = []
        for row in measured(SearchSpace.load("tiny"), 25, a_device(0), 3).rows:
            totals = charged.features(row.operators)
            totals[0] = 1
            ms = float(totals @ charged.prior.price)
            rows.append(Row(row.line, "x", row.identity, row.operators, ms))
        found = calibrate.calibrate(Measurements(tuple(rows), {}), "phone")
        assert found["held_out"]["leave_network_out"]["median_error_percent"][0] < 2

    def test_same_rows_same_card(self, space, price, card):
        again = calibrate.calibrate(measured(space, 15, price, 1), "made-up", **PROCESSOR_ONLY)
        assert again == card


class TestInstall:
    def test_installed_table_is_listed_and_predicts(self, card, home):
        path = calibrate.install(card)
        assert path == home / "devices" / "made-up.json"
        row = next(r for r in summaries() if r["name"] == "made-up")
        assert row["references"] == 15
        assert row["held_out_error"] < 0.1
        assert not row["shipped"]
        prediction = DeviceTable.load("made-up").predict(zoo.load("shvit_s1"))
        assert prediction.mean_ms > 0
        assert sum(p.mean_ms for p in prediction.breakdown) == pytest.approx(prediction.mean_ms)

    def test_reading_back_changes_nothing_but_digits(self, card, home, space):
        path = calibrate.install(card)
        first, second = CalibratedTable.from_card(card, load_model), read_model(path)
        assert second.price == pytest.approx(first.price)
        assert second.covariance == pytest.approx(first.covariance)

    @pytest.mark.parametrize(
        ("field", "value", "complaint"),
        [
            ("format", 99, "format: 99 is newer"),
            ("format", "one", "format"),
            ("kind", "measured-ish", "kind"),
            ("totals", "nonsense", "totals"),
            ("totals", "base:gone", "gone"),
            ("prices", {}, "prices"),
            ("prices", [], "prices: lacks"),
            ("covariance", [[1.0]], "covariance"),
            ("residual_std", -1, "residual_std"),
            ("device", None, "device"),
        ],
    )
    def test_broken_file_is_named_with_its_field(self, card, home, field, value, complaint):
        path = home / "broken.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(card | {field: value}))
        with pytest.raises(UserError, match=complaint) as caught:
            DeviceTable.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


class TestRefine:
    def test_table_moves_to_a_device_that_is_slower(self, space, home):
        table = DeviceTable.load("iphone12")
        rng = np.random.default_rng(0)
        rows = []
        for i in range(12):
            architecture = space.sample(rng)
            ms = 1.7 * table.predict(architecture).mean_ms
            parts = operators(architecture, "deploy")
            rows.append(Row(i + 2, "x", f"{i}", parts, ms))
        found = calibrate.move(Measurements(tuple(rows), {}), "iphone12", "old-phone")
        calibrate.install(found)
        refined = DeviceTable.load("old-phone")
        other = space.sample(np.random.default_rng(77))
        expected = 1.7 * table.predict(other).mean_ms
        assert refined.predict(other).mean_ms == pytest.approx(expected, rel=0.05)
        assert found["refined_from"]["name"] == "iphone12"
        assert found["reference_count"] == 12
        assert refined.kind == "fitted"

    def test_calibrated_table_is_refined_too(self, space, price, card, home):
        calibrate.install(card)
        more = measured(space, 6, price * 1.2, 8)
        found = calibrate.move(more, "made-up", "made-up-2")
        assert found["totals"] == PROCESSOR
        calibrate.install(found)
        tests = measured(space, 10, price * 1.2, 55, noise=0.0).rows
        model = DeviceTable.load("made-up-2").model
        mean, _ = model.evaluate(np.stack([model.features(r.operators) for r in tests]))
        truth = np.array([r.latency_ms for r in tests])
        assert np.median(np.abs(mean / truth - 1)) < 0.05


class TestRows:
    def write(self, tmp_path, text):
        path = tmp_path / "m.csv"
        path.write_text(text)
        return path

    def good(self, count=6):
        return [f"{name},{i + 1}.5" for i, name in enumerate(zoo.names()[:count])]

    def test_header_targets_and_latencies(self, tmp_path, space):
        architecture = space.sample(np.random.default_rng(0))
        (tmp_path / "winners" / "1").mkdir(parents=True)
        architecture.to_yaml(tmp_path / "winners" / "1" / "architecture.yaml")
        lines = ["# device: x,,", '"# runtime: Core ML, all",', "target,latency_ms", *self.good(),
                 "winners/1,3.25", ","]  # fmt: skip
        found = read_rows(self.write(tmp_path, "\n".join(lines)))
        assert found.header == {"device": "x", "runtime": "Core ML, all"}
        assert len(found.rows) == 7
        assert found.rows[-1].identity == architecture.digest()
        assert found.rows[-1].latency_ms == 3.25
        assert found.rows[-1].line == 10

    def test_spreadsheet_with_decimal_commas(self, tmp_path):
        body = "\n".join(["target;latency_ms", *(f"{n};2,5" for n in zoo.names()[:5])])
        assert {r.latency_ms for r in read_rows(self.write(tmp_path, body)).rows} == {2.5}

    @pytest.mark.parametrize(
        ("lines", "complaint"),
        [
            (["target,ms", "a,1"], "line 1: lacks the column latency_ms"),
            (["name,latency_ms", "a,1"], "line 1: lacks the column file"),
            (["target,latency_ms"], "has no rows"),
            (["target,latency_ms", "shvit_s1,", "shvit_s2,"], "no latency is filled in.*2, 3"),
            (["target,latency_ms", "shvit_s1,fast"], "line 2: latency_ms is 'fast', not a number"),
            (["target,latency_ms", "shvit_s1,-3"], "line 2: latency_ms is -3, not a positive"),
            (["target,latency_ms", "shvit_s1,0"], "line 2: .*not a positive"),
            (["target,latency_ms", "shvit_s1,nan"], "line 2: .*not a positive"),
            (["target,latency_ms", "shvit_s1,1", "shvit_s1,2"], "line 3: .*same network as line 2"),
            (["target,latency_ms", "models/07.onnx,2"], "line 2: models/07.onnx is no file"),
            (["target,latency_ms", "shvit_s9,2"], "line 2: shvit_s9 is no file.*published"),
            (["target,latency_ms", ",2"], "line 2: names no network"),
            (["target,latency_ms", "shvit_s1,1", "shvit_s2,2"], "2 measured.*at least 5"),
            ([], "is empty"),
        ],
    )
    def test_mistakes_are_named_with_their_lines(self, tmp_path, lines, complaint):
        with pytest.raises(UserError, match=complaint) as caught:
            read_rows(self.write(tmp_path, "\n".join(lines)))
        assert "\n" not in str(caught.value)

    def test_all_wrong_lines_are_counted(self, tmp_path):
        body = "\n".join(["target,latency_ms", *(f"{n},x" for n in zoo.names()[:7])])
        with pytest.raises(UserError, match=r"line 2.*line 3.*line 4.*and 4 more"):
            read_rows(self.write(tmp_path, body))

    def test_missing_file(self, tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            read_rows(tmp_path / "none.csv")

    def test_digest_of_another_network(self, tmp_path, space):
        space.sample(np.random.default_rng(0)).to_yaml(tmp_path / "a.yaml")
        path = self.write(tmp_path, "file,digest,latency_ms\na.yaml,0123456789abcdef,1\n")
        with pytest.raises(UserError, match=r"line 2: .*not 0123456789abcdef"):
            read_rows(path)


def as_matrix(card):
    return CalibratedTable.from_card(card, load_model).covariance
