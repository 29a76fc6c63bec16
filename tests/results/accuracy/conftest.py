import json

import numpy as np
import pytest

from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.trained.scaling import from_log_odds
from results.accuracy import trained_networks as networks
from results.accuracy.campaign_table import Row, Table
from results.accuracy.judge import points_of
from searchspace import SearchSpace
from tests.fixtures.training import (  # noqa: F401
    _one_thread,
    _own_cache,
    architectures,
    make_tree,
    quick,
    tree,
)

COUNT = 30


@pytest.fixture(scope="session")
def source():
    return ImagenetEstimate.load()


@pytest.fixture(scope="session")
def files(tmp_path_factory, source):
    """An evidence table of networks whose accuracy follows their depth and shape, with seeds."""
    folder = tmp_path_factory.mktemp("evidence")
    space, rng = SearchSpace.load("small"), np.random.default_rng(3)
    found = {a.digest(): a for a in (space.sample(rng) for _ in range(COUNT))}
    members = []
    for number, (digest, architecture) in enumerate(found.items()):
        architecture.to_yaml(folder / f"{digest}.yaml")
        members.append(
            {"digest": digest, "origin": "degenerate" if number == 0 else "small",
             "band": number % 2, "mean_ms": 1 + number % 2 + 0.001 * number}
        )  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"device": "here", "members": members}))
    points = points_of(source, list(found.values()))
    distance = source.estimate.seen(points.totals).distance
    z = -1 - 0.2 * distance + 0.1 * points.encodings[:, 0]
    table = Table(folder / "evidence.csv")
    for number, (digest, value) in enumerate(zip(found, z, strict=True)):
        for seed in range(3 if number % 5 == 0 else 1):
            top1 = float(from_log_odds(value + rng.normal(0, 0.01)))
            table.append(
                Row(digest, digest, seed, "short", "r", "images", 3, 96, 1.0, 1.0, "", top1, 50.0,
                    1.0, 1.0, 1.0, "CPU")
            )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def trained(files):
    return networks.load(files / "evidence.csv", files)
