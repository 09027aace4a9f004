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

from connectome.jit import inner, kernel
from connectome.lanes_kernels import (
    all_lanes,
    at_least,
    choose,
    count_lanes,
    larger,
    load_lanes,
    multiply_add,
    store_lanes,
)  # fmt: skip
from connectome.learning.adaptation_kernels import Adaptation, barrier, rise, sent_back
from connectome.learning.bundle_kernels import (
    LANES,
    Mask,
    Rows,
    Scratch,
    Whole,
    deliver,
    slot,
    spike_gradient,
    weight_gradient,
)  # fmt: skip
from connectome.learning.convolution_kernels import (
    Convolutions,
    deliver_filters,
    spike_gradient_filters,
    weight_gradient_filters,
)
from connectome.learning.dense_kernels import deliver_dense, spike_gradient_dense, weight_gradient_dense
from connectome.learning.parameter_kernels import Own, collect_membrane, collect_threshold, remember

__all__ = [
    "COMPONENT", "CONVOLUTION", "DENSE", "SPARSE", "Extra", "Tape", "TileNetwork", "backward_tiles", "forward_tiles",
]  # fmt: skip

#: How a bundle is stored.
SPARSE, DENSE, CONVOLUTION = 1, 2, 3

Array = NDArray[Any]
_U0, _U1 = np.uint64(0), np.uint64(1)
_W = np.uint64(LANES)


#: A component: its regions, none for sensors; the shortest delay inside it; its bundles: ``inner`` .. ``outer`` - 1
#: stay inside it, ``outer`` .. ``stop`` - 1 leave it.
COMPONENT = np.dtype([(n, np.uint64) for n in ("region", "region_stop", "steps", "inner", "outer", "stop")])


class TileNetwork(NamedTuple):
    """A network for both passes."""

    regions: Array
    components: Array
    bundles: Array
    rows: Rows


class Tape(NamedTuple):
    """What the backward pass reads: of each tile, or, in the kernels, of one."""

    mask: Array  # (T, N) spikes
    free: Array  # (T, N') neither fires nor is refractory
    near: Array  # (T, N') inside the surrogate's support
    slope: Array  # (T, N' * LANES) of the surrogate


class Extra(NamedTuple):
    """What else goes into a run and comes out of it; an array of no steps, or of no tiles, stands for nothing.

    The first ``start`` steps are over: their spikes are in the mask, and are delivered again, in the order in which a
    run without a break would have, but membranes stand still.
    """

    start: np.uint64
    push: Array  # (tiles, T, N' * LANES) mV that a current adds in a step
    gain: Array  # (tiles, N' * LANES) times what arrives
    clamped: Array  # (tiles, T, N') mask of the neurons whose spikes are those that the tape's mask begins with
    state: Array  # (tiles, 1 + C, N' * LANES) potentials and currents: at first, and in the end
    arrived: Array  # (tiles, T, C, N' * LANES) out of the forward pass, before the gain
    adjoint: Array  # (tiles, T, 1 + C, N' * LANES) out of the backward pass: of potentials before a reset, of currents
    after: Array  # (tiles, 1 + C, N' * LANES) into the backward pass: the same of a step that would come after the last


@kernel
def forward_tiles(
    net: TileNetwork, weight: Array, keep: bool, tape: Tape, potential: Array, counts: Array, first: int, stride: int,
    scratch: Scratch, extra: Extra | None, adaptation: Adaptation | None, own: Own | None,
    convolutions: Convolutions | None,
) -> None:  # fmt: skip
    """Run T steps of a batch of B samples from rest, in tiles ``first``, ``first + stride``, ...

    weight (P,); keep: fill in the tape's ``free``, ``near`` and ``slope``; the mask has the sensors' spikes, others are
    written; potential (B, T, columns) mV above rest; counts (N,) uint32: spikes are added. ``own``: where
    neurons are not all alike in their region. Numba compiles the kernel without what is None, so that it costs nothing
    where there is none.
    """
    steps, chunk = np.uint64(tape.mask.shape[1]), np.uint64(scratch.offset.shape[1])
    for tile in range(np.uint64(first), np.uint64(len(tape.mask)), np.uint64(stride)):
        mask = tape.mask[tile]
        scratch.state[:] = 0
        scratch.held[:] = 0
        over = _U0
        if extra is not None:
            over = extra.start
            scratch.state[:] = extra.state[tile]
        for begin in range(_U0, steps, chunk):
            end = min(begin + chunk, steps)
            for c in range(np.uint64(net.components.size)):
                component = net.components[c]
                t = begin
                while t < end:
                    until = min(t + component.steps, end)
                    for step in range(t, until):
                        for r in range(component.region, component.region_stop):
                            p = net.regions[r]
                            if extra is not None and step < over:
                                _clear(p, step, scratch)
                            else:
                                _advance(p, tile, step, keep, tape, potential, scratch, extra, adaptation, own)
                    _deliver_all(net, component.inner, component.outer, weight, mask, t, until, scratch, convolutions)
                    t = until
                _deliver_all(net, component.outer, component.stop, weight, mask, begin, end, scratch, convolutions)
        if extra is not None:
            extra.state[tile] = scratch.state
        for t in range(over, steps):
            for i in range(np.uint64(counts.size)):
                counts[i] += np.uint32(count_lanes(mask[t, i]))


@inner
def _deliver_all(
    net: TileNetwork, first: Whole, last: Whole, weight: Array, mask: Array, begin: Whole, end: Whole,
    scratch: Scratch, convolutions: Convolutions | None,
) -> None:  # fmt: skip
    steps, size = np.uint64(mask.shape[0]), np.uint64(scratch.state.size - scratch.state.shape[1])
    for s in range(first, last):
        b = net.bundles[s]
        if begin + b.delay >= steps:
            continue
        stop = min(end, steps - b.delay)
        if b.forward == SPARSE:
            deliver(b, net.rows, weight, mask, begin, stop, size, scratch)
        elif b.forward == DENSE:
            deliver_dense(b, weight, mask, begin, stop, size, scratch)
        elif convolutions is not None and b.forward == CONVOLUTION:
            deliver_filters(b, convolutions, weight, mask, begin, stop, size, scratch)


@inner
def _clear(p: Any, t: Whole, scratch: Scratch) -> None:
    """Nothing arrives at a region in a step that is over."""
    ring, wide = scratch.ring, np.uint64(scratch.state.shape[1])
    channels = np.uint64(len(scratch.state) - 1)
    here = slot(ring, t, channels * wide)
    for channel in range(channels):
        for at in range(here + channel * wide + p.start * _W, here + channel * wide + p.stop * _W):
            ring[at] = 0


@inner
def _hold(p: Any, t: Whole, mask: Array, held: Array, own: Own | None) -> None:
    """Who fired in the last `ref` steps, where one may have been made to fire while it was refractory."""
    ref = p.ref_steps
    for i in range(p.start, p.stop):
        if own is not None:
            ref = own.constants[i].ref_steps
        held[i] = 0
        for back in range(_U1, min(ref, t) + _U1):
            held[i] |= mask[t - back, i]


@inner
def _arrival(x: Any, channel: int, at: Whole, tile: Whole, t: Whole, extra: Extra) -> Any:
    """What has arrived, kept, times the gain."""
    if extra.arrived.shape[1]:
        store_lanes(extra.arrived[tile, t, channel], at, x)
    return _times_gain(x, at, tile, extra)


@inner
def _advance(
    p: Any, tile: Whole, t: Whole, keep: bool, tape: Tape, potential: Array, scratch: Scratch, extra: Extra | None,
    adaptation: Adaptation | None, own: Own | None,
) -> None:  # fmt: skip
    """One step of one region."""
    v, current, held, ring, mask = scratch.state[0], scratch.state[1], scratch.held, scratch.ring, tape.mask[tile]
    one, zero = v.dtype.type(1), v.dtype.type(0)
    now, free, near, slope = mask[t], tape.free[tile, t], tape.near[tile, t], tape.slope[tile, t]
    samples = potential[tile * _W : min(tile * _W + _W, np.uint64(len(potential)))]
    valid = 2 ** len(samples) - 1
    start, stop, ref = p.start, p.stop, p.ref_steps
    p22, p21, p11, bias, theta, v_reset = p.p22, p.p21, p.p11, p.bias, p.theta, p.v_reset
    p21_in, p11_in, inverse = p.p21_in, p.p11_in, p.inverse_width
    two = len(scratch.state) > 2
    current_in = scratch.state[len(scratch.state) - 1]
    inhibitory = np.uint64(v.size)
    size = np.uint64(scratch.state.size) - inhibitory
    arriving = slot(ring, t, size)
    if own is not None and own.before.shape[1]:
        remember(p, tile, t, scratch.state, own, adaptation)
    # Refractory in this step is who fired in the last `ref` steps; nobody fires twice in so many.
    if t > 0:
        for i in range(start, stop):
            held[i] |= mask[t - _U1, i]
    if own is not None:
        for i in range(start, stop):
            if t > own.constants[i].ref_steps:
                held[i] &= ~mask[t - _U1 - own.constants[i].ref_steps, i]
    elif t > ref:
        for i in range(start, stop):
            held[i] &= ~mask[t - _U1 - ref, i]
    if extra is not None:
        clamped = now[:0]
        if extra.clamped.shape[1]:
            clamped = extra.clamped[tile, t]
        if extra.clamped.shape[1] or t == extra.start:
            _hold(p, t, mask, held, own)
    for i in range(start, stop):
        at = i * _W
        if own is not None:
            c = own.constants[i]
            p22, p21, p11, bias, theta, v_reset = c.p22, c.p21, c.p11, c.bias, c.theta, c.v_reset
            p21_in, p11_in = c.p21_in, c.p11_in
        x = load_lanes(current, at, LANES)
        u = multiply_add(p22, load_lanes(v, at, LANES), all_lanes(bias, LANES))
        u = multiply_add(p21, x, u)
        arrival = load_lanes(ring, arriving + at, LANES)
        if extra is not None:
            arrival = _arrival(arrival, 0, at, tile, t, extra)
            if extra.push.shape[1]:
                u = u + load_lanes(extra.push[tile, t], at, LANES)
        store_lanes(current, at, multiply_add(p11, x, arrival))
        store_lanes(ring, arriving + at, all_lanes(zero, LANES))
        if two:
            x = load_lanes(current_in, at, LANES)
            u = multiply_add(p21_in, x, u)
            arrived = arriving + inhibitory + at
            arrival = load_lanes(ring, arrived, LANES)
            if extra is not None:
                arrival = _arrival(arrival, 1, at, tile, t, extra)
            store_lanes(current_in, at, multiply_add(p11_in, x, arrival))
            store_lanes(ring, arrived, all_lanes(zero, LANES))
        waits = held[i]
        limit = barrier(theta, tile, i, adaptation)
        fires = Mask(at_least(u, limit) & ~waits & valid)
        bound = waits
        if extra is not None and clamped.size:
            fires = Mask((fires & ~clamped[i]) | (now[i] & clamped[i]))
            bound = Mask(waits | clamped[i])
        stays = Mask(~(fires | waits))
        store_lanes(v, at, choose(stays, u, v_reset))
        now[i] = fires
        if adaptation is not None:
            rise(fires, tile, i, adaptation)
        if keep:
            x = u - limit
            x = larger(multiply_add(-inverse, larger(x, zero - x), all_lanes(one, LANES)), zero) * inverse
            x = choose(Mask(~bound), x, zero)
            store_lanes(slope, at, x)
            free[i] = stays
            near[i] = ~at_least(zero - x, zero)
    if p.column >= 0:
        column = np.uint64(p.column)
        for i in range(stop - start):
            for k in range(np.uint64(len(samples))):
                samples[k, t, column + i] = v[(start + i) * _W + k]


@kernel
def backward_tiles(
    net: TileNetwork, weight: Array, tape: Tape, grad_potential: Array, grad_spikes: Array, recorded: Array,
    gradient: Array, first: int, stride: int, scratch: Scratch, extra: Extra | None, adaptation: Adaptation | None,
    own: Own | None, convolutions: Convolutions | None,
) -> None:  # fmt: skip
    """Adjoint of :func:`forward_tiles`; the reset and the refractory hold are constants of it.

    grad_potential (B, T, columns), grad_spikes (B, T, M) of the neurons ``recorded`` (M,) uint64: what the loss sends
    back. The surrogate is ``ds/du = max(0, 1 - |u - theta| / width) / width``. gradient (S, P): partial sums, of which
    this call makes ``first``, ``first + stride``, ...; each takes every S-th tile, in order.
    """
    parts, back = np.uint64(len(gradient)), scratch.back
    steps, chunk, n = np.uint64(tape.mask.shape[1]), np.uint64(scratch.offset.shape[1]), np.uint64(scratch.held.size)
    for share in range(np.uint64(first), parts, np.uint64(stride)):
        partial = gradient[share]
        partial[:] = 0
        for tile in range(share, np.uint64(len(tape.mask)), parts):
            mask, near = tape.mask[tile], tape.near[tile]
            given = grad_spikes[tile * _W : min(tile * _W + _W, np.uint64(len(grad_spikes)))]
            scratch.state[:] = 0
            if extra is not None and len(extra.after):
                scratch.state[:] = extra.after[tile]
            if own is not None:
                own.gradient[tile][:] = 0
            for turn in range((steps + chunk - _U1) // chunk):
                begin = ((steps - _U1) // chunk - turn) * chunk
                end = min(begin + chunk, steps)
                for m in range(np.uint64(recorded.size)):
                    for k in range(np.uint64(len(given))):
                        for t in range(begin, end):
                            back[((t - begin) * n + recorded[m]) * _W + k] += given[k, t, m]
                for later in range(np.uint64(net.components.size)):
                    c = net.components[np.uint64(net.components.size) - _U1 - later]
                    if c.region < c.region_stop:
                        _spikes_all(net, c.outer, c.stop, weight, near, begin, end, begin, scratch, convolutions)
                        until = end
                        while until > begin:
                            t = until - min(c.steps, until - begin)
                            _spikes_all(net, c.inner, c.outer, weight, near, t, until, begin, scratch, convolutions)
                            for step in range(until - t):
                                for r in range(c.region, c.region_stop):
                                    _retreat(
                                        net.regions[r], tile, until - _U1 - step, begin, tape, grad_potential, scratch,
                                        extra, adaptation, own,
                                    )  # fmt: skip
                            until = t
                    _weights_all(net, c.inner, c.stop, mask, begin, end, scratch, partial, convolutions)


@inner
def _spikes_all(
    net: TileNetwork, first: Whole, last: Whole, weight: Array, near: Array, begin: Whole, end: Whole,
    base: Whole, scratch: Scratch, convolutions: Convolutions | None,
) -> None:  # fmt: skip
    steps, size = np.uint64(near.shape[0]), np.uint64(scratch.state.size - scratch.state.shape[1])
    for s in range(first, last):
        b = net.bundles[s]
        if begin + b.delay >= steps:
            continue
        stop = min(end, steps - b.delay)
        if b.backward == SPARSE:
            spike_gradient(b, net.rows, weight, near, begin, stop, base, size, scratch)
        elif b.backward == DENSE:
            spike_gradient_dense(b, weight, near, begin, stop, base, size, scratch)
        elif convolutions is not None and b.backward == CONVOLUTION:
            spike_gradient_filters(b, convolutions, weight, near, begin, stop, base, size, scratch)


@inner
def _weights_all(
    net: TileNetwork, first: Whole, last: Whole, mask: Array, begin: Whole, end: Whole,
    scratch: Scratch, gradient: Array, convolutions: Convolutions | None,
) -> None:  # fmt: skip
    steps, size = np.uint64(mask.shape[0]), np.uint64(scratch.state.size - scratch.state.shape[1])
    for s in range(first, last):
        b = net.bundles[s]
        if begin + b.delay >= steps:
            continue
        stop = min(end, steps - b.delay)
        if b.forward == SPARSE:
            weight_gradient(b, net.rows, mask, begin, stop, size, scratch, gradient)
        elif b.forward == DENSE:
            weight_gradient_dense(b, mask, begin, stop, size, scratch, gradient)
        elif convolutions is not None and b.forward == CONVOLUTION:
            weight_gradient_filters(b, convolutions, mask, begin, stop, size, scratch, gradient)


@inner
def _forget(p: Any, t: Whole, base: Whole, scratch: Scratch) -> None:
    """No adjoint passes through a step that was over when the run began."""
    _clear(p, t, scratch)
    wide = np.uint64(scratch.state.shape[1])
    for at in range((t - base) * wide + p.start * _W, (t - base) * wide + p.stop * _W):
        scratch.back[at] = 0


@inner
def _retreat(
    p: Any, tile: Whole, t: Whole, base: Whole, tape: Tape, grad_potential: Array, scratch: Scratch,
    extra: Extra | None, adaptation: Adaptation | None, own: Own | None,
) -> None:  # fmt: skip
    """The adjoint of one step of one region. The state: adjoints of u and of the currents, a step later."""
    if extra is not None and t < extra.start:
        _forget(p, t, base, scratch)
        return
    g, adjoint, ring, back = scratch.state[0], scratch.state[1], scratch.ring, scratch.back
    zero = g.dtype.type(0)
    free, slope = tape.free[tile, t], tape.slope[tile, t]
    samples = grad_potential[tile * _W : min(tile * _W + _W, np.uint64(len(grad_potential)))]
    start, stop, p22, p21, p11, p21_in, p11_in = p.start, p.stop, p.p22, p.p21, p.p11, p.p21_in, p.p11_in
    two = len(scratch.state) > 2
    adjoint_in = scratch.state[len(scratch.state) - 1]
    inhibitory = np.uint64(g.size)
    size = np.uint64(scratch.state.size) - inhibitory
    here = slot(ring, t, size)
    for i in range(start, stop):
        at = i * _W
        if own is not None:
            c = own.constants[i]
            p22, p21, p11, p21_in, p11_in = c.p22, c.p21, c.p11, c.p21_in, c.p11_in
        later = load_lanes(g, at, LANES)
        x = multiply_add(p11, load_lanes(adjoint, at, LANES), p21 * later)
        store_lanes(adjoint, at, x)
        if extra is not None:
            x = _times_gain(x, at, tile, extra)
        store_lanes(ring, here + at, x)
        if two:
            x = multiply_add(p11_in, load_lanes(adjoint_in, at, LANES), p21_in * later)
            store_lanes(adjoint_in, at, x)
            if extra is not None:
                x = _times_gain(x, at, tile, extra)
            store_lanes(ring, here + inhibitory + at, x)
        spike = (t - base) * inhibitory + at
        x = choose(free[i], p22 * later, zero)
        sent = load_lanes(back, spike, LANES)
        if own is not None and own.before.shape[1]:
            wide = load_lanes(slope, at, LANES)
            collect_threshold(i, tile, t, p22 * later, free[i], wide, sent, own, adaptation)
        if adaptation is not None:
            sent = sent_back(sent, load_lanes(slope, at, LANES), tile, i, adaptation)
        x = multiply_add(load_lanes(slope, at, LANES), sent, x)
        store_lanes(back, spike, all_lanes(zero, LANES))
        store_lanes(g, at, x)
    if p.column >= 0:
        column = np.uint64(p.column)
        for i in range(stop - start):
            for k in range(np.uint64(len(samples))):
                g[(start + i) * _W + k] += samples[k, t, column + i]
    if own is not None and own.before.shape[1]:
        collect_membrane(p, tile, t, scratch.state, own)
    if extra is not None and extra.adjoint.shape[1]:
        for row in range(np.uint64(len(scratch.state))):
            for place in range(start * _W, stop * _W):
                extra.adjoint[tile, t, row, place] = scratch.state[row, place]


@inner
def _times_gain(x: Any, at: Whole, tile: Whole, extra: Extra) -> Any:
    return x * load_lanes(extra.gain[tile], at, LANES) if len(extra.gain) else x
