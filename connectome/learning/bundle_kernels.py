"""What a bundle of edges does to a tile: deliver spikes, send gradients back, and collect those of its weights.

A bundle is the edges of one edge set with one delay, by source. A tile is ``LANES`` samples side by side, innermost in
memory: a spike that several of them share streams its row once. Spikes are bits: one mask per step and neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner, kernel
from connectome.lanes_kernels import lanes_total, load_lanes, mask_lanes, multiply_add, no_lanes, store_lanes

__all__ = [
    "BLOCK", "BUNDLE", "CHUNK", "LANES", "Mask", "Rows", "Scratch", "Whole", "deliver", "neuron_type", "offsets",
    "pack", "region_type", "slot", "spike_gradient", "weight_gradient",
]  # fmt: skip

#: Samples in a tile: two vectors of AVX2 hide the latency of a multiply-add; wider ones gain no more.
LANES = 16
#: Columns of a matrix that are added at once: what fits in the registers of AVX2.
BLOCK = 64
#: One bit a sample.
Mask = np.uint16
#: Steps that one component of the network takes before the next does.
CHUNK = 32

Array = NDArray[Any]
Whole = int | np.uint64
_U0, _U1, _U2, _U3, _U4 = (np.uint64(i) for i in range(5))
_W = np.uint64(LANES)


#: A bundle. Neurons are numbered in two ways: all N of them, as in masks, and the N' that have a membrane, which come
#: first. ``source``, ``target``: first neurons of the regions. ``forward``, ``backward``: how spikes are delivered, and
#: how the gradient of the source's spikes is found: by SPARSE rows, DENSE ones, or not at all. A sparse bundle has rows
#: ``row`` .. ``row_stop`` - 1; a dense one a matrix of so many ``columns`` from the place ``matrix`` on.
BUNDLE = np.dtype(
    [(name, np.uint64) for name in (
        "delay", "source", "n_source", "target", "n_target", "forward", "backward", "row", "row_stop", "matrix",
        "columns",
    )]
)  # fmt: skip


def neuron_type(real: Any) -> Any:
    """The constants of a neuron, see :class:`connectome.neurons.iaf_psc_exp.Dynamics`; ``bias`` = p20 * i_e, mV."""
    reals = ("p22", "p21", "p11", "p21_in", "p11_in", "bias", "theta", "v_reset")
    return np.dtype([("ref_steps", np.uint64), *((name, real) for name in reals)], align=True)


def region_type(real: Any) -> Any:
    """A region with a membrane: its neurons, start .. stop - 1; ``column``: where an effector's potential goes, -1 for
    neurons; ``inverse_width``: of the surrogate, 1/mV; and the constants of its neurons, if they are alike."""
    whole = [("start", np.uint64), ("stop", np.uint64), ("column", np.int64)]
    constants = [(name, field[0]) for name, field in neuron_type(real).fields.items()]
    return np.dtype([*whole, ("inverse_width", real), *constants], align=True)


class Rows(NamedTuple):
    """The edges of sparse bundles; sources without an edge have no row."""

    source: Array  # (R,) uint32, in its region
    indptr: Array  # (R + 1,) uint64
    place: Array  # (E,) uint32, target of each edge; plus N' if it is inhibitory and C = 2


class Scratch(NamedTuple):
    """Buffers of one thread."""

    ring: (
        Array  # (CHUNK + D, C, N', LANES): arrivals, or adjoints of currents; zeros between forward passes; and a block
    )
    back: Array  # (CHUNK, N', LANES): adjoints of spikes; zeros between backward passes
    state: Array  # (1 + C, N', LANES): potentials and currents, or their adjoints
    held: Array  # (N') mask: refractory
    offset: Array  # (2, CHUNK) uint64: the ring's slot for each step of a chunk; the same for steps with a spike
    values: Array  # (CHUNK, LANES): their spikes
    entries: Array  # lists of spikes of a chunk, for dense rows
    ends: Array  # where each list ends
    panel: Array  # a chunk of a dense bundle's targets, LANES outermost


@inner
def slot(ring: Array, t: Whole, size: Whole) -> Any:
    """Where the ring holds step t."""
    return t % ((np.uint64(ring.size) - _W * np.uint64(BLOCK)) // size) * size


@inner
def offsets(ring: Array, offset: Array, delay: Whole, first: Whole, stop: Whole, size: Whole) -> None:
    """Where the ring holds steps first + delay .. stop - 1 + delay."""
    for t in range(stop - first):
        offset[0, t] = slot(ring, first + t + delay, size)


@inner
def _active(mask: Array, neuron: Whole, first: Whole, stop: Whole, offset: Array, values: Array) -> Any:
    """List the steps of a chunk at which a neuron fires in any lane: how many, where they arrive, and the spikes."""
    count = _U0
    for t in range(first, stop):
        offset[1, count] = t
        count += np.uint64(mask[t, neuron] != 0)
    for a in range(count):
        t = offset[1, a]
        store_lanes(values, a * _W, mask_lanes(values, mask[t, neuron]))
        offset[1, a] = offset[0, t - first]
    return count


@inner
def deliver(
    b: Any, rows: Rows, weight: Array, mask: Array, first: Whole, stop: Whole, size: Whole,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Add the spikes of steps first .. stop - 1 to the arrivals."""
    offsets(scratch.ring, scratch.offset, b.delay, first, stop, size)
    ring, values, offset = scratch.ring, scratch.values, scratch.offset
    if stop - first == 1:
        for row in range(b.row, b.row_stop):
            bits = mask[first, b.source + np.uint64(rows.source[row])]
            if bits:
                on = mask_lanes(values, bits)
                for j in range(rows.indptr[row], rows.indptr[row + _U1]):
                    at = offset[0, 0] + np.uint64(rows.place[j]) * _W
                    store_lanes(ring, at, multiply_add(weight[j], on, load_lanes(ring, at, LANES)))
        return
    for row in range(b.row, b.row_stop):
        count = _active(mask, b.source + np.uint64(rows.source[row]), first, stop, offset, values)
        if count == 0:
            continue
        for j in range(rows.indptr[row], rows.indptr[row + _U1]):
            target = np.uint64(rows.place[j]) * _W
            w = weight[j]
            for a in range(count):
                at = offset[1, a] + target
                store_lanes(ring, at, multiply_add(w, load_lanes(values, a * _W, LANES), load_lanes(ring, at, LANES)))


@inner
def weight_gradient(
    b: Any, rows: Rows, mask: Array, first: Whole, stop: Whole, size: Whole, scratch: Scratch,
    gradient: Array,
) -> None:  # fmt: skip
    """Add, for each edge, the adjoint of its target's current when its source's spikes arrived."""
    offsets(scratch.ring, scratch.offset, b.delay, first, stop, size)
    ring, values, offset = scratch.ring, scratch.values, scratch.offset
    for row in range(b.row, b.row_stop):
        count = _active(mask, b.source + np.uint64(rows.source[row]), first, stop, offset, values)
        if count == 0:
            continue
        for j in range(rows.indptr[row], rows.indptr[row + _U1]):
            target = np.uint64(rows.place[j]) * _W
            total = no_lanes(ring, LANES)
            for a in range(count):
                total = multiply_add(
                    load_lanes(values, a * _W, LANES), load_lanes(ring, offset[1, a] + target, LANES), total
                )
            gradient[j] += lanes_total(total)


@inner
def spike_gradient(
    b: Any, rows: Rows, weight: Array, near: Array, first: Whole, stop: Whole, base: Whole,
    size: Whole, scratch: Scratch,
) -> None:  # fmt: skip
    """Add the adjoints of the sources' spikes in steps first .. stop - 1, where any lane is ``near`` its threshold."""
    offsets(scratch.ring, scratch.offset, b.delay, first, stop, size)
    ring, back, offset = scratch.ring, scratch.back, scratch.offset
    wide = np.uint64(near.shape[1]) * _W
    for row in range(b.row, b.row_stop):
        i = b.source + np.uint64(rows.source[row])
        begin, end = rows.indptr[row], rows.indptr[row + _U1]
        t = first
        while t + _U4 <= stop:
            if near[t, i] | near[t + _U1, i] | near[t + _U2, i] | near[t + _U3, i]:
                o0, o1, o2, o3 = (
                    offset[0, t - first],
                    offset[0, t - first + _U1],
                    offset[0, t - first + _U2],
                    offset[0, t - first + _U3],
                )
                at = (t - base) * wide + i * _W
                x0, x1 = load_lanes(back, at, LANES), load_lanes(back, at + wide, LANES)
                x2, x3 = load_lanes(back, at + _U2 * wide, LANES), load_lanes(back, at + _U3 * wide, LANES)
                for j in range(begin, end):
                    target = np.uint64(rows.place[j]) * _W
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
                o0 = offset[0, t - first]
                at = (t - base) * wide + i * _W
                x0, x1 = load_lanes(back, at, LANES), no_lanes(back, LANES)
                if (end - begin) & _U1:
                    x1 = multiply_add(
                        weight[end - _U1], load_lanes(ring, o0 + np.uint64(rows.place[end - _U1]) * _W, LANES), x1
                    )
                for half in range((end - begin) // _U2):
                    j = begin + half * _U2
                    x0 = multiply_add(weight[j], load_lanes(ring, o0 + np.uint64(rows.place[j]) * _W, LANES), x0)
                    j += _U1
                    x1 = multiply_add(weight[j], load_lanes(ring, o0 + np.uint64(rows.place[j]) * _W, LANES), x1)
                store_lanes(back, at, x0 + x1)
            t += _U1


@kernel
def pack(spikes: Array, neuron: int, mask: Array, first: int, stride: int) -> None:
    """Bits of samples (B, T, n), set where not 0, to mask (tiles, T, N) from a neuron on; every ``stride``-th tile."""
    n = np.uint64(spikes.shape[2])
    for tile in range(np.uint64(first), np.uint64(len(mask)), np.uint64(stride)):
        samples = spikes[tile * _W : min(tile * _W + _W, np.uint64(len(spikes)))]
        for t in range(np.uint64(mask.shape[1])):
            now = mask[tile, t, np.uint64(neuron) : np.uint64(neuron) + n]
            now[:] = 0
            for k in range(np.uint64(len(samples))):
                bit = Mask(1 << k)
                sample = samples[k, t]
                for i in range(n):
                    now[i] += bit * Mask(sample[i] != 0)
