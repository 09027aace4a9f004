"""Bundles with many edges, as matrices: whole rows, one sample at a time, targets innermost.

The spikes of a sample select the rows to add, so that cost follows spikes rather than steps with a spike in any lane;
columns go in blocks that stay in registers. Layouts change at the border, a panel of targets at a time. Matrices are
stored block by block, so that one stays in the cache, and have whole blocks: those columns beyond the last target have
weights of 0, and gradients that nobody reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner
from connectome.lanes_kernels import (
    choose,
    first_lane,
    lanes_total,
    later_lanes,
    load_lanes,
    multiply_add,
    no_lanes,
    store_lanes,
    turn_lanes,
)
from connectome.learning.bundle_kernels import BLOCK, LANES, Scratch, Whole, offsets

__all__ = ["deliver_dense", "spike_gradient_dense", "weight_gradient_dense"]

Array = NDArray[Any]
_U0, _U1 = np.uint64(0), np.uint64(1)
_W = np.uint64(LANES)
_BLOCK = np.uint64(BLOCK)
_NOBODY = np.uint64(1 << LANES)


@inner
def _list(bits: int, at: Whole, entries: Array, count: Whole) -> Any:
    """Append ``at`` plus the lane of each spike to the entries; their count."""
    # Most masks have no spike or one or two, and which is past guessing: so two are always written, and counted if set.
    for _ in range(2):
        entries[count] = at + first_lane(bits | _NOBODY)
        count += np.uint64(bits != 0)
        bits = later_lanes(bits)
    while bits:
        entries[count] = at + first_lane(bits)
        count += _U1
        bits = later_lanes(bits)
    return count


@inner
def _spikes_of_samples(b: Any, mask: Array, first: Whole, stop: Whole, scratch: Scratch) -> None:
    """For each step and lane k, the sources that fire: ``entries[k * n : ends[k]]``."""
    entries, ends, n = scratch.entries, scratch.ends, b.n_source
    fired = (stop - first) * _W * n  # place for those of a step
    for t in range(first, stop):
        count, lists = fired, (t - first) * _W
        for i in range(n):
            count = _list(mask[t, b.source + i], i * _W, entries, count)
        for k in range(lists, lists + _W):
            ends[k] = k * n
        for e in range(fired, count):
            lane = np.uint64(entries[e]) % _W
            entries[ends[lists + lane]] = np.uint64(entries[e]) // _W
            ends[lists + lane] += _U1


@inner
def _spikes_of_sources(b: Any, mask: Array, first: Whole, stop: Whole, scratch: Scratch) -> None:
    """For each source i, when it fires: ``entries[ends[i] : ends[i + 1]]``, steps times LANES plus lane."""
    count = scratch.ends[0] = _U0
    for i in range(b.n_source):
        for t in range(first, stop):
            count = _list(mask[t, b.source + i], (t - first) * _W, scratch.entries, count)
        scratch.ends[i + _U1] = count


@inner
def deliver_dense(
    b: Any, weight: Array, mask: Array, first: Whole, stop: Whole, size: Whole,
    scratch: Scratch,
) -> None:  # fmt: skip
    """As :func:`connectome.learning.bundle_kernels.deliver`."""
    offsets(scratch.ring, scratch.offset, b.delay, first, stop, size)
    ring, panel, n, columns = scratch.ring, scratch.panel, b.n_source, b.columns
    _spikes_of_samples(b, mask, first, stop, scratch)
    square = _W * _BLOCK
    for column in range(_U0, columns, _BLOCK):
        for step in range(stop - first):
            for lane in range(_W):
                key = step * _W + lane
                total = no_lanes(weight, BLOCK)
                for e in range(key * n, scratch.ends[key]):
                    row = b.matrix + column * n + np.uint64(scratch.entries[e]) * _BLOCK
                    total = total + load_lanes(weight, row, BLOCK)
                store_lanes(panel, lane * _BLOCK, total)
            at = scratch.offset[0, step] + (b.target + column) * _W
            for x in range(_U0, _BLOCK, _W):
                turn_lanes(panel, x, _BLOCK, panel, square, _W, LANES)
                for k in range(_U0, _W * _W, _BLOCK):
                    to = at + x * _W + k
                    store_lanes(ring, to, load_lanes(ring, to, BLOCK) + load_lanes(panel, square + k, BLOCK))


@inner
def weight_gradient_dense(
    b: Any, mask: Array, first: Whole, stop: Whole, size: Whole, scratch: Scratch,
    gradient: Array,
) -> None:  # fmt: skip
    """As :func:`connectome.learning.bundle_kernels.weight_gradient`."""
    offsets(scratch.ring, scratch.offset, b.delay, first, stop, size)
    ring, panel, n, columns = scratch.ring, scratch.panel, b.n_source, b.columns
    _spikes_of_sources(b, mask, first, stop, scratch)
    for column in range(_U0, columns, _BLOCK):
        for step in range(stop - first):
            at = scratch.offset[0, step] + (b.target + column) * _W
            for x in range(_U0, _BLOCK, _W):
                turn_lanes(ring, at + x * _W, _W, panel, step * _W * _BLOCK + x, _BLOCK, LANES)
        for i in range(n):
            begin, end = scratch.ends[i], scratch.ends[i + _U1]
            if begin == end:
                continue
            at = b.matrix + column * n + i * _BLOCK
            total = load_lanes(gradient, at, BLOCK)
            for e in range(begin, end):
                total = total + load_lanes(panel, np.uint64(scratch.entries[e]) * _BLOCK, BLOCK)
            store_lanes(gradient, at, total)


@inner
def spike_gradient_dense(
    b: Any, weight: Array, near: Array, first: Whole, stop: Whole, base: Whole,
    size: Whole, scratch: Scratch,
) -> None:  # fmt: skip
    """As :func:`connectome.learning.bundle_kernels.spike_gradient`, for each lane that is near its threshold alone."""
    offsets(scratch.ring, scratch.offset, b.delay, first, stop, size)
    ring, back, panel, columns = scratch.ring, scratch.back, scratch.panel, b.columns
    wide = np.uint64(near.shape[1]) * _W
    no_sum = back.dtype.type(0)
    for t in range(first, stop):
        at = scratch.offset[0, t - first] + b.target * _W
        for x in range(_U0, columns, _W):
            turn_lanes(ring, at + x * _W, _W, panel, x, columns, LANES)
        for i in range(b.n_source):
            neuron = b.source + i
            bits = near[t, neuron]
            row = b.matrix + i * _BLOCK
            at = (t - base) * wide + neuron * _W
            while bits:
                # Four lanes at once share what is loaded of the row; the last is taken again where there are fewer.
                k0 = first_lane(bits)
                k1, bits = _next(k0, later_lanes(bits))
                k2, bits = _next(k1, bits)
                k3, bits = _next(k2, bits)
                x0 = x1 = x2 = x3 = no_lanes(weight, LANES)
                for x in range(_U0, columns, _W):
                    within = x % _BLOCK
                    w = load_lanes(weight, row + (x - within) * b.n_source + within, LANES)
                    x0 = multiply_add(w, load_lanes(panel, k0 * columns + x, LANES), x0)
                    x1 = multiply_add(w, load_lanes(panel, k1 * columns + x, LANES), x1)
                    x2 = multiply_add(w, load_lanes(panel, k2 * columns + x, LANES), x2)
                    x3 = multiply_add(w, load_lanes(panel, k3 * columns + x, LANES), x3)
                scratch.values[k0], scratch.values[k1] = lanes_total(x0), lanes_total(x1)
                scratch.values[k2], scratch.values[k3] = lanes_total(x2), lanes_total(x3)
            back_of = load_lanes(back, at, LANES)
            store_lanes(back, at, back_of + choose(near[t, neuron], load_lanes(scratch.values, _U0, LANES), no_sum))


@inner
def _next(lane: Whole, bits: int) -> Any:
    """The next lane, and the rest; the same lane again if there is none."""
    if bits:
        return first_lane(bits), later_lanes(bits)
    return lane, bits
