"""The check on NAS-Bench-201: its networks, its resuming, its arithmetic."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from effsearch.accuracy import zero_cost
from results.zero_cost import nasbench201, nasbench201_cells

RESIDUAL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


@pytest.fixture(scope="session")
def data() -> Path:
    folder = os.environ.get("EFFSEARCH_DATA")
    if not folder:
        pytest.skip("EFFSEARCH_DATA is unset: NAS-Bench-201's table is not at hand")
    return Path(folder)


def test_parses_an_architecture():
    assert nasbench201_cells.parse(RESIDUAL) == (
        ("nor_conv_3x3",),
        ("none", "nor_conv_3x3"),
        ("skip_connect", "none", "nor_conv_1x1"),
    )
    with pytest.raises(ValueError, match="not a NAS-Bench-201 architecture"):
        nasbench201_cells.parse("|skip_connect~0|")


def test_a_cell_adds_up_its_edges():
    torch.manual_seed(0)
    cell = nasbench201_cells.CellNetwork(nasbench201_cells.parse(RESIDUAL), 10).cells[0].eval()
    x = torch.randn(2, 16, 8, 8)
    first = cell.nodes[0][0](x)
    second = cell.nodes[1][1](first)
    assert torch.allclose(cell(x), x + cell.nodes[2][2](second), atol=1e-6)


def test_blocks_found_in_cell_networks_are_the_stem_and_the_cells():
    net = nasbench201_cells.build(RESIDUAL)
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    names = ("expressivity", "progressivity", "trainability")
    labels = torch.arange(4)
    assert len(net.block_names) == 18
    found = zero_cost.scores(net, batch, labels, names=names)
    assert zero_cost.scores(net, batch, labels, names=names, blocks=net.block_names) == found


def test_parameters_are_those_of_the_benchmark(data):
    table = pd.read_csv(data / "nas" / "nasbench201.csv").sample(20, random_state=0)
    for architecture, millions in zip(table["arch"], table["params_M_c10"], strict=True):
        net = nasbench201_cells.build(architecture)
        # The table has six digits.
        assert sum(p.numel() for p in net.parameters()) == pytest.approx(millions * 1e6, rel=5e-6)


def test_images_are_normalised_and_of_ten_classes(data):
    archive = data / "images" / "tiny-imagenet-100.zip"
    images, labels = nasbench201.load_images(archive, 20, seed=0)
    assert images.shape == (20, 3, 32, 32)
    assert images.dtype == torch.float32
    assert sorted(labels.tolist()) == sorted([*range(10)] * 2)
    assert images.abs().max() < 3
    again, _ = nasbench201.load_images(archive, 20, seed=0)
    assert torch.equal(images, again)
    other, _ = nasbench201.load_images(archive, 20, seed=1)
    assert not torch.equal(images, other)


def _scored(n: int) -> pd.DataFrame:
    """Scores that follow, oppose or don't know the accuracy."""
    accuracy = np.arange(n, dtype=float)
    table = pd.DataFrame({"c10_test": accuracy, "params_M_c10": accuracy, "flops_M_c10": accuracy})
    for name in zero_cost.NAMES:
        table[name] = accuracy
        table[f"{name}_on_images"] = accuracy
    table["snip"] = -accuracy
    table.loc[0, "zico"] = np.nan
    return table


def test_summary_has_tau_interval_and_distance_to_the_published():
    rows = {row["score"]: row for row in nasbench201.summarise(_scored(30), seed=0, resamples=50)}
    assert rows["grad_norm"]["tau"] == 1
    assert rows["grad_norm"]["from_published"] == pytest.approx(0.56)
    assert rows["snip"]["tau"] == -1
    assert rows["zico"]["undefined"] == 1
    assert rows["zico"]["tau"] == 1  # the worst network, ranked last
    assert rows["az_nas_sum"]["tau"] == 1
    low, high = rows["params"]["interval_95"]
    assert low <= rows["params"]["tau"] <= high


def test_command_resumes_where_it_was_cut_off(data, tmp_path, capsys):
    command = [
        "--data",
        str(data),
        "--images",
        "4",
        "--noise",
        "2",
        "--resamples",
        "5",
        "--out",
        str(tmp_path),
    ]
    assert nasbench201.main([*command, "--n", "2"]) == 0
    rows = tmp_path / "nasbench201.csv"
    whole = rows.read_text()
    lines = whole.splitlines(keepends=True)
    rows.write_text("".join(lines[:2]) + lines[2][:20])
    assert nasbench201.main([*command, "--n", "2"]) == 0
    without_seconds = [line.rsplit(",", 1)[0] for line in rows.read_text().splitlines()]
    assert without_seconds == [line.rsplit(",", 1)[0] for line in whole.splitlines()]
    report = json.loads((tmp_path / "nasbench201.json").read_text())
    assert report["architectures"] == 2
    assert "--n 2 --images 4 --noise 2 --seed 0" in report["command"]
    assert "| zico |" in (tmp_path / "nasbench201.md").read_text()
    capsys.readouterr()
    assert nasbench201.main([*command, "--n", "2", "--seed", "1"]) == 2
    assert "another seed" in capsys.readouterr().err


def test_missing_data_is_a_clear_line(tmp_path, capsys):
    assert nasbench201.main(["--data", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "is missing: --data names the folder" in error
    assert error.count("\n") == 1
