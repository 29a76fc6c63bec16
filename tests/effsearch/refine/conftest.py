"""Coloured squares of three classes, tiny networks, and a quick recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from effsearch.refine.request import ImageData, RefineRequest
from effsearch.search.records import Candidate, Outcome, Record
from effsearch.training.recipe import Recipe
from searchspace import SearchSpace

COLOURS = ((140, 124, 124), (124, 140, 124), (124, 124, 140))


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """An image tree that networks learn in a few steps, but not in one."""
    root, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 20)):
        for label, colour in enumerate(COLOURS):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                noise = rng.normal(0, 120, (16, 16, 3))
                square = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(square).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def quick():
    return Recipe(
        name="quick",
        epochs=3,
        batch_size=12,
        image_side=32,
        source_side=16,
        learning_rate=3e-3,
        warmup_epochs=0.5,
        mixup_alpha=0.0,
        mix_probability=0.0,
        crop_scale_min=0.5,
        randaugment_ops=0.0,
        erasing_probability=0.0,
        ema_decay=0.5,
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path_factory.getbasetemp() / "pixels"))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def wanted(squares, quick, _own_cache):
    return RefineRequest(3, ImageData.check(squares, quick.source_side), quick, 1)


@pytest.fixture(scope="session")
def networks():
    """Records of four small networks, the best by score first."""
    space, rng = SearchSpace.load("tiny"), np.random.default_rng(3)
    return [
        Record(
            number,
            0,
            Candidate(space.sample(rng), "sampled"),
            Outcome(0.5, 0.05, 0.55, 80.0 - number, 1.0, 79.0 - number, 200_000, 10_000_000),
            {"latency": -0.1},
        )
        for number in range(4)
    ]
