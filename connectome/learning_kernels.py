"""Spike propagation of a batch and its exact surrogate-gradient backpropagation through time, over active neurons only.

A tile is ``LANES`` samples side by side, innermost in memory, so that the neuron update is one vector pass and a spike
that several samples share streams its row once. Spikes of a tile are one bit mask per step and neuron. Tiles do not
touch each other: they run on any number of threads with the same result.

Buffers of one tile: membrane potentials (T, N, LANES), arrivals (C, D + 1, N, LANES) and adjoints of currents
(C, N, T + D + 1, LANES), with D the longest delay in steps and C = 1 synaptic channel, or 2 where excitatory and
inhibitory time constants differ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import kernel
from connectome.lanes_kernels import lanes_total, load_lanes, mask_lanes, multiply_add, no_lanes, store_lanes

__all__ = ["HELD", "LANES", "TileNetwork", "backward_tile", "forward_tile"]

#: Samples in a tile: one bit each in a uint32 mask.
LANES = 32
#: What stands for the potential of a refractory neuron: below any threshold's support, so that its gradient is 0.
HELD = -1e30

Array = NDArray[Any]
_U0 = np.uint64(0)
_U1 = np.uint64(1)
_W = np.uint64(LANES)


class TileNetwork(NamedTuple):
    """A flat network in one floating type; see :class:`connectome.flat.Dynamics`. p21, p11: (C, N)."""

    indptr: Array  # (N + 1,) uint64
    target: Array  # (E,) uint32
    delay: Array  # (E,) uint16
    channel: Array  # (E,) uint8, 0 excitatory, 1 inhibitory; (0,) if C = 1
    is_sensor: Array  # (N,) bool
    p22: Array
    p21: Array
    p11: Array
    bias: Array  # (N,) p20 * i_e, mV
    theta: Array
    v_reset: Array
    ref_steps: Array  # (N,) int32
    width: Array  # (N,) half-width of the surrogate's support, mV
    readout: Array  # (N,) int64, the row of a neuron's potential among those read out, or -1


@kernel
def forward_tile(net: TileNetwork, weight: Array, v: Array, valid: np.uint32, mask: Array, u: Array) -> None:
    """Run T steps of one tile from rest.

    weight (E,); v (N, LANES) initial potential, overwritten; valid: the lanes that hold a sample; mask (T, N) uint32:
    sensors' spikes are read, the others' are written; u (T, N, LANES) mV above rest before reset: written (not for
    sensors).
    """
    steps, n = np.uint64(u.shape[0]), np.uint64(u.shape[1])
    channels = np.uint64(net.p21.shape[0])
    slots = _slots(net.delay)
    current = np.zeros((channels, n, LANES), u.dtype)
    arrival = np.zeros(channels * slots * n * _W, u.dtype)
    hold = np.zeros((n, LANES), np.int32)
    held = u.dtype.type(HELD)
    for t in range(steps):
        slot = t % slots
        for i in range(n):
            if net.is_sensor[i]:
                continue
            out = u[t, i]
            vi = v[i]
            p22 = net.p22[i]
            bias = net.bias[i]
            for k in range(LANES):
                out[k] = p22 * vi[k] + bias
            for c in range(channels):
                now = current[c, i]
                first = ((c * slots + slot) * n + i) * _W
                new = arrival[first : first + _W]
                p21 = net.p21[c, i]
                p11 = net.p11[c, i]
                for k in range(LANES):
                    out[k] += p21 * now[k]
                    now[k] = p11 * now[k] + new[k]
                    new[k] = 0
            theta = net.theta[i]
            reset = net.v_reset[i]
            refractory = net.ref_steps[i]
            wait = hold[i]
            bits = np.uint32(0)
            for k in range(LANES):
                free = wait[k] <= 0
                fires = free & (out[k] >= theta)
                vi[k] = out[k] if free & (not fires) else reset
                out[k] = out[k] if free else held
                wait[k] = refractory if fires else wait[k] - np.int32(1)
                bits |= np.uint32(fires) << np.uint32(k)
            mask[t, i] = bits & valid
        for i in range(n):
            bits = mask[t, i]
            if bits == 0:
                continue
            on = mask_lanes(arrival, bits)
            for j in range(net.indptr[i], net.indptr[i + _U1]):
                side = np.uint64(net.channel[j]) if channels > _U1 else _U0
                when = _wrap(slot + np.uint64(net.delay[j]), slots)
                at = ((side * slots + when) * n + np.uint64(net.target[j])) * _W
                store_lanes(arrival, at, multiply_add(weight[j], on, load_lanes(arrival, at, LANES)))


@kernel
def backward_tile(
    net: TileNetwork, weight: Array, mask: Array, u: Array, grad_u: Array, grad_spike: Array, grad_weight: Array
) -> None:
    """Adjoint of :func:`forward_tile`; the reset and the refractory hold are constants of it.

    grad_u (T, N_read, LANES), grad_spike (T, N, LANES) or empty: what the loss sends back; grad_weight (E,): added to.
    The surrogate is ``ds/du = max(0, 1 - |u - theta| / width) / width``.
    """
    steps, n = np.uint64(u.shape[0]), np.uint64(u.shape[1])
    channels = np.uint64(net.p21.shape[0])
    # Adjoints of the currents at every step, and zeros for what arrives after the last. An odd number of lines per
    # neuron spreads one step of all neurons over the cache's sets.
    line = (steps + _slots(net.delay)) | _U1
    adjoint = np.zeros(channels * n * line * _W, u.dtype)
    g = np.zeros((n, LANES), u.dtype)  # of u, one step later
    slope = np.empty(LANES, u.dtype)
    back = np.empty(LANES, u.dtype)
    one = u.dtype.type(1)
    zero = u.dtype.type(0)
    held = u.dtype.type(HELD)
    for step in range(steps):
        t = steps - _U1 - step
        for c in range(channels):
            for i in range(n):
                if net.is_sensor[i]:
                    continue
                a = ((c * n + i) * line + t) * _W
                now = adjoint[a : a + _W]
                then = adjoint[a + _W : a + _W + _W]
                gi = g[i]
                p11 = net.p11[c, i]
                p21 = net.p21[c, i]
                for k in range(LANES):
                    now[k] = p11 * then[k] + p21 * gi[k]
        for i in range(n):
            if net.is_sensor[i]:
                continue
            bits = mask[t, i]
            ui = u[t, i]
            gi = g[i]
            p22 = net.p22[i]
            for k in range(LANES):
                stays = ((bits >> np.uint32(k)) & np.uint32(1)) == 0 and ui[k] != held
                gi[k] = p22 * gi[k] if stays else zero
            if net.theta[i] < np.inf:
                theta = net.theta[i]
                inverse = one / net.width[i]
                top = zero
                for k in range(LANES):
                    x = max(zero, one - abs(ui[k] - theta) * inverse) * inverse
                    slope[k] = x
                    top = max(top, x)
                if top > zero:
                    total = no_lanes(adjoint, LANES)
                    for j in range(net.indptr[i], net.indptr[i + _U1]):
                        side = np.uint64(net.channel[j]) if channels > _U1 else _U0
                        at = ((side * n + np.uint64(net.target[j])) * line + t + np.uint64(net.delay[j])) * _W
                        total = multiply_add(weight[j], load_lanes(adjoint, at, LANES), total)
                    store_lanes(back, _U0, total)
                    if grad_spike.size:
                        for k in range(LANES):
                            back[k] += grad_spike[t, i, k]
                    for k in range(LANES):
                        gi[k] += back[k] * slope[k]
            if net.readout[i] >= 0:
                read = grad_u[t, net.readout[i]]
                for k in range(LANES):
                    gi[k] += read[k]
    _weight_gradient(net, mask, adjoint, line, grad_weight)


@kernel
def _weight_gradient(net: TileNetwork, mask: Array, adjoint: Array, line: np.uint64, grad_weight: Array) -> None:
    """Each edge: the adjoint of its target's current when its source's spikes arrived, over the steps with a spike."""
    steps, n = np.uint64(mask.shape[0]), np.uint64(mask.shape[1])
    channels = np.uint64(net.p21.shape[0])
    active = np.empty(steps, np.uint64)
    spikes = np.empty(steps * _W, adjoint.dtype)
    for i in range(n):
        count = _U0
        for t in range(steps):
            if mask[t, i] != 0:
                active[count] = t
                store_lanes(spikes, count * _W, mask_lanes(adjoint, mask[t, i]))
                count += _U1
        if count == 0:
            continue
        for j in range(net.indptr[i], net.indptr[i + _U1]):
            side = np.uint64(net.channel[j]) if channels > _U1 else _U0
            first = (side * n + np.uint64(net.target[j])) * line + np.uint64(net.delay[j])
            total = no_lanes(adjoint, LANES)
            for a in range(count):
                arrived = load_lanes(adjoint, (first + active[a]) * _W, LANES)
                total = multiply_add(load_lanes(spikes, a * _W, LANES), arrived, total)
            grad_weight[j] += lanes_total(total)


@kernel
def _slots(delay: Array) -> np.uint64:
    """Steps that a ring buffer must hold: the longest delay and one more."""
    longest = np.uint64(1)
    for j in range(np.uint64(delay.size)):
        longest = max(longest, np.uint64(delay[j]))
    return longest + np.uint64(1)


@kernel
def _wrap(slot: np.uint64, slots: np.uint64) -> np.uint64:
    """A slot of the ring buffer, for less than two rounds: no division."""
    return slot - slots if slot >= slots else slot
