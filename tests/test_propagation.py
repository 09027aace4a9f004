"""Scores against a measured atlas: SciPy and scikit-learn on the repeated pairs, closed forms, wrong arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from connectome import ConnectomeError
from connectome.analysis.propagation import (
    FunctionalAtlas,
    Pairs,
    Strain,
    agreement,
    difference,
    measured_pairs,
    rank_correlation,
    roc_area,
    tuned,
)


def strain(n: int, rng: np.random.Generator, **changes: Any) -> Strain:
    """Everything measured, twice or more often; a tenth of the pairs connected."""
    q = np.where(rng.random((n, n)) < 0.1, 0.01, 0.5)
    observed = rng.integers(2, 5, (n, n))
    np.fill_diagonal(observed, 9)
    arrays = {"dff": rng.normal(size=(n, n)), "q": q, "q_equal": np.full((n, n), 0.01), "observed": observed}
    return Strain(**{**arrays, **changes})


def pairs_of(n: int, seed: int = 0) -> tuple[Pairs, Strain]:
    names = tuple(f"n{k}" for k in range(n))
    one = strain(n, np.random.default_rng(seed))
    return measured_pairs(FunctionalAtlas(names, {"wt": one}), "wt", names), one


@given(
    st.lists(
        st.tuples(st.integers(-2, 2), st.integers(0, 3), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30
    )
)
def test_figures_are_those_of_the_pairs_repeated(rows: list[tuple[int, int, bool, int]]) -> None:
    x, y, positive, times = (np.array(column) for column in zip(*rows, strict=True))
    xs, ys, up = (np.repeat(column, times) for column in (x, y, positive))
    if len(set(xs.tolist())) > 1 and len(set(ys.tolist())) > 1:
        assert rank_correlation(x, y, times) == pytest.approx(spearmanr(xs, ys).statistic, abs=1e-12)
    else:
        assert math.isnan(rank_correlation(x, y, times))
    if up.any() and not up.all():
        assert roc_area(x, positive, times) == pytest.approx(roc_auc_score(up, xs), abs=1e-12)
    else:
        assert math.isnan(roc_area(x, positive, times))


def test_pairs_are_those_measured_among_named_neurons() -> None:
    nan = np.nan
    dff = np.array([[9, -2.0, 3], [0.5, 9, nan], [1.0, 2.0, 9]])
    q = np.array([[0, 0.01, 0.9], [0.5, 0, 0.9], [0.01, 0.9, 0]])
    q_equal = np.array([[0, 0.9, 0.01], [0.9, 0, 0.9], [0.01, 0.01, 0]])
    observed = np.array([[5, 1, 1], [1, 5, 1], [1, 0, 5]])
    atlas = FunctionalAtlas(("A", "B", "C"), {"wt": Strain(dff, q, q_equal, observed)})
    pairs = measured_pairs(atlas, "wt", ["C", "x", "A", "B", ""])
    found = {
        (s, r): (size, up, down)
        for s, r, size, up, down in zip(
            pairs.stimulated.tolist(), pairs.responding.tolist(), pairs.size.tolist(), pairs.connected.tolist(),
            pairs.unconnected.tolist(), strict=True,
        )
    }  # fmt: skip
    # Columns are stimulated: B -> A, C -> A, A -> B, A -> C; C -> B has no dF/F, B -> C was never observed.
    assert found == {
        (3, 2): (2.0, True, False), (0, 2): (3.0, False, True), (2, 3): (0.5, False, False), (2, 0): (1.0, True, False),
    }  # fmt: skip
    assert pairs.cells.tolist() == [0, 2, 3]
    score = np.array(np.arange(25).reshape(5, 5), np.float64)
    assert pairs.of(score).tolist() == [5.0 * s + r for s, r in zip(pairs.stimulated, pairs.responding, strict=True)]


def test_the_bootstrap_draws_stimulated_neurons_with_all_their_pairs() -> None:
    pairs, one = pairs_of(7)
    foretold = np.abs(one.dff.T) + np.random.default_rng(3).normal(size=(7, 7))
    score = pairs.of(foretold.astype(np.float64))
    mask = np.array([True] * 5 + [False] * 2)
    found = agreement(pairs, [(score, mask)], draws=40, seed=5)
    kept = mask[pairs.cell]
    assert found.rank.value == pytest.approx(spearmanr(score[kept], pairs.size[kept]).statistic)
    rng, slow = np.random.default_rng(5), []
    for _ in range(40):
        at = [np.flatnonzero(kept & (pairs.cell == k)) for k in rng.integers(7, size=7)]
        rows = np.concatenate(at)
        slow.append([spearmanr(score[rows], pairs.size[rows]).statistic, roc_area(score[rows], pairs.connected[rows])])
    np.testing.assert_allclose(found.drawn, slow, rtol=1e-9)
    assert [found.rank.low, found.rank.high] == pytest.approx(np.percentile([r for r, _ in slow], (2.5, 97.5)))
    other = agreement(pairs, [(-score, mask)], draws=40, seed=5)
    less = difference(found, other)
    assert less.rank.value == pytest.approx(2 * found.rank.value)
    np.testing.assert_allclose(less.drawn[:, 0], 2 * found.drawn[:, 0])
    none = agreement(pairs, [(score, mask)], draws=0)
    assert none.rank.value == found.rank.value
    assert math.isnan(none.rank.low)


def test_what_is_chosen_on_a_half_is_judged_by_the_other() -> None:
    pairs, _ = pairs_of(12)
    noise = np.random.default_rng(1).normal(size=pairs.size.size)
    good, bad, flat = pairs.size + 0.1 * noise, noise, np.zeros(noise.size)
    judged, chosen = tuned(pairs, [flat, bad, good], splits=6)
    assert chosen == [2] * 6
    for score, mask in judged:
        assert score is good
        assert mask.sum() == 6
    halves = {mask.tobytes() for _, mask in judged}
    assert len(halves) > 1
    only_here = np.where(np.isin(pairs.cell, [0]), pairs.size, 0.0)  # tells something of one neuron alone
    picked = tuned(pairs, [-pairs.size, only_here], splits=20)
    for (_, mask), which in zip(*picked, strict=True):
        assert which == int(not mask[0])  # only where neuron 0 is in the half that chooses
    assert set(picked[1]) == {0, 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"q": np.full((4, 4), 1.5)}, r"q must be in 0 \.\. 1"), ({"q": np.zeros((4, 3))}, "q must have shape"),
        ({"dff": np.full((4, 4), np.inf)}, "must be finite"), ({"observed": np.full((4, 4), -1)}, "0 or more"),
        ({"observed": np.full((4, 4), 0.5)}, "observed must be integers"), ({"dff": np.array(["x"])}, "be numbers"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConnectomeError, match=said):
        strain(4, np.random.default_rng(0), **changes)


def test_an_atlas_turned_round_is_refused() -> None:
    observed = np.array([[2, 5, 9], [2, 5, 9], [2, 5, 9]])  # of each pair as often as its column's neuron
    strain(3, np.random.default_rng(0), observed=observed)
    with pytest.raises(ConnectomeError, match=r"stimulated neurons in columns.*transpose"):
        strain(3, np.random.default_rng(0), observed=observed.T)


def test_wrong_atlases_and_labels_are_refused() -> None:
    one = strain(3, np.random.default_rng(0))
    with pytest.raises(ConnectomeError, match="name of its own"):
        FunctionalAtlas(("A", "A", "B"), {"wt": one})
    with pytest.raises(ConnectomeError, match=r"strains\[wt\] must have a row for each of 2"):
        FunctionalAtlas(("A", "B"), {"wt": one})
    atlas = FunctionalAtlas(("A", "B", "C"), {"wt": one})
    with pytest.raises(ConnectomeError, match="strain must be among wt"):
        measured_pairs(atlas, "unc31", ["A", "B"])
    with pytest.raises(ConnectomeError, match="must name two or more stimulated neurons"):
        measured_pairs(atlas, "wt", ["A", "x"])
