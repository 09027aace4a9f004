"""Paths between sets and effective connectivity, against enumeration of all paths and walks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import ConnectomeError
from connectome.analysis.influence import (
    against_shuffled,
    effective_connectivity,
    input_fractions,
    shortest_paths,
    steps_between,
    strongest_paths,
)
from connectome.analysis.nulls import null
from connectome.analysis.simple_graph import SimpleGraph


@st.composite
def graphs(draw: st.DrawFn) -> SimpleGraph:
    """Small graphs of few different weights, so that many paths are equally strong."""
    n = draw(st.integers(1, 6))
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    weights = draw(
        st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]), min_size=len(chosen), max_size=len(chosen))
    )
    source, target = [a for a, _ in chosen], [b for _, b in chosen]
    return SimpleGraph.from_arrays(n, np.array(source, int), np.array(target, int), np.array(weights, float))


def exact_fractions(graph: SimpleGraph) -> dict[tuple[int, int], Fraction]:
    total: dict[int, Fraction] = {}
    for b, w in zip(graph.target.tolist(), graph.weight.tolist(), strict=True):
        total[b] = total.get(b, Fraction(0)) + abs(Fraction(w))
    edges = zip(graph.source.tolist(), graph.target.tolist(), graph.weight.tolist(), strict=True)
    return {(a, b): abs(Fraction(w)) / total[b] for a, b, w in edges if w}


def every_path(graph: SimpleGraph, sources: set[int], targets: set[int]) -> list[tuple[Fraction, int, tuple[int, ...]]]:
    """(-strength, nodes, path) of every path, in order."""
    fraction, found = exact_fractions(graph), []
    for length in range(2, graph.n + 1):
        for nodes in itertools.permutations(range(graph.n), length):
            ends = nodes[0] in sources and nodes[-1] in targets
            if not ends or any(node in sources | targets for node in nodes[1:-1]):
                continue
            steps = list(itertools.pairwise(nodes))
            if all(step in fraction for step in steps):
                found.append((-math.prod((fraction[s] for s in steps), start=Fraction(1)), length, nodes))
    return sorted(found)


@given(graphs(), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)), st.integers(1, 12))
def test_paths_are_those_of_an_enumeration(graph: SimpleGraph, a: set[int], b: set[int], n: int) -> None:
    sources, targets = ({i for i in some if i < graph.n} for some in (a, b))
    expected = every_path(graph, sources, targets)
    given_ = np.array(sorted(sources), int), np.array(sorted(targets), int)
    found = strongest_paths(graph, *given_, n)
    assert [path.nodes for path in found] == [nodes for _, _, nodes in expected[:n]]
    assert [path.strength for path in found] == [float(-strength) for strength, _, _ in expected[:n]]
    assert all(math.isclose(math.prod(path.fractions), path.strength) for path in found)
    fewest = min((length for _, length, _ in expected), default=None)
    assert [path.nodes for path in shortest_paths(graph, *given_, n)] == [
        nodes for _, length, nodes in expected if length == fewest
    ][:n]
    assert steps_between(graph, *given_) == (math.inf if fewest is None else fewest - 1)


@pytest.mark.parametrize("seed", range(12))
def test_paths_of_dense_graphs_are_those_of_an_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = np.nonzero((rng.random((6, 6)) < 0.7) & ~np.eye(6, dtype=bool))
    graph = SimpleGraph.from_arrays(6, source, target, rng.choice([1.0, 2.0, 50.0], source.size))
    expected = every_path(graph, {0, 1}, {4, 5})
    for n in (1, 3, len(expected)):
        assert [path.nodes for path in strongest_paths(graph, [0, 1], [4, 5], n)] == [x[2] for x in expected[:n]]


def test_ties_are_exact() -> None:
    """1/2 * 1/3 = 1/6 * 1, whatever the logarithms round to; the shorter path comes first, then the lower nodes."""
    edges = [(0, 7, 1), (9, 7, 1), (7, 8, 1), (9, 8, 2), (0, 1, 1), (9, 1, 5), (1, 2, 1), (2, 5, 1)]
    source, target, weight = (np.array(column) for column in zip(*edges, strict=True))
    graph = SimpleGraph.from_arrays(10, source, target, weight.astype(float))
    found = strongest_paths(graph, [0], [5, 8], 2)
    assert [path.nodes for path in found] == [(0, 7, 8), (0, 1, 2, 5)]
    assert found[0].strength == found[1].strength == float(Fraction(1, 6))
    assert found[0].fractions == (0.5, float(Fraction(1, 3)))
    assert strongest_paths(graph, [0], [5, 8], 1) == found[:1]


@given(graphs(), st.integers(1, 4), st.booleans())
def test_effective_connectivity_is_the_sum_over_walks(graph: SimpleGraph, hops: int, signed: bool) -> None:
    dense = np.zeros((graph.n, graph.n))
    dense[graph.source, graph.target] = input_fractions(graph) * (np.sign(graph.weight) if signed else 1)
    sets = [np.array([0]), np.arange(graph.n)]
    found = effective_connectivity(graph, sets, hops, signed=signed)
    for hop in range(hops):
        power = np.linalg.matrix_power(dense, hop + 1)
        for k, members in enumerate(sets):
            np.testing.assert_allclose(found[hop, k], power[members].sum(0), atol=1e-12)
    if not signed:
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-12


def test_against_shuffled_wiring() -> None:
    """A chain that is strong by construction stands out; the p-value is that of its rank."""
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 60, (2, 600))
    weight = np.ones(600)
    chain = np.arange(5)
    graph = SimpleGraph.from_arrays(
        60,
        np.concatenate([source, chain]),
        np.concatenate([target, chain + 1]),
        np.concatenate([weight, np.full(5, 200.0)]),
    )

    def strength(g: SimpleGraph) -> float:
        return float(effective_connectivity(g, [[0]], 5)[4, 0, 5])

    found = against_shuffled(strength(graph), [strength(null(graph, "degree", s)) for s in range(19)])
    assert found.p == 1 / 20
    assert found.z > 3
    assert found.n == 19
    same = against_shuffled(0.5, [0.5] * 3)
    assert same.p == 1
    assert math.isnan(same.z)


def test_what_does_not_fit() -> None:
    graph = SimpleGraph.from_arrays(3, [0], [1])
    with pytest.raises(ConnectomeError, match=r"targets must be nodes in 0 .. 2"):
        strongest_paths(graph, [0], [3])
    with pytest.raises(ConnectomeError, match=r"sets\[1\] must be nodes"):
        effective_connectivity(graph, [[0], [0.5]], 1)
    with pytest.raises(ConnectomeError, match=r"hops must be an integer"):
        effective_connectivity(graph, [[0]], 0)
    assert strongest_paths(graph, [1], [0]) == []
    assert strongest_paths(graph, [], []) == []
    assert steps_between(graph, [2], [1]) == math.inf
