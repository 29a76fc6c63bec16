"""ONNX files that say more than a machine can hold, or what no operator takes."""

import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from effsearch.latency import DeviceTable
from effsearch.latency.timing.measure import measure_ms
from effsearch.onnx_io.limits import MAX_NODES
from effsearch.onnx_io.reading import read_graph, read_operators
from searchspace import UserError


def info(name, shape=None, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, value, dtype=np.float32):
    return numpy_helper.from_array(np.array(value, dtype), name)


def save(path, nodes, initialisers=(), x=(1, 3, 8, 8), **more):
    graph = helper.make_graph(nodes, "g", [info("x", x)], [info("y")], list(initialisers))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("d", 1)],
        ir_version=9,
        **more,
    )
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.onnx"


READ = "import sys; from effsearch.targets import load_target; load_target(sys.argv[1]).operators()"


def refused(path):
    """Whether a process of its own refuses the file in one line: the bound is on all its memory."""
    command = [sys.executable, "-c", READ, str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    last = found.stderr.strip().splitlines()[-1]
    return "UserError" in last and bool(re.search("too much memory|tensors of at most", last))


@pytest.mark.parametrize("count", [10**10, 2**62])
def test_a_range_of_integers_takes_no_memory(path, count):
    limits = [constant(n, v, np.int64) for n, v in (("a", 0), ("b", count), ("c", 1))]
    nodes = [helper.make_node("Range", ["a", "b", "c"], ["r"])]
    nodes += [helper.make_node("Cast", ["r"], ["y"], to=1)]
    save(path, nodes, limits)
    assert refused(path)


def test_a_shape_that_is_computed_takes_no_memory(path):
    nodes = [
        helper.make_node("Mul", ["n", "n"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["r"]),
        helper.make_node("Cast", ["r"], ["y"], to=1),
    ]
    save(path, nodes, [constant("n", [10**5], np.int64)])
    assert refused(path)


@pytest.mark.parametrize("side", [10**5, 2**40])
def test_a_huge_input_is_told(path, side):
    save(path, [helper.make_node("Relu", ["x"], ["y"])], x=(1, 3, side, side))
    with pytest.raises(UserError, match="tensors of at most"):
        read_graph(path)


def test_a_shape_that_is_none_is_told(path):
    weight = constant("w", np.ones((2, 3, 1, 1)))
    weight.dims[0] = -2
    save(path, [helper.make_node("Conv", ["x", "w"], ["y"])], [weight])
    with pytest.raises(UserError, match="which is none"):
        read_graph(path)


def test_too_many_operators_are_told_and_as_many_as_allowed_are_read(path):
    def chain(length):
        return [
            helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(length)
        ] + [helper.make_node("Relu", [f"v{length}"], ["y"])]

    with pytest.raises(UserError, match="operators, the most"):
        read_graph(save(path, chain(MAX_NODES)))
    assert len(read_operators(save(path, chain(MAX_NODES - 1)))) == MAX_NODES


def test_memory_beyond_the_limit_is_refused_and_the_limit_goes_again():
    code = """
import numpy as np
from effsearch.onnx_io.limits import memory_limit
with memory_limit(64 << 20):
    try:
        np.ones(1 << 28)
        raise SystemExit("not held")
    except MemoryError:
        pass
assert np.ones(1 << 26).sum() == 1 << 26
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_function_that_calls_itself_is_told(path):
    node = helper.make_node("F", ["a"], ["b"], domain="d")
    function = helper.make_function("d", "F", ["a"], ["b"], [node], [helper.make_opsetid("d", 1)])
    save(path, [helper.make_node("F", ["x"], ["y"], domain="d")], functions=[function])
    with pytest.raises(UserError, match=r"not a readable ONNX file"):
        read_graph(path)


WEIGHT = constant("w", np.ones((3, 3, 3, 3)))


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        (["x"], {}),
        (["x", ""], {}),
        (["x", "w"], {"group": 0}),
        (["x", "w"], {"group": -3}),
        (["x", "w"], {"group": "three"}),
        (["x", "w"], {"strides": "xy"}),
        (["x", "w"], {"kernel_shape": 7}),
        (["x", "x"], {}),
    ],
)
def test_a_convolution_that_is_none_is_one_line(path, inputs, attributes):
    node = helper.make_node("Conv", inputs, ["y"], **attributes)
    graph = helper.make_graph([node], "g", [info("x", (1, 3, 8, 8))], [info("y", (1, 3, 6, 6))])
    graph.initializer.append(WEIGHT)
    onnx.save(helper.make_model(graph), path)
    with suppress(UserError):  # some are taken: a device may have its own defaults
        read_operators(path)


@pytest.mark.parametrize("op", ["Identity", "Flatten"])
def test_a_network_that_takes_no_time_is_told(path, op):
    save(path, [helper.make_node(op, ["x"], ["y"])])
    with pytest.raises(UserError, match="no operator that takes time"):
        read_operators(path)


def branch(count, name):
    nodes = [
        helper.make_node("Conv", [f"v{i}" if i else "x", "w"], [f"v{i + 1}"], pads=[1] * 4)
        for i in range(count)
    ]
    return helper.make_graph(nodes, name, [], [info(f"v{count}")])


def conditional(path, then, otherwise):
    node = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch(then, "a"), else_branch=branch(otherwise, "b")
    )
    return save(path, [node], [WEIGHT, constant("c", True, bool)])


def test_both_branches_of_a_condition_are_priced_and_marked_estimated(path):
    one = next(o for o in read_operators(conditional(path, 1, 1)) if o.op == "Conv")
    found = read_operators(conditional(path, 2, 3))
    assert sum(o.macs for o in found) == 5 * one.macs > 0
    assert len({o.name for o in found}) == len(found)
    table = DeviceTable.load("iphone12")
    prediction = table.predict_operators(found)
    assert prediction.kind == "estimated"
    assert "If" in prediction.estimated_operators
    few = table.predict_operators(read_operators(conditional(path, 1, 0 + 1)))
    assert few.mean_ms < prediction.mean_ms


def test_a_loop_s_body_is_priced_once_and_marked_estimated(path):
    nodes = [
        helper.make_node("Conv", ["carried", "w"], ["next"], pads=[1] * 4),
        helper.make_node("Identity", ["go"], ["still"]),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", (), TensorProto.INT64), info("go", (), TensorProto.BOOL), info("carried")],
        [info("still", (), TensorProto.BOOL), info("next", (1, 3, 8, 8))],
    )
    loop = helper.make_node("Loop", ["n", "c", "x"], ["y"], body=body)
    save(path, [loop], [WEIGHT, constant("n", 7, np.int64), constant("c", True, bool)])
    found = read_operators(path)
    assert sum(o.macs for o in found) == 3 * 3 * 3 * 3 * 8 * 8
    assert DeviceTable.load("iphone12").predict_operators(found).kind == "estimated"


def test_escapes_in_names_do_not_get_out(path):
    save(path, [helper.make_node("Bad\x1b[31m", ["x"], ["y"], name="n\x07", domain="d")])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1
    onnx.save(model, path)
    (found,) = read_operators(path)
    assert found.op == "Bad\\x1b[31m"
    assert found.name == "n\\x07"


def run_measure(path):
    measure_ms(path, seconds=0.001, attempts=1)


def test_a_model_with_open_sizes_is_not_measured_at_1_px(path):
    save(path, [helper.make_node("Relu", ["x"], ["y"])], x=("batch", 3, "height", "width"))
    with pytest.raises(UserError, match=r"open shape \(batch, 3, height, width\)"):
        run_measure(path)
    save(path, [helper.make_node("Relu", ["x"], ["y"])], x=("batch", 3, 8, 8))
    run_measure(path)


@pytest.mark.parametrize("side", [10**5, 2**40])
def test_a_huge_input_is_not_measured(path, side):
    save(path, [helper.make_node("Relu", ["x"], ["y"])], x=(1, 3, side, side))
    with pytest.raises(UserError, match="tensors of at most"):
        run_measure(path)


def test_what_the_runtime_cannot_run_is_one_line(path):
    save(path, [helper.make_node("Reshape", ["x", "s"], ["y"])], [constant("s", [7], np.int64)])
    with pytest.raises(UserError, match="ONNX Runtime"):
        run_measure(path)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_scan_s_body_is_priced_once_and_marked_estimated(path, axis):
    """A state goes in and out; of a sequence of images each turn gets one."""
    nodes = [
        helper.make_node("Add", ["state", "image"], ["sum"]),
        helper.make_node("Conv", ["sum", "w"], ["next"], pads=[1] * 4),
        helper.make_node("Conv", ["sum", "w"], ["given"], pads=[1] * 4),
    ]
    body = helper.make_graph(
        nodes, "body", [info("state"), info("image")], [info("next"), info("given")]
    )
    scan = helper.make_node(
        "Scan", ["x", "images"], ["y", "all"], body=body, num_scan_inputs=1,
        scan_input_axes=[axis],
    )  # fmt: skip
    shape = [1, 3, 8, 8]
    shape.insert(axis, 5)
    save(path, [scan], [WEIGHT, constant("images", np.zeros(shape), np.float32)])
    found = read_operators(path)
    assert sum(o.macs for o in found) == 2 * 3 * 3 * 3 * 3 * 8 * 8
    shapes = read_graph(path).shapes
    assert shapes["y/body/state"] == shapes["y/body/image"] == (1, 3, 8, 8)
    prediction = DeviceTable.load("iphone12").predict_operators(found)
    assert prediction.kind == "estimated"
    assert "Scan" in prediction.estimated_operators
