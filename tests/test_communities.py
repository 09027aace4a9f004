"""Communities, modularity and roles of nodes: against bctpy, networkx and leidenalg."""

from __future__ import annotations

import math
import warnings
from typing import Any

import bct
import igraph
import leidenalg
import networkx as nx
import numpy as np
import pytest
import scipy.sparse.csgraph
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import ConnectomeError
from connectome.analysis import consensus
from connectome.analysis.communities import (
    METRICS,
    communities,
    modularity,
    modularity_signed,
    participation_coefficient,
    within_module_degree_z,
)
from connectome.analysis.community_kernels import both_ends
from connectome.analysis.consensus import agreement, consensus_communities
from connectome.analysis.simple_graph import SimpleGraph
from tests.strategies import simple_graphs

GAMMA = st.sampled_from([0.5, 1.0, 1.7])
SEED = st.integers(0, 2**64 - 1)


def sizes(graph: SimpleGraph) -> NDArray[np.float64]:
    """The dense matrix of |weight|."""
    a = np.zeros((graph.n, graph.n))
    a[graph.source, graph.target] = np.abs(graph.weight)
    return a


def labels_for(graph: SimpleGraph, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 4, graph.n)


def planted(n: int, k: int, inside: int, outside: int, seed: int) -> tuple[SimpleGraph, NDArray[np.int64]]:
    """A directed graph of k communities of equal size: so many edges a node go inside, and anywhere."""
    rng = np.random.default_rng(seed)
    size = n // k
    source = np.repeat(np.arange(n), inside + outside)
    target = rng.integers(0, n, source.size)
    within = np.arange(source.size) % (inside + outside) < inside
    target = np.where(within, source // size * size + target % size, target)
    place = np.unique(source * n + target)
    return SimpleGraph.from_arrays(n, place // n, place % n), np.arange(n) // size


@given(simple_graphs(signed=True, min_nodes=1), SEED, GAMMA)
def test_modularity_is_that_of_bct_and_networkx(graph: SimpleGraph, seed: int, gamma: float) -> None:
    for g, reference in ((graph, bct.modularity_dir), (graph.undirected, bct.modularity_und)):
        a, labels = sizes(g), labels_for(g, seed)
        q = modularity(g, labels, gamma)
        if not a.any():
            assert math.isnan(q)
            continue
        assert q == pytest.approx(reference(a, gamma, labels + 1)[1], abs=1e-9)
        parts = [set(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels)]
        of_nx = nx.from_numpy_array(a, create_using=nx.DiGraph)
        assert q == pytest.approx(nx.community.modularity(of_nx, parts, resolution=gamma), abs=1e-9)


@given(simple_graphs(min_nodes=1), SEED, st.floats(0.0, 1.0))
def test_signed_modularity_is_that_of_bct(graph: SimpleGraph, seed: int, share: float) -> None:
    sign = np.where(np.random.default_rng(seed).random(graph.n_edges) < share, -1, 1)
    g = SimpleGraph.from_arrays(graph.n, graph.source, graph.target, graph.weight * sign).undirected
    labels = labels_for(g, seed)
    found = modularity_signed(g, labels)
    w = np.zeros((g.n, g.n))
    w[g.source, g.target] = g.weight
    if not w.any():
        assert math.isnan(found)
        return
    if (w < 0).any() and (w > 0).any():
        assert found == pytest.approx(bct.modularity_und_sign(w, labels + 1, qtype="sta")[1], abs=1e-9)
    else:
        assert found == pytest.approx(modularity(g, labels) * (1 if (w > 0).any() else -1), abs=1e-9)


def test_signed_communities_repel_each_other() -> None:
    """Two communities with negative edges between them: by |weight| they would be one."""
    sign = np.repeat([1, -1], 10)
    i, j = np.nonzero(~np.eye(20, dtype=bool))
    graph = SimpleGraph.from_arrays(20, i, j, sign[i] * sign[j])
    found = {m.name: m for m in METRICS}["modularity_signed"].value(graph)
    assert found == modularity_signed(graph, sign)
    assert found > 0.5
    assert modularity_signed(graph, np.zeros(20, int)) == pytest.approx(0)


@given(simple_graphs(signed=True, min_nodes=1), SEED)
def test_participation_is_that_of_bct(graph: SimpleGraph, seed: int) -> None:
    a, labels = sizes(graph), labels_for(graph, seed)
    with np.errstate(all="ignore"):
        for direction, expected in (
            ("out", bct.participation_coef(a, labels)),
            ("in", bct.participation_coef(a, labels, "in")),
            ("both", bct.participation_coef(a + a.T, labels)),
        ):
            found = participation_coefficient(graph, labels, direction)  # type: ignore[arg-type] # a literal each
            np.testing.assert_allclose(found, expected, atol=1e-9)


@given(simple_graphs(signed=True, min_nodes=1), SEED)
def test_within_module_degree_z_is_that_of_bct(graph: SimpleGraph, seed: int) -> None:
    # Multiples of 1/64: bctpy divides by what rounding leaves of a deviation of 0.
    g = SimpleGraph.from_arrays(graph.n, graph.source, graph.target, np.ceil(graph.weight * 64) / 64 + 4)
    a, labels = sizes(g), labels_for(g, seed)
    with np.errstate(all="ignore"):
        for direction, flag in (("out", 0), ("in", 2), ("both", 3)):
            found = within_module_degree_z(g, labels, direction)  # type: ignore[arg-type] # a literal each
            expected = bct.module_degree_zscore(a, labels, flag)
            equal = [np.ptp((a if flag == 0 else a.T if flag == 2 else a + a.T)[np.ix_(m, m)].sum(1)) == 0
                     for m in (np.flatnonzero(labels == label) for label in labels)]  # fmt: skip
            np.testing.assert_allclose(found, np.where(equal, 0, expected), atol=1e-9)


@given(simple_graphs(signed=True), SEED, GAMMA)
def test_communities_are_connected_and_no_node_would_move(graph: SimpleGraph, seed: int, gamma: float) -> None:
    labels = communities(graph, seed, gamma)
    assert labels.dtype == np.int32
    assert labels.shape == (graph.n,)
    assert not labels.flags.writeable
    count = np.bincount(labels)
    assert (count > 0).all()
    assert (np.diff(count) <= 0).all()  # from the largest
    a = sizes(graph)
    for c in range(count.size):
        members = np.flatnonzero(labels == c)
        assert scipy.sparse.csgraph.connected_components(a[np.ix_(members, members)], connection="weak")[0] == 1
    assert (count[labels[~(a + a.T).any(1)]] == 1).all()  # without edges: alone
    if a.any():
        best = modularity(graph, labels, gamma)
        for v in range(graph.n):
            for c in range(count.size + 1):
                moved = labels.copy()
                moved[v] = c
                assert modularity(graph, moved, gamma) <= best + 1e-6


@given(simple_graphs(min_nodes=1))
def test_at_the_lowest_resolution_they_are_the_components(graph: SimpleGraph) -> None:
    _, expected = scipy.sparse.csgraph.connected_components(sizes(graph), connection="weak")
    found = communities(graph, 0, 1e-9)
    assert len(set(zip(expected.tolist(), found.tolist(), strict=True))) == np.unique(expected).size == found.max() + 1


@pytest.mark.parametrize("seed", range(3))
def test_planted_communities_are_found(seed: int) -> None:
    graph, truth = planted(600, 12, 15, 8, seed)
    for g in (graph, graph.undirected):
        found = communities(g, seed)
        assert len(set(zip(truth.tolist(), found.tolist(), strict=True))) == 12
        assert found.max() == 11


def test_the_karate_club_reaches_its_optimum() -> None:
    a = nx.to_numpy_array(nx.karate_club_graph(), weight="")  # binary
    graph = SimpleGraph.from_arrays(34, *np.nonzero(a))
    assert max(modularity(graph, communities(graph, s)) for s in range(5)) == pytest.approx(0.4197896, abs=1e-7)


@pytest.mark.parametrize(("inside", "outside"), [(0, 10), (3, 4), (4, 20)])
@pytest.mark.parametrize("directed", [True, False])
def test_no_worse_than_louvain_and_leidenalg(inside: int, outside: int, directed: bool) -> None:
    graph, _ = planted(400, 8, inside, outside, 1)
    rng = np.random.default_rng(1)
    graph = SimpleGraph.from_arrays(400, graph.source, graph.target, rng.uniform(0.5, 1.5, graph.n_edges))
    graph = graph if directed else graph.undirected
    found = np.mean([modularity(graph, communities(graph, s)) for s in range(4)])
    of_nx: Any = nx.DiGraph if directed else nx.Graph
    of_nx = nx.from_numpy_array(sizes(graph), create_using=of_nx)
    louvain = nx.community.modularity(of_nx, nx.community.louvain_communities(of_nx, seed=1))
    assert found >= louvain
    kept = slice(None) if directed else graph.source < graph.target
    edges = np.stack([graph.source, graph.target], 1)[kept]
    of_igraph = igraph.Graph(n=400, edges=edges, directed=directed)
    partition = leidenalg.find_partition(
        of_igraph, leidenalg.ModularityVertexPartition, weights=graph.weight[kept].tolist(), n_iterations=-1, seed=1
    )
    assert found >= 0.99 * modularity(graph, partition.membership)


def test_the_seed_decides_and_the_names_of_labels_do_not() -> None:
    graph, _ = planted(300, 5, 2, 6, 0)
    again = SimpleGraph.from_arrays(300, graph.source, graph.target)  # not the one whose communities are kept
    np.testing.assert_array_equal(communities(graph, 3), communities(again, 3))
    assert (communities(graph, 3) != communities(graph, 4)).any()
    labels = communities(graph, 3)
    renamed = 7 - 3 * labels.astype(np.int64)
    assert modularity(graph, renamed) == pytest.approx(modularity(graph, labels), abs=1e-12)


def test_edges_of_weight_0_count_for_nothing() -> None:
    graph = SimpleGraph.from_arrays(4, [0, 1, 2, 3, 1, 0, 0, 3], [1, 0, 3, 2, 2, 2, 3, 0], [1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(communities(graph), [0, 0, 1, 1])
    np.testing.assert_array_equal(participation_coefficient(graph, [0, 0, 1, 1], "both"), 0)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_edges(n: int) -> None:
    graph = SimpleGraph.from_arrays(n, [], [])
    for metric in METRICS:
        value = np.asarray(metric.value(graph, 5), float)
        expected: Any = {"community": np.arange(n), "n_communities": n}.get(metric.name, 0)
        if metric.name.startswith("modularity"):
            expected = math.nan
        np.testing.assert_array_equal(value, np.broadcast_to(expected, () if metric.of == "graph" else (n,)))


def test_metrics_have_names_of_their_own_and_regions_are_communities() -> None:
    assert len({m.name for m in METRICS}) == len(METRICS)
    graph, truth = planted(60, 3, 4, 2, 0)
    graph = SimpleGraph.from_arrays(60, graph.source, graph.target, region=truth, regions=("a", "b", "c"))
    value = {m.name: m.value(graph, 2) for m in METRICS}
    assert value["modularity_of_regions"] == modularity(graph, truth)
    assert value["modularity"] == modularity(graph, value["community"])
    assert value["n_communities"] == value["community"].max() + 1
    np.testing.assert_array_equal(
        value["participation_coefficient_in_of_regions"], participation_coefficient(graph, truth, "in")
    )
    np.testing.assert_array_equal(
        value["within_module_degree_z_both"], within_module_degree_z(graph, value["community"], "both")
    )


def test_bad_input_is_named() -> None:
    graph, truth = planted(60, 3, 4, 2, 0)
    with pytest.raises(ConnectomeError, match="seed must be"):
        communities(graph, -1)
    with pytest.raises(ConnectomeError, match="gamma must be"):
        communities(graph, 0, math.nan)
    with pytest.raises(ConnectomeError, match="labels must have shape"):
        modularity(graph, truth[1:])
    with pytest.raises(ConnectomeError, match="labels must be integers"):
        participation_coefficient(graph, np.arange(60) / 2, "out")
    with pytest.raises(ConnectomeError, match="direction must be out, in or both"):
        within_module_degree_z(graph, truth, "up")  # type: ignore[arg-type] # on purpose


@given(simple_graphs(min_nodes=1), SEED)
def test_agreement_is_that_of_bct(graph: SimpleGraph, seed: int) -> None:
    labels = np.stack([labels_for(graph, seed % 2**32 + i) for i in range(5)])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = bct.agreement(labels.T + 1) / 5
    np.testing.assert_allclose(agreement(labels), expected)


def alike(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The adjusted Rand index."""
    return float(sklearn.metrics.adjusted_rand_score(a, b))


def test_what_runs_agree_on_depends_less_on_the_seed() -> None:
    """Communities that are hardly there: a run is alike to another run by half, a consensus to another nearly."""
    graph, planted_labels = planted(120, 4, 3, 5, 1)
    single = [communities(graph, s) for s in range(6)]
    agreed = [consensus_communities(graph, s, runs=60) for s in range(6)]

    def mean(found: list[NDArray[np.int32]]) -> float:
        return float(np.mean([alike(found[i], found[j]) for i in range(6) for j in range(i)]))

    assert mean(single) < 0.8
    assert mean(agreed) > mean(single) + 0.1
    assert np.mean([alike(a, planted_labels) for a in agreed]) > np.mean([alike(a, planted_labels) for a in single])


def test_consensus_is_that_of_bct_on_the_same_agreement() -> None:
    """Of the same first runs; bctpy's second round, Louvain on all nodes, ends where ours on groups of nodes does."""
    graph, _ = planted(60, 3, 3, 4, 2)
    seeds = np.random.SeedSequence(3).generate_state(40 * 51, np.uint64).reshape(-1, 40)[0]
    first = np.stack([communities(graph, int(s)) for s in seeds])
    assert (first != first[0]).any()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = bct.consensus_und(agreement(first), 0.5, reps=40, seed=1)
    assert alike(consensus_communities(graph, 3, runs=40), expected) == 1


def test_groups_of_nodes_stand_for_their_nodes() -> None:
    """Each node a group of its own, or two: the weights and strengths of the graph of agreement, added up."""
    labels = np.random.default_rng(0).integers(0, 3, (7, 9))
    whole = agreement(np.repeat(labels, [1, 2, 1, 3, 1, 1, 2, 1, 1], axis=1))
    i, j = np.nonzero(whole >= 0.3)
    graph = SimpleGraph.from_arrays(13, i, j, whole[i, j])
    group = np.repeat(np.arange(9), [1, 2, 1, 3, 1, 1, 2, 1, 1])
    rows = both_ends(graph.indptr, graph.target, graph.weight)
    expected = np.zeros((9, 9))
    np.add.at(expected, (group[np.repeat(np.arange(13), np.diff(rows[0]))], group[rows[1]]), rows[2])
    level, total = consensus._together(labels.astype(np.int32), np.bincount(group), 0.3)
    found = np.zeros((9, 9))
    found[np.repeat(np.arange(9), np.diff(level.indptr)), level.neighbour] = level.weight
    np.testing.assert_allclose(found, expected * (1 - np.eye(9)), rtol=1e-6)
    np.testing.assert_allclose(level.k_out, np.bincount(group, np.bincount(graph.source, graph.weight)), rtol=1e-6)
    assert total == pytest.approx(graph.weight.sum())


def test_consensus_of_what_is_clear_and_of_nothing() -> None:
    graph, labels = planted(400, 8, 12, 2, 0)
    assert alike(consensus_communities(graph, 1, runs=10), labels) == 1
    assert consensus_communities(SimpleGraph.from_arrays(3, [], [])).tolist() == [0, 1, 2]
    assert consensus_communities(SimpleGraph.from_arrays(0, [], [])).size == 0
    two = SimpleGraph.from_arrays(4, [0, 2], [1, 3])
    assert consensus_communities(two).tolist() == [0, 0, 1, 1]
    found = {m.name: m.value(two, 1) for m in consensus.METRICS}
    assert found["consensus_n_communities"] == 2
    assert found["consensus_modularity"] == modularity(two, [0, 0, 1, 1])
    assert found["consensus_community"].tolist() == [0, 0, 1, 1]


def test_bad_input_of_a_consensus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = planted(60, 3, 1, 4, 0)
    for given_, says in (({"tau": 1.0}, "tau must be"), ({"runs": 1}, "runs must be"), ({"seed": -1}, "seed must be")):
        with pytest.raises(ConnectomeError, match=says):
            consensus_communities(graph, **given_)
    monkeypatch.setattr(consensus, "_MOST_GROUPS", 5)
    with pytest.raises(ConnectomeError, match="must have at most 5 groups of nodes"):
        consensus_communities(graph, runs=5)
