import numpy as np
import pytest

from results.accuracy import trained_networks as networks
from searchspace.errors import UserError


def test_seeds_of_one_network_are_one_row(trained):
    assert len(set(trained.digests)) == len(trained)
    assert trained.seeds.max() == 3
    assert 0 < trained.noise_std < 1
    assert trained.recipe["epochs"] == 3
    assert all(a.digest() == d for a, d in zip(trained.architectures, trained.digests, strict=True))


def test_the_noise_is_that_of_the_seeds():
    assert networks._noise([[1.0, 3.0], [10.0, 10.0], [5.0]]) == pytest.approx(1.0)
    assert np.isnan(networks._noise([[1.0], [2.0]]))


def test_what_is_missing_is_named(tmp_path, files):
    with pytest.raises(UserError, match="no trained networks"):
        networks.load(tmp_path / "none.csv", files)
    with pytest.raises(UserError, match=r"index\.json"):
        networks.load(files / "evidence.csv", tmp_path)
    scores = tmp_path / "scores.csv"
    scores.write_text("digest,set,name,a,seconds\nx,trained,x,1.5,0.1\n")
    assert list(networks.further_scores(scores, ["x"])) == ["a"]
    assert networks.further_scores(scores, ["x"], "trained")["a"] == pytest.approx([1.5])
    with pytest.raises(UserError, match="no row for y"):
        networks.further_scores(scores, ["x", "y"])


def test_too_few_networks_are_refused(tmp_path, files):
    lines = (files / "evidence.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:6]) + "\n")
    with pytest.raises(UserError, match="too few"):
        networks.load(tmp_path / "few.csv", files)
