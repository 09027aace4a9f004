"""The graph that metrics are defined on: made from edges in any order and from a connectome; its views."""

from __future__ import annotations

import gc
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.analysis.simple_graph import SimpleGraph, once, simple_graph
from tests.strategies import connectomes, simple_graphs

Edges = dict[tuple[int, int], tuple[float, float]]


def edges_of(graph: SimpleGraph) -> Edges:
    """(source, target) -> weight and length."""
    columns = (graph.source, graph.target, graph.weight, graph.length_um)
    return {(i, j): (w, um) for i, j, w, um in zip(*(c.tolist() for c in columns), strict=True)}


def same(found: Edges, expected: Edges) -> None:
    assert found.keys() == expected.keys()
    for pair, values in found.items():
        assert values == pytest.approx(expected[pair])


@given(st.integers(1, 9), st.integers(0, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_from_arrays(n: int, e: int, seed: int, measured: bool) -> None:
    """Loops left out, weights of parallel edges summed, lengths averaged, CSR order, whatever the order given."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, n, (2, e))
    weight, length, position = rng.normal(size=e), rng.random(e), rng.normal(size=(n, 3))
    graph = SimpleGraph.from_arrays(
        n, source, target, weight, length_um=length if measured else None, position_um=position
    )
    by_pair: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for k in range(e):
        if source[k] != target[k]:
            by_pair[source[k], target[k]].append(k)
    expected = {
        (i, j): (
            float(weight[k].sum()),
            float(length[k].mean() if measured else np.linalg.norm(position[i] - position[j])),
        )
        for (i, j), k in by_pair.items()
    }
    same(edges_of(graph), expected)
    pair = graph.source.astype(int) * n + graph.target
    assert (np.diff(pair) > 0).all()
    assert graph.n_loops == (source == target).sum()
    assert graph.n_parallel == e - graph.n_loops - graph.n_edges
    assert [a.dtype.name for a in (graph.indptr, graph.target, graph.weight)] == ["int64", "int32", "float64"]
    for array in (graph.indptr, graph.target, graph.weight, graph.length_um, graph.position_um, graph.region):
        assert not array.flags.writeable


def test_its_callers_arrays_stay_theirs() -> None:
    weight, position = np.ones(2), np.zeros((3, 3))
    graph = SimpleGraph.from_arrays(3, np.array([0, 1]), np.array([1, 2]), weight, position_um=position)
    weight[:] = position[:] = 9
    assert graph.weight.tolist() == [1, 1]
    assert not graph.position_um.any()


def test_one_weight_for_all() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1], [1, 2], np.broadcast_to(2.0, 2))
    assert graph.weight.tolist() == [2, 2]
    assert SimpleGraph.from_arrays(3, [0, 1], [1, 2]).weight.tolist() == [1, 1]


@given(simple_graphs(signed=True))
def test_views(graph: SimpleGraph) -> None:
    edges = edges_of(graph)
    reverse = graph.reverse
    assert (np.diff(graph.target[reverse.edge]) >= 0).all()
    np.testing.assert_array_equal(graph.source[reverse.edge], reverse.source)
    np.testing.assert_array_equal(np.diff(reverse.indptr), np.bincount(graph.target, minlength=graph.n))
    for j in range(graph.n):
        assert (np.diff(reverse.source[reverse.indptr[j] : reverse.indptr[j + 1]]) > 0).all()
    expected = {}
    for i, j in edges.keys() | {(j, i) for i, j in edges}:
        there = [edges[pair] for pair in ((i, j), (j, i)) if pair in edges]
        expected[i, j] = (sum(w for w, _ in there) / 2, sum(um for _, um in there) / len(there))
    undirected = graph.undirected
    same(edges_of(undirected), expected)
    assert undirected.regions == graph.regions
    same(edges_of(undirected.undirected), expected)  # already both ways


@given(simple_graphs(), st.sampled_from([("a",), ("b",), ("b", "a"), ()]))
def test_within(graph: SimpleGraph, names: tuple[str, ...]) -> None:
    inside = graph.within(names)
    assert inside.regions == tuple(sorted(names))
    kept = np.flatnonzero(np.isin(graph.region, [graph.regions.index(name) for name in names]))
    np.testing.assert_array_equal(inside.position_um, graph.position_um[kept])
    assert [inside.regions[r] for r in inside.region] == [graph.regions[r] for r in graph.region[kept]]
    place = {int(old): new for new, old in enumerate(kept)}
    expected = {(place[i], place[j]): v for (i, j), v in edges_of(graph).items() if i in place and j in place}
    same(edges_of(inside), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n must be an integer"),
        ({"source": [0, 3]}, "source must be in 0 .. 2"),
        ({"target": [0.5, 1.0]}, "target must be one-dimensional integers"),
        ({"target": [0]}, "target must be as long as source, 2; found 1"),
        ({"weight": [1.0]}, "weight must have shape (2,); found (1,)"),
        ({"weight": [1.0, np.inf]}, "weight must be finite; found inf"),
        ({"weight": ["a", "b"]}, "weight must be numbers"),
        ({"length_um": [1.0, np.inf]}, "length_um must be finite; found inf"),
        ({"position_um": np.full((3, 3), np.inf)}, "position_um must be within 1e+15 um, or nan; found inf"),
        ({"position_um": np.zeros((2, 3))}, "position_um must have shape (3, 3)"),
        ({"region": [0, 1]}, "region must have shape (3,)"),
    ],
)
def test_mistakes(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"n": 3, "source": [0, 1], "target": [1, 2]} | arguments
    with pytest.raises(ConnectomeError) as error:
        SimpleGraph.from_arrays(**given)
    assert str(error.value).startswith(message)


def test_unknown_names() -> None:
    graph = SimpleGraph.from_arrays(2, [0], [1])
    with pytest.raises(ConnectomeError, match=r"regions must be among all; found 'b'\."):
        graph.within(["b"])
    with pytest.raises(ConnectomeError, match="kinds must be among local"):
        simple_graph(Connectome.of([], [], dt_ms=0.1), kinds=["far"])


@given(connectomes(), st.sampled_from([("local",), ("local", "long_range"), ("afferent", "local"), ("efferent",)]))
def test_of_a_connectome(c: Connectome, kinds: tuple[str, ...]) -> None:
    """Neurons in the order of their regions, with sensors and effectors only where their edges are asked for."""
    graph = simple_graph(c, kinds=kinds)
    roles = {"neuron"} | ({"sensor"} if "afferent" in kinds else set())
    roles |= {"effector"} if "efferent" in kinds else set()
    regions = [r for r in c.regions.values() if r.role in roles]
    assert graph.regions == tuple(r.name for r in regions)
    assert graph.n == sum(r.size for r in regions)
    start, at = {}, 0
    for r in regions:
        start[r.name] = at
        np.testing.assert_array_equal(graph.position_um[at : at + r.size], r.position_um)
        at += r.size
    weight: defaultdict[tuple[int, int], float] = defaultdict(float)
    loops = 0
    for e in c.edges.values():
        if e.key.kind in kinds:
            for i, j, w in zip(e.source + start[e.key.source], e.target + start[e.key.target], e.weight, strict=True):
                loops += bool(i == j)
                if i != j:
                    weight[int(i), int(j)] += float(w)
    found = edges_of(graph)
    assert found.keys() == weight.keys()
    assert graph.n_loops == loops
    for pair, (w, um) in found.items():
        assert w == pytest.approx(weight[pair], abs=1e-3)
        assert um == pytest.approx(np.linalg.norm(graph.position_um[pair[0]] - graph.position_um[pair[1]]), nan_ok=True)


def test_a_measured_length_comes_first() -> None:
    """One set of edges has measured lengths, the other takes the distance; and a missing one (nan) is the distance."""
    position = np.array([[0.0, 0, 0], [3, 4, 0]])
    regions = [Region(name, 2, "neuron", NeuronParameters(), position_um=position) for name in ("a", "b")]
    common: dict[str, Any] = {"n_source": 2, "n_target": 2, "dt_ms": 0.1}
    measured = EdgeSet.from_arrays(
        ("a", "long_range", "b"), [0, 0], [0, 1], 1.0, state={"tract_length_um": [7.0, np.nan]}, **common
    )
    near = EdgeSet.from_arrays(("a", "local", "a"), [0], [1], 1.0, **common)
    graph = simple_graph(Connectome.of(regions, [measured, near], dt_ms=0.1))
    assert {pair: um for pair, (_, um) in edges_of(graph).items()} == {(0, 1): 5, (0, 2): 7, (0, 3): 5}


def test_once() -> None:
    """Found once for a graph, anew for another, and gone with it."""
    calls = []

    @once
    def edges(graph: SimpleGraph) -> int:
        calls.append(graph.n)
        return graph.n_edges

    graph = SimpleGraph.from_arrays(3, [0], [1])
    assert (edges(graph), edges(graph), edges(SimpleGraph.from_arrays(2, [], []))) == (1, 1, 0)
    assert calls == [3, 2]
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None
