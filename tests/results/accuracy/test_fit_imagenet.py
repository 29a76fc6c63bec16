"""The command behind the default score: priors from timm, and that it makes the shipped file."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from effsearch.accuracy.estimate import COEFFICIENTS, TERMS
from effsearch.accuracy.features import TOTALS
from effsearch.accuracy.imagenet import DATA, ImagenetEstimate
from results.accuracy import fit_imagenet, held_out, timm_priors
from results.accuracy.hierarchical import Evidence, Posterior, Scales, choose
from results.accuracy.mobile_networks import LAYOUTS, counts, operators_of
from results.accuracy.published_evidence import Row, at_resolution, changed
from searchspace import zoo

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


RECIPES = ("shvit_paper_300e", "efficientmod_paper_300e", "swiftformer_paper_300e",
           "efficientvit_mit_b", "tf_mobilenetv2_grid", "starnet_300e")  # fmt: skip
SLOPES = {name: {"mean": -0.05, "std": 0.05} for name in ("gmacs", "mparams", "mactivations")}


def planted(seed: int = 0, noise: float = 0.015) -> tuple[list[Row], dict[str, float]]:
    """Scalings of the zoo whose log error is a known line, with a level for each recipe."""
    rng = np.random.default_rng(seed)
    source = ImagenetEstimate.load()
    truth = {"parameters": -0.12, "activations": -0.05, "resolution": 0.2, "distilled": -0.06}
    rows = []
    for number, name in enumerate(zoo.names() * 5):
        recipe = RECIPES[rng.integers(len(RECIPES))]
        totals = source.features(zoo.load(name)).copy()
        for count in ("gmacs", "mparams", "mactivations", "layers"):
            totals[TOTALS.index(count)] *= np.exp(rng.normal(0, 0.5))
        totals = at_resolution(totals, float(rng.choice([160, 224, 288])))
        distilled = float(rng.integers(2))
        terms = source.estimate  # its terms, with other slopes
        from effsearch.accuracy.estimate import columns

        values = dict(zip(TERMS, columns(totals[None], terms.ranges)[0], strict=True))
        log_error = 3.0 + 0.05 * RECIPES.index(recipe) + truth["distilled"] * distilled
        log_error += sum(truth[k] * values[k] for k in truth if k in values)
        log_error += noise * rng.normal()
        top1 = 100 - float(np.exp(log_error))
        rows.append(
            Row(str(number), name, "x", recipe, recipe, "exact", totals, top1, distilled, 300.0, "")
        )
    return rows, truth


def test_planted_slopes_are_found_across_recipes_of_different_level():
    rows, truth = planted()
    evidence = Evidence.of_terms(rows, SLOPES)
    posterior = Posterior(evidence, np.arange(len(rows)), choose(evidence, np.arange(len(rows))))
    stds = np.sqrt(np.diag(posterior.covariance))
    for name, slope in truth.items():
        i = evidence.names.index(name)
        assert abs(posterior.mean[i] - slope) < 3 * stds[i] + 0.01, name
        assert stds[i] < 0.05


def test_leaving_out_in_closed_form_is_leaving_out():
    rows, _ = planted(seed=1)
    evidence = Evidence.of_terms(rows, SLOPES)
    posterior = Posterior(evidence, np.arange(len(rows)), Scales())
    pair = np.array([3, 17])
    kept = np.array([i for i in range(len(rows)) if i not in pair])
    alone = Posterior(evidence, kept, Scales())
    for fast, i in zip(posterior.without(pair), pair, strict=True):
        assert fast == pytest.approx(alone.expect(int(i))[0], abs=1e-6)


def test_the_gradient_of_the_evidence_is_that_of_differences():
    rows, _ = planted(seed=2)
    evidence, everything = Evidence.of_terms(rows, SLOPES), np.arange(80)
    theta = np.log(Scales().array())

    def value(at):
        return Posterior(evidence, everything, Scales(*np.exp(at).tolist())).log_evidence

    step = 1e-4
    rough = [(value(theta + e) - value(theta - e)) / (2 * step) for e in np.eye(8) * step]
    exact = Posterior(evidence, everything, Scales(*np.exp(theta).tolist())).slope()
    np.testing.assert_allclose(exact, rough, rtol=1e-3, atol=1e-3)


def test_the_product_says_what_the_posterior_says_of_members():
    rows, _ = planted(seed=3)
    evidence = Evidence.of_terms(rows, SLOPES)
    posterior = Posterior(evidence, np.arange(len(rows)), Scales())
    product = posterior.product()
    at = dict(zip(COEFFICIENTS, product.mean, strict=True))
    for name in ("parameters", "kernel", "distilled"):
        assert at[name] == pytest.approx(posterior.mean[evidence.names.index(name)])
    assert product.covariance.shape == (len(COEFFICIENTS), len(COEFFICIENTS))
    assert np.linalg.eigvalsh(product.covariance).min() > -1e-9


def test_layouts_have_the_published_counts():
    """Parameters of MobileNetV2 (arXiv 1801.04381), MnasNet-B1 and EfficientNet-Lite0."""
    for name, mparams, gmacs in (
        ("mobilenetv2", 3.5, 0.30),
        ("mobilenetv1", 4.2, 0.57),
        ("mnasnet_b1", 4.38, 0.32),
        ("efficientnet_lite", 4.65, 0.39),
    ):
        found = counts(operators_of(LAYOUTS[name]))
        assert found == pytest.approx((mparams, gmacs), rel=0.03), name


def test_changing_the_resolution_of_totals_is_building_at_it():
    features = ImagenetEstimate.load().features
    for name in ("shvit_s1", "swiftformer_xs"):
        moved = at_resolution(features(zoo.load(name)), 256)
        built = features(changed(name, {"resolution": 256}))
        close = [i for i, n in enumerate(TOTALS) if "attention" not in n and "head" not in n]
        np.testing.assert_allclose(moved[close], built[close], rtol=0.1, atol=0.06)


def test_summary_counts_what_it_says():
    rows = [
        {"top1": 80.0, "estimate": 81.0, "std": 0.5},
        {"top1": 75.0, "estimate": 75.0, "std": 0.5},
        {"top1": 70.0, "estimate": 69.0, "std": 2.0},
    ]
    found = held_out.summary(rows)
    assert found["rmse"] == pytest.approx(np.sqrt(2 / 3), abs=1e-3)
    assert found["kendall_tau"] == 1.0
    assert found["within_80"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["bias"] == 0
    assert found["worst"] == 1.0


def test_missing_data_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("EFFSEARCH_DATA", raising=False)
    assert fit_imagenet.main([]) == 2
    assert fit_imagenet.main(["--data", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "--data" in lines[0]
    assert "seeds.csv" in lines[-1]


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="EFFSEARCH_DATA is not set")
def test_the_command_makes_the_shipped_file(tmp_path):
    out = tmp_path / "imagenet.json"
    assert fit_imagenet.main(["--data", SHARED, "--out", str(out), "--results", str(tmp_path)]) == 0
    made, shipped = json.loads(out.read_text()), json.loads(DATA.read_text())
    assert made["option_ranges"] == shipped["option_ranges"]
    for name, row in shipped["coefficients"].items():
        assert made["coefficients"][name] == pytest.approx(row, abs=1e-4), name
    for name, figures in shipped["held_out"].items():
        for figure in ("rmse", "kendall_tau", "sign_right", "median_error", "within_80"):
            if figure in figures:
                assert made["held_out"][name][figure] == pytest.approx(figures[figure], abs=0.02)
    assert (tmp_path / "imagenet_estimate.md").exists()
