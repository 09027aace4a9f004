"""What a bundle of edges does to a tile: deliver spikes, send gradients back, and collect those of its weights.

A bundle is the edges of one edge set with one delay, by source. A tile is ``LANES`` samples side by side, innermost in
memory: a spike that several of them share streams its row once. Spikes are bits: one mask per step and neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import kernel
from connectome.lanes_kernels import lanes_total, load_lanes, mask_lanes, multiply_add, no_lanes, store_lanes

__all__ = ["CHUNK", "LANES", "Bundles", "Mask", "Scratch", "deliver", "spike_gradient", "weight_gradient"]

#: Samples in a tile: two vectors of AVX2 hide the latency of a multiply-add; wider ones gain no more.
LANES = 16
#: One bit a sample.
Mask = np.uint16
#: Steps that one component of the network takes before the next does.
CHUNK = 32

Array = NDArray[Any]
_U0, _U1, _U2, _U3, _U4 = (np.uint64(i) for i in range(5))
_W = np.uint64(LANES)


class Bundles(NamedTuple):
    """S bundles, (S,) uint64 each, and their edges.

    Neurons are numbered in two ways: all N of them, as in masks, and the N' that have a membrane, which come first.
    """

    delay: Array  # steps
    source: Array  # first neuron of the source region
    n_source: Array
    target: Array  # first neuron of the target region
    n_target: Array
    forward: Array  # how spikes are delivered: by SPARSE rows, DENSE ones, or not at all
    backward: Array  # how the gradient of the source's spikes is found
    row: Array  # first row of a sparse bundle
    n_rows: Array
    matrix: Array  # first weight of a dense one
    columns: Array  # of its matrix: n_target, rounded up
    rows: Array  # (R,) uint32, the source of each row in its region; sources without an edge have none
    indptr: Array  # (R + 1,) uint64
    place: Array  # (E,) uint32, target of each edge in sparse rows; plus N' if it is inhibitory and C = 2


class Scratch(NamedTuple):
    """Buffers of one thread."""

    ring: Array  # (CHUNK + D, C, N', LANES): arrivals, or adjoints of currents; zeros between forward passes
    back: Array  # (CHUNK, N', LANES): adjoints of spikes; zeros between backward passes
    first: Array  # (N', LANES): potentials, or their adjoints
    second: Array  # (C, N', LANES): currents, or their adjoints
    held: Array  # (N') mask: refractory
    when: Array  # (CHUNK,) uint64
    spikes: Array  # (CHUNK, LANES)
    offset: Array  # (CHUNK,) uint64: the ring's slot for each step of a chunk
    entries: Array  # spikes of a chunk, for dense rows
    counts: Array
    sums: Array  # (LANES,)
    panel: Array  # a chunk of a dense bundle's targets, LANES outermost


@kernel
def offsets(scratch: Scratch, delay: np.uint64, first: np.uint64, stop: np.uint64, size: np.uint64) -> None:
    """Where the ring holds steps first + delay .. stop - 1 + delay."""
    slots = np.uint64(scratch.ring.size) // size
    for t in range(stop - first):
        scratch.offset[t] = (first + t + delay) % slots * size


@kernel
def _active(mask: Array, neuron: np.uint64, first: np.uint64, stop: np.uint64, scratch: Scratch) -> np.uint64:
    """List the steps of a chunk at which a neuron fires in any lane: how many, where they arrive, and the spikes."""
    count = _U0
    for t in range(first, stop):
        scratch.when[count] = t
        count += np.uint64(mask[t, neuron] != 0)
    for a in range(count):
        t = scratch.when[a]
        store_lanes(scratch.spikes, a * _W, mask_lanes(scratch.spikes, mask[t, neuron]))
        scratch.when[a] = scratch.offset[t - first]
    return count


@kernel
def deliver(
    b: Bundles, s: np.uint64, weight: Array, mask: Array, first: np.uint64, stop: np.uint64, size: np.uint64,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Add the spikes of steps first .. stop - 1 to the arrivals."""
    offsets(scratch, b.delay[s], first, stop, size)
    ring, spikes, when = scratch.ring, scratch.spikes, scratch.when
    for row in range(b.row[s], b.row[s] + b.n_rows[s]):
        count = _active(mask, b.source[s] + np.uint64(b.rows[row]), first, stop, scratch)
        if count == 0:
            continue
        if count == 1:
            on = load_lanes(spikes, _U0, LANES)
            for j in range(b.indptr[row], b.indptr[row + _U1]):
                at = when[0] + np.uint64(b.place[j]) * _W
                store_lanes(ring, at, multiply_add(weight[j], on, load_lanes(ring, at, LANES)))
            continue
        for j in range(b.indptr[row], b.indptr[row + _U1]):
            target = np.uint64(b.place[j]) * _W
            w = weight[j]
            for a in range(count):
                at = when[a] + target
                store_lanes(ring, at, multiply_add(w, load_lanes(spikes, a * _W, LANES), load_lanes(ring, at, LANES)))


@kernel
def weight_gradient(
    b: Bundles, s: np.uint64, mask: Array, first: np.uint64, stop: np.uint64, size: np.uint64, scratch: Scratch,
    gradient: Array,
) -> None:  # fmt: skip
    """Add, for each edge, the adjoint of its target's current when its source's spikes arrived."""
    offsets(scratch, b.delay[s], first, stop, size)
    ring, spikes, when = scratch.ring, scratch.spikes, scratch.when
    for row in range(b.row[s], b.row[s] + b.n_rows[s]):
        count = _active(mask, b.source[s] + np.uint64(b.rows[row]), first, stop, scratch)
        if count == 0:
            continue
        for j in range(b.indptr[row], b.indptr[row + _U1]):
            target = np.uint64(b.place[j]) * _W
            total = no_lanes(ring, LANES)
            for a in range(count):
                total = multiply_add(
                    load_lanes(spikes, a * _W, LANES), load_lanes(ring, when[a] + target, LANES), total
                )
            gradient[j] += lanes_total(total)


@kernel
def spike_gradient(
    b: Bundles, s: np.uint64, weight: Array, near: Array, first: np.uint64, stop: np.uint64, base: np.uint64,
    size: np.uint64, scratch: Scratch,
) -> None:  # fmt: skip
    """Add the adjoints of the sources' spikes in steps first .. stop - 1, where any lane is ``near`` its threshold."""
    offsets(scratch, b.delay[s], first, stop, size)
    ring, back, offset = scratch.ring, scratch.back, scratch.offset
    wide = np.uint64(near.shape[1]) * _W
    for row in range(b.row[s], b.row[s] + b.n_rows[s]):
        i = b.source[s] + np.uint64(b.rows[row])
        begin, end = b.indptr[row], b.indptr[row + _U1]
        t = first
        while t + _U4 <= stop:
            if near[t, i] | near[t + _U1, i] | near[t + _U2, i] | near[t + _U3, i]:
                o0, o1, o2, o3 = (
                    offset[t - first],
                    offset[t - first + _U1],
                    offset[t - first + _U2],
                    offset[t - first + _U3],
                )
                at = (t - base) * wide + i * _W
                x0, x1 = load_lanes(back, at, LANES), load_lanes(back, at + wide, LANES)
                x2, x3 = load_lanes(back, at + _U2 * wide, LANES), load_lanes(back, at + _U3 * wide, LANES)
                for j in range(begin, end):
                    target = np.uint64(b.place[j]) * _W
                    w = weight[j]
                    x0 = multiply_add(w, load_lanes(ring, o0 + target, LANES), x0)
                    x1 = multiply_add(w, load_lanes(ring, o1 + target, LANES), x1)
                    x2 = multiply_add(w, load_lanes(ring, o2 + target, LANES), x2)
                    x3 = multiply_add(w, load_lanes(ring, o3 + target, LANES), x3)
                store_lanes(back, at, x0)
                store_lanes(back, at + wide, x1)
                store_lanes(back, at + _U2 * wide, x2)
                store_lanes(back, at + _U3 * wide, x3)
            t += _U4
        while t < stop:
            if near[t, i]:
                o0 = offset[t - first]
                at = (t - base) * wide + i * _W
                x0, x1 = load_lanes(back, at, LANES), no_lanes(back, LANES)
                if (end - begin) & _U1:
                    x1 = multiply_add(
                        weight[end - _U1], load_lanes(ring, o0 + np.uint64(b.place[end - _U1]) * _W, LANES), x1
                    )
                for half in range((end - begin) // _U2):
                    j = begin + half * _U2
                    x0 = multiply_add(weight[j], load_lanes(ring, o0 + np.uint64(b.place[j]) * _W, LANES), x0)
                    j += _U1
                    x1 = multiply_add(weight[j], load_lanes(ring, o0 + np.uint64(b.place[j]) * _W, LANES), x1)
                store_lanes(back, at, x0 + x1)
            t += _U1
