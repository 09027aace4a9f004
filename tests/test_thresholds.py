"""Parts of a graph: against bctpy, and the disparity filter against its integral in fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import bct
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import ConnectomeError
from connectome.analysis.simple_graph import SimpleGraph, symmetric_share
from connectome.analysis.thresholds import (
    DEFINITIONS,
    backbone,
    disparity_p,
    of_sign,
    strongest,
    threshold,
)
from tests.strategies import simple_graphs
from tests.test_degrees import dense


@given(simple_graphs(signed=True), st.floats(0.1, 2.0), st.booleans())
def test_an_absolute_threshold_is_that_of_bct(graph: SimpleGraph, size: float, undirected: bool) -> None:
    graph = graph.undirected if undirected else graph
    kept = threshold(graph, "absolute", size)
    matrix = dense(graph)
    expected = np.sign(matrix) * bct.threshold_absolute(np.abs(matrix), size)
    np.testing.assert_array_equal(dense(kept), expected)
    np.testing.assert_array_equal(kept.length_um, graph.length_um[np.abs(graph.weight) >= size])
    assert (kept.n, kept.regions) == (graph.n, graph.regions)
    assert symmetric_share(kept) == 1 or not undirected


@given(simple_graphs(min_nodes=2), st.floats(0.02, 1.0), st.booleans())
def test_the_strongest_edges_are_those_of_bct(graph: SimpleGraph, density: float, undirected: bool) -> None:
    """bctpy rounds to even as we do, and takes which it likes of equal weights: so the weights kept are compared."""
    graph = graph.undirected if undirected else graph
    kept = strongest(graph, density)
    expected = bct.threshold_proportional(dense(graph), density)
    np.testing.assert_allclose(np.sort(kept.weight), np.sort(expected[expected > 0]), rtol=1e-9)
    assert symmetric_share(kept) == 1 or symmetric_share(graph) < 1


def chance(share: Fraction, k: int) -> Fraction:
    """1 - (k - 1) times the integral of (1 - x)^(k - 2) from 0 to share, term by term (Serrano et al. 2009, eq. 2)."""
    terms = (
        Fraction(math.comb(k - 2, i) * (-1) ** i, i + 1) * share ** (i + 1) for i in range(k - 1)
    )  # fmt: skip
    return 1 - (k - 1) * sum(terms, Fraction(0)) if k > 1 else Fraction(1)


@given(simple_graphs(signed=True), st.floats(0.01, 0.6))
def test_the_disparity_filter_is_its_integral(graph: SimpleGraph, alpha: float) -> None:
    size = [Fraction(abs(w)) for w in graph.weight.tolist()]
    ends: list[Any] = [graph.source.tolist(), graph.target.tolist()]
    p = []
    for e, w in enumerate(size):
        at = [[size[f] for f in range(len(size)) if end[f] == end[e]] for end in ends]
        p.append(min(chance(w / sum(weights), len(weights)) for weights in at))
    found = disparity_p(graph)
    np.testing.assert_allclose(found, [float(x) for x in p], atol=1e-9)
    kept = backbone(graph, alpha)
    assert kept.n_edges == (found < alpha).sum()
    np.testing.assert_array_equal(kept.weight, graph.weight[found < alpha])


def test_a_backbone_keeps_what_stands_out_at_any_scale() -> None:
    """A star of ten with one heavy edge, and one a thousand times weaker: an absolute threshold keeps one of them."""
    source, target = np.repeat([0, 1], 10), np.concatenate([np.arange(2, 12), np.arange(12, 22)])
    weight = np.concatenate([np.r_[50.0, np.ones(9)], np.r_[50.0, np.ones(9)] / 1000])
    graph = SimpleGraph.from_arrays(22, source, target, weight)
    assert np.flatnonzero(disparity_p(graph) < 0.05).tolist() == [0, 10]
    assert backbone(graph).weight.tolist() == [50, 0.05]
    assert threshold(graph, "absolute", 1.0).n_edges == 10


@given(simple_graphs(signed=True))
def test_signs_part_a_graph(graph: SimpleGraph) -> None:
    positive, negative = (of_sign(graph, sign) for sign in ("positive", "negative"))
    np.testing.assert_array_equal(dense(positive), np.maximum(dense(graph), 0))
    np.testing.assert_array_equal(dense(positive) + dense(negative), dense(graph))


def test_a_weight_of_0_is_in_no_part() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1], [1, 2], [0.0, 1.0])
    assert of_sign(graph, "positive").n_edges == 1
    assert of_sign(graph, "negative").n_edges == 0
    np.testing.assert_array_equal(disparity_p(SimpleGraph.from_arrays(3, [0, 0], [1, 2], [0.0, 0.0])), [1, 1])


def test_bad_input_is_named() -> None:
    graph = SimpleGraph.from_arrays(3, [0, 1], [1, 2])
    for kind, number, says in (
        ("absolute", -1, "absolute must be"), ("density", 0, "density must be > 0 and at most 1; found 0"),
        ("density", 1.1, "density must be"), ("backbone", 1, "alpha must be > 0 and < 1; found 1"),
        ("other", 1, "kind must be among absolute, density, backbone"),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=says):
            threshold(graph, kind, number)  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="sign must be positive or negative"):
        of_sign(graph, "both")  # type: ignore[arg-type]
    assert set(DEFINITIONS) == {"absolute", "density", "backbone"}
