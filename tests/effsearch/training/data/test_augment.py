import pytest
import torch

from effsearch.training.data.augment import Augmenter, _beta_quantiles, prepare, smooth_labels
from effsearch.training.recipe import Recipe

PLAIN = Recipe(
    label_smoothing=0.0,
    mix_probability=0.0,
    crop_scale_min=1.0,
    crop_ratio_max=1.0,
    flip=False,
    randaugment_ops=0.0,
    erasing_probability=0.0,
)
CPU = torch.device("cpu")


def batch(n=32, side=16):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.arange(n) % 5


def augmenter(recipe, seed=0):
    return Augmenter(recipe, 5, CPU, torch.Generator().manual_seed(seed))


def test_without_strength_nothing_changes():
    images, labels = batch()
    x, targets = augmenter(PLAIN)(images, labels, 16)
    torch.testing.assert_close(x, prepare(images, 16), atol=1e-4, rtol=0)
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 5).float())


def test_without_strength_a_rectangle_is_its_image():
    images = torch.randint(0, 256, (4, 3, 16, 32), dtype=torch.uint8)
    x, _ = augmenter(PLAIN)(images, torch.zeros(4, dtype=torch.int64), (8, 16))
    assert x.shape == (4, 3, 8, 16)
    x, _ = augmenter(PLAIN)(images, torch.zeros(4, dtype=torch.int64), (16, 32))
    torch.testing.assert_close(x, prepare(images, (16, 32)), atol=1e-4, rtol=0)


def test_flip_mirrors_about_half_of_the_images():
    images, labels = batch(200)
    x, _ = augmenter(PLAIN.replace(flip=True))(images, labels, 16)
    plain = prepare(images, 16)
    same = ((x - plain).abs().amax((1, 2, 3)) < 1e-3).sum()
    mirrored = ((x - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-3).sum()
    assert same + mirrored == 200
    assert 70 < mirrored < 130


@pytest.mark.parametrize("side", [8, 16, 40])
def test_every_operation_at_once(side):
    images, labels = batch()
    recipe = Recipe(colour_jitter=0.4, erasing_probability=0.5, randaugment_ops=4.0)
    x, targets = augmenter(recipe)(images, labels, side)
    assert x.shape == (32, 3, side, side)
    assert torch.isfinite(x).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(32))


def test_the_generator_fixes_the_result():
    images, labels = batch()
    recipe = Recipe(colour_jitter=0.4)
    first, second, other = (augmenter(recipe, seed)(images, labels, 16)[0] for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("mixup", "cutmix"),
    [pytest.param(1.0, 0.0, id="mixup"), pytest.param(0.0, 1.0, id="cutmix")],
)
def test_mixed_labels_follow_the_pixels(mixup, cutmix):
    # A batch of black and white images: the mean brightness of a mix is its share of white.
    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    images[32:] = 255
    labels = (torch.arange(64) >= 32).long()
    recipe = PLAIN.replace(mix_probability=1.0, mixup_alpha=mixup, cutmix_alpha=cutmix)
    x, targets = augmenter(recipe)(images, labels, 16)
    black, white = prepare(images, 16)[[0, 63]].mean((1, 2, 3))
    share = (x.mean((1, 2, 3)) - black) / (white - black)
    torch.testing.assert_close(share, targets[:, 1], atol=1e-4, rtol=0)
    assert targets[:, 1].unique().numel() > 10


def test_erasing_fills_a_box_with_the_mean():
    images = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
    recipe = PLAIN.replace(erasing_probability=1.0)
    x, _ = augmenter(recipe)(images, torch.zeros(64, dtype=torch.int64), 32)
    erased = (x == 0).all(1).float().mean((1, 2))
    assert 0.02 < erased.mean() < 0.35
    assert (erased > 0).float().mean() > 0.9


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 2.0])
def test_quantiles_are_those_of_the_beta_distribution(alpha):
    values = _beta_quantiles(alpha)
    assert abs(float(values.mean()) - 0.5) < 1e-3
    assert abs(float(values.var()) - 1 / (4 * (2 * alpha + 1))) < 2e-3


def test_smooth_labels():
    targets = smooth_labels(torch.tensor([1]), 4, 0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.85, 0.05, 0.05]]))


@pytest.mark.parametrize(("source", "side"), [(16, 32), (32, 32), (64, 56), (64, 16)])
def test_prepare_gives_the_square_asked_for(source, side):
    x = prepare(torch.full((2, 3, source, source), 124, dtype=torch.uint8), side)
    assert x.shape == (2, 3, side, side)
    torch.testing.assert_close(x[:, 0], torch.full_like(x[:, 0], (124 / 255 - 0.485) / 0.229))


@pytest.mark.parametrize("source", [(16, 32), (64, 40), (80, 160), (16, 200)])
def test_prepare_gives_the_rectangle_asked_for(source):
    x = prepare(torch.full((2, 3, *source), 124, dtype=torch.uint8), (48, 96))
    assert x.shape == (2, 3, 48, 96)
    torch.testing.assert_close(x[:, 0], torch.full_like(x[:, 0], (124 / 255 - 0.485) / 0.229))
