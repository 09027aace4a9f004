"""Groups of subjects: t against SciPy, components against bctpy, and how often nothing is found to be something."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import bct
import numpy as np
import pytest
import scipy.stats

from connectome import ConnectomeError
from connectome.analysis.groups import Subjects, Tail, network_based_statistic, permutation_test, subjects
from connectome.analysis.simple_graph import SimpleGraph
from tests.test_degrees import dense

Array = np.ndarray[Any, Any]


def pairs(n: int) -> tuple[Array, Array]:
    i, j = np.triu_indices(n, 1)
    return i, j


def made(n: int, sizes: tuple[int, int], seed: int, effect: float = 0.0, planted: int = 0) -> tuple[Subjects, Array]:
    """Undirected matrices of noise, part of it each subject's and each node's own; the first group is stronger by
    ``effect`` standard deviations among the first ``planted`` nodes."""
    rng = np.random.default_rng(seed)
    i, j = pairs(n)
    group = np.repeat([0, 1], sizes)
    value = rng.normal(size=(group.size, i.size)) + 0.3 * rng.normal(size=(group.size, 1))
    own = 0.5 * rng.normal(size=(group.size, n))
    value += own[:, i] + own[:, j]
    value[np.ix_(group == 0, (i < planted) & (j < planted))] += effect * value.std()
    return Subjects(n, i, j, value), group


def matrices(of: Subjects) -> Array:
    """(N, N, S), as bctpy has them."""
    found = np.zeros((of.n, of.n, len(of.weight)))
    found[of.source, of.target] = found[of.target, of.source] = of.weight.T
    return found


@pytest.mark.parametrize("paired", [False, True])
def test_t_is_that_of_scipy(paired: bool) -> None:
    of, group = made(7, (6, 6), 1)
    of = of._replace(weight=of.weight * 1e-3 + 5.0)
    reference = scipy.stats.ttest_rel if paired else scipy.stats.ttest_ind
    expected = reference(of.weight[group == 0], of.weight[group == 1]).statistic
    found = network_based_statistic(of, group, 1.0, paired=paired, n_permutations=2)
    np.testing.assert_allclose(found.t, expected, rtol=1e-7)
    np.testing.assert_allclose(permutation_test(of.weight, group, paired=paired, n_permutations=2).t, expected)


@pytest.mark.parametrize("tail", ["both", "greater", "less"])
def test_components_are_those_of_bct(tail: Tail) -> None:
    of, group = made(12, (9, 11), 5, effect=-1.0 if tail == "less" else 1.0, planted=5)
    found = network_based_statistic(of, group, 1.7, tail=tail, n_permutations=400)
    whole = matrices(of)
    names = {"both": "both", "greater": "right", "less": "left"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p, adjacency, _ = bct.nbs_bct(
            whole[:, :, group == 0], whole[:, :, group == 1], 1.7, k=400, tail=names[tail], seed=1
        )
    number = adjacency[of.source, of.target].astype(int)
    expected = {frozenset(np.flatnonzero(number == k).tolist()) for k in np.unique(number[number > 0])}
    assert {frozenset(c.edge.tolist()) for c in found.components} == expected
    assert all(c.size == c.edge.size for c in found.components)
    by_size = {int((number == k + 1).sum()): float(p_k) for k, p_k in enumerate(np.atleast_1d(p))}
    for component in found.components:
        assert component.p == pytest.approx(by_size[component.edge.size], abs=0.1)


def test_intensity_is_what_is_beyond_the_threshold() -> None:
    of, group = made(10, (8, 8), 2, effect=1.5, planted=4)
    found = network_based_statistic(of, group, 2.0, size="intensity", n_permutations=50)
    assert found.components
    for component in found.components:
        assert component.size == pytest.approx((np.abs(found.t[component.edge]) - 2).sum())
    assert [c.size for c in found.components] == sorted((c.size for c in found.components), reverse=True)


@pytest.mark.parametrize(("size", "paired"), [("extent", False), ("intensity", False), ("intensity", True)])
def test_nothing_is_found_to_be_something_in_one_of_twenty(size: Any, paired: bool) -> None:
    """Groups without a difference, whose edges depend on each other; 59 relabellings, so that p <= 0.05 has exactly the
    chance of 3 in 60, less where sizes tie. Of 240 groups 12 are expected at most, with a standard deviation of 3.4.
    (Of 2,000 they were 3.9, 4.5 and 4.6 %.)"""
    found = 0
    for seed in range(240):
        of, group = made(8, (9, 9), seed)
        test = network_based_statistic(of, group, 2.0, size=size, paired=paired, n_permutations=59, seed=seed)
        found += any(c.p <= 0.05 for c in test.components)
    assert found <= 22
    assert size == "extent" or found >= 3


def test_a_planted_component_is_found() -> None:
    """Ten edges among five of twenty nodes; of single edges, corrected by Bonferroni, hardly any is."""
    hit, false, single = 0, 0, 0
    for seed in range(10):
        of, group = made(20, (15, 15), seed, effect=1.4, planted=5)
        there = (of.source < 5) & (of.target < 5)
        test = network_based_statistic(of, group, 2.5, tail="greater", n_permutations=199, seed=seed)
        edges = np.concatenate([np.zeros(0, int), *(c.edge for c in test.components if c.p <= 0.05)])
        hit += int(there[edges].sum())
        false += int((~there[edges]).sum())
        p = scipy.stats.t.sf(test.t, 28) * there.size
        single += int((p[there] <= 0.05).sum())
    assert hit > 65  # of 100
    assert false < 20
    assert hit > 1.3 * single


def test_p_counts_the_subjects_as_they_are_among_the_relabellings() -> None:
    """So it is never 0 (Phipson & Smyth 2010)."""
    of, group = made(12, (12, 12), 3, effect=4.0, planted=5)
    found = network_based_statistic(of, group, 3.0, n_permutations=99, seed=1)
    for c in found.components:
        assert c.p == pytest.approx((1 + (found.largest >= c.size - 1e-6).sum()) / 100)
    assert found.components[0].p == 0.01


def test_p_of_few_subjects_is_that_of_all_relabellings() -> None:
    """Of 3 and 3 there are 20: the share with as large a component, against many random ones, most of which have
    several components."""
    of, group = made(14, (3, 3), 4, effect=2.0, planted=4)
    found = network_based_statistic(of, group, 3.0, n_permutations=4000)
    sizes, several = [], 0
    for first in itertools.combinations(range(6), 3):
        other = np.array([0 if i in first else 1 for i in range(6)])
        again = network_based_statistic(of, other, 3.0, n_permutations=1)
        sizes.append(max((c.size for c in again.components), default=0))
        several += len(again.components) > 1
    assert several > 10
    assert set(found.largest.tolist()) == set(sizes)
    for component in found.components:
        assert component.p == pytest.approx(np.mean(np.array(sizes) >= component.size), abs=0.03)


@pytest.mark.parametrize("paired", [False, True])
def test_numbers_of_subjects_against_scipy(paired: bool) -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 5)
    values = rng.normal(size=(10, 4))
    values[:5, 0] += 2.5
    found = permutation_test(values, group, paired=paired, n_permutations=8000)

    def statistic(x: Array, y: Array, axis: int = 0) -> Array:
        test = scipy.stats.ttest_rel if paired else scipy.stats.ttest_ind
        t: Array = np.abs(test(x, y, axis=axis).statistic)
        return t

    exact = scipy.stats.permutation_test(
        (values[:5], values[5:]), statistic, permutation_type="samples" if paired else "independent", vectorized=True,
        n_resamples=np.inf, alternative="greater",
    )  # fmt: skip
    np.testing.assert_allclose(found.p, exact.pvalue, atol=0.02)
    assert (found.p_corrected >= found.p).all()
    assert found.p_corrected[0] < 0.1
    assert found.t[0] > 2
    alone = permutation_test(values[:, :1], group, paired=paired, n_permutations=99)
    assert alone.p_corrected.tolist() == alone.p.tolist()


def test_one_false_number_of_ten_in_one_of_twenty() -> None:
    """Ten numbers of 7 and 5 subjects, without a difference; single p-values are below 0.05 far more often."""
    tests = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = rng.exponential(size=(12, 10)) + rng.exponential(size=(12, 1))
        tests.append(permutation_test(values, np.repeat([0, 1], (7, 5)), n_permutations=59, seed=seed))
    corrected = sum(t.p_corrected.min() <= 0.05 for t in tests)
    assert 5 <= corrected <= 26  # 15 are expected, with a standard deviation of 3.8
    assert sum(t.p.min() <= 0.05 for t in tests) > 60


def test_what_does_not_differ_and_what_is_missing() -> None:
    group = [0, 0, 1, 1]
    values = np.array([[1, 2, 1.0, np.nan], [1, 2, 2, 1], [1, 3, 2, 1], [1, 3, 4, 1]])
    found = permutation_test(values, group, n_permutations=20)
    assert np.isnan(found.p[[0, 3]]).all()
    assert found.t[1] == -np.inf  # apart, without any spread
    assert 0 < found.p[1] < 1
    of = Subjects(3, np.array([0, 0]), np.array([1, 2]), np.ones((4, 2)))
    test = network_based_statistic(of, group, 0.5, n_permutations=5)
    assert test.components == ()
    assert test.t.tolist() == [0, 0]
    assert test.largest.tolist() == [0] * 5


def test_the_seed_decides() -> None:
    of, group = made(8, (6, 6), 0, effect=1.0, planted=4)
    one, again, other = (network_based_statistic(of, group, 1.5, n_permutations=50, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.largest, again.largest)
    assert (one.largest != other.largest).any()


@pytest.mark.parametrize("undirected", [True, False])
def test_subjects_from_graphs(undirected: bool) -> None:
    rng = np.random.default_rng(0)
    graphs = []
    for _ in range(3):
        matrix = (rng.random((6, 6)) < 0.3) * rng.normal(size=(6, 6))
        matrix = matrix + matrix.T if undirected else matrix
        i, j = matrix.nonzero()
        graphs.append(SimpleGraph.from_arrays(6, i, j, matrix[i, j]))
    of = subjects(graphs)
    assert (of.source < of.target).all() or not undirected
    for row, graph in zip(of.weight, graphs, strict=True):
        found = np.zeros((6, 6))
        found[of.source, of.target] = row
        expected = np.triu(dense(graph), 1) if undirected else dense(graph)
        np.testing.assert_allclose(found, expected)


def test_bad_input_is_named() -> None:
    of, group = made(4, (3, 3), 0)
    for change, says in (
        ({"threshold": 0}, "threshold must be"), ({"tail": "left"}, "tail must be one of both, greater, less"),
        ({"size": "big"}, "size must be one of extent, intensity"), ({"group": [0] * 6}, "group must be 0 or 1"),
        ({"group": [0, 0, 1]}, "group must"), ({"group": [0, 0, 0, 0, 0, 1]}, "two of each or more"),
        ({"group": [0, 0, 1, 1, 1, 1], "paired": True}, "as many subjects in both groups"),
        ({"group": [-1, 0, 0, 1, 1, 1]}, "group must be 0 or 1"),
        ({"n_permutations": 0}, "n_permutations must be"), ({"seed": -1}, "seed must be"),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=says):
            network_based_statistic(of, **{"group": group, "threshold": 2.0, **change})  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="weight must be finite"):
        network_based_statistic(of._replace(weight=of.weight * np.nan), group, 2.0)
    with pytest.raises(ConnectomeError, match=r"values must have shape \(S, M\)"):
        permutation_test([1.0, 2.0], [0, 1])
    with pytest.raises(ConnectomeError, match="graphs must be those of subjects"):
        subjects([])
    with pytest.raises(ConnectomeError, match=r"graphs\[1\] must have 2 nodes, as the first has; found 3"):
        subjects([SimpleGraph.from_arrays(n, [0], [1]) for n in (2, 3)])
