"""Degrees, strengths, assortativity, balance, locality, wiring: against bctpy, networkx and dense linear algebra."""

from __future__ import annotations

import math
from typing import Any

import bct
import igraph
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, EdgeSet, Region
from connectome.analysis import degrees, wiring_cost
from connectome.analysis.degrees import excitatory_share
from connectome.analysis.measure import measure
from connectome.analysis.nulls import null
from connectome.analysis.simple_graph import SimpleGraph, simple_graph
from connectome.texts import readable
from tests.strategies import simple_graphs

Array = np.ndarray[Any, Any]


def dense(graph: SimpleGraph) -> Array:
    """(N, N) signed weights, row = source."""
    matrix = np.zeros((graph.n, graph.n))
    matrix[graph.source, graph.target] = graph.weight
    return matrix


def value(name: str, graph: SimpleGraph) -> Any:
    """What the metric of this name gives."""
    (metric,) = (m for m in degrees.METRICS + wiring_cost.METRICS if m.name == name)
    return metric.function(graph)


@given(simple_graphs(signed=True))
def test_degrees_and_strengths_are_those_of_bct(graph: SimpleGraph) -> None:
    matrix = np.abs(dense(graph))
    for name, expected in zip(("in_degree", "out_degree", "degree"), bct.degrees_dir(matrix), strict=True):
        np.testing.assert_array_equal(value(name, graph), expected)
    for name, expected in (
        ("in_strength", matrix.sum(0)), ("out_strength", matrix.sum(1)), ("strength", bct.strengths_dir(matrix)),
    ):  # fmt: skip
        np.testing.assert_allclose(value(name, graph), expected, atol=1e-12)


@given(simple_graphs(min_nodes=2))
def test_density_is_that_of_bct_and_reciprocity_that_of_networkx(graph: SimpleGraph) -> None:
    assert value("density", graph) == pytest.approx(bct.density_dir(dense(graph))[0])
    if graph.n_edges:
        there = nx.from_numpy_array(dense(graph) != 0, create_using=nx.DiGraph)
        assert value("reciprocity", graph) == pytest.approx(nx.overall_reciprocity(there))


@given(simple_graphs(), st.sampled_from([("out", "in"), ("in", "out"), ("out", "out"), ("in", "in")]), st.booleans())
def test_directed_assortativity_is_that_of_networkx_and_igraph(
    graph: SimpleGraph, ends: tuple[str, str], weighted: bool
) -> None:
    matrix = dense(graph)
    there = igraph.Graph(graph.n, list(zip(graph.source.tolist(), graph.target.tolist(), strict=True)), directed=True)
    strengths = {"out": matrix.sum(1), "in": matrix.sum(0)} if weighted else None
    at = strengths or {"out": there.degree(mode="out"), "in": there.degree(mode="in")}
    found = value(f"assortativity_{'weighted' if weighted else 'binary'}_{ends[0]}_{ends[1]}", graph)
    varies = [graph.n_edges and np.ptp(np.asarray(at[end])[i]) > 1e-9 for end, i in zip(
        ends, (graph.source, graph.target), strict=True
    )]  # fmt: skip
    if not all(varies):
        assert math.isnan(found)
        return
    assert found == pytest.approx(there.assortativity(list(at[ends[0]]), list(at[ends[1]])), abs=1e-9)
    g = nx.from_numpy_array(matrix, create_using=nx.DiGraph)
    weight = "weight" if weighted else None
    expected = nx.degree_pearson_correlation_coefficient(g, *ends, weight=weight)
    assert found == pytest.approx(expected, abs=1e-9)


@given(simple_graphs(), st.booleans())
def test_undirected_assortativity_is_that_of_bct(graph: SimpleGraph, weighted: bool) -> None:
    if not graph.n_edges:
        return
    matrix = dense(graph)
    reference = bct.assortativity_wei if weighted else bct.assortativity_bin
    with np.errstate(all="ignore"):
        expected = reference((matrix + matrix.T) / 2, 0)
    same(value(f"assortativity_{'weighted' if weighted else 'binary'}_undirected", graph), expected)


def same(found: float, expected: float) -> None:
    """Equal to 1e-9; where all ends are equal theirs is 0 / 0 up to rounding, and ours is nan."""
    if math.isnan(found):
        assert not math.isfinite(expected) or abs(expected) > 1e3 or expected in (0.0, 1.0)
    else:
        assert found == pytest.approx(expected, abs=1e-9)


def test_assortativity_agrees_with_networkx() -> None:
    graph = nx.gnp_random_graph(30, 0.2, seed=1, directed=True)
    ours = SimpleGraph.from_arrays(30, *np.array(graph.edges).T)
    # Pearson's, with each end about its own mean: the same where in- and out-degrees have one distribution.
    both = nx.DiGraph([*graph.edges, *((j, i) for i, j in graph.edges)])
    symmetric = SimpleGraph.from_arrays(30, *np.array(both.edges).T)
    expected = nx.degree_assortativity_coefficient(both.to_undirected())
    assert value("assortativity_binary_out_in", symmetric) == pytest.approx(expected)
    assert value("assortativity_binary_undirected", ours) == pytest.approx(expected)


@given(simple_graphs(signed=True))
def test_balance_and_locality(graph: SimpleGraph) -> None:
    matrix = dense(graph)
    excitatory, inhibitory = np.maximum(matrix, 0).sum(0), np.maximum(-matrix, 0).sum(0)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(value("excitatory_share", graph), excitatory / (excitatory + inhibitory))
        ratio = np.where(inhibitory > 0, excitatory / inhibitory, math.nan)
    np.testing.assert_allclose(value("excitation_inhibition_ratio", graph), ratio)
    inside = graph.region[:, None] == graph.region
    if graph.n_edges:
        assert value("local_share", graph) == pytest.approx((inside & (matrix != 0)).sum() / (matrix != 0).sum())
        assert value("local_strength_share", graph) == pytest.approx(
            np.abs(matrix)[inside].sum() / np.abs(matrix).sum()
        )


@given(simple_graphs(min_nodes=1))
def test_spectral_radius_of_a_positive_matrix(graph: SimpleGraph) -> None:
    """Perron: between the least and the largest row sum of W^16, to the power of 1/16; exactly 0 without cycles."""
    matrix = dense(graph)
    radius = value("spectral_radius", graph)
    if not nx.is_directed_acyclic_graph(nx.from_numpy_array(matrix, create_using=nx.DiGraph)):
        power = np.linalg.matrix_power(matrix, 16).sum(1)
        assert power.min() ** (1 / 16) * (1 - 1e-9) <= radius <= power.max() ** (1 / 16) * (1 + 1e-9)
        assert radius > 0
    else:
        assert radius == 0


def test_spectral_radius_where_it_is_known() -> None:
    ring = SimpleGraph.from_arrays(50, np.arange(50), (np.arange(50) + 1) % 50, np.full(50, -3.0))
    assert value("spectral_radius", ring) == pytest.approx(3, abs=1e-9)
    chain = SimpleGraph.from_arrays(300, np.arange(299), np.arange(1, 300), np.full(299, 1e3))
    assert value("spectral_radius", chain) == 0


@pytest.mark.parametrize("seed", range(4))
def test_spectral_radius_of_a_large_matrix(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sparse solver; the largest eigenvalues of such a matrix are complex pairs close to one circle."""
    rng = np.random.default_rng(seed)
    large = np.where(rng.random((500, 500)) < 0.1, rng.normal(size=(500, 500)), 0)
    np.fill_diagonal(large, 0)
    source, target = large.nonzero()
    graph = SimpleGraph.from_arrays(500, source, target, large[source, target])
    assert value("spectral_radius", graph) == pytest.approx(np.abs(np.linalg.eigvals(large)).max(), rel=1e-9)
    assert value("spectral_radius", graph) == value("spectral_radius", graph)
    monkeypatch.setattr(degrees, "_RESTARTS", 1)
    assert math.isnan(value("spectral_radius", graph))  # rather than a number that is not there yet


@given(simple_graphs(signed=True))
def test_wiring(graph: SimpleGraph) -> None:
    distance = np.linalg.norm(graph.position_um[:, None] - graph.position_um, axis=2)
    matrix = dense(graph)
    lengths = distance[matrix != 0]
    assert value("wiring_cost", graph) == pytest.approx(lengths.sum())
    assert value("wiring_cost_weighted", graph) == pytest.approx((np.abs(matrix) * distance).sum())
    if graph.n_edges:
        assert value("length_mean", graph) == pytest.approx(lengths.mean())
        quantiles = value("length_quantiles", graph)
        np.testing.assert_allclose(quantiles, np.quantile(lengths, quantiles["quantile"]))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_edges(n: int) -> None:
    """Nothing raises or warns; counts and sums are 0, means and shares nan."""
    graph = SimpleGraph.from_arrays(n, [], [])
    zero = {"in_degree", "out_degree", "degree", "in_strength", "out_strength", "strength", "wiring_cost"}
    zero |= {"wiring_cost_weighted"} | ({"density"} if n > 1 else set()) | ({"spectral_radius"} if n else set())
    for metric in degrees.METRICS + wiring_cost.METRICS:
        found = np.asarray(metric.function(graph), float)
        assert (found == 0 if metric.name in zero else np.isnan(found)).all(), metric.name
        assert metric.of != "node" or found.shape == (n,)


def test_loops_are_left_out_and_duplicates_merged() -> None:
    graph = SimpleGraph.from_arrays(2, [0, 0, 0, 1], [0, 1, 1, 1], [5.0, 1.0, 2.0, 7.0])
    assert (graph.n_loops, graph.n_parallel) == (2, 1)
    assert value("out_degree", graph).tolist() == [1, 0]
    assert value("out_strength", graph).tolist() == [3.0, 0.0]
    assert value("density", graph) == 0.5


def test_shares_of_what_has_no_known_sign_are_not_numbers() -> None:
    """All weights above 0: excitatory where a neuron says so, not known where none does."""
    regions = [Region("a", 3, sign=np.array(sign, np.int8)) for sign in ([0, 0, 0], [1, 1, 1], [0, 1, 0])]
    edges = EdgeSet.from_arrays(("a", "local", "a"), [0, 1, 2], [1, 2, 0], 1.0, n_source=3, n_target=3, dt_ms=0.1)
    graphs = [simple_graph(Connectome.of([region], [edges])) for region in regions]
    shares = [measure(g, ["excitatory_share", "wiring_cost", "length_mean"]) for g in graphs]
    assert [float(s.excitatory_share.sel(region="whole graph").item()) for s in shares[1:]] == [1, 1]
    for g in (graphs[0], graphs[0].undirected, graphs[0].within(["a"]), null(graphs[0], "degree", 1)):
        assert np.isnan(excitatory_share(g)).all()
    assert np.isnan(shares[0].excitatory_share).all()
    assert np.isnan(shares[0].wiring_cost).all()  # no neuron has a known place
    assert np.isnan(shares[0].length_mean).all()
    assert readable(float(shares[0].wiring_cost[0, 0])) == "-"
