"""mIoU against scikit-learn, and its error against the definition."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score

from effsearch.training.confusion import confusion, ious, miou


@pytest.fixture(params=range(3))
def maps(request):
    """Predicted and true masks of 7 images, 5 classes of which one never occurs."""
    rng = np.random.default_rng(request.param)
    true = rng.integers(0, 4, (7, 12, 9))
    predicted = np.where(rng.random(true.shape) < 0.6, true, rng.integers(0, 4, true.shape))
    true[rng.random(true.shape) < 0.1] = 255
    return torch.from_numpy(predicted), torch.from_numpy(true)


def matrices(predicted, true):
    return torch.stack([confusion(p, t, 5) for p, t in zip(predicted, true, strict=True)])


def test_as_scikit_learn_has_it(maps):
    predicted, true = maps
    kept = true != 255
    wanted = confusion_matrix(true[kept], predicted[kept], labels=range(5))
    found = matrices(predicted, true)
    assert np.array_equal(found.sum(0), wanted)
    each = jaccard_score(true[kept], predicted[kept], labels=range(4), average=None)
    np.testing.assert_allclose(ious(found.sum(0))[:4], each)
    assert math.isnan(ious(found.sum(0))[4])
    assert miou(found)[0] == pytest.approx(100 * each.mean())


def test_the_error_is_that_of_drawing_images(maps):
    """The jackknife's error is near the spread of means over images drawn again."""
    found = matrices(*maps).repeat(6, 1, 1)
    rng = np.random.default_rng(0)
    means = [miou(found[rng.integers(0, len(found), len(found))])[0] for _ in range(400)]
    assert miou(found)[1] == pytest.approx(np.std(means), rel=0.2)


def test_a_perfect_prediction_and_none():
    true = torch.tensor([[[0, 1], [2, 255]], [[2, 2], [0, 1]]])
    assert miou(matrices(true.clamp(max=4), true)) == (100.0, 0.0)
    assert miou(matrices((true + 1) % 3, true))[0] == 0.0
    assert math.isnan(miou(matrices(true[:1].clamp(max=4), true[:1]))[1])
