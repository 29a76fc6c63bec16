"""The command behind the default score: priors from timm, and that it makes the shipped file."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from effsearch.accuracy import fit_imagenet, imagenet_report, timm_priors
from effsearch.accuracy.imagenet import DATA

SHARED = os.environ.get("EFFSEARCH_DATA")


def networks(slopes: dict[str, float], families: int = 12, noise: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for family in range(families):
        level = rng.normal(3, 0.2)
        for number in range(5):
            size = rng.uniform(0.1, 5)
            params, activations = size * rng.uniform(2, 8), size * rng.uniform(2, 12)
            log_error = level + slopes["gmacs"] * np.log(size) + slopes["mparams"] * np.log(params)
            log_error += slopes["mactivations"] * np.log(activations) + noise * rng.normal()
            rows.append((f"net{chr(97 + family)}_{number}", np.exp(log_error), "in1k"))
            rows[-1] += (size, params, activations)
    columns = ["model", "top1_err", "tag", "infer_gmacs", "param_count", "infer_macts"]
    return pd.DataFrame(rows, columns=columns)


def test_slopes_are_recovered_across_families_of_different_level():
    truth = {"gmacs": -0.05, "mparams": -0.1, "mactivations": -0.08}
    found = timm_priors.slopes(networks(truth))
    for name, slope in truth.items():
        assert found[name]["mean"] == pytest.approx(slope, abs=1e-3)
    noisy = timm_priors.slopes(networks(truth, noise=0.05))
    assert all(noisy[name]["std"] > found[name]["std"] for name in truth)
    for name, slope in truth.items():
        assert abs(noisy[name]["mean"] - slope) < 2 * noisy[name]["std"]


def test_transfer_is_zero_on_the_line():
    truth = {"gmacs": -0.05, "mparams": -0.1, "mactivations": -0.08}
    table = networks(truth, families=1)
    rng = np.random.default_rng(0)
    found = timm_priors.transfer(table, truth | {"intercept": rng.normal(3, 0.2)})
    assert found["networks"] == 5
    assert found["median"] == found["percentile_10"] == found["percentile_90"] == 0
    worse = timm_priors.transfer(table, truth | {"intercept": 1.0})
    assert worse["median"] < -10


def test_networks_of_other_data_and_large_ones_are_left_out():
    table = networks({"gmacs": -0.05, "mparams": -0.1, "mactivations": -0.08})
    other = table.copy()
    other["tag"] = "mae_in1k_ft_in1k"
    large = table.copy()
    large["infer_gmacs"] = 20.0
    both = pd.concat([table, other, large], ignore_index=True)
    assert timm_priors.counts(both) == timm_priors.counts(table)
    assert timm_priors.counts(table) == {"networks": 60, "families": 12}


def test_distillation_is_the_mean_over_pairs():
    table = pd.DataFrame(
        {
            "model": [
                "deit_a",
                "deit_a_distilled",
                "deit_b",
                "deit_b_distilled",
                "alone_distilled",
            ],
            "top1_err": [20.0, 18.0, 30.0, 28.5, 10.0],
        }
    )
    found = timm_priors.distillation(table)
    assert found["pairs"] == 2
    assert found["mean"] == pytest.approx((np.log(0.9) + np.log(0.95)) / 2, abs=1e-4)


def test_summary_counts_what_it_says():
    rows = [
        {"top1": 80.0, "estimate": 81.0, "std": 0.5},
        {"top1": 75.0, "estimate": 75.0, "std": 0.5},
        {"top1": 70.0, "estimate": 69.0, "std": 2.0},
    ]
    found = imagenet_report.summary(rows)
    assert found["rmse"] == pytest.approx(np.sqrt(2 / 3), abs=1e-3)
    assert found["kendall_tau"] == 1.0
    assert found["within_one_std"] == 2
    assert found["above_lower_bound"] == 2
    assert found["worst"] == 1.0


def test_missing_data_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("EFFSEARCH_DATA", raising=False)
    assert fit_imagenet.main([]) == 2
    assert fit_imagenet.main(["--data", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert "seeds.csv" in lines[1]


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="EFFSEARCH_DATA is not set")
def test_the_command_makes_the_shipped_file(tmp_path):
    out = tmp_path / "imagenet.json"
    assert fit_imagenet.main(["--data", SHARED, "--out", str(out), "--results", str(tmp_path)]) == 0
    made, shipped = json.loads(out.read_text()), json.loads(DATA.read_text())
    assert made["prior"] == shipped["prior"]
    assert made["option_ranges"] == shipped["option_ranges"]
    assert made["held_out"] == shipped["held_out"]
    assert (tmp_path / "imagenet_estimate.md").exists()
