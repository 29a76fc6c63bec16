"""Fitting phone tables: cleaning by rule, the model, and no leaks into what is left out."""

import json
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from effsearch.latency.models.fitted import PRICED
from results.latency import fit_phones
from results.latency.phones.dataset import Dataset, Form
from results.latency.phones.evaluation import (
    IRREGULAR,
    Folds,
    _nested_one,
    cross_validate,
    fit_group,
    predict,
    residual_std,
)
from results.latency.phones.model import Measurements, Prior, fit
from results.latency.phones.published import Row, block_types, family, read_rows, rules
from searchspace import UserError, operators, zoo

DATA = os.environ.get("EFFSEARCH_DATA", "")
needs_data = pytest.mark.skipif(
    not Path(DATA, "phones", "latency.csv").is_file(),
    reason="EFFSEARCH_DATA does not name the folder with phones/latency.csv",
)


def test_rules_are_complete():
    for group in rules()["groups"].values():
        assert set(group["prices"]) == set(PRICED)
        assert min(group["prices"].values()) > 0
        assert set(group["scope"]["phones"]) <= set(group["phones"])
        for phone in group["phones"].values():
            assert phone["peak_gmacs_per_ms"] > 0
            assert phone["dram_mb_per_ms"] > 0
    for rule in rules()["rules"]:
        assert rule["id"]
        assert rule["reason"]
        assert set(rule["where"]) <= {"paper", "device", "network", "note"}
    blocks = {b for names in rules()["blocks"].values() for b in names}
    assert set(rules()["traits"].values()) <= blocks


def test_families_and_blocks_go_by_the_longest_prefix():
    assert family("efficientformerv2_s0") == "efficientformerv2"
    assert family("efficientformer_l1") == "efficientformer"
    assert family("efficientvit_b1") != family("efficientvit_m4")
    assert family("levit_256") == "levit_256"
    assert block_types("efficientmod_s_conv") == ("efficient_mod",)
    assert block_types("resnet50") == ()


HEADER = "model,network,paper,device,os,resolution,latency_ms,source,note\n"


def folder(tmp_path, *lines):
    graphs = tmp_path / "phones" / "graphs"
    graphs.mkdir(parents=True)
    for line in lines:
        fields = line.split(",")
        (graphs / f"{fields[1]}@{fields[5]}.onnx").touch()
    (tmp_path / "phones" / "latency.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("A,resnet50,EfficientFormer,iPhone 12,,224,3.0,s,", "older-tool"),
        ("A,resnet50,StarNet,iPhone 12,,224,3.0,s,", "doubtful-phone"),
        ("A,resnet50,StarNet,iPhone 14,,224,3.0,s,", None),
        ("A,resnet50,RepViT,iPhone 12,,224,3.0,s,equals EfficientFormerV2 value", "copied"),
        ("A,ghostnet_100,StarNet,iPhone 14,,224,9.0,s,MobileV3 partly off-ANE", "off-accelerator"),
        ("A,mobilevit_xs,SwiftFormer,iPhone 14,,256,1.5,s,", "contradicted"),
        ("A,mobilevit_xxs,iFormer,iPhone 13,,256,2.1,s,", None),
    ],
)
def test_rows_are_kept_or_set_aside_by_rule(tmp_path, line, rule):
    kept, dropped = read_rows(folder(tmp_path, line), "neural_engine")
    assert [d.rule for d in dropped] == ([] if rule is None else [rule])
    assert len(kept) == (rule is None)


def test_rounding_goes_by_the_digits_that_a_source_prints(tmp_path):
    data = folder(
        tmp_path,
        "A,resnet50,P,iPhone 12,,224,3,fine,",
        "B,resnet18,P,iPhone 12,,224,2.25,fine,",
        "C,resnet101,P,iPhone 12,,224,4.1,coarse,",
    )
    kept, _ = read_rows(data, "neural_engine")
    spread = {r.network: r.rounding_ms for r in kept}
    assert spread["resnet50"] == spread["resnet18"] == pytest.approx(0.01 / np.sqrt(12))
    assert spread["resnet101"] == pytest.approx(0.1 / np.sqrt(12))


def test_other_phones_and_networks_without_graph_do_not_count(tmp_path):
    data = folder(tmp_path, "A,resnet50,P,iPhone 3G,,224,3,s,")
    (data / "phones" / "latency.csv").write_text(HEADER + "A,vgg,P,iPhone 12,,224,3,s,\n")
    assert read_rows(data, "neural_engine") == ([], [])


def test_missing_data_is_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match=r"latency\.csv"):
        read_rows(tmp_path, "neural_engine")
    assert fit_phones.main(["--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def synthetic(n=120, seed=0, noise=0.03):
    """Networks on two devices; the second is a fifth slower but for fixed costs."""
    rng = np.random.default_rng(seed)
    totals = np.column_stack([np.ones(n), rng.lognormal(0, 1, (n, 2)), np.zeros(n)])
    device = np.arange(n) % 2
    price = np.array([0.5, 0.2, 0.05, 0.1])
    ratio = np.where(device == 1, 1.2, 1.0)[:, None] ** np.array([0, 1, 1, 1])
    floor = np.full(n, 0.1)
    latency = (floor + (totals * price * ratio).sum(1)) * np.exp(rng.normal(0, noise, n))
    data = Measurements(
        totals, floor, latency, np.zeros(n), device, np.zeros(n, dtype=np.int64), np.arange(n)
    )
    prior = Prior(np.full(4, 0.15), np.full(4, 1.0), np.array([True, False, False, False]))
    return data, prior, price


def test_fit_recovers_prices_and_devices():
    data, prior, price = synthetic()
    first, second = fit(data, prior, 2)
    np.testing.assert_allclose(first.price[:3], price[:3], rtol=0.1)
    np.testing.assert_allclose(second.price[1:3] / first.price[1:3], 1.2, rtol=0.1)
    errors = np.abs(np.log(first.price[:3] / price[:3]))
    assert (errors < 3 * np.sqrt(np.diag(first.covariance))[:3]).all()


def test_what_no_network_has_keeps_its_prior_and_is_uncertain():
    data, prior, _ = synthetic()
    first, _ = fit(data, prior, 2)
    assert first.price[3] == pytest.approx(0.15, rel=0.05)
    std = np.sqrt(np.diag(first.covariance))
    assert std[3] > 0.9
    assert std[:3].max() < 0.2
    usual, odd = np.array([[1.0, 1, 1, 0]]), np.array([[1.0, 1, 1, 20]])
    floor = np.array([0.1])
    assert first.variance(odd, floor)[0] > 5 * first.variance(usual, floor)[0]


def test_prices_stay_positive_where_least_squares_would_not():
    data, prior, _ = synthetic()
    slow = replace(data, latency_ms=data.latency_ms / (1 + data.totals[:, 1]))
    assert fit(slow, prior, 2)[0].price.min() > 0


def test_a_device_without_rows_takes_the_others_prices():
    data, prior, _ = synthetic()
    first, _, third = fit(data, prior, 3)
    np.testing.assert_allclose(third.price, first.price, rtol=1e-6)
    assert (np.diag(third.covariance) > np.diag(first.covariance)).all()


def test_residual_spread_covers():
    rng = np.random.default_rng(0)
    n = 2000
    variances = rng.uniform(0, 0.01, n)
    errors = rng.normal(0, np.sqrt(0.1**2 + variances))
    folds = Folds([], errors, variances, np.zeros(n))
    assert residual_std(folds, 0.0) == pytest.approx(0.1, rel=0.1)


@pytest.fixture(scope="module")
def dataset():
    """Our own networks on two phones, with latencies that prices off the prior's make."""
    ops = {f"{n}@224": operators(zoo.load(n), "deploy") for n in zoo.names()}
    rng = np.random.default_rng(0)
    rows = [
        Row(
            graph,
            graph.split("@")[0],
            graph.split("_")[0],
            f"paper {i % 3}",
            phone,
            "",
            224,
            1.0,
            0.01,
            "s",
        )
        for i, graph in enumerate(ops)
        for phone in ("iPhone 12", "iPhone 13")
    ]
    unmeasured = Dataset("neural_engine", rows, [], ops)
    data = unmeasured.measurements(rows, Form())
    price = Form().prior("neural_engine").price * rng.lognormal(0, 0.3, len(PRICED))
    latencies = (data.totals @ price + data.floor_ms) * rng.lognormal(0, 0.03, len(rows))
    measured = [replace(r, latency_ms=float(t)) for r, t in zip(rows, latencies, strict=True)]
    return Dataset("neural_engine", measured, [], ops)


def poisoned(dataset, name):
    rows = [
        replace(r, latency_ms=r.latency_ms * (50 if r.network == name else 1)) for r in dataset.rows
    ]
    return Dataset(dataset.group, rows, [], dataset.operators)


def test_a_network_left_out_has_no_say(dataset):
    name = "shvit_s2"
    other = poisoned(dataset, name)
    a, b = _nested_one(dataset, "network", name), _nested_one(other, "network", name)
    assert [x.reference.device for x in a] == ["iPhone 12", "iPhone 13"]
    for x, y in zip(a, b, strict=True):
        assert y.reference.latency_ms == pytest.approx(50 * x.reference.latency_ms)
        assert x.median_ms == y.median_ms
        assert x.std_log == y.std_log
        assert x.form == y.form


def test_cross_validation_visits_every_network_once(dataset):
    form = Form()
    for unit, folds in (("network", None), ("family", None), ("network", 5)):
        found = cross_validate(dataset, form, unit, folds=folds)
        assert len(found.references) == len(dataset.references) == 32
        assert len(set(found.references)) == 32


def test_fitted_prices_make_a_valid_table(dataset):
    form = Form()
    posterior = fit_group(dataset, form)
    median, variance, irregularity = predict(dataset, posterior, dataset.references, form)
    assert (median > 0).all()
    assert (variance > 0).all()
    assert ((irregularity >= 0) & (irregularity <= 1)).all()
    measured = np.array([r.latency_ms for r in dataset.references])
    assert np.median(np.abs(median / measured - 1)) < 0.05
    assert IRREGULAR.sum() == 10


@needs_data
def test_cleaned_data_has_the_networks_that_errors_are_stated_for():
    found = Dataset.read(DATA, "neural_engine")
    scope = [r for r in found.references if found.in_scope(r)]
    assert len({r.graph for r in scope}) == 53
    assert {d.rule for d in found.dropped} == {r["id"] for r in rules()["rules"]}


@needs_data
def test_shipped_tables_are_what_the_command_fits():
    for group in rules()["groups"]:
        found = Dataset.read(DATA, group)
        for device, phone in rules()["groups"][group]["phones"].items():
            path = files("effsearch.latency") / "devices" / f"{phone['table']}.json"
            card = json.loads(path.read_text("utf-8"))
            posterior = fit_group(found, Form(**card["form"]))
            shipped = [p["ms"] for p in card["prices"]]
            np.testing.assert_allclose(
                posterior[found.devices.index(device)].price, shipped, rtol=1e-3
            )


@needs_data
def test_networks_left_out_are_predicted_within_the_targets():
    """The form is the shipped one here; results/latency/phones.md has the nested errors."""
    found = Dataset.read(DATA, "neural_engine")
    card = json.loads((files("effsearch.latency") / "devices" / "iphone12.json").read_text("utf-8"))
    for unit, limit in (("network", 0.07), ("family", 0.13)):
        folds = cross_validate(found, Form(**card["form"]), unit)
        scope = [i for i, r in enumerate(folds.references) if found.in_scope(r)]
        assert np.median(np.abs(np.expm1(folds.errors[scope]))) <= limit
