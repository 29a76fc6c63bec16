import numpy as np
import torch

from effsearch.export.classify import correct
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import SearchSpace, build


def test_models_of_any_batch_count_every_image_once():
    torch.manual_seed(0)
    network = build(SearchSpace.load("tiny").sample(np.random.default_rng(0)), 5).eval()
    images = torch.randn(7, 3, 32, 32)
    with torch.no_grad():
        labels = network(images).argmax(1)
    labels[:2] = (labels[:2] + 1) % 5
    for batch in (1, 3):
        model = to_onnx(network, batch, side=32)
        assert correct(model, [(images[:4], labels[:4]), (images[4:], labels[4:])]) == (5, 7)
