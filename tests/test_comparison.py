"""Comparison: against SciPy and the Brain Connectivity Toolbox; what has nothing to compare says so."""

from __future__ import annotations

from typing import Any

import bct
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ks_2samp, pearsonr, spearmanr

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.analysis.comparison import (
    Distances,
    degree_correlation,
    distances,
    energy,
    ks,
    node_labels,
    shared_nodes,
    subgraph,
)
from connectome.analysis.simple_graph import SimpleGraph, simple_graph
from tests.strategies import simple_graphs

Array = NDArray[Any]
few = st.lists(st.integers(-3, 3).map(lambda i: i / 2), max_size=12)


def dense(graph: SimpleGraph, undirected: bool = True) -> Array:
    a = np.zeros((graph.n, graph.n))
    a[graph.source, graph.target] = 1
    return np.maximum(a, a.T) if undirected else a


@pytest.mark.filterwarnings("ignore::RuntimeWarning:scipy")  # of p-values, which nobody asks for
@given(few, few)
def test_ks_against_scipy(a: list[float], b: list[float]) -> None:
    if a and b:
        assert ks(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)
    else:
        assert ks(a, b) == float(bool(a) != bool(b))


@given(simple_graphs(min_nodes=1, max_nodes=9), simple_graphs(min_nodes=1, max_nodes=9))
def test_distances_against_the_toolbox(one: SimpleGraph, two: SimpleGraph) -> None:
    """Betzel et al. 2016: each part from the undirected adjacency matrix, by bctpy and SciPy."""
    found = distances(one, two)
    parts: list[tuple[Array, ...]] = []
    for graph in (one, two):
        a = dense(graph)
        pairs = max((graph.n - 1) * (graph.n - 2), 1)
        between = bct.betweenness_bin(a) / pairs if a.any() else np.zeros(graph.n)
        lengths = np.linalg.norm(graph.position_um[:, None] - graph.position_um[None], axis=2)[np.triu(a, 1) > 0]
        parts.append((a.sum(1), bct.clustering_coef_bu(a), np.round(between, 9), np.round(lengths, 6)))
    for value, x, y in zip(found[:3], *(p[:3] for p in parts), strict=True):
        assert value == pytest.approx(ks(x, y), abs=1e-12)
    if one.n > 1 and two.n > 1:  # one node has no extent
        assert found.edge_length == pytest.approx(ks(parts[0][3], parts[1][3]), abs=1e-12)
    assert found.energy == energy(one, two) == np.nanmax(found)


@given(simple_graphs(max_nodes=9), simple_graphs(max_nodes=9), st.booleans(), st.integers(0, 2**32 - 1))
def test_what_must_hold_of_a_distance(one: SimpleGraph, two: SimpleGraph, directed: bool, seed: int) -> None:
    """0 to itself in any order of nodes, the same both ways, between 0 and 1."""
    found = distances(one, two, directed=directed)
    np.testing.assert_array_equal(found, distances(two, one, directed=directed))
    assert all(0 <= d <= 1 for d in found if not np.isnan(d))
    order = np.random.default_rng(seed).permutation(one.n)
    assert np.nanmax(distances(one, subgraph(one, order), directed=directed)) == 0


def test_directions_count_when_asked_for() -> None:
    """A star outwards and a star inwards: as undirected graphs the same."""
    out = SimpleGraph.from_arrays(5, [0, 0, 0, 0], [1, 2, 3, 4])
    into = SimpleGraph.from_arrays(5, [1, 2, 3, 4], [0, 0, 0, 0])
    assert energy(out, into) == 0
    assert distances(out, into, directed=True).degree == pytest.approx(0.6)


def test_nothing_to_compare() -> None:
    position = np.arange(12.0).reshape(4, 3)
    edges = SimpleGraph.from_arrays(4, [0, 1], [1, 2], position_um=position)
    bare = SimpleGraph.from_arrays(4, [], [], position_um=position)
    flat = SimpleGraph.from_arrays(4, [0, 1], [1, 2])
    assert distances(edges, bare) == Distances(0.75, 0.0, 0.25, 1.0)
    assert distances(bare, bare) == Distances(0.0, 0.0, 0.0, 0.0)
    for other in (edges, bare, flat):
        assert np.isnan(distances(other, flat).edge_length)
        assert not np.isnan(energy(other, flat))
    nothing = SimpleGraph.from_arrays(0, [], [])
    assert energy(nothing, nothing) == 0
    assert energy(nothing, edges) == 1


def test_betweenness_is_comparable_between_sizes() -> None:
    """The middle of every star lies on all paths between others."""
    small, large = (SimpleGraph.from_arrays(n, np.zeros(n - 1, int), np.arange(1, n)) for n in (5, 50))
    assert distances(small, large).betweenness == pytest.approx(1 / 5 - 1 / 50)


# Correlation


@given(simple_graphs(min_nodes=3), st.integers(0, 2**32 - 1))
def test_correlation_of_degree_against_scipy(one: SimpleGraph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, one.n, (2, 2 * one.n))
    two = SimpleGraph.from_arrays(one.n, source, target)
    order = rng.permutation(one.n)
    pairs = np.stack([np.arange(one.n), np.argsort(order)], 1)
    found = degree_correlation(one, subgraph(two, order), pairs)
    x, y = dense(one).sum(1), dense(two).sum(1)
    if np.ptp(x) and np.ptp(y):
        assert found.pearson == pytest.approx(pearsonr(x, y).statistic)
        assert found.spearman == pytest.approx(spearmanr(x, y).statistic)
    else:
        assert np.isnan(found.pearson)
        assert np.isnan(found.spearman)
    assert found.n == one.n
    np.testing.assert_array_equal(found, degree_correlation(one, two))


def test_correlation_asks_for_pairs() -> None:
    one, two = SimpleGraph.from_arrays(4, [0], [1]), SimpleGraph.from_arrays(5, [0], [1])
    with pytest.raises(ConnectomeError, match=r"pairs must be given .* 4 and 5 nodes"):
        degree_correlation(one, two)
    with pytest.raises(ConnectomeError, match=r"pairs must have shape"):
        degree_correlation(one, two, [0, 1])
    with pytest.raises(ConnectomeError, match=r"pairs must be in 0 .. 3"):
        degree_correlation(one, two, [[4, 0]])
    assert np.isnan(degree_correlation(one, two, [[0, 0], [1, 1]]).pearson)
    assert degree_correlation(one, two, np.zeros((0, 2), int)).n == 0


# Nodes


def connectome(*regions: Region) -> Connectome:
    key = (regions[0].name, "local", regions[0].name)
    n = regions[0].size
    return Connectome.of(regions, [EdgeSet.from_arrays(key, [0], [n - 1], 1.0, n_source=n, n_target=n, dt_ms=0.1)])


def labelled(name: str, *labels: str) -> Region:
    return Region(name, len(labels), label=np.array(labels))


def test_nodes_are_the_same_by_label() -> None:
    """In whatever region; not those whose label is missing or not theirs alone."""
    one = connectome(labelled("a", "ADAL", "AVAR", "", "RIH"), labelled("b", "twice", "twice", "BAGL"))
    two = connectome(labelled("c", "BAGL", "RIH", ""), Region("d", 2), labelled("e", "twice", "AVAR", "AVAL"))
    assert shared_nodes([one, two]).tolist() == [[1, 6], [3, 1], [6, 0]]
    assert shared_nodes([two, one, one]).tolist() == [[0, 6, 6], [1, 3, 3], [6, 1, 1]]
    assert node_labels(two) == ["BAGL", "RIH", "", "", "", "twice", "AVAR", "AVAL"]


def test_nodes_without_labels_are_the_same_by_place() -> None:
    one, two = connectome(Region("a", 2), Region("b", 1)), connectome(Region("a", 2), labelled("b", "x"))
    assert shared_nodes([one, two]).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert shared_nodes([one, connectome(Region("a", 3))]).shape == (0, 2)
    assert node_labels(one) is None


def test_nodes_are_numbered_as_in_the_simple_graph() -> None:
    """Sensors come first in this connectome, and are nodes only if their edges count."""
    eye, cortex = labelled("eye", "l", "r"), labelled("cortex", "x", "y", "z")
    eye = Region("eye", 2, "sensor", label=eye.label)
    edges = EdgeSet.from_arrays(("cortex", "local", "cortex"), [0], [2], 1.0, n_source=3, n_target=3, dt_ms=0.1)
    c = Connectome.of([eye, cortex], [edges])
    for kinds in (("local",), ("local", "afferent")):
        graph = simple_graph(c, kinds=kinds)
        names = node_labels(c, kinds=kinds)
        assert names is not None
        assert len(names) == graph.n
        assert (names[graph.source[0]], names[graph.target[0]]) == ("x", "z")


@given(simple_graphs(), st.integers(0, 2**32 - 1))
def test_a_subgraph_has_these_nodes_in_this_order(graph: SimpleGraph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = rng.permutation(graph.n)[: rng.integers(0, graph.n + 1)]
    part = subgraph(graph, nodes)
    np.testing.assert_array_equal(dense(part, False), dense(graph, False)[np.ix_(nodes, nodes)])
    np.testing.assert_array_equal(part.position_um, graph.position_um[nodes])
    np.testing.assert_array_equal(part.region, graph.region[nodes])
    moved = subgraph(graph, nodes, position_um=np.zeros((nodes.size, 3)))
    assert not moved.length_um.any()
    assert moved.n_edges == part.n_edges
    if graph.n:
        with pytest.raises(ConnectomeError, match="must be different"):
            subgraph(graph, [0, 0])
