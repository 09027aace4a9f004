"""Spike propagation of a batch and its exact surrogate-gradient backpropagation through time, over active neurons only.

A tile is ``LANES`` samples side by side, innermost in memory, so that the neuron update is vector code. Tiles do not
touch each other: they run on any number of threads with the same result.

Time goes in chunks of ``CHUNK`` steps. In a chunk the components of the graph of regions (regions that reach each
other) take turns, sources before targets, so that what lies between components is delivered a whole chunk at once;
inside a component a round is as long as its shortest delay. The backward pass is the same in reverse.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.bundle_kernels import (
    LANES,
    Bundles,
    Mask,
    Scratch,
    deliver,
    spike_gradient,
    weight_gradient,
)  # fmt: skip
from connectome.dense_kernels import deliver_dense, spike_gradient_dense, weight_gradient_dense
from connectome.jit import kernel
from connectome.lanes_kernels import (
    all_lanes,
    at_least,
    choose,
    count_lanes,
    larger,
    load_lanes,
    multiply_add,
    store_lanes,
)

__all__ = ["DENSE", "SPARSE", "Regions", "Rounds", "Tape", "TileNetwork", "backward_tile", "forward_tile", "pack"]

#: How a bundle is stored.
SPARSE, DENSE = 1, 2

Array = NDArray[Any]
_U0, _U1 = np.uint64(0), np.uint64(1)
_W = np.uint64(LANES)


class Regions(NamedTuple):
    """Regions with a membrane, (R,) each; p21, p11 (C, R). See :class:`connectome.flat.Dynamics`."""

    start: Array  # uint64: neurons start .. stop - 1
    stop: Array
    p22: Array
    p21: Array
    p11: Array
    bias: Array  # p20 * i_e, mV
    theta: Array
    v_reset: Array
    ref_steps: Array  # uint64
    inverse_width: Array  # 1 / half-width of the surrogate's support, mV
    column: Array  # int64: first column of an effector's potential, -1 for neurons


class Rounds(NamedTuple):
    """Components in order, (K,) uint64 each."""

    region: Array  # regions region .. region_stop - 1; none for sensors
    region_stop: Array
    steps: Array  # the shortest delay inside the component
    inner: Array  # bundles inner .. outer - 1 stay inside it, outer .. stop - 1 leave it
    outer: Array
    stop: Array


class TileNetwork(NamedTuple):
    """A network for both passes."""

    regions: Regions
    rounds: Rounds
    bundles: Bundles


class Tape(NamedTuple):
    """What the backward pass reads of one tile."""

    mask: Array  # (T, N) spikes
    free: Array  # (T, N') neither fires nor is refractory
    near: Array  # (T, N') inside the surrogate's support
    slope: Array  # (T * N' * LANES) of the surrogate


@kernel
def forward_tile(
    net: TileNetwork, weight: Array, valid: int, keep: bool, tape: Tape, potential: Array, counts: Array,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Run T steps of one tile from rest.

    weight: by bundle; valid: the lanes that hold a sample; keep: fill in the tape's ``free``, ``near`` and ``slope``;
    the mask has the sensors' spikes, others are written; potential (samples, T, columns) mV above rest; counts (N,)
    uint32: spikes are added.
    """
    rounds, b, mask = net.rounds, net.bundles, tape.mask
    steps, size = np.uint64(mask.shape[0]), np.uint64(scratch.second.size)
    chunk_steps = np.uint64(scratch.when.size)
    scratch.first[:] = 0
    scratch.second[:] = 0
    scratch.held[:] = 0
    for begin in range(_U0, steps, chunk_steps):
        end = min(begin + chunk_steps, steps)
        for c in range(np.uint64(rounds.steps.size)):
            t = begin
            while t < end:
                until = min(t + rounds.steps[c], end)
                for step in range(t, until):
                    for r in range(rounds.region[c], rounds.region_stop[c]):
                        _advance(net.regions, r, step, valid, keep, tape, potential, size, scratch)
                _deliver_all(b, rounds.inner[c], rounds.outer[c], weight, mask, t, until, size, scratch)
                t = until
            _deliver_all(b, rounds.outer[c], rounds.stop[c], weight, mask, begin, end, size, scratch)
    for t in range(steps):
        for i in range(np.uint64(counts.size)):
            counts[i] += np.uint32(count_lanes(mask[t, i]))


@kernel
def _deliver_all(
    b: Bundles, first: np.uint64, last: np.uint64, weight: Array, mask: Array, begin: np.uint64, end: np.uint64,
    size: np.uint64, scratch: Scratch,
) -> None:  # fmt: skip
    steps = np.uint64(mask.shape[0])
    for s in range(first, last):
        if begin + b.delay[s] >= steps:
            continue
        stop = min(end, steps - b.delay[s])
        if b.forward[s] == SPARSE:
            deliver(b, s, weight, mask, begin, stop, size, scratch)
        elif b.forward[s] == DENSE:
            deliver_dense(b, s, weight, mask, begin, stop, size, scratch)


@kernel
def _advance(
    regions: Regions, r: np.uint64, t: np.uint64, valid: int, keep: bool, tape: Tape, potential: Array,
    size: np.uint64, scratch: Scratch,
) -> None:  # fmt: skip
    """One step of one region."""
    v, current, held, ring, mask = scratch.first, scratch.second, scratch.held, scratch.ring, tape.mask
    one, zero = v.dtype.type(1), v.dtype.type(0)
    now = mask[t]
    start, stop, ref = regions.start[r], regions.stop[r], regions.ref_steps[r]
    p22, bias, theta, v_reset = regions.p22[r], regions.bias[r], regions.theta[r], regions.v_reset[r]
    last = np.uint64(regions.p21.shape[0]) - _U1
    p21, p11, p21_in, p11_in = regions.p21[0, r], regions.p11[0, r], regions.p21[last, r], regions.p11[last, r]
    inverse = regions.inverse_width[r]
    n = np.uint64(held.size)
    inhibitory = n * _W
    arriving = t % (np.uint64(ring.size) // size) * size
    # Refractory in this step is who fired in the last `ref` steps; nobody fires twice in so many.
    if t > 0:
        for i in range(start, stop):
            held[i] |= mask[t - _U1, i]
    if t > ref:
        for i in range(start, stop):
            held[i] &= ~mask[t - _U1 - ref, i]
    for i in range(start, stop):
        at = i * _W
        x = load_lanes(current, at, LANES)
        u = multiply_add(p22, load_lanes(v, at, LANES), all_lanes(bias, LANES))
        u = multiply_add(p21, x, u)
        store_lanes(current, at, multiply_add(p11, x, load_lanes(ring, arriving + at, LANES)))
        store_lanes(ring, arriving + at, all_lanes(zero, LANES))
        if last:
            x = load_lanes(current, inhibitory + at, LANES)
            u = multiply_add(p21_in, x, u)
            store_lanes(
                current, inhibitory + at, multiply_add(p11_in, x, load_lanes(ring, arriving + inhibitory + at, LANES))
            )
            store_lanes(ring, arriving + inhibitory + at, all_lanes(zero, LANES))
        waits = held[i]
        fires = Mask(at_least(u, theta) & ~waits & valid)
        free = Mask(~(fires | waits))
        store_lanes(v, at, choose(free, u, v_reset))
        now[i] = fires
        if keep:
            x = u - theta
            x = larger(multiply_add(-inverse, larger(x, zero - x), all_lanes(one, LANES)), zero) * inverse
            x = choose(Mask(~waits), x, zero)
            store_lanes(tape.slope, (t * n + i) * _W, x)
            tape.free[t, i] = free
            tape.near[t, i] = ~at_least(zero - x, zero)
    if regions.column[r] >= 0:
        column = np.uint64(regions.column[r])
        for i in range(stop - start):
            for k in range(np.uint64(potential.shape[0])):
                potential[k, t, column + i] = v[(start + i) * _W + k]


@kernel
def backward_tile(
    net: TileNetwork, weight: Array, tape: Tape, grad_potential: Array, grad_spikes: Array, recorded: Array,
    gradient: Array, scratch: Scratch,
) -> None:  # fmt: skip
    """Adjoint of :func:`forward_tile`; the reset and the refractory hold are constants of it.

    grad_potential (samples, T, columns), grad_spikes (samples, T, M) of the neurons ``recorded`` (M,) uint64: what the
    loss sends back; gradient: by bundle, as weight: added to. The surrogate is
    ``ds/du = max(0, 1 - |u - theta| / width) / width``.
    """
    rounds, b, mask, back = net.rounds, net.bundles, tape.mask, scratch.back
    steps, size, n = np.uint64(mask.shape[0]), np.uint64(scratch.second.size), np.uint64(scratch.held.size)
    chunk_steps = np.uint64(scratch.when.size)
    scratch.first[:] = 0
    scratch.second[:] = 0
    chunks = (steps + chunk_steps - _U1) // chunk_steps
    for chunk in range(chunks):
        begin = (chunks - _U1 - chunk) * chunk_steps
        end = min(begin + chunk_steps, steps)
        for m in range(np.uint64(recorded.size)):
            for k in range(np.uint64(grad_spikes.shape[0])):
                for t in range(begin, end):
                    back[((t - begin) * n + recorded[m]) * _W + k] += grad_spikes[k, t, m]
        for turn in range(np.uint64(rounds.steps.size)):
            c = np.uint64(rounds.steps.size) - _U1 - turn
            if rounds.region[c] == rounds.region_stop[c]:
                _weights_all(b, rounds.outer[c], rounds.stop[c], mask, begin, end, size, scratch, gradient)
                continue
            _spikes_all(b, rounds.outer[c], rounds.stop[c], weight, tape, begin, end, begin, size, scratch)
            until = end
            while until > begin:
                t = until - min(rounds.steps[c], until - begin)
                _spikes_all(b, rounds.inner[c], rounds.outer[c], weight, tape, t, until, begin, size, scratch)
                for step in range(until - t):
                    for r in range(rounds.region[c], rounds.region_stop[c]):
                        _retreat(net.regions, r, until - _U1 - step, begin, tape, grad_potential, size, scratch)
                until = t
            _weights_all(b, rounds.inner[c], rounds.stop[c], mask, begin, end, size, scratch, gradient)


@kernel
def _spikes_all(
    b: Bundles, first: np.uint64, last: np.uint64, weight: Array, tape: Tape, begin: np.uint64, end: np.uint64,
    base: np.uint64, size: np.uint64, scratch: Scratch,
) -> None:  # fmt: skip
    steps = np.uint64(tape.mask.shape[0])
    for s in range(first, last):
        if begin + b.delay[s] >= steps:
            continue
        stop = min(end, steps - b.delay[s])
        if b.backward[s] == SPARSE:
            spike_gradient(b, s, weight, tape.near, begin, stop, base, size, scratch)
        elif b.backward[s] == DENSE:
            spike_gradient_dense(b, s, weight, tape.near, begin, stop, base, size, scratch)


@kernel
def _weights_all(
    b: Bundles, first: np.uint64, last: np.uint64, mask: Array, begin: np.uint64, end: np.uint64, size: np.uint64,
    scratch: Scratch, gradient: Array,
) -> None:  # fmt: skip
    steps = np.uint64(mask.shape[0])
    for s in range(first, last):
        if begin + b.delay[s] >= steps:
            continue
        stop = min(end, steps - b.delay[s])
        if b.forward[s] == SPARSE:
            weight_gradient(b, s, mask, begin, stop, size, scratch, gradient)
        elif b.forward[s] == DENSE:
            weight_gradient_dense(b, s, mask, begin, stop, size, scratch, gradient)


@kernel
def _retreat(
    regions: Regions, r: np.uint64, t: np.uint64, base: np.uint64, tape: Tape, grad_potential: Array, size: np.uint64,
    scratch: Scratch,
) -> None:  # fmt: skip
    """The adjoint of one step of one region. ``first``, ``second``: adjoints of u and of the currents, a step later."""
    g, adjoint, ring, back = scratch.first, scratch.second, scratch.ring, scratch.back
    zero = g.dtype.type(0)
    start, stop, p22 = regions.start[r], regions.stop[r], regions.p22[r]
    last = np.uint64(regions.p21.shape[0]) - _U1
    p21, p11, p21_in, p11_in = regions.p21[0, r], regions.p11[0, r], regions.p21[last, r], regions.p11[last, r]
    n = np.uint64(scratch.held.size)
    inhibitory = n * _W
    here = t % (np.uint64(ring.size) // size) * size
    for i in range(start, stop):
        at = i * _W
        later = load_lanes(g, at, LANES)
        x = multiply_add(p11, load_lanes(adjoint, at, LANES), p21 * later)
        store_lanes(adjoint, at, x)
        store_lanes(ring, here + at, x)
        if last:
            x = multiply_add(p11_in, load_lanes(adjoint, inhibitory + at, LANES), p21_in * later)
            store_lanes(adjoint, inhibitory + at, x)
            store_lanes(ring, here + inhibitory + at, x)
        spike = ((t - base) * n + i) * _W
        x = choose(tape.free[t, i], p22 * later, zero)
        x = multiply_add(load_lanes(tape.slope, (t * n + i) * _W, LANES), load_lanes(back, spike, LANES), x)
        store_lanes(back, spike, all_lanes(zero, LANES))
        store_lanes(g, at, x)
    if regions.column[r] >= 0:
        column = np.uint64(regions.column[r])
        for i in range(stop - start):
            for k in range(np.uint64(grad_potential.shape[0])):
                g[(start + i) * _W + k] += grad_potential[k, t, column + i]


@kernel
def pack(spikes: Array, first: np.uint64, mask: Array) -> None:
    """Bits of at most LANES samples (samples, T, n), set where not 0, to mask (T, N) from neuron ``first`` on."""
    n = np.uint64(spikes.shape[2])
    for t in range(np.uint64(mask.shape[0])):
        now = mask[t]
        for i in range(n):
            now[first + i] = 0
        for k in range(np.uint64(spikes.shape[0])):
            bit = Mask(1 << k)
            sample = spikes[k, t]
            for i in range(n):
                now[first + i] += bit * Mask(sample[i] != 0)
