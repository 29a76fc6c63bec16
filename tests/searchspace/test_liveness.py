"""What is alive while graphs run: small graphs by hand, random ones by simulating an allocator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.graph import Graph, Node
from searchspace.liveness import live_values

RENAMING, OVERWRITING = {"Reshape"}, {"Relu", "Add"}


def graph_of(*rows, sizes, outputs, constants=()):
    """Rows are `op inputs -> outputs`, in words."""
    nodes = []
    for row in rows:
        op, rest = row.split(" ", 1)
        reads, writes = (part.split() for part in rest.split("->"))
        nodes.append(Node(op, reads, writes))
    shapes = {name: (size,) for name, size in sizes.items()}
    return Graph(nodes, shapes, ["x"], list(outputs), set(constants))


def live(graph):
    return live_values(graph, RENAMING, OVERWRITING)


def test_a_chain_holds_what_it_reads_and_writes():
    graph = graph_of(
        "Conv x w -> a", "Conv a w -> b", sizes={"x": 3, "w": 99, "a": 8, "b": 5}, outputs=["b"],
        constants=["w"],
    )  # fmt: skip
    assert live(graph) == [11, 13]


def test_a_residual_lives_until_it_is_added_and_the_sum_is_written_over_it():
    graph = graph_of(
        "Conv x -> a", "Conv a -> b", "Add x b -> c", sizes={"x": 4, "a": 10, "b": 4, "c": 4},
        outputs=["c"],
    )  # fmt: skip
    assert live(graph) == [14, 18, 8]


def test_what_is_read_later_is_not_written_over():
    graph = graph_of(
        "Relu x -> a", "Relu x -> b", "Add a b -> c", sizes=dict.fromkeys("xabc", 4), outputs=["c"]
    )
    assert live(graph) == [8, 8, 8]


def test_an_operand_of_another_size_is_not_written_over():
    graph = graph_of("Relu x -> a", sizes={"x": 4, "a": 8}, outputs=["a"])
    assert live(graph) == [12]


def test_renamed_values_are_the_same_bytes():
    graph = graph_of(
        "Conv x -> a", "Reshape a -> b", "Conv b -> c", "Conv a -> d", "Conc c d -> e",
        sizes={"x": 1, "a": 10, "b": 10, "c": 2, "d": 3, "e": 5}, outputs=["e"],
    )  # fmt: skip
    assert live(graph) == [11, 12, 15, 10]


def test_an_output_lives_to_the_end_under_any_name():
    graph = graph_of(
        "Conv x -> a", "Reshape a -> b", "Conv x -> c", "Conv c -> d",
        sizes={"x": 1, "a": 10, "b": 10, "c": 4, "d": 2}, outputs=["b", "d"],
    )  # fmt: skip
    assert live(graph) == [11, 15, 16]


@st.composite
def any_graph(draw):
    names, rows, sizes = ["x"], [], {"x": draw(st.integers(1, 3))}
    for index in range(draw(st.integers(1, 12))):
        op = draw(st.sampled_from(["Conv", "Relu", "Add", "Reshape"]))
        count = 2 if op == "Add" else 1
        reads = draw(st.lists(st.sampled_from(names), min_size=count, max_size=count))
        name = f"v{index}"
        sizes[name] = sizes[reads[0]] if op == "Reshape" else draw(st.integers(1, 3))
        names.append(name)
        rows.append(f"{op} {' '.join(reads)} -> {name}")
    return graph_of(*rows, sizes=sizes, outputs=[names[-1]])


def simulated(graph):
    """Keep a buffer for every value, as an allocator that knows the future would."""
    names, nodes, found = {}, [], []
    for node in graph.nodes:  # without renamings
        reads = [names.get(name, name) for name in node.inputs]
        if node.op == "Reshape":
            names[node.outputs[0]] = reads[0]
        else:
            nodes.append((node.op, reads, node.outputs[0]))
    kept = {names.get(name, name) for name in graph.outputs}

    def needed(after):
        return kept.union(*(reads for _, reads, _ in nodes[after:]))

    places = {"x": 0} if "x" in needed(0) else {}
    sizes = [graph.shapes["x"][0]]
    for index, (op, reads, out) in enumerate(nodes):
        size = graph.shapes[out][0]
        free = [places[n] for n in reads if n not in needed(index + 1)]
        target = next((p for p in free if op in OVERWRITING and sizes[p] == size), len(sizes))
        if target == len(sizes):
            sizes.append(size)
        found.append(sum(sizes[place] for place in {*places.values(), target}))
        places[out] = target
        places = {n: place for n, place in places.items() if n in needed(index + 1)}
    return found


@given(any_graph())
def test_an_allocator_that_knows_the_future_holds_as_much(graph):
    assert live(graph) == simulated(graph)


@given(any_graph(), st.integers(2, 5))
def test_arrays_of_sizes_are_many_graphs(graph, times):
    scales = np.arange(1, times + 1)
    graph.shapes = {name: (size * scales,) for name, (size,) in graph.shapes.items()}
    many = [np.broadcast_to(row, times) for row in live(graph)]
    for column in range(times):
        sizes = {name: (int(size[column]),) for name, (size,) in graph.shapes.items()}
        one = Graph(graph.nodes, sizes, graph.inputs, graph.outputs)
        assert [row[column] for row in many] == live(one)


@pytest.mark.parametrize("op", ["Conv", "Relu"])
def test_a_size_that_is_equal_for_some_is_written_over_for_those(op):
    graph = Graph([Node(op, ["x"], ["a"])], {}, ["x"], ["a"])
    graph.shapes = {"x": (np.array([4, 4]),), "a": (np.array([4, 2]),)}
    assert live(graph)[0].tolist() == ([4, 6] if op == "Relu" else [8, 6])
