"""Motifs: against bctpy, whose wheel lacks the library of motifs (made here), networkx and a plain loop."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np
from hypothesis import given

from connectome.analysis.motifs import METRICS, MOTIFS, motif3struct_binary, motif3struct_weighted
from connectome.analysis.simple_graph import SimpleGraph
from tests.strategies import simple_graphs
from tests.test_degrees import dense

Array = np.ndarray[Any, Any]


def sporns_kotter() -> dict[tuple[int, ...], int]:
    """BCT's selection, as ``make_motif34lib`` makes it: sorted (out-degree, in-degree) of the nodes -> class less 1."""
    labels = set()
    for code in itertools.product([0, 1], repeat=6):
        matrix = np.zeros((3, 3), int)
        matrix[~np.eye(3, dtype=bool)] = code
        if ((matrix.sum(0) + matrix.sum(1)) > 0).all():
            labels.add(label(matrix))
    swapped = {1: 3, 3: 6, 4: 1, 6: 11, 7: 4, 8: 7, 11: 8}
    return {key: swapped.get(number, number) - 1 for number, key in enumerate(sorted(labels), 1)}


def label(matrix: Array) -> tuple[int, ...]:
    """What a class has in common."""
    return tuple(np.array(sorted(zip(matrix.sum(1), matrix.sum(0), strict=True))).ravel().tolist())


NUMBER = sporns_kotter()


def by_the_book(matrix: Array) -> tuple[Array, Array, Array]:
    """(13, N) frequency, intensity, coherence, triple by triple (bctpy's weighted one has three slips: it asks for
    A[v1, 2], counts v1 twice and v2 never)."""
    n = len(matrix)
    frequency, intensity, coherence = np.zeros((13, n)), np.zeros((13, n)), np.zeros((13, n))
    for triple in itertools.combinations(range(n), 3):
        part = matrix[np.ix_(triple, triple)]
        where = NUMBER.get(label(part != 0)) if nx.is_weakly_connected(nx.DiGraph(part != 0)) else None
        if where is None:
            continue
        weights = part[part != 0]
        geometric = weights.prod() ** (1 / len(weights))
        for node in triple:
            frequency[where, node] += 1
            intensity[where, node] += geometric
            coherence[where, node] += geometric / weights.mean()
    return frequency, intensity, coherence


def test_the_classes_are_numbered_as_in_bct_and_named_as_in_the_triad_census() -> None:
    for number, (name, edges) in enumerate(MOTIFS):
        matrix = np.zeros((3, 3), int)
        matrix[tuple(np.array(edges).T)] = 1
        assert NUMBER[label(matrix)] == number
        assert nx.triadic_census(nx.DiGraph(edges))[name] == 1


@given(simple_graphs())
def test_every_class_against_a_plain_loop(graph: SimpleGraph) -> None:
    frequency, intensity, coherence = by_the_book(dense(graph))
    found, weighed = motif3struct_binary(graph), motif3struct_weighted(graph)
    np.testing.assert_array_equal(found.of_node, frequency)
    np.testing.assert_array_equal(found.total, frequency.sum(1) / 3)
    np.testing.assert_allclose(weighed.intensity, intensity, atol=1e-9)
    np.testing.assert_allclose(weighed.coherence, coherence, atol=1e-9)


def test_totals_are_those_of_networkx() -> None:
    """Larger than a plain loop could count, with nodes of many edges."""
    theirs = nx.DiGraph(nx.scale_free_graph(300, seed=1))
    theirs.remove_edges_from(list(nx.selfloop_edges(theirs)))
    census = nx.triadic_census(theirs)
    found = motif3struct_binary(SimpleGraph.from_arrays(300, *np.array(theirs.edges).T))
    assert {name: int(n) for (name, _), n in zip(MOTIFS, found.total, strict=True)} == {
        name: census[name] for name, _ in MOTIFS
    }


def test_a_weight_of_zero_is_an_edge_without_intensity() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1], [1, 2], [0.0, 5.0])
    assert motif3struct_binary(graph).total.sum() == 1
    assert motif3struct_weighted(graph).intensity.sum() == motif3struct_weighted(graph).coherence.sum() == 0


def test_metrics_without_triples() -> None:
    for n in (0, 1, 2):
        for metric in METRICS:
            found = metric.function(SimpleGraph.from_arrays(n, [0] * (n > 1), [1] * (n > 1)))
            assert found.dims == ("motif",)
            assert (found == 0).all() if metric.name == "motif_frequency" else found.isnull().all()
