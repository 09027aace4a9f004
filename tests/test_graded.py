"""Graded cells: closed forms, an integrator of differential equations, walks of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from connectome import ConnectomeError
from connectome.analysis.graded import comes_to_rest, dense, spread, steady_state
from connectome.analysis.influence import effective_connectivity
from connectome.analysis.simple_graph import SimpleGraph


def graph(n: int, edges: dict[tuple[int, int], float]) -> SimpleGraph:
    return SimpleGraph.from_arrays(n, [a for a, _ in edges], [b for _, b in edges], list(edges.values()))


def both_ways(n: int, edges: dict[tuple[int, int], float]) -> SimpleGraph:
    return graph(n, edges | {(b, a): w for (a, b), w in edges.items()})


NONE = SimpleGraph.from_arrays(2, np.zeros(0, int), np.zeros(0, int))


def random_pair(n: int, seed: int) -> tuple[SimpleGraph, SimpleGraph]:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.4)
    g = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.4), 1)
    return tuple(
        graph(n, {(int(a), int(b)): float(m[a, b]) for a, b in zip(*np.nonzero(m), strict=True)})
        for m in (w - np.diag(np.diag(w)), g + g.T)
    )  # type: ignore[return-value]


def test_two_cells() -> None:
    """One gap junction of g leaks: the second has g / (1 + g) of the first's potential, and the first the current over
    its leak and the way through the second. A chemical synapse adds, or takes, its weight."""
    junction = both_ways(2, {(0, 1): 3.0})
    np.testing.assert_allclose(spread(NONE, junction, [0, 1]), [[1, 0.75], [0.75, 1]])
    np.testing.assert_allclose(steady_state(NONE, junction, [2.0, 0.0]), [[2 / 1.75, 1.5 / 1.75]])
    for weight in (0.5, -0.5):
        found = spread(graph(2, {(0, 1): weight}), junction, [0, 1], electrical_gain=2.0)
        np.testing.assert_allclose(found, [[1, (6 + weight) / 7], [6 / 7, 1]])
    found = spread(graph(2, {(0, 1): 4.0}), NONE, [0], chemical_gain=0.1, leak=[1.0, 2.0])
    np.testing.assert_allclose(found, [[1, 0.2]])


def test_it_is_where_the_cells_come_to_rest() -> None:
    chemical, electrical = random_pair(8, 1)
    current = np.random.default_rng(2).normal(size=8)
    leak = np.linspace(1, 2, 8)
    w, g = 0.3 * dense(chemical), 0.7 * dense(electrical)

    def slope(_: float, v: Any) -> Any:
        return -leak * v + w.T @ v + g @ v - g.sum(1) * v + current

    slow = solve_ivp(slope, (0, 200), np.zeros(8), rtol=1e-10, atol=1e-12).y[:, -1]
    found = steady_state(chemical, electrical, current, chemical_gain=0.3, electrical_gain=0.7, leak=leak)
    np.testing.assert_allclose(found[0], slow, atol=1e-7)


def test_without_gap_junctions_it_is_effective_connectivity_over_all_walks() -> None:
    """With a leak of all of a cell's input, k edges carry what is traced back over k edges, times the gain to the k."""
    chemical, _ = random_pair(7, 3)
    nothing = graph(7, {})
    into = np.maximum(np.bincount(chemical.target, np.abs(chemical.weight), 7), 1e-3)
    current = np.diag(into)  # a potential of 1, but for what comes back
    found = steady_state(chemical, nothing, current, chemical_gain=0.6, leak=into)
    walks = effective_connectivity(chemical, [[k] for k in range(7)], 80, signed=True)
    np.testing.assert_allclose(found, np.eye(7) + np.tensordot(0.6 ** np.arange(1, 81), walks, 1), atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_rest_is_where_no_eigenvalue_is_above_zero(seed: int) -> None:
    chemical, electrical = random_pair(9, seed)
    for gain in (0.1, 0.5, 1.0, 3.0):
        matrix = gain * dense(chemical).T + dense(electrical)
        matrix -= np.diag(1 + dense(electrical).sum(1))
        rests = bool(np.linalg.eigvals(matrix).real.max() < 0)
        assert comes_to_rest(chemical, electrical, chemical_gain=gain) == rests


def test_cells_without_rest_are_refused() -> None:
    """Two cells that excite each other by c have eigenvalues of -1 + c and -1 - c."""
    pair = both_ways(2, {(0, 1): 1.0})
    assert comes_to_rest(pair, NONE, chemical_gain=0.99)
    assert not comes_to_rest(pair, NONE, chemical_gain=1.0)
    with pytest.raises(ConnectomeError, match=r"largest eigenvalue must be below 0; found 0\.5 at a gain of 1\.5"):
        spread(pair, NONE, [0], chemical_gain=1.5)
    # A chain rests at any gain, however far it is from symmetric; a gap junction back makes a loop of it.
    chain = graph(2, {(0, 1): 50.0})
    assert comes_to_rest(chain, NONE)
    assert not comes_to_rest(chain, pair)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"electrical": graph(2, {(0, 1): 1.0})}, "both ways"), ({"electrical": graph(3, {})}, "the 2 nodes"),
        ({"electrical": both_ways(2, {(0, 1): -1.0})}, "0 or more"), ({"leak": 0.0}, "leak must be"),
        ({"leak": [1.0, 1.0, 1.0]}, "leak must be"), ({"chemical_gain": -1.0}, "chemical_gain must be finite and >= 0"),
        ({"electrical_gain": float("nan")}, "electrical_gain"), ({"cells": [2]}, r"cells must be nodes in 0 \.\. 1"),
        ({"chemical": graph(5000, {}), "electrical": graph(5000, {})}, "at most 4,096 nodes"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    given = {"chemical": NONE, "electrical": NONE, "cells": [0], **change}
    chemical, electrical, cells = (given.pop(name) for name in ("chemical", "electrical", "cells"))
    with pytest.raises(ConnectomeError, match=said):
        spread(chemical, electrical, cells, **given)
