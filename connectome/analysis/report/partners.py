"""The strongest partners of the cells that a page shows: what drives each, and what it drives."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.report.render import packed
from connectome.graph.connectome import Connectome

__all__ = ["Partners", "strongest_partners"]

#: Rows of the two lists of all cells together, about; and the fewest and most in one list.
_ROWS: Final = 24_000
_FEWEST, _MOST = 5, 10


class Partners(NamedTuple):
    """``others`` are the partners that are not shown themselves. ``view`` is for the page's script: for each direction,
    the rows of all cells one after another; a partner is given by its place among the shown cells followed by the
    others."""

    others: NDArray[np.int64]
    view: dict[str, Any]


class _Rows(NamedTuple):
    """The pairs of some cells (numbered by ``cell``) and their partners, strongest first; and for each cell the number
    of its partners and the sum of |weight| over all its edges."""

    cell: NDArray[np.int64]
    other: NDArray[np.int64]
    weight: NDArray[np.float64]
    size: NDArray[np.float64]
    edges: NDArray[np.int64]
    partners: NDArray[np.int64]
    total: NDArray[np.float64]


def strongest_partners(c: Connectome, start: dict[str, int], n: int, shown: NDArray[np.int64]) -> Partners:
    """The strongest partners of each cell that is shown, by edges of all kinds; parallel edges are merged.

    Parameters
    ----------
    start : the number of the first cell of each region, among n
    shown : (S,) numbers of cells
    """
    rank = np.full(n, -1, np.int64)
    rank[shown] = np.arange(shown.size)
    most = min(_MOST, max(_FEWEST, _ROWS // (2 * max(shown.size, 1))))
    sides = {side: _strongest(c, start, n, rank, shown.size, most, side == "in") for side in ("in", "out")}
    every = np.unique(np.concatenate([rows.other for rows in sides.values()]))
    others = every[rank[every] < 0]
    rank[others] = shown.size + np.arange(others.size)
    view = {
        side: {
            "rows": packed(np.bincount(rows.cell, minlength=shown.size)), "cell": packed(rank[rows.other]),
            "weight": packed(rows.weight, np.float32), "edges": packed(rows.edges),
            "share": packed(_shares(rows.size, rows.total[rows.cell]), np.float32),
            "partners": packed(rows.partners),
        }
        for side, rows in sides.items()
    }  # fmt: skip
    return Partners(others, {**view, "most": most})


def _shares(size: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each size as a share of its total; nan where the total is 0."""
    share = np.full(size.shape, np.nan)
    np.divide(size, total, out=share, where=total > 0)
    return share


def _strongest(
    c: Connectome, start: dict[str, int], n: int, rank: NDArray[np.int64], n_shown: int, most: int, is_in: bool
) -> _Rows:  # fmt: skip
    cells, others, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for key, e in c.edges.items():
        here, there = (key.target, key.source) if is_in else (key.source, key.target)
        a, b = (e.target, e.source) if is_in else (e.source, e.target)
        mine = rank[start[here] : start[here] + c.regions[here].size]
        chosen = np.flatnonzero((mine >= 0)[a])
        cells.append(mine[a[chosen]])
        others.append(start[there] + b[chosen].astype(np.int64))
        weights.append(e.weight[chosen].astype(np.float64))
    cell, other, weight = np.concatenate(cells), np.concatenate(others), np.concatenate(weights)
    pair, at = np.unique(cell * max(n, 1) + other, return_inverse=True)
    cell, other = np.divmod(pair, max(n, 1))
    size, edges = np.bincount(at, np.abs(weight), pair.size), np.bincount(at, minlength=pair.size)
    summed, partners = np.bincount(at, weight, pair.size), np.bincount(cell, minlength=n_shown)
    order = np.lexsort((other, -size, cell))
    first = np.cumsum(partners) - partners
    kept = order[np.arange(pair.size) - first[cell[order]] < most]
    total = np.bincount(cell, size, n_shown).astype(np.float64)
    return _Rows(cell[kept], other[kept], summed[kept], size[kept], edges[kept], partners, total)
