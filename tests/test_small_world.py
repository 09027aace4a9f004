"""Small-world numbers: against dense programs that follow the papers, and graphs whose place is known."""

from __future__ import annotations

import math

import bct
import networkx as nx
import numpy as np
import pytest
import scipy.sparse.csgraph
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import ConnectomeError
from connectome.analysis import small_world
from connectome.analysis.nulls import null
from connectome.analysis.simple_graph import SimpleGraph
from connectome.analysis.small_world import METRICS, small_world_omega, small_world_propensity, small_world_sigma
from tests.strategies import simple_graphs

Matrix = NDArray[np.float64]


def watts_strogatz(p: float, weighted: bool = False, seed: int = 0) -> SimpleGraph:
    """100 nodes, 10 neighbours each, a share p of them moved; near ones are joined more strongly."""
    pairs = np.array(nx.watts_strogatz_graph(100, 10, p, seed).edges)
    apart = np.abs(pairs[:, 0] - pairs[:, 1])
    apart = np.minimum(apart, 100 - apart)
    noise = np.random.default_rng(seed).uniform(0.8, 1.2, apart.size)
    return SimpleGraph.from_arrays(100, pairs[:, 0], pairs[:, 1], noise / apart if weighted else None)


def dense(graph: SimpleGraph) -> Matrix:
    """Undirected |weight|."""
    a = np.zeros((graph.n, graph.n))
    a[graph.source, graph.target] = np.abs(graph.weight)
    return (a + a.T) / 2


def mean_path_length(a: Matrix) -> float:
    with np.errstate(divide="ignore"):
        d = scipy.sparse.csgraph.shortest_path(np.where(a > 0, 1 / a, 0))
    joined = np.isfinite(d) & ~np.eye(len(a), dtype=bool)
    return float(d[joined].mean()) if joined.any() else math.nan


def ring_of_muldoon(a: Matrix, rng: np.random.Generator) -> Matrix:
    """A transcription of regular_matrix_generator of the paper's program."""
    n = len(a)
    radius = math.ceil(np.count_nonzero(a) / n / 2)
    b = -np.sort(-np.triu(a).ravel())
    b = b.reshape(n, n).T.copy()  # each column has the next n, from the heaviest
    ring = np.zeros((n, n))
    for i in range(n):
        for z in range(radius):
            left = np.flatnonzero(b[:, z])
            if left.size:
                chosen = rng.choice(left)
                j = (i + z + 1) % n
                ring[i, j] = ring[j, i] = b[chosen, z]
                b[chosen, z] = 0
    return ring


def shuffled_by_muldoon(a: Matrix, rng: np.random.Generator) -> Matrix:
    """A transcription of randomize_matrix of the paper's program."""
    upper = np.triu_indices(len(a), 1)
    shuffled = np.zeros_like(a)
    shuffled[upper] = rng.permutation(a[upper])
    return shuffled + shuffled.T


def propensity_of_muldoon(a: Matrix, rng: np.random.Generator, repeats: int) -> tuple[float, float, float]:
    """small_world_propensity of the paper's program, the two references averaged."""
    a = a / a.max()
    c, length = bct.clustering_coef_wu(a).mean(), mean_path_length(a)
    rings = [ring_of_muldoon(a, rng) for _ in range(repeats)]
    others = [shuffled_by_muldoon(a, rng) for _ in range(repeats)]
    (c_ring, c_random), (l_ring, l_random) = (
        [np.mean([f(m) for m in ms]) for ms in (rings, others)]
        for f in (lambda m: bct.clustering_coef_wu(m).mean(), mean_path_length)
    )
    delta_c = min(max(c_ring - c, 0) / (c_ring - c_random), 1)
    delta_l = min(max(length - l_random, 0) / (l_ring - l_random), 1)
    return 1 - math.sqrt(delta_c**2 + delta_l**2) / math.sqrt(2), delta_c, delta_l


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("p", [0.05, 0.3])
def test_propensity_is_that_of_the_published_program(p: float, weighted: bool) -> None:
    graph = watts_strogatz(p, weighted)
    expected = propensity_of_muldoon(dense(graph), np.random.default_rng(1), 6)
    found = small_world_propensity(graph, 1, weighted=weighted)
    np.testing.assert_allclose(found, expected, atol=0.02)  # both are means over random references


@settings(max_examples=25)
@given(simple_graphs(signed=True, min_nodes=5), st.integers(0, 2**32))
def test_the_ring_is_that_of_the_published_program(graph: SimpleGraph, seed: int) -> None:
    g = small_world._undirected(graph)
    a, ring = dense(g), dense(small_world._ring(g, seed))
    n = g.n
    if 2 * math.ceil(np.count_nonzero(a) / n / 2) >= n:
        return  # there the published program writes over some of its edges
    expected = ring_of_muldoon(a, np.random.default_rng(seed))
    np.testing.assert_array_equal(ring > 0, expected > 0)
    for z in range(1, n):
        along = np.arange(n), (np.arange(n) + z) % n
        np.testing.assert_array_equal(np.sort(ring[along]), np.sort(expected[along]))


@given(simple_graphs(min_nodes=2, max_nodes=7), st.integers(0, 2**32))
def test_the_ring_has_every_weight_once(graph: SimpleGraph, seed: int) -> None:
    g = graph.undirected
    ring = small_world._ring(g, seed)
    assert ring.n_loops == ring.n_parallel == 0
    np.testing.assert_array_equal(np.sort(ring.weight), np.sort(g.weight))


def test_sigma_and_omega_are_what_their_papers_say() -> None:
    graph = watts_strogatz(0.2)
    g = graph.undirected

    def mean(kind: str, seeds: NDArray[np.uint64]) -> tuple[float, float]:
        of_nx = [nx.from_numpy_array(dense(null(g, kind, int(s))) > 0) for s in seeds]  # type: ignore[arg-type] # literals
        lengths = [
            np.mean([d for _, to in nx.all_pairs_shortest_path_length(h) for d in to.values() if d]) for h in of_nx
        ]
        return float(np.mean([nx.average_clustering(h) for h in of_nx])), float(np.mean(lengths))

    whole = nx.from_numpy_array(dense(graph) > 0)
    c, length = nx.average_clustering(whole), nx.average_shortest_path_length(whole)
    c_random, l_random = mean("erdos_renyi", small_world._seeds(3, 1)[0])
    assert small_world_sigma(graph, 3) == pytest.approx((c / c_random) / (length / l_random), abs=1e-9)
    _, l_random = mean("degree", small_world._seeds(3, 2)[0])
    c_lattice, _ = mean("lattice", small_world._seeds(3, 2)[1])
    assert small_world_omega(graph, 3) == pytest.approx(l_random / length - c / c_lattice, abs=1e-9)


def test_a_small_world_is_told_from_a_ring_and_from_a_random_graph() -> None:
    ring, small, random = (watts_strogatz(p) for p in (0.0, 0.1, 1.0))
    assert small_world_sigma(small) > 3
    assert small_world_sigma(random) == pytest.approx(1, abs=0.2)
    assert small_world_omega(ring) < -0.3
    assert abs(small_world_omega(small)) < 0.3
    assert small_world_omega(random) > 0.6
    phi = [small_world_propensity(g, weighted=False) for g in (ring, small, random)]
    assert phi[1].phi > max(phi[0].phi, phi[2].phi)
    assert phi[0].delta_clustering == pytest.approx(0, abs=1e-12)
    assert phi[0].delta_path_length == pytest.approx(1, abs=1e-12)
    assert phi[2].delta_clustering > 0.9


def test_the_seed_decides_and_the_sign_does_not() -> None:
    graph = watts_strogatz(0.2, weighted=True)
    negative = SimpleGraph.from_arrays(100, graph.source, graph.target, -graph.weight)
    for metric in METRICS:
        value = metric.function(graph, 1)
        assert value == metric.function(negative, 1)
        assert value != metric.function(graph, 2)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_without_edges(n: int) -> None:
    for metric in METRICS:
        assert math.isnan(metric.function(SimpleGraph.from_arrays(n, [], []), 0))


def test_in_parts_and_without_triangles() -> None:
    source, target = np.nonzero(np.kron(np.eye(2), 1 - np.eye(5)))
    parts = SimpleGraph.from_arrays(11, source, target)  # two groups, all joined, and a node alone
    assert math.isfinite(small_world_omega(parts))
    assert 0 <= small_world_propensity(parts).phi <= 1
    assert math.isnan(small_world_sigma(SimpleGraph.from_arrays(2, [0], [1])))


def test_bad_input_is_named() -> None:
    for metric in METRICS:
        with pytest.raises(ConnectomeError, match="seed must be"):
            metric.function(watts_strogatz(0.1), -1)
