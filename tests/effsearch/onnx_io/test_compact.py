import numpy as np
import onnx
import pytest
import torch

from effsearch.export.check import difference
from effsearch.latency import DeviceTable
from effsearch.onnx_io.compact import with_pattern_weights, with_weights
from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.onnx_io.reading import read_graph
from searchspace import build, zoo
from searchspace.operators import from_graph


@pytest.fixture(scope="module", params=["shvit_s1", "efficientmod_xxs", "efficientvit_b0"])
def models(request):
    torch.manual_seed(0)
    plain = to_onnx(build(zoo.load(request.param)))
    return request.param, plain, *with_pattern_weights(plain, seed=1)


def test_a_small_file_computes_what_the_written_out_weights_do(models):
    _, plain, small, values = models
    assert small.ByteSize() < 1.2e6 < plain.ByteSize()
    assert difference(with_weights(plain, values), small) < 1e-6
    assert difference(plain, small) > 0.1  # and not what the weights before did


def test_weights_are_random_with_the_spread_that_they_had(models):
    _, plain, _, values = models
    before = {t.name: onnx.numpy_helper.to_array(t) for t in plain.graph.initializer}
    for name, value in values.items():
        assert value.shape == before[name].shape
        assert value.std() == pytest.approx(before[name].std(), rel=0.1)
        if value.ndim == 2 and min(value.shape) > 8:
            assert abs(np.corrcoef(value[0], value[1])[0, 1]) < 0.5


def test_a_small_file_is_priced_as_the_plain_one(models, tmp_path):
    _, plain, small, _ = models
    found = []
    for model in (plain, small):
        onnx.save(model, tmp_path / "model.onnx")
        found.append(from_graph(read_graph(tmp_path / "model.onnx")))
    table = DeviceTable.load("iphone12")
    costs = [table.predict_operators(operators).mean_ms for operators in found]
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)
    for field in ("macs", "weight_bytes"):
        assert len({sum(getattr(o, field) for o in operators) for operators in found}) == 1
