"""Null models: what each keeps, that they are as random as they say, and metrics beside them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any, get_args

import bct
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import ConnectomeError
from connectome.analysis.clustering import METRICS as CLUSTERING
from connectome.analysis.clustering import clustering_binary_directed
from connectome.analysis.degrees import METRICS
from connectome.analysis.null_kernels import LATTICE, Slots, rewire
from connectome.analysis.nulls import BINS, DEFINITIONS, Normalised, NullKind, nearly_symmetric, normalised, null
from connectome.analysis.simple_graph import Metric, SimpleGraph
from tests.strategies import simple_graphs

KINDS: tuple[NullKind, ...] = get_args(NullKind)
SEED = st.integers(0, 2**64 - 1)
ALPHA = 1e-6

Weights = NDArray[np.float64]


def near_ones_joined(n: int, edges: int, seed: int, signed: bool = True) -> SimpleGraph:
    """Nodes in a box, joined by a chance that falls with distance; weights of many sizes."""
    rng = np.random.default_rng(seed)
    position = rng.uniform(0, 1000, (n, 3))
    apart = np.linalg.norm(position[:, None] - position, axis=2)
    chance = np.exp(-apart / 250) * (1 - np.eye(n))
    source, target = np.nonzero(rng.random((n, n)) < chance * edges / chance.sum())
    weight = rng.lognormal(size=source.size) * np.where(signed & (source % 4 == 0), -3, 1)
    return SimpleGraph.from_arrays(n, source, target, weight, position_um=position)


def strengths(graph: SimpleGraph, sign: int) -> tuple[Any, Any]:
    weight = np.maximum(sign * graph.weight, 0)
    return np.bincount(graph.source, weight, graph.n), np.bincount(graph.target, weight, graph.n)


def degrees(graph: SimpleGraph, sign: int) -> NDArray[np.int64]:
    """Out and in, of all edges, or of those below 0 (-1), or of the others (1)."""
    chosen = (graph.weight < 0) == (sign < 0) if sign else np.ones(graph.n_edges, bool)
    return np.stack([np.bincount(end[chosen], minlength=graph.n) for end in (graph.source, graph.target)])


def is_symmetric(graph: SimpleGraph) -> bool:
    edges = {(s, t): w for s, t, w in zip(graph.source, graph.target, graph.weight, strict=True)}
    return all(edges.get((t, s)) == w for (s, t), w in edges.items())


def lengths_in_bins(graph: SimpleGraph, of: SimpleGraph) -> Any:
    """The weights in each bin of length of another graph."""
    limits = np.unique(np.quantile(of.length_um, np.arange(1, BINS + 1) / BINS, method="inverted_cdf"))
    place = np.searchsorted(limits * (1 + 1e-12), graph.length_um)
    return [np.sort(graph.weight[place == k]).tolist() for k in range(limits.size + 1)]


@given(simple_graphs(signed=True), st.sampled_from(KINDS), SEED, st.booleans())
def test_what_a_null_keeps(graph: SimpleGraph, kind: NullKind, seed: int, undirected: bool) -> None:
    graph = graph.undirected if undirected else graph
    found = null(graph, kind, seed)
    assert (found.n, found.n_edges) == (graph.n, graph.n_edges)
    assert not graph.n_edges or found.n_loops == found.n_parallel == 0
    assert (found.source != found.target).all()
    assert np.unique(found.source.astype(np.int64) * max(found.n, 1) + found.target).size == found.n_edges
    np.testing.assert_array_equal(np.sort(found.weight), np.sort(graph.weight))
    assert is_symmetric(found) == is_symmetric(graph) or not is_symmetric(graph)
    for name in ("position_um", "region"):
        np.testing.assert_array_equal(getattr(found, name), getattr(graph, name))
    if kind != "erdos_renyi":
        np.testing.assert_array_equal(degrees(found, 0), degrees(graph, 0))
    if kind in ("degree", "lattice") and not is_symmetric(graph):
        for sign in (1, -1):
            np.testing.assert_allclose(strengths(found, sign)[0], strengths(graph, sign)[0], atol=1e-12)
    if kind == "strength":
        np.testing.assert_array_equal(degrees(found, 1), degrees(graph, 1))
        np.testing.assert_array_equal(degrees(found, -1), degrees(graph, -1))
    if kind == "spatial" and graph.n_edges:
        assert lengths_in_bins(found, graph) == lengths_in_bins(graph, graph)
        if not is_symmetric(graph):
            np.testing.assert_array_equal(degrees(found, -1)[0], degrees(graph, -1)[0])


def almost_symmetric(odd: int, by: float) -> SimpleGraph:
    """The undirected graph with this many weights of one direction changed by this share."""
    graph = near_ones_joined(80, 500, 0, signed=False).undirected
    weight = graph.weight.copy()
    weight[graph.source < graph.target] *= 1 + by * (np.arange(graph.n_edges // 2) < odd)
    return SimpleGraph.from_arrays(graph.n, graph.source, graph.target, weight, position_um=graph.position_um)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_does_not_make_a_graph_directed(kind: NullKind) -> None:
    """Its nulls are those of the undirected graph: as text with seven digits has it, and as float32 does."""
    graph = almost_symmetric(300, 1e-7)
    found = null(graph, kind, 1)
    assert is_symmetric(found)
    assert not is_symmetric(graph)
    np.testing.assert_array_equal(np.sort(found.weight), np.sort(graph.undirected.weight))
    assert nearly_symmetric(graph) == ""


def test_a_graph_that_is_symmetric_but_for_little_is_said_to_be() -> None:
    """Its nulls are directed, and the z of its reciprocity is of hundreds, which is about one weight."""
    (reciprocity,) = (m for m in METRICS if m.name == "reciprocity")
    one = almost_symmetric(1, 0.5)
    assert normalised(one, reciprocity, n=20).z > 30
    assert math.isnan(normalised(one.undirected, reciprocity, n=20).z)
    assert nearly_symmetric(one).startswith(f"The graph is symmetric but for 2 of {one.n_edges:,} edges")
    every = almost_symmetric(10**6, 0.0005)
    assert f"but for {every.n_edges:,} of" in nearly_symmetric(every)
    assert not nearly_symmetric(every.undirected)
    assert not nearly_symmetric(near_ones_joined(80, 500, 0))
    dense = np.random.default_rng(0).random((40, 40)) < 0.97
    assert not nearly_symmetric(SimpleGraph.from_arrays(40, *dense.nonzero()))
    assert not nearly_symmetric(SimpleGraph.from_arrays(1, [], []))


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_little_is_left_of_the_graph(kind: NullKind, undirected: bool) -> None:
    graph = near_ones_joined(120, 700, 0)
    graph = graph.undirected if undirected else graph
    a, b, c = (null(graph, kind, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a.target, b.target)
    np.testing.assert_array_equal(a.weight, b.weight)
    assert (a.target != c.target).any()
    pairs, of_null = (set(zip(g.source.tolist(), g.target.tolist(), strict=True)) for g in (graph, a))
    assert len(pairs & of_null) / len(pairs) < (0.6 if kind == "spatial" else 0.25)
    np.testing.assert_allclose(a.length_um, np.linalg.norm(a.position_um[a.source] - a.position_um[a.target], axis=1))
    assert is_symmetric(a) == undirected


def test_rewiring_reaches_every_graph_of_these_degrees_equally_often() -> None:
    """One edge out of and into each of four nodes: nine graphs. One edge at each of six nodes: fifteen."""
    cycle = SimpleGraph.from_arrays(4, [0, 1, 2, 3], [1, 2, 3, 0])
    count = Counter(tuple(null(cycle, "degree", s).target.tolist()) for s in range(1500))
    assert set(count) == {p for p in itertools.permutations(range(4)) if all(i != j for i, j in enumerate(p))}
    assert scipy.stats.chisquare(list(count.values())).pvalue > ALPHA
    pairs = SimpleGraph.from_arrays(6, [0, 1, 2, 3, 4, 5], [1, 0, 3, 2, 5, 4])
    count = Counter(tuple(null(pairs, "degree", s).target.tolist()) for s in range(1500))
    assert len(count) == 15
    assert scipy.stats.chisquare(list(count.values())).pvalue > ALPHA


@pytest.mark.parametrize("undirected", [False, True])
def test_random_pairs_are_equally_likely(undirected: bool) -> None:
    graph = SimpleGraph.from_arrays(5, [0, 1, 2], [1, 2, 3], [1.0, 2.0, 3.0])
    graph = graph.undirected if undirected else graph
    count: Counter[Any] = Counter()
    heaviest: Counter[Any] = Counter()
    for s in range(1200):
        found = null(graph, "erdos_renyi", s)
        edges = [(u, v, w) for u, v, w in zip(found.source, found.target, found.weight, strict=True)
                 if u < v or not undirected]  # fmt: skip
        count.update((u, v) for u, v, _ in edges)
        heaviest.update((u, v) for u, v, w in edges if w == graph.weight.max())
    for c in (count, heaviest):
        assert len(c) == (10 if undirected else 20)
        assert scipy.stats.chisquare(list(c.values())).pvalue > ALPHA


@pytest.mark.parametrize("undirected", [False, True])
def test_strengths_are_nearly_kept(undirected: bool) -> None:
    graph = near_ones_joined(200, 3000, 0)
    graph = graph.undirected if undirected else graph
    found, other = null(graph, "strength", 1), null(graph, "degree", 1)
    for sign in (1, -1):
        for want, have, by_degree in zip(*(strengths(g, sign) for g in (graph, found, other)), strict=True):
            assert np.corrcoef(want, have)[0, 1] > (
                0.85 if sign < 0 else 0.99
            )  # few edges are negative, each of a large weight
            assert np.abs(want - have).sum() < 0.3 * np.abs(want - by_degree).sum() or np.allclose(want, by_degree)


def test_a_spatial_null_keeps_short_edges_short() -> None:
    graph = near_ones_joined(200, 2000, 0)
    mean = {kind: float(null(graph, kind, 0).length_um.mean()) for kind in ("degree", "spatial")}
    assert mean["spatial"] == pytest.approx(graph.length_um.mean(), rel=0.06)
    assert mean["degree"] > 1.3 * graph.length_um.mean()


def test_a_lattice_is_on_a_ring() -> None:
    """Where each node is joined to the next, and the last to the first, no swap makes an edge shorter."""
    n = 12
    order = np.arange(n, dtype=np.int32)
    target = np.roll(order, -1)
    slots = Slots(np.arange(n + 1), order, target.copy(), np.ones(n), np.zeros(0, np.int64))
    state = np.array([7], np.uint64)
    assert rewire(slots, LATTICE, order, order, np.zeros((n, 3)), np.zeros(0), 100, 2000, state) == 0
    assert slots.target.tolist() == target.tolist()


def test_a_lattice_is_one_as_much_as_that_of_bct() -> None:
    graph = near_ones_joined(80, 500, 1, signed=False)
    graph = SimpleGraph.from_arrays(graph.n, graph.source, graph.target)
    ours = null(graph, "lattice", 0)
    a = np.zeros((80, 80))
    a[graph.source, graph.target] = 1
    expected = bct.clustering_coef_bd(bct.latmio_dir(a, 5, seed=0)[0]).mean()
    assert clustering_binary_directed(ours).mean() > expected > clustering_binary_directed(null(graph, "degree")).mean()


def sum_of_squares(graph: SimpleGraph) -> float:
    return float((np.bincount(graph.target, graph.weight, graph.n) ** 2).sum())


IN_STRENGTHS = Metric("in_strengths_squared", "graph", sum_of_squares, "pA2", "", "")
IN_DEGREE = Metric("in_degree", "node", lambda g: np.diff(g.reverse.indptr), "1", "", "")
LUCK = Metric("luck", "graph", lambda g, seed: np.random.default_rng(seed).random(), "1", "", "", seeded=True)
OF_EDGES = Metric("weight", "edge", lambda g: g.weight, "pA", "", "")


def test_a_metric_beside_its_nulls() -> None:
    graph = near_ones_joined(40, 200, 0, signed=False)
    found = normalised(graph, IN_STRENGTHS, "degree", 20, 5)
    assert isinstance(found, Normalised)
    assert found[:5] == ("in_strengths_squared", "degree", 20, 5, sum_of_squares(graph))
    seeds = np.random.SeedSequence(5).generate_state(20).tolist()
    values = np.array([sum_of_squares(null(graph, "degree", s)) for s in seeds])
    assert np.unique(values).size == 20
    assert found.mean == pytest.approx(values.mean())
    assert found.sd == pytest.approx(values.std(ddof=1))
    assert found.z == pytest.approx((found.value - values.mean()) / values.std(ddof=1))
    assert found.ratio == pytest.approx(found.value / values.mean())
    assert found.percentile == pytest.approx(scipy.stats.percentileofscore(values, found.value, "mean"))
    as_high = 1 + sum(v >= found.value for v in values), 1 + sum(v <= found.value for v in values)
    assert found.p == min(1, 2 * min(as_high) / 21)
    assert normalised(graph, IN_STRENGTHS, "degree", 20, 6).mean != found.mean


def test_the_p_value_is_even_where_graph_and_nulls_are_alike() -> None:
    """Of graphs that are themselves nulls, at most 5 % are below 0.05, and about half below 0.5."""
    (clustering,) = (m for m in CLUSTERING if m.name == "transitivity_binary_directed")
    graph = near_ones_joined(30, 200, 0, signed=False)
    p = [normalised(null(graph, "degree", 1000 + s), clustering, "degree", 39, s).p for s in range(150)]
    assert np.mean(np.array(p) <= 0.05) < 0.1
    assert 0.35 < np.mean(np.array(p) <= 0.5) < 0.65


def test_of_nodes_and_where_nothing_differs() -> None:
    graph = near_ones_joined(40, 200, 0)
    found = normalised(graph, IN_DEGREE, "degree", 3)
    np.testing.assert_array_equal(found.mean, found.value)
    np.testing.assert_array_equal(found.sd, 0)
    assert np.isnan(found.z).all()
    np.testing.assert_array_equal(found.percentile, 50)
    np.testing.assert_array_equal(found.p, 1)
    np.testing.assert_array_equal(found.ratio[found.value > 0], 1)
    other = normalised(graph, IN_DEGREE, "erdos_renyi", 3)
    assert (other.sd > 0).any()
    luck = normalised(graph, LUCK, "degree", 3, 7)
    assert luck.value == luck.mean == np.random.default_rng(7).random()  # the same seed for graph and nulls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_without_edges(kind: NullKind, n: int) -> None:
    found = null(SimpleGraph.from_arrays(n, [], []), kind, 1)
    assert (found.n, found.n_edges) == (n, 0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "spatial"])
def test_a_complete_graph_is_its_own_null(kind: NullKind) -> None:
    source, target = np.nonzero(~np.eye(5, dtype=bool))
    found = null(SimpleGraph.from_arrays(5, source, target), kind, 1)
    np.testing.assert_array_equal(found.source, source)
    np.testing.assert_array_equal(found.target, target)


def test_bad_input_is_named() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1], [1, 2])
    assert set(DEFINITIONS) == set(KINDS)
    with pytest.raises(ConnectomeError, match="kind must be among degree, strength, spatial, erdos_renyi, lattice"):
        null(graph, "maslov")  # type: ignore[arg-type] # on purpose
    with pytest.raises(ConnectomeError, match="position_um must be known and differ"):
        null(graph, "spatial")
    with pytest.raises(ConnectomeError, match="seed must be"):
        null(graph, "degree", -1)
    with pytest.raises(ConnectomeError, match="seed must be"):
        normalised(graph, IN_DEGREE, seed=-1)
    with pytest.raises(ConnectomeError, match="n must be an integer in 2"):
        normalised(graph, IN_DEGREE, n=1)
    with pytest.raises(ConnectomeError, match="metric must be of the graph or of its nodes"):
        normalised(graph, OF_EDGES)
    assert math.isnan(normalised(graph, Metric("nothing", "graph", lambda g: math.nan, "1", "", ""), n=2).percentile)
