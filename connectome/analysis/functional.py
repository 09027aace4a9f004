"""Functional connectivity, and its agreement with measured functional connectivity or with the wiring.

The agreement of two matrices is the correlation of their entries above the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.intervals import Mean, mean_of
from connectome.analysis.nulls import p_value
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome

__all__ = ["BesideNulls", "agreement", "beside", "dense", "fisher_z", "functional_connectivity", "upper"]

#: How far two halves of a matrix may be apart, as a share of its largest entry: what texts leave of numbers.
_SYMMETRIC = 1e-5


def functional_connectivity(signal: xr.DataArray) -> xr.DataArray:
    """Pearson's correlation of the signals of each pair of nodes, (node, other); nan for a signal that does not vary.

    ``signal`` (time_s, node), three samples or more. Raises :class:`ConnectomeError`.
    """
    x = np.asarray(signal.transpose("time_s", "node").values, np.float64)
    if len(x) < 3:
        raise ConnectomeError("signal", "must have three samples or more", len(x), "Run for longer.")
    x = x - x.mean(0)
    norm = np.sqrt((x**2).sum(0))
    norm[norm <= 1e-12 * np.abs(signal.values).max(initial=0)] = np.nan
    x = x / norm
    names = signal.node.values
    return xr.DataArray(
        np.clip(x.T @ x, -1, 1), {"node": names, "other": names}, ("node", "other"), "fc", {"units": "1"}
    )


def fisher_z(matrix: ArrayLike) -> NDArray[np.float64]:
    """Correlations as Fisher's z, artanh; a matrix that has entries beyond -1 .. 1 off its diagonal is z already."""
    found = np.array(matrix, np.float64)
    off = np.eye(*found.shape) == 0
    if not (np.abs(found[off]) > 1).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            found[off] = np.arctanh(found[off])
    return found


def dense(where: str, connectome: Connectome, labels: Sequence[str] | None = None) -> NDArray[np.float64]:
    """(N, N) the weights of a connectome, such as one read from a file of correlations, in the order of ``labels`` if
    both have labels. Raises :class:`ConnectomeError` if the labels are not the same."""
    matrix: NDArray[np.float64] = np.asarray(connectome.to_scipy().todense(), np.float64)
    own = [label for r in connectome.regions.values() for label in r.labels.tolist()]
    if labels is None or not any(labels) or not any(own):
        return matrix
    place = {label: i for i, label in enumerate(own)}
    if len(place) < len(own) or set(place) != set(labels):
        lost = sorted(set(labels) ^ set(place))
        raise ConnectomeError(where, "must have the labels of the nodes, each once", repr(lost[0]) if lost else "two")
    order = [place[label] for label in labels]
    return matrix[np.ix_(order, order)]


def upper(where: str, matrix: ArrayLike) -> NDArray[np.float64]:
    """(N (N - 1) / 2,) the entries above the diagonal of a symmetric matrix. Raises :class:`ConnectomeError`."""
    found = np.asarray(matrix, np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise ConnectomeError(where, "must be a square matrix", f"shape {found.shape}")
    apart = np.abs(found - found.T)
    if np.nanmax(apart, initial=0) > _SYMMETRIC * np.nanmax(np.abs(found), initial=0):
        row, column = np.unravel_index(int(np.nanargmax(apart)), found.shape)
        raise ConnectomeError(
            where, "must be symmetric", f"{found[row, column]:g} and {found[column, row]:g} at {row}, {column}"
        )
    return found[np.triu_indices(len(found), 1)]


def agreement(one: ArrayLike, other: ArrayLike, *, ranks: bool = False) -> float:
    """The correlation of two matrices' entries above the diagonal: Pearson's or, with ``ranks``, Spearman's. A pair of
    entries of which either is not finite does not count; nan if fewer than three pairs are left, or one matrix does not
    vary. Raises :class:`ConnectomeError`."""
    x, y = upper("one", one), upper("other", other)
    if x.shape != y.shape:
        raise ConnectomeError("other", f"must have {len(np.asarray(one))} nodes", len(np.asarray(other)))
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    if ranks:
        from scipy.stats import rankdata

        x, y = rankdata(x), rankdata(y)
    return float(np.corrcoef(x, y)[0, 1])


class BesideNulls(NamedTuple):
    """Runs on the measured wiring beside runs on null wiring: means with 95 % intervals; the standard deviation over
    the null runs; ``p``, one-sided: how often a run on null wiring reaches the mean of those on the measured wiring."""

    measured: Mean
    nulls: Mean
    sd: float
    p: float


def beside(measured: ArrayLike, nulls: ArrayLike) -> BesideNulls:
    """Compare the agreement of each run on measured wiring with that of each run on a null of its own; p is nan without
    nulls."""
    of, null = mean_of(measured), np.asarray(nulls, np.float64)
    p = float(p_value(np.array(of.mean), null)) if null.size else float("nan")
    sd = float(null.std(ddof=1)) if null.size > 1 else float("nan")
    return BesideNulls(of, mean_of(null), sd, p)
