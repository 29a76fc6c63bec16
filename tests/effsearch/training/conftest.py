"""Small image trees and networks that train in seconds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from effsearch.training.recipe import Recipe

TINY = """\
name: tiny{width}
resolution: 64
stem: {{type: shvit, stride: 16, width: {width}}}
stages:
- width: {width}
  blocks:
  - {{type: shvit_conv, depth: 1, expansion: 2.0, kernel: 3}}
- width: 32
  downsample: {{type: patch_merging, expansion: 2.0, ffn_expansion: 2.0}}
  blocks:
  - {{type: shsa, depth: 1, expansion: 2.0, heads: 1, kernel: 3, partial_ratio: 0.25, qk_dim: 8}}
head: {{type: shvit}}
"""


def write_tree(root: Path, classes=3, train=16, val=8, side=16) -> Path:
    """Writes an ImageFolder tree whose classes differ in colour, so that they can be learnt."""
    rng = np.random.default_rng(0)
    colours = np.linspace(30, 225, classes)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(-25, 25, (side, side, 3))
                values = np.stack(
                    [
                        np.full((side, side), colours[label]),
                        np.full((side, side), 255 - colours[label]),
                        np.full((side, side), 128.0),
                    ],
                    axis=-1,
                )
                pixels = np.clip(values + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _one_thread():
    # Tensors are tiny here: threads would only wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_tree():
    return write_tree


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree")


@pytest.fixture
def architectures(tmp_path):
    folder = tmp_path / "architectures"
    folder.mkdir()
    for width in (16, 24):
        (folder / f"tiny{width}.yaml").write_text(TINY.format(width=width))
    return folder


@pytest.fixture
def quick():
    return Recipe(
        name="quick",
        epochs=3,
        batch_size=12,
        image_side=32,
        source_side=16,
        learning_rate=5e-3,
        warmup_epochs=0.5,
        mixup_alpha=0.2,
        mix_probability=0.5,
        crop_scale_min=0.5,
        colour_jitter=0.1,
        erasing_probability=0.1,
        ema_decay=0.9,
    )
