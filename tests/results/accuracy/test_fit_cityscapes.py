"""The fit of the mIoU estimate, from what the package ships."""

import json
import math

import numpy as np
import pytest

from effsearch.accuracy.cityscapes import DATA
from results.accuracy import fit_cityscapes as fitting
from results.accuracy.fit_cityscapes import Row

PAGE = "results/accuracy/cityscapes_estimate.md"


def test_the_shipped_file_and_page_are_what_it_writes(tmp_path):
    fitting.main(["--out", str(tmp_path / "own.json"), "--results", str(tmp_path)])
    made, shipped = json.loads((tmp_path / "own.json").read_text()), json.loads(DATA.read_text())
    assert made.keys() == shipped.keys()
    for name in ("level", "slope", "noise_std", "series_std", "resolution"):
        assert made[name] == pytest.approx(shipped[name], abs=1e-4)
    assert made["held_out"] == shipped["held_out"]
    page = (tmp_path / "cityscapes_estimate.md").read_text()
    assert page.splitlines()[:4] == fitting.Path(PAGE).read_text().splitlines()[:4]
    assert f"RMSE {shipped['held_out']['leave_one_network_out']['rmse']} points" in page


def test_a_known_line_is_found_again():
    rng = np.random.default_rng(0)
    rows = [
        Row(group, f"n{i}", 0.0, level + 0.7 * x + 0.001 * rng.standard_normal(), x, x)
        for group, level in (("a", 1.0), ("b", 2.0))
        for i, x in enumerate(np.linspace(2.5, 3.5, 6))
    ]
    line = fitting.fit(rows)
    assert line.mean[-2] == pytest.approx(0.7, abs=0.01)
    assert line.predict("b", 3.0)[0] == pytest.approx(2.0 + 0.7 * 3.0, abs=0.01)
    assert line.noise_std < 0.003


def test_the_slope_of_resolution_is_that_of_a_pair():
    """A log error of 0.2 more at half the side, 0.1 at two thirds of the way there."""
    assert fitting.smaller_slope((9.5, 3.2), (10.5, 3.0)) == pytest.approx(0.2)
    at = 10.5 - math.log2(1.5)
    assert fitting.smaller_slope((at, 3.1), (10.5, 3.0)) == pytest.approx(0.2)
