import json

import numpy as np
import pytest

from results.accuracy import trained_networks as networks
from results.accuracy.campaign_table import Row, Table
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
def files(tmp_path_factory):
    """An evidence table of networks whose accuracy follows their depth, with seeds."""
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
    depths = np.array([architecture.depth for architecture in found.values()], dtype=float)
    truth = 20 + 10 * (depths - depths.mean()) / depths.std()
    table = Table(folder / "evidence.csv")
    for number, (digest, value) in enumerate(zip(found, truth, strict=True)):
        for seed in range(3 if number % 5 == 0 else 1):
            top1 = float(max(1, value + rng.normal(0, 0.1)))
            table.append(
                Row(digest, digest, seed, "short", "r", "images", 3, 96, 1.0, 1.0, "", top1, 50.0,
                    1.0, 1.0, 1.0, "CPU")
            )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def trained(files):
    return networks.load(files / "evidence.csv", files)
