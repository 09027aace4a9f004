"""How kernel sets are laid out for training: see :mod:`connectome.learning.convolution_kernels`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import Maps
from connectome.learning.bundle_kernels import LANES
from connectome.learning.convolution_kernels import FILTERS, NOWHERE

__all__ = ["Filters", "laid_out", "moved", "room"]

#: The fields of a record that say where its tables are.
_TABLES = ("in_map", "out_map", "row", "place", "begin", "many", "panel", "row_to", "column_to", "reach")


class Filters(NamedTuple):
    """A convolution for the kernels: its record, whose tables begin at 0; the tables; how many places its weights take,
    and which each of them has, (K,)."""

    record: NDArray[Any]
    table: NDArray[np.uint32]
    n_places: int
    places: NDArray[np.int64]


def laid_out(kernels: KernelSet) -> Filters:
    """A set that has a weight."""
    s, t, stride = kernels.source_maps, kernels.target_maps, kernels.stride
    in_map, of_in = np.unique(kernels.in_map, return_inverse=True)
    out_map, of_out = np.unique(kernels.out_map, return_inverse=True)
    low = int(kernels.dy.min()), int(kernels.dx.min())
    ky, kx = kernels.dy.astype(np.int64) - low[0], kernels.dx.astype(np.int64) - low[1]
    taps_y, taps_x, wide = int(ky.max()) + 1, int(kx.max()) + 1, -(-out_map.size // LANES) * LANES
    dy, dx = kernels.shift(*low)
    # Columns of kernels, phase by phase, each backwards.
    length = (taps_x - np.arange(stride) + stride - 1).clip(min=0) // stride
    first = np.cumsum(length) - length
    column = first[kx % stride] + length[kx % stride] - 1 - kx // stride
    places = ((of_in.reshape(-1) * taps_y + ky) * taps_x + column) * wide + of_out.reshape(-1)
    # What a column of the source reaches.
    phase, last = (s.column - dx) % stride, (s.column - dx) // stride
    begins = last - length[phase] + 1
    left = max(0, -int(begins.min()))
    width = left + max(int(last.max()), t.width - 1) + 1
    order = np.lexsort((s.column, phase, s.row))
    reached, over = np.divmod(np.arange(s.height)[:, None] - dy - np.arange(taps_y), stride)
    reach = np.where((over == 0) & (reached >= 0) & (reached < t.height), reached, NOWHERE)
    tables: tuple[NDArray[Any], ...] = (
        in_map, out_map, _rows(s), order, first[phase][order], length[phase][order], (begins + left)[order], _rows(t),
        t.column, reach.ravel(),
    )  # fmt: skip
    record = np.zeros(1, FILTERS)
    record["dy"] = dy
    at = 0
    for name, table in zip(_TABLES, tables, strict=True):
        record[name], at = at, at + table.size
    for name, value in (
        ("maps", in_map.size), ("places", s.places), ("rows", s.height), ("made", out_map.size), ("wide", wide),
        ("places_to", t.places), ("rows_to", t.height), ("taps_y", taps_y), ("taps_x", taps_x), ("stride", stride),
        ("left", left), ("width", width),
    ):  # fmt: skip
        record[name] = value
    table = np.concatenate([table.astype(np.uint32) for table in tables])
    return Filters(record, table, in_map.size * taps_y * taps_x * wide, places)


def moved(record: NDArray[Any], by: int) -> NDArray[Any]:
    """The record where its tables stand behind others."""
    record = record.copy()
    for name in _TABLES:
        record[name] += by
    return record


def room(filters: NDArray[Any]) -> tuple[int, int, int]:
    """What convolutions need of a thread's buffers: entries, their ends, and a panel."""
    c = {name: filters[name].astype(np.int64) for name in FILTERS.names or ()}
    entries = LANES * c["maps"] * c["places"]
    ends = LANES * (c["rows"] + 1)
    panel = LANES * (c["rows_to"] * c["width"] * c["wide"] + LANES) + LANES * LANES
    return tuple(int(n.max(initial=0)) for n in (entries, ends, panel))  # type: ignore[return-value]


def _rows(maps: Maps) -> NDArray[np.int64]:
    """(height + 1,) where the places of each row begin."""
    return np.searchsorted(maps.row, np.arange(maps.height + 1))
