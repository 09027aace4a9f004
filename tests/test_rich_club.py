"""Rich club, core and periphery, k-cores: against bctpy and networkx."""

from __future__ import annotations

import math

import bct
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.analysis import core_periphery, rich_club
from connectome.analysis.nulls import null
from connectome.analysis.simple_graph import SimpleGraph
from tests.strategies import simple_graphs
from tests.test_degrees import dense


@given(simple_graphs())
def test_the_binary_rich_club_is_that_of_bct(graph: SimpleGraph) -> None:
    if not graph.n_edges:
        return
    found = rich_club.rich_club_binary(graph)
    with np.errstate(all="ignore"):
        expected, n_nodes, n_edges = bct.rich_club_bd((dense(graph) != 0).astype(float))
    np.testing.assert_array_equal(found.n_nodes, n_nodes)
    np.testing.assert_array_equal(found.n_edges, n_edges)
    np.testing.assert_allclose(found.coefficient, np.where(n_nodes > 1, expected, math.nan), atol=1e-12)


@given(simple_graphs())
def test_the_weighted_rich_club_is_that_of_bct(graph: SimpleGraph) -> None:
    if not graph.n_edges:
        return
    with np.errstate(all="ignore"):
        expected = bct.rich_club_wd(dense(graph))
    np.testing.assert_allclose(rich_club.rich_club_weighted(graph), expected, atol=1e-9)


def test_the_normalised_rich_club_finds_a_club() -> None:
    """Ten hubs with many edges each, all joined to each other, which rewiring undoes."""
    rng = np.random.default_rng(0)
    edges = [(i, j) for i in range(10) for j in range(10) if i != j]
    edges += [(i, j) for i in range(10) for j in rng.choice(np.arange(10, 200), 12, replace=False)]
    edges += [(j, i) for i in range(10) for j in rng.choice(np.arange(10, 200), 12, replace=False)]
    edges += rng.integers(10, 200, (400, 2)).tolist()
    graph = SimpleGraph.from_arrays(200, *np.array(edges).T)
    found, again = (rich_club.rich_club_normalised(graph, seed=1) for _ in range(2))
    np.testing.assert_array_equal(found.ratio, again.ratio)
    assert found.ratio[19] > 1.5  # degrees above 20: the hubs alone
    assert found.ratio[0] == pytest.approx(1)  # degrees above 1: nearly all
    assert found.peak.n_nodes == 10
    assert found.peak.p == found.p[19] == 0.01  # no null is as high, of 99
    assert found.peak.ratio == found.ratio[int(found.peak.k) - 1]
    assert found.peak.null_sd == found.null_sd[19] / found.null_mean[19]


def without_a_club(seed: int) -> SimpleGraph:
    """Degrees that differ, and edges as they fall."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 60, 500), (60 * rng.random(500) ** 3).astype(int)
    return SimpleGraph.from_arrays(60, *ends)


def test_two_hubs_are_no_club() -> None:
    """Joined to each other, which in rewired graphs they mostly are not: the ratio at the last k, where they alone are
    left, was the highest, and another for each seed."""
    hubs = [(0, 1), *((i, j) for i in (0, 1) for j in range(2 + 14 * i, 16 + 14 * i))]
    graph = SimpleGraph.from_arrays(60, *np.array([*hubs, *((i, i + 1) for i in range(2, 59))]).T)
    found = [rich_club.rich_club_normalised(graph, seed, smallest=2) for seed in range(4)]
    last = [float(of.ratio[of.n_nodes == 2][0]) for of in found]
    assert min(last) > 1.3 * np.nanmax(found[0].ratio[found[0].n_nodes > 4])
    assert len(set(last)) == 4
    found = [rich_club.rich_club_normalised(graph, seed) for seed in range(4)]
    for of in found:
        assert np.isnan(of.ratio[of.n_nodes < 5]).all()
        assert not np.isnan(of.ratio[of.n_nodes >= 5]).any()
        assert not of.peak.n_nodes < 5


def test_the_highest_of_many_clubs_is_seldom_significant_by_chance() -> None:
    """Graphs that are as random as their nulls; of each k by itself some is below 0.05 far more often."""
    found = [rich_club.rich_club_normalised(null(without_a_club(s), "degree", s), s, n_nulls=39) for s in range(120)]
    assert np.mean([of.peak.p <= 0.05 for of in found]) < 0.1
    assert np.mean([np.nanmin(of.p) <= 0.05 for of in found]) > 0.15


@given(simple_graphs(min_nodes=2), st.sampled_from([0.5, 1.0, 1.3]), st.integers(0, 9))
def test_no_search_finds_a_better_core_than_the_formula(graph: SimpleGraph, gamma: float, seed: int) -> None:
    if not graph.n_edges:
        return
    found = core_periphery.core_periphery(graph, gamma)
    core, coreness = bct.core_periphery_dir(dense(graph), gamma=gamma, seed=seed)
    assert found.coreness == pytest.approx(coreness, abs=1e-9)
    matrix = dense(graph)
    b = matrix - gamma * matrix.mean()
    row = (b + b.T).sum(1) / (2 * matrix.sum())
    decided = np.abs(row) > 1e-9  # others may be on either side
    np.testing.assert_array_equal(found.is_core[decided], core.astype(bool)[decided])


@given(simple_graphs())
def test_core_numbers_are_those_of_networkx(graph: SimpleGraph) -> None:
    there = nx.from_numpy_array(dense(graph) != 0, create_using=nx.DiGraph)
    expected = nx.core_number(there) if graph.n else {}
    assert core_periphery.core_number(graph).tolist() == [expected[i] for i in range(graph.n)]


def test_core_numbers_are_those_of_bct() -> None:
    matrix = (np.random.default_rng(0).random((60, 60)) < np.linspace(0, 0.3, 60)).astype(float)
    np.fill_diagonal(matrix, 0)
    numbers = core_periphery.core_number(SimpleGraph.from_arrays(60, *matrix.nonzero()))
    for k in (1, 5, 10, 15):
        left, size = bct.kcore_bd(matrix, k)
        assert size == (numbers >= k).sum()
        np.testing.assert_array_equal((left.sum(0) + left.sum(1)) > 0, numbers >= k)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_edges(n: int) -> None:
    graph = SimpleGraph.from_arrays(n, [], [])
    assert rich_club.rich_club_binary(graph).coefficient.size == 0
    assert rich_club.rich_club_weighted(graph).size == 0
    assert rich_club.rich_club_normalised(graph).ratio.size == 0
    assert math.isnan(rich_club.rich_club_normalised(graph).peak.p)
    assert math.isnan(core_periphery.coreness(graph))
    assert not core_periphery.core_periphery(graph).is_core.any()
    assert core_periphery.core_number(graph).tolist() == [0] * n
