"""Clustering and transitivity: against bctpy, networkx and sums over all triples."""

from __future__ import annotations

import math
from typing import Any

import bct
import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from connectome.analysis import clustering
from connectome.analysis.clustering import METRICS
from connectome.analysis.simple_graph import SimpleGraph
from tests.strategies import simple_graphs

Array = np.ndarray[Any, Any]
KINDS = ("binary_undirected", "binary_directed", "weighted_undirected", "weighted_directed")


def value(name: str, graph: SimpleGraph) -> Any:
    """What the metric of this name gives."""
    (metric,) = (m for m in METRICS if m.name == name)
    return metric.function(graph)


def matrix(graph: SimpleGraph, kind: str) -> Array:
    """(N, N) as BCT wants it: |weights| over the largest, or 1."""
    g = graph.undirected if kind.endswith("_undirected") else graph
    found = np.zeros((g.n, g.n))
    found[g.source, g.target] = 1 if kind.startswith("binary") else np.abs(g.weight)
    return found / found.max() if found.any() else found


def bct_name(kind: str) -> str:
    first, second = kind.split("_")
    return first[0] + second[0]


def by_definition(graph: SimpleGraph, kind: str) -> tuple[Array, Array]:
    """Triangles that there are and could be, by Fagiolo's sums over all triples (i, j, k)."""
    m = matrix(graph, kind)
    a = (m != 0) * 1.0
    root = np.cbrt(m) + np.cbrt(m).T
    triangles = np.einsum("ij,jk,ki->i", root, root, root) / 2
    k = (a + a.T).sum(1)
    return triangles, k * (k - 1) - 2 * np.einsum("ij,ji->i", a, a)


# Weights of both signs can cancel in the undirected graph, and an edge of weight 0 is none in BCT's matrix.
@pytest.mark.parametrize("kind", KINDS)
@given(graph=simple_graphs())
def test_clustering_is_that_of_bct_and_of_the_definition(kind: str, graph: SimpleGraph) -> None:
    found = value(f"clustering_{kind}", graph)
    with np.errstate(all="ignore"):
        expected = getattr(bct, f"clustering_coef_{bct_name(kind)}")(matrix(graph, kind))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    triangles, possible = by_definition(graph, kind)
    np.testing.assert_allclose(found, triangles / np.where(triangles > 0, possible, 1), atol=1e-9)
    if graph.n:
        assert value(f"clustering_{kind}_mean", graph) == pytest.approx(expected.mean(), abs=1e-9)


@pytest.mark.parametrize("kind", ["binary_directed", "weighted_directed"])
@given(graph=simple_graphs(signed=True))
def test_signs_do_not_count(kind: str, graph: SimpleGraph) -> None:
    with np.errstate(all="ignore"):
        expected = getattr(bct, f"clustering_coef_{bct_name(kind)}")(matrix(graph, kind))
    np.testing.assert_allclose(value(f"clustering_{kind}", graph), expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@given(graph=simple_graphs(min_nodes=1))
def test_clustering_is_that_of_networkx(kind: str, graph: SimpleGraph) -> None:
    create = nx.Graph if kind.endswith("_undirected") else nx.DiGraph
    there = nx.from_numpy_array(matrix(graph, kind), create_using=create)
    expected = nx.clustering(there, weight="weight" if kind.startswith("weighted") else None)
    np.testing.assert_allclose(value(f"clustering_{kind}", graph), list(expected.values()), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@given(graph=simple_graphs())
def test_transitivity_is_sum_over_sum(kind: str, graph: SimpleGraph) -> None:
    """bctpy's transitivity_wd is 0 if one node is in no triangle, as if it had infinitely many that it could be in;
    Rubinov & Sporns 2010 (appendix) sums over all nodes."""
    found = value(f"transitivity_{kind}", graph)
    triangles, possible = by_definition(graph, kind)
    if not possible.any():
        assert math.isnan(found)
        return
    assert found == pytest.approx(triangles.sum() / possible.sum(), abs=1e-9)
    if kind != "weighted_directed" or (triangles > 0).all():
        expected = getattr(bct, f"transitivity_{bct_name(kind)}")(matrix(graph, kind))
        assert found == pytest.approx(expected, abs=1e-9)
    if kind == "binary_undirected":
        there = nx.from_numpy_array(matrix(graph, kind))
        assert found == pytest.approx(nx.transitivity(there), abs=1e-9)


def test_corners() -> None:
    empty, single = SimpleGraph.from_arrays(0, [], []), SimpleGraph.from_arrays(1, [0], [0])
    pair = SimpleGraph.from_arrays(3, [0, 1], [1, 0])
    for kind in KINDS:
        assert value(f"clustering_{kind}", empty).size == 0
        assert math.isnan(value(f"clustering_{kind}_mean", empty))
        for graph in (single, pair):
            np.testing.assert_array_equal(value(f"clustering_{kind}", graph), np.zeros(graph.n))
            assert value(f"clustering_{kind}_mean", graph) == 0
        assert all(math.isnan(value(f"transitivity_{kind}", graph)) for graph in (empty, single, pair))


def test_an_edge_of_weight_0_joins_and_weighs_nothing() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1, 2], [1, 2, 0], [2.0, 4.0, 0.0])
    np.testing.assert_allclose(clustering.clustering_binary_directed(graph), 0.5)
    np.testing.assert_array_equal(clustering.clustering_weighted_directed(graph), np.zeros(3))
    nothing = SimpleGraph.from_arrays(3, [0, 1, 2], [1, 2, 0], np.zeros(3))
    np.testing.assert_array_equal(clustering.clustering_weighted_undirected(nothing), np.zeros(3))


def test_a_larger_graph() -> None:
    """Nodes of very different degree, so that each triangle's first node is not simply the lowest."""
    rng = np.random.default_rng(3)
    chance = rng.random(120) ** 3
    source, target = np.nonzero(rng.random((120, 120)) < np.outer(chance, chance))
    graph = SimpleGraph.from_arrays(120, source, target, rng.random(source.size) + 0.1)
    for kind in KINDS:
        expected = getattr(bct, f"clustering_coef_{bct_name(kind)}")(matrix(graph, kind))
        np.testing.assert_allclose(value(f"clustering_{kind}", graph), expected, atol=1e-9)
