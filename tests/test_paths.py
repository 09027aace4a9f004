"""Shortest paths: against bctpy, networkx, scipy and dense sums."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import bct
import igraph
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from connectome.analysis import paths
from connectome.analysis.paths import METRICS, Length
from connectome.analysis.simple_graph import SimpleGraph
from tests.strategies import simple_graphs

Array = np.ndarray[Any, Any]
LENGTHS: tuple[Length, ...] = ("binary", "weighted", "wiring")
BCT = {"binary": "bin", "weighted": "wei"}


def lengths(graph: SimpleGraph, length: Length) -> Array:
    """(N, N) lengths of the edges, 0 without one: BCT's input."""
    found = np.zeros((graph.n, graph.n))
    if length == "weighted":
        found[graph.source, graph.target] = 1 / np.abs(graph.weight)
    else:
        found[graph.source, graph.target] = 1 if length == "binary" else graph.length_um
    return found


def weights(graph: SimpleGraph) -> Array:
    """(N, N) |weights| over the largest."""
    found = np.zeros((graph.n, graph.n))
    found[graph.source, graph.target] = np.abs(graph.weight)
    return found / found.max() if found.any() else found


def distances(graph: SimpleGraph, length: Length) -> Array:
    """(N, N) by BCT, infinite without a path."""
    there = lengths(graph, length)
    found: Array = bct.distance_bin(there) if length == "binary" else bct.distance_wei(there)[0]
    return found


def networkx_of(graph: SimpleGraph, length: Length) -> Any:
    there = nx.DiGraph()
    there.add_nodes_from(range(graph.n))
    m = lengths(graph, length)
    there.add_weighted_edges_from((i, j, m[i, j]) for i, j in zip(graph.source, graph.target, strict=True))
    return there


def value(name: str, graph: SimpleGraph) -> Any:
    """What the metric of this name gives."""
    (metric,) = (m for m in METRICS if m.name == name)
    return metric.function(graph)


def efficiency_among_neighbours(graph: SimpleGraph, weighted: bool) -> Array:
    """As the MATLAB toolbox computes it, spelled out: all neighbours, those of edges in and out."""
    w = weights(graph)
    root = np.cbrt(w) if weighted else (w > 0) * 1.0
    found = np.zeros(graph.n)
    for u in range(graph.n):
        hood = np.flatnonzero((w[u] > 0) | (w[:, u] > 0))
        if not hood.size:
            continue
        inside = root[np.ix_(hood, hood)]
        with np.errstate(divide="ignore"):
            d = shortest_path(np.where(inside > 0, 1 / inside, 0), directed=True)
            inverse = np.where(np.eye(hood.size, dtype=bool), 0, 1 / d)
        strength, number = root[u, hood] + root[hood, u], (w[u, hood] > 0) * 1.0 + (w[hood, u] > 0)
        total = (np.outer(strength, strength) * inverse).sum()
        if total:
            found[u] = total / (number.sum() ** 2 - (number**2).sum())
    return found


@pytest.mark.parametrize("length", LENGTHS)
@given(graph=simple_graphs(signed=True, min_nodes=1))
def test_distances_are_those_of_bct_and_networkx(length: Length, graph: SimpleGraph) -> None:
    d = distances(graph, length)
    joined = np.isfinite(d) & ~np.eye(graph.n, dtype=bool)
    names = [f"{name}_{length}" for name in ("characteristic_path_length", "radius", "diameter", "eccentricity")]
    found = [value(name, graph) for name in names]
    if not joined.any():
        assert np.isnan(np.concatenate([found[:3], found[3]])).all()
        return
    with np.errstate(all="ignore"):
        mean, _, furthest, *_ = bct.charpath(d, include_infinite=False)
    furthest = np.where(joined.any(1), furthest, math.nan)
    np.testing.assert_allclose(found[3], furthest, rtol=1e-9)
    np.testing.assert_allclose(found[:3], [mean, np.nanmin(furthest), np.nanmax(furthest)], rtol=1e-9)
    there = networkx_of(graph, length)
    expected = [d for _, of in nx.all_pairs_dijkstra_path_length(there) for d in list(of.values())[1:]]
    assert found[0] == pytest.approx(np.mean(expected), rel=1e-9)


@given(simple_graphs(signed=True, min_nodes=2))
def test_global_efficiency_is_that_of_bct(graph: SimpleGraph) -> None:
    with np.errstate(all="ignore"):
        expected = bct.efficiency_bin(weights(graph)), bct.efficiency_wei(weights(graph))
    assert value("efficiency_global_binary", graph) == pytest.approx(expected[0], abs=1e-9)
    assert value("efficiency_global_weighted", graph) == pytest.approx(expected[1], abs=1e-9)
    undirected = graph.undirected
    there = networkx_of(undirected, "binary").to_undirected()
    assert value("efficiency_global_binary", undirected) == pytest.approx(nx.global_efficiency(there), abs=1e-9)


@given(simple_graphs(signed=True))
def test_local_efficiency_is_that_of_bct(graph: SimpleGraph) -> None:
    """bctpy's efficiency_bin leaves out neighbours by an edge in alone: it reads ``G[u, :]`` where the MATLAB toolbox
    and Rubinov & Sporns 2010 have ``G[:, u]`` too. So directed graphs go to the sum spelled out above."""
    binary, weighted = value("efficiency_local_binary", graph), value("efficiency_local_weighted", graph)
    np.testing.assert_allclose(binary, efficiency_among_neighbours(graph, False), atol=1e-9)
    np.testing.assert_allclose(weighted, efficiency_among_neighbours(graph, True), atol=1e-9)
    undirected = graph.undirected
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(weighted, bct.efficiency_wei(weights(graph), local=True), atol=1e-9)
        both_ways = (lengths(graph, "binary") + lengths(graph, "binary").T > 0) * 1.0
        expected = bct.efficiency_bin(both_ways, local=True)
    found = value("efficiency_local_binary", undirected)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    if graph.n:
        there = networkx_of(undirected, "binary").to_undirected()
        assert found.mean() == pytest.approx(nx.local_efficiency(there), abs=1e-9)


@pytest.mark.parametrize("length", ["binary", "weighted"])
@given(graph=simple_graphs(signed=True))
def test_betweenness_is_that_of_bct_and_networkx(length: Length, graph: SimpleGraph) -> None:
    """bctpy's edge_betweenness_bin stops with an error on a graph in which some node cannot be reached (it fills one
    place too few of its queue); there networkx must do."""
    node, edge = value(f"betweenness_{length}", graph), value(f"edge_betweenness_{length}", graph)
    there, m = networkx_of(graph, length), lengths(graph, length)
    expected = nx.betweenness_centrality(there, normalized=False, weight="weight")
    np.testing.assert_allclose(node, [expected[i] for i in range(graph.n)], atol=1e-9)
    of_edge = nx.edge_betweenness_centrality(there, normalized=False, weight="weight")
    pairs = zip(graph.source.tolist(), graph.target.tolist(), strict=True)
    np.testing.assert_allclose(edge, [of_edge[pair] for pair in pairs], atol=1e-9)
    if not graph.n:
        return
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(node, getattr(bct, f"betweenness_{BCT[length]}")(m), atol=1e-9)
        if length == "weighted" or np.isfinite(distances(graph, "binary")).all():
            of_pair, of_node = getattr(bct, f"edge_betweenness_{BCT[length]}")(m.copy())
            np.testing.assert_allclose(edge, of_pair[graph.source, graph.target], atol=1e-9)
            np.testing.assert_allclose(node, of_node, atol=1e-9)


@given(simple_graphs(min_nodes=2))
def test_what_can_be_reached(graph: SimpleGraph) -> None:
    joined = np.isfinite(distances(graph, "binary")).sum() - graph.n
    assert value("reachability", graph) == pytest.approx(joined / (graph.n * (graph.n - 1)))
    there = networkx_of(graph, "binary")
    assert value("largest_component_weak", graph) == max(map(len, nx.weakly_connected_components(there)))
    assert value("largest_component_strong", graph) == max(map(len, nx.strongly_connected_components(there)))


def test_corners() -> None:
    """Without nodes, with one, with no edges; and the loop and the duplicate are not there."""
    for n in (0, 1, 4):
        graph = SimpleGraph.from_arrays(n, [0, 0][: 2 * n], [0, 0][: 2 * n])
        for m in METRICS:
            found = m.function(graph)
            if m.of == "edge":
                assert found.shape == (0,)
            elif m.of == "node":
                none = math.nan if m.name.startswith("eccentricity") else 0.0
                np.testing.assert_array_equal(found, np.full(n, none))
            elif m.name.startswith("largest_component"):
                assert found == min(n, 1)
            elif n == 4 and m.name.startswith(("efficiency", "reachability")):
                assert found == 0
            else:
                assert math.isnan(found)
    one = SimpleGraph.from_arrays(2, [0, 0, 1, 1], [1, 1, 1, 1], [1.0, 3.0, 9.0, 9.0])
    assert value("characteristic_path_length_weighted", one) == 0.25
    np.testing.assert_array_equal(value("edge_betweenness_weighted", one), [1.0])


def test_an_edge_of_weight_0_is_a_step_and_no_way() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1], [1, 2], [2.0, 0.0], length_um=[0.0, 5.0])
    assert value("characteristic_path_length_binary", graph) == pytest.approx(4 / 3)
    assert value("characteristic_path_length_weighted", graph) == 0.5
    assert value("characteristic_path_length_wiring", graph) == pytest.approx(10 / 3)
    np.testing.assert_array_equal(value("betweenness_binary", graph), [0, 1, 0])
    np.testing.assert_array_equal(value("betweenness_weighted", graph), [0, 0, 0])
    np.testing.assert_array_equal(value("edge_betweenness_weighted", graph), [1, 0])
    assert not value("efficiency_local_weighted", graph).any()


def ring(n: int, chords: int, seed: int) -> SimpleGraph:
    """Long paths, and more nodes than are searched from at once."""
    rng = np.random.default_rng(seed)
    source = np.concatenate([np.arange(n), rng.integers(0, n, chords)])
    target = np.concatenate([(np.arange(n) + 1) % n, rng.integers(0, n, chords)])
    return SimpleGraph.from_arrays(n, source, target, rng.integers(1, 4, source.size))


@pytest.mark.parametrize("chords", [0, 40, 3000])
def test_many_sources_and_long_paths(chords: int) -> None:
    graph = ring(600, chords, seed=chords)
    d = shortest_path(lengths(graph, "binary"), unweighted=True)
    off = ~np.eye(graph.n, dtype=bool)
    assert value("characteristic_path_length_binary", graph) == pytest.approx(d[off].mean(), rel=1e-12)
    assert value("efficiency_global_binary", graph) == pytest.approx((1 / d[off]).mean(), rel=1e-12)
    np.testing.assert_array_equal(value("eccentricity_binary", graph), d.max(1))
    d = shortest_path(lengths(graph, "weighted"))
    assert value("characteristic_path_length_weighted", graph) == pytest.approx(d[off].mean(), rel=1e-12)
    np.testing.assert_allclose(value("eccentricity_weighted", graph), d.max(1), rtol=1e-12)


@pytest.mark.parametrize("length", ["binary", "weighted"])
def test_betweenness_of_more_sources_than_there_are_blocks(length: Length) -> None:
    """A block's sources share their work arrays: one must leave nothing to the next. Lengths are powers of two, whose
    sums are exact: networkx tells paths apart that differ in the last bit."""
    graph = ring(150, 60, seed=5)
    graph = SimpleGraph.from_arrays(graph.n, graph.source, graph.target, 2.0**graph.weight)
    expected = nx.betweenness_centrality(networkx_of(graph, length), normalized=False, weight="weight")
    np.testing.assert_allclose(
        value(f"betweenness_{length}", graph), [expected[i] for i in range(graph.n)], rtol=1e-9, atol=1e-9
    )


def test_more_neighbours_than_are_searched_from_at_once() -> None:
    graph = ring(400, 1200, seed=1)
    hub = SimpleGraph.from_arrays(
        401, np.concatenate([graph.source, np.full(300, 400), np.arange(350)]),
        np.concatenate([graph.target, np.arange(300), np.full(350, 400)]),
        np.concatenate([graph.weight, np.ones(650)]),
    )  # fmt: skip
    for weighted in (False, True):
        expected = efficiency_among_neighbours(hub, weighted)
        np.testing.assert_allclose(paths.local_efficiency(hub, weighted=weighted), expected, rtol=1e-9)


@settings(max_examples=10)
@given(simple_graphs(min_nodes=1, max_nodes=40), st.integers(2, 5))
def test_any_number_of_cores_gives_the_same(graph: SimpleGraph, n_cores: int) -> None:
    again = graph.within(graph.regions)  # what was found is kept with the graph
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "cores", lambda: 1)
        one = [m.function(graph) for m in METRICS]
        patch.setattr(paths, "cores", lambda: n_cores)
        many = [m.function(again) for m in METRICS]
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def exact_betweenness(graph: SimpleGraph) -> tuple[list[Fraction], list[Fraction]]:
    """Of nodes and of edges, in fractions, from all distances and numbers of paths: nothing is rounded."""
    n, infinite = graph.n, Fraction(10**9)
    ends = list(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
    length = {pair: 1 / Fraction(w) for pair, w in zip(ends, graph.weight.tolist(), strict=True)}
    d = [[Fraction(0) if i == j else length.get((i, j), infinite) for j in range(n)] for i in range(n)]
    for k in range(n):
        for i in range(n):
            for j in range(n):
                d[i][j] = min(d[i][j], d[i][k] + d[k][j])
    paths = [[int(i == j) for j in range(n)] for i in range(n)]
    for i in range(n):
        for j in sorted(range(n), key=lambda j: d[i][j]):
            if i != j and d[i][j] < infinite:
                paths[i][j] = sum(paths[i][u] for u, v in ends if v == j and d[i][u] + length[u, v] == d[i][j])
    of_node, of_edge = [Fraction(0)] * n, [Fraction(0)] * len(ends)
    for s in range(n):
        for t in range(n):
            if s == t or not paths[s][t]:
                continue
            for v in range(n):
                if v not in (s, t) and d[s][v] + d[v][t] == d[s][t]:
                    of_node[v] += Fraction(paths[s][v] * paths[v][t], paths[s][t])
            for e, (u, v) in enumerate(ends):
                if d[s][u] + length[u, v] + d[v][t] == d[s][t]:
                    of_edge[e] += Fraction(paths[s][u] * paths[v][t], paths[s][t])
    return of_node, of_edge


def test_paths_tie_that_tie_in_fractions() -> None:
    """1/2 + 1/12 = 1/3 + 1/4, which as sums of floating point numbers differ in the last bit."""
    assert 1 / 2 + 1 / 12 != 1 / 3 + 1 / 4
    graph = SimpleGraph.from_arrays(4, [0, 1, 0, 2], [1, 3, 2, 3], [2, 12, 3, 4])
    np.testing.assert_array_equal(value("betweenness_weighted", graph), [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(value("edge_betweenness_weighted", graph), [1.5, 1.5, 1.5, 1.5])
    there = igraph.Graph(4, [(0, 1), (1, 3), (0, 2), (2, 3)], directed=True)
    assert there.betweenness(weights=[1 / 2, 1 / 12, 1 / 3, 1 / 4]) == [0, 0.5, 0.5, 0]


@settings(max_examples=60)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_betweenness_of_counts_is_exact(n: int, seed: int) -> None:
    """Weights are whole numbers, as those of synapses are, and nodes in layers: many paths tie, not all of them as sums
    of floating point numbers."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, n, (2, 4 * n)) + n * np.repeat(np.arange(2), 2 * n) + [[0], [n]]
    graph = SimpleGraph.from_arrays(3 * n, source, target, rng.choice([2, 3, 4, 6, 12], 4 * n))
    of_node, of_edge = exact_betweenness(graph)
    np.testing.assert_allclose(value("betweenness_weighted", graph), [float(b) for b in of_node], rtol=1e-9)
    np.testing.assert_allclose(value("edge_betweenness_weighted", graph), [float(b) for b in of_edge], rtol=1e-9)
