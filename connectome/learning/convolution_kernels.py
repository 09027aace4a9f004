"""Convolutions: weights that many connections share, and no list of connections.

As with matrices, spikes of a sample select what to add, one sample at a time; layouts change at the border. A spike of
a source map reaches, in a row of the target maps, places side by side, whose kernels lie side by side in memory: so a
row of kernels is added to a row of a panel, the channels (target maps) innermost, without an index. With a stride s,
a spike reaches every s-th column of a kernel, by its phase: kernels are stored phase by phase, columns backwards.

Maps without a weight in a set take no part in it. The channels are padded to whole vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner
from connectome.lanes_kernels import (
    first_lane,
    lanes_total,
    later_lanes,
    load_lanes,
    multiply_add,
    no_lanes,
    store_lanes,
    turn_lanes,
)
from connectome.learning.bundle_kernels import LANES, Scratch, Whole, slot

__all__ = [
    "FILTERS", "NOWHERE", "Convolutions", "deliver_filters", "spike_gradient_filters", "weight_gradient_filters",
]  # fmt: skip

#: A convolution, with tables at these places of one array of whole numbers.
#:
#: maps, places, rows : source maps that take part, places of a map, rows of their grid
#: made, wide, places_to, rows_to : likewise of the targets; ``wide`` is ``made`` in whole vectors
#: taps_y, taps_x, stride : the rectangle around all offsets; ``dy`` : row of the source that reaches row 0 by its first
#: left, width : a row of a panel has ``width`` places, the target's column 0 after ``left`` of them
#: in_map (maps,), out_map (made,) : which maps take part
#: row (rows + 1,), place (places,) : a source's places of a row are ``place[row[y] : row[y + 1]]``, by phase
#: begin, many, panel (places,) : the kernel's first column that reaches such a place, how many, and to where in a panel
#: row_to, column_to : likewise the target's rows, whose places are in order, and their columns
#: reach (rows, taps_y) : the target's row that a source's row reaches, or NOWHERE
FILTERS = np.dtype(
    [("dy", np.int64)] + [(name, np.uint64) for name in (
        "maps", "places", "rows", "made", "wide", "places_to", "rows_to", "taps_y", "taps_x", "stride", "left", "width",
        "in_map", "out_map", "row", "place", "begin", "many", "panel", "row_to", "column_to", "reach",
    )]
)  # fmt: skip
NOWHERE = 2**32 - 1

Array = NDArray[Any]
_U0, _U1, _U2, _U3, _U4 = (np.uint64(i) for i in range(5))
_W = np.uint64(LANES)
_TWICE = 2 * LANES
_2W = np.uint64(_TWICE)
_16, _LOW = np.uint64(16), np.uint64(2**16 - 1)
_NOWHERE = np.uint64(NOWHERE)


class Convolutions(NamedTuple):
    """Those of a network; a bundle's ``row`` says which it is, its ``matrix`` where its weights begin."""

    filters: Array  # of FILTERS
    table: Array  # uint32


@inner
def _at(table: Array, first: Whole, i: Whole) -> Any:
    return np.uint64(table[first + i])


@inner
def _lists(mask: Array, source: Whole, c: Any, table: Array, scratch: Scratch) -> None:
    """The spikes of each sample k, row by row: ``entries[k * n + ends[k * (rows + 1) + y]]`` up to the next row's, each
    a map times 2**16 plus a place in the row."""
    entries, ends = scratch.entries, scratch.ends
    n, rows = c.maps * c.places, c.rows + _U1
    for lane in range(_W):
        ends[lane * rows] = _U0
    for y in range(c.rows):
        for lane in range(_W):
            ends[lane * rows + y + _U1] = ends[lane * rows + y]
        begin, end = _at(table, c.row, y), _at(table, c.row, y + _U1)
        for m in range(c.maps):
            base = source + _at(table, c.in_map, m) * c.places
            for j in range(begin, end):
                bits = mask[base + _at(table, c.place, j)]
                while bits:
                    sample = np.uint64(first_lane(bits))
                    bits = later_lanes(bits)
                    count = ends[sample * rows + y + _U1]
                    entries[sample * n + count] = (m << _16) | (j - begin)
                    ends[sample * rows + y + _U1] = count + _U1


@inner
def _spread(c: Any) -> Any:
    """The distance of two samples' rows in a panel: a line more than they are long, so that they share no places of a
    cache."""
    return c.width * c.wide + _W


@inner
def deliver_filters(
    b: Any, convolutions: Convolutions, weight: Array, mask: Array, first: Whole, stop: Whole, size: Whole,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Add the spikes of steps first .. stop - 1 to the arrivals."""
    c, table = convolutions.filters[b.row], convolutions.table
    for t in range(first, stop):
        _lists(mask[t], b.source, c, table, scratch)
        if _any(c, scratch):
            _deliver_step(b, c, table, weight, slot(scratch.ring, t + b.delay, size), scratch)


@inner
def _any(c: Any, scratch: Scratch) -> bool:
    found = _U0
    for lane in range(_W):
        found |= scratch.ends[lane * (c.rows + _U1) + c.rows]
    return bool(found != _U0)


@inner
def _deliver_step(b: Any, c: Any, table: Array, weight: Array, here: Whole, scratch: Scratch) -> None:
    entries, ends, panel, ring = scratch.entries, scratch.ends, scratch.panel, scratch.ring
    n, rows, row, square = c.maps * c.places, c.rows + _U1, _spread(c), _W * _spread(c)
    kernel = c.taps_x * c.wide
    for to in range(c.rows_to):
        some = _U0
        for lane in range(_W):
            at = lane * row
            for z in range(at, at + row, _W):
                store_lanes(panel, z, no_lanes(panel, LANES))
            for ky in range(c.taps_y):
                signed = np.int64(to * c.stride + ky) + c.dy
                if signed < 0 or signed >= np.int64(c.rows):
                    continue
                y = np.uint64(signed)
                begin, end = ends[lane * rows + y], ends[lane * rows + y + _U1]
                some |= end - begin
                line = _at(table, c.row, y)
                for e in range(lane * n + begin, lane * n + end):
                    code = np.uint64(entries[e])
                    x = line + (code & _LOW)
                    src = ((code >> _16) * c.taps_y + ky) * kernel + _at(table, c.begin, x) * c.wide + b.matrix
                    out = at + _at(table, c.panel, x) * c.wide
                    _add(panel, out, weight, src, _at(table, c.many, x) * c.wide)
        if some == _U0:
            continue
        for j in range(_at(table, c.row_to, to), _at(table, c.row_to, to + _U1)):
            x = (c.left + _at(table, c.column_to, j)) * c.wide
            for z in range(_U0, c.wide, _W):
                turn_lanes(panel, x + z, row, panel, square, _W, LANES)
                for k in range(min(_W, c.made - z)):
                    at = here + (b.target + _at(table, c.out_map, z + k) * c.places_to + j) * _W
                    total = load_lanes(ring, at, LANES) + load_lanes(panel, square + k * _W, LANES)
                    store_lanes(ring, at, total)


@inner
def _add(x: Array, at: Whole, y: Array, other: Whole, n: Whole) -> None:
    """``x[at : at + n] += y[other : other + n]``, whole vectors."""
    z = _U0
    while z + _2W <= n:
        store_lanes(x, at + z, load_lanes(x, at + z, _TWICE) + load_lanes(y, other + z, _TWICE))
        z += _2W
    if z < n:
        store_lanes(x, at + z, load_lanes(x, at + z, LANES) + load_lanes(y, other + z, LANES))


@inner
def _clear(c: Any, panel: Array) -> None:
    for z in range(_U0, _W * (c.rows_to * c.width * c.wide + _W), _W):
        store_lanes(panel, z, no_lanes(panel, LANES))


@inner
def _panels(b: Any, c: Any, table: Array, here: Whole, scratch: Scratch) -> None:
    """The adjoints of a step, sample by sample: (LANES, rows_to, width, wide), zeros beside and between the targets."""
    panel, ring, lane = scratch.panel, scratch.ring, c.rows_to * c.width * c.wide + _W
    square = _W * lane
    for to in range(c.rows_to):
        for j in range(_at(table, c.row_to, to), _at(table, c.row_to, to + _U1)):
            x = (to * c.width + c.left + _at(table, c.column_to, j)) * c.wide
            for z in range(_U0, c.wide, _W):
                for k in range(min(_W, c.made - z)):
                    at = here + (b.target + _at(table, c.out_map, z + k) * c.places_to + j) * _W
                    store_lanes(panel, square + k * _W, load_lanes(ring, at, LANES))
                for k in range(min(_W, c.made - z), _W):
                    store_lanes(panel, square + k * _W, no_lanes(panel, LANES))
                turn_lanes(panel, square, _W, panel, x + z, lane, LANES)


@inner
def weight_gradient_filters(
    b: Any, convolutions: Convolutions, mask: Array, first: Whole, stop: Whole, size: Whole, scratch: Scratch,
    gradient: Array,
) -> None:  # fmt: skip
    """Add, for each weight, the adjoints of its targets' currents when its sources' spikes arrived."""
    c, table = convolutions.filters[b.row], convolutions.table
    entries, ends, panel = scratch.entries, scratch.ends, scratch.panel
    n, rows, kernel = c.maps * c.places, c.rows + _U1, c.taps_x * c.wide
    line, lane_size = c.width * c.wide, c.rows_to * c.width * c.wide + _W
    _clear(c, panel)
    for t in range(first, stop):
        _lists(mask[t], b.source, c, table, scratch)
        if not _any(c, scratch):
            continue
        _panels(b, c, table, slot(scratch.ring, t + b.delay, size), scratch)
        for lane in range(_W):
            for y in range(c.rows):
                row = _at(table, c.row, y)
                for e in range(lane * n + ends[lane * rows + y], lane * n + ends[lane * rows + y + _U1]):
                    code = np.uint64(entries[e])
                    x = row + (code & _LOW)
                    out = (code >> _16) * c.taps_y * kernel + _at(table, c.begin, x) * c.wide + b.matrix
                    src = lane * lane_size + _at(table, c.panel, x) * c.wide
                    many = _at(table, c.many, x) * c.wide
                    for ky in range(c.taps_y):
                        to = _at(table, c.reach, y * c.taps_y + ky)
                        if to != _NOWHERE:
                            _add(gradient, out + ky * kernel, panel, src + to * line, many)


@inner
def spike_gradient_filters(
    b: Any, convolutions: Convolutions, weight: Array, near: Array, first: Whole, stop: Whole, base: Whole,
    size: Whole, scratch: Scratch,
) -> None:  # fmt: skip
    """Add the adjoints of the sources' spikes in steps first .. stop - 1, of the samples ``near`` their threshold."""
    c, table = convolutions.filters[b.row], convolutions.table
    entries, ends, back = scratch.entries, scratch.ends, scratch.back
    n, rows, wide = c.maps * c.places, c.rows + _U1, np.uint64(near.shape[1]) * _W
    _clear(c, scratch.panel)
    for t in range(first, stop):
        _lists(near[t], b.source, c, table, scratch)
        if not _any(c, scratch):
            continue
        _panels(b, c, table, slot(scratch.ring, t + b.delay, size), scratch)
        for lane in range(_W):
            begin = (t - base) * wide + lane
            for y in range(c.rows):
                row = _at(table, c.row, y)
                e, end = lane * n + ends[lane * rows + y], lane * n + ends[lane * rows + y + _U1]
                while e < end:
                    code = np.uint64(entries[e])
                    m, many, phase = code >> _16, _U1, _at(table, c.begin, row + (code & _LOW))
                    while many < _U4 and e + many < end:
                        other = np.uint64(entries[e + many])
                        if other >> _16 != m or _at(table, c.begin, row + (other & _LOW)) != phase:
                            break
                        many += _U1
                    _products(b, c, table, weight, e, many, lane, y, begin, back, scratch)
                    e += many


@inner
def _products(
    b: Any, c: Any, table: Array, weight: Array, e: Whole, many: Whole, lane: Whole, y: Whole, begin: Whole,
    back: Array, scratch: Scratch,
) -> None:  # fmt: skip
    """Up to four spikes of a map, a row and a phase: what their kernels send back."""
    entries, panel = scratch.entries, scratch.panel
    code = np.uint64(entries[e])
    m, row = code >> _16, _at(table, c.row, y)
    x0, x1 = row + (code & _LOW), row + (np.uint64(entries[e + min(_U1, many - _U1)]) & _LOW)
    x2 = row + (np.uint64(entries[e + min(_U2, many - _U1)]) & _LOW)
    x3 = row + (np.uint64(entries[e + min(_U3, many - _U1)]) & _LOW)
    line, kernel = c.width * c.wide, c.taps_x * c.wide
    length = _at(table, c.many, x0) * c.wide
    at = lane * (c.rows_to * line + _W)
    p0, p1 = at + _at(table, c.panel, x0) * c.wide, at + _at(table, c.panel, x1) * c.wide
    p2, p3 = at + _at(table, c.panel, x2) * c.wide, at + _at(table, c.panel, x3) * c.wide
    t0, t1 = no_lanes(panel, LANES), no_lanes(panel, LANES)
    t2, t3 = no_lanes(panel, LANES), no_lanes(panel, LANES)
    for ky in range(c.taps_y):
        to = _at(table, c.reach, y * c.taps_y + ky)
        if to == _NOWHERE:
            continue
        src, down = (m * c.taps_y + ky) * kernel + _at(table, c.begin, x0) * c.wide + b.matrix, to * line
        f0, f1, f2, f3 = p0 + down, p1 + down, p2 + down, p3 + down
        if many > _U2:
            for z in range(_U0, length, _W):
                w = load_lanes(weight, src + z, LANES)
                t0 = multiply_add(w, load_lanes(panel, f0 + z, LANES), t0)
                t1 = multiply_add(w, load_lanes(panel, f1 + z, LANES), t1)
                t2 = multiply_add(w, load_lanes(panel, f2 + z, LANES), t2)
                t3 = multiply_add(w, load_lanes(panel, f3 + z, LANES), t3)
        else:
            for z in range(_U0, length, _W):
                w = load_lanes(weight, src + z, LANES)
                t0 = multiply_add(w, load_lanes(panel, f0 + z, LANES), t0)
                t1 = multiply_add(w, load_lanes(panel, f1 + z, LANES), t1)
    base = begin + (b.source + _at(table, c.in_map, m) * c.places) * _W
    back[base + _at(table, c.place, x0) * _W] += lanes_total(t0)
    if many > _U1:
        back[base + _at(table, c.place, x1) * _W] += lanes_total(t1)
    if many > _U2:
        back[base + _at(table, c.place, x2) * _W] += lanes_total(t2)
    if many > _U3:
        back[base + _at(table, c.place, x3) * _W] += lanes_total(t3)
