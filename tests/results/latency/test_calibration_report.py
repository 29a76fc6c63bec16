import numpy as np
import pytest

from effsearch.latency.calibrate.rows import Row
from effsearch.latency.models import processor_features as processor
from effsearch.latency.models.price_prior import processor_prior
from results.latency.calibration_report import baselines, errors, evaluate, page
from searchspace import SearchSpace, operators


@pytest.fixture(scope="module")
def networks():
    """Networks with latencies of a device whose prices are half the prior's, nearly exactly."""
    space = SearchSpace.load("tiny")
    rng = np.random.default_rng(0)
    prices = 0.5 * processor_prior().price
    found = {}
    while len(found) < 26:
        architecture = space.sample(rng)
        parts = operators(architecture, "deploy")
        totals = processor.of_network(processor.features(parts)[None])[0]
        totals[0] = 1
        ms = float(totals @ prices * np.exp(rng.normal(0, 0.01)))
        digest = architecture.digest()
        found[digest] = (architecture, Row(len(found), digest, digest, parts, ms))
    return list(found.values())


@pytest.fixture(scope="module")
def result(networks):
    return evaluate(networks[:14], networks[14:])


def test_more_totals_than_a_scale_beat_macs(result):
    for by_line in result["errors"].values():
        calibrated = by_line["calibrated"]["median_error_percent"][0]
        assert calibrated < by_line["macs"]["median_error_percent"][0]
    assert result["errors"]["30"]["calibrated"]["median_error_percent"][0] < 5


def test_page_says_whether_targets_are_met(result):
    host = {"cpu": "a", "cpu_model": "b", "runtime_version": "1", "precision": "float32"}
    found = {"command": "x", "host": host, "modes": {"two_threads": result}}
    found["modes"]["two_threads"]["repeatability_percent"] = 1.0
    assert page(found).count("met.") == 2
    assert "not met" not in page(found)
    result["errors"]["30"]["calibrated"]["spearman"][0] = 0.5
    assert "not met" in page(found)


def test_errors_are_relative():
    measured = np.arange(1.0, 41.0)
    found = errors(1.1 * measured, measured)
    assert found["median_error_percent"] == pytest.approx([10, 10, 10])
    assert found["bias_percent"] == pytest.approx(10)
    assert found["spearman"][0] == 1


def test_baselines_fit_relative_errors(networks):
    rows = [row for _, row in networks]
    found = baselines(rows[:14], rows[14:])
    truth = np.array([row.latency_ms for row in rows[14:]])
    assert np.median(np.abs(found["nnls"] / truth - 1)) < 0.1
    assert (found["macs"] > 0).all()
