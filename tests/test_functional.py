"""Functional connectivity and agreement, against NumPy, SciPy and permutations by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from connectome import ConnectomeError
from connectome.analysis.functional import agreement, beside, dense, fisher_z, functional_connectivity, upper
from connectome.wiring import from_matrix


def signal(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(
        values, {"time_s": np.arange(1.0, len(values) + 1), "node": [f"n{i}" for i in range(values.shape[1])]},
        ("time_s", "node"),
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.integers(2, 6), st.integers(0, 99), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_correlations_are_numpys(t: int, n: int, seed: int, offset: float, scale: float) -> None:
    x = offset + scale * np.random.default_rng(seed).normal(size=(t, n))
    found = functional_connectivity(signal(x))
    np.testing.assert_allclose(found.values, np.corrcoef(x.T), atol=1e-9)
    assert found.dims == ("node", "other")
    assert (np.abs(found.values) <= 1).all()


def test_a_signal_that_does_not_vary_has_no_correlation() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    x[:, 1] = 0.1
    found = functional_connectivity(signal(x)).values
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[[0, 2]][:, [0, 2]]).all()
    with pytest.raises(ConnectomeError, match="three samples"):
        functional_connectivity(signal(x[:2]))


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 9), st.integers(0, 99))
def test_agreement_is_scipys_of_the_upper_triangle(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (m + m.T for m in rng.normal(size=(2, n, n)))
    pairs = np.triu_indices(n, 1)
    assert agreement(one, other) == pytest.approx(pearsonr(one[pairs], other[pairs])[0])
    assert agreement(one, other, ranks=True) == pytest.approx(spearmanr(one[pairs], other[pairs])[0])
    one[0, 1] = one[1, 0] = np.nan
    kept = np.isfinite(one[pairs])
    assert agreement(one, other) == pytest.approx(pearsonr(one[pairs][kept], other[pairs][kept])[0])


def test_what_does_not_agree_with_anything_is_nan() -> None:
    one = np.ones((4, 4))
    assert np.isnan(agreement(one, np.arange(16.0).reshape(4, 4) * 0 + np.eye(4)))
    two = np.array([[0, 1.0], [1, 0]])
    assert np.isnan(agreement(two, two))


def test_matrices_are_refused_that_are_none() -> None:
    with pytest.raises(ConnectomeError, match="FC must be symmetric; found 1 and 2 at"):
        upper("FC", [[0, 1.0], [2.0, 0]])
    with pytest.raises(ConnectomeError, match="FC must be a square matrix"):
        upper("FC", np.ones((2, 3)))
    with pytest.raises(ConnectomeError, match="other must have 3 nodes; found 4"):
        agreement(np.ones((3, 3)), np.ones((4, 4)))
    assert upper("FC", np.array([[0, 0.3], [np.float32(0.3), 0]])).tolist() == [0.3]


def test_fishers_z_of_what_is_not_z_yet() -> None:
    r = np.array([[1, 0.5, -0.2], [0.5, 1, 0.9], [-0.2, 0.9, 1]])
    z = fisher_z(r)
    np.testing.assert_allclose(z[0, 1:], np.arctanh([0.5, -0.2]))
    z[1, 2] = z[2, 1] = 1.4
    np.testing.assert_array_equal(fisher_z(z), z)
    assert r[0, 1] == 0.5


def test_a_read_matrix_is_put_in_the_order_of_the_labels() -> None:
    matrix = np.array([[1, 0.2, 0.3], [0.2, 1, 0.6], [0.3, 0.6, 1]])
    read = from_matrix(matrix, node_labels=["c", "a", "b"])
    np.testing.assert_allclose(dense("FC", read), matrix, rtol=1e-6)
    order = [1, 2, 0]
    np.testing.assert_allclose(dense("FC", read, ["a", "b", "c"]), matrix[np.ix_(order, order)], rtol=1e-6)
    np.testing.assert_allclose(dense("FC", from_matrix(matrix), ["a", "b", "c"]), matrix, rtol=1e-6)
    with pytest.raises(ConnectomeError, match="FC must have the labels of the nodes, each once; found 'b'"):
        dense("FC", read, ["a", "c", "d"])


def test_beside_nulls_p_counts_those_that_come_up_to_the_mean() -> None:
    found = beside([0.3, 0.5], [0.1, 0.4, 0.39, 0.2])
    assert found.measured.mean == pytest.approx(0.4)
    assert found.p == pytest.approx((1 + 1) / (4 + 1))
    assert found.nulls.mean == pytest.approx(np.mean([0.1, 0.4, 0.39, 0.2]))
    assert found.sd == pytest.approx(np.std([0.1, 0.4, 0.39, 0.2], ddof=1))
    assert np.isnan(beside([0.3], []).p)
