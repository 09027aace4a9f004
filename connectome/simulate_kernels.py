"""The event-driven simulation on plain arrays: neuron update, delivery of spikes, Poisson numbers. One thread.

Indices are unsigned: Numba then emits neither sign extension nor wrap-around for them. Nothing is allocated in a loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import kernel

__all__ = [
    "POISSON_MEAN_MAX",
    "Edges",
    "Injected",
    "Neurons",
    "PoissonDrive",
    "Scratch",
    "Spikes",
    "State",
    "advance",
    "philox",
    "poisson_pair",
]

#: The largest mean that one random number is turned into a count for; larger means are sums of several counts.
POISSON_MEAN_MAX = 32.0

_CHUNK = np.uint64(512)  # neurons per pass: their state stays in the first-level cache from loop to loop
_ONE = np.uint64(1)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


class Neurons(NamedTuple):
    """The R regions that are not empty: region r is the neurons ``start[r]:stop[r]``, (R,) each.

    ``sensor`` (N,) says which neurons are sensors. The last nine are columns of :class:`connectome.flat.Dynamics`, one
    number a region, in the run's type.
    """

    start: NDArray[np.uint64]
    stop: NDArray[np.uint64]
    sensor: NDArray[np.bool_]
    p22: NDArray[Any]
    p21_ex: NDArray[Any]
    p21_in: NDArray[Any]
    p20: NDArray[Any]
    p11_ex: NDArray[Any]
    p11_in: NDArray[Any]
    theta: NDArray[Any]
    v_reset: NDArray[Any]
    ref_steps: NDArray[np.int32]


class Edges(NamedTuple):
    """CSR by source: indptr (N + 1,), the others (E,). Delays in steps, weights in pA."""

    indptr: NDArray[np.uint64]
    target: NDArray[np.uint32]
    delay: NDArray[np.uint16]
    weight: NDArray[np.float32]


class State(NamedTuple):
    """What a step leaves for the next: (N,) each, but ``ring`` (2 D N,) for a longest delay of D steps.

    ``ring`` holds the arrivals of the steps to come, in pA: excitatory then inhibitory, slot ``step % D``, neuron.
    Voltages are in mV above e_l.
    """

    v: NDArray[Any]
    i_ex: NDArray[Any]
    i_in: NDArray[Any]
    refractory: NDArray[np.int32]
    ring: NDArray[Any]


class Injected(NamedTuple):
    """Spikes that sensors are told to emit: (M,) each, sorted by step, then id; no such pair comes twice."""

    step: NDArray[np.int64]
    id: NDArray[np.uint32]
    number: NDArray[np.int32]


class PoissonDrive(NamedTuple):
    """Poisson drive of P neurons, in order of id, in runs of one rate: run r is the places ``run[r]:run[r + 1]``.

    id, key, weight : (P,) the neuron, its number for the random generator, pA a count (a sensor's counts are spikes)
    run : (R + 1,); draws : (R,) random numbers a count
    row : (R,) where the run's thresholds start in ``table``. They fall, and end with 0; how many of them are above a
        uniform 64-bit number is the count.
    seed : (2,) low and high 32 bits
    """

    id: NDArray[np.uint32]
    key: NDArray[np.uint32]
    weight: NDArray[Any]
    run: NDArray[np.uint64]
    draws: NDArray[np.int64]
    row: NDArray[np.uint64]
    table: NDArray[np.uint64]
    seed: NDArray[np.uint64]


class Spikes(NamedTuple):
    """Output of :func:`advance`: neuron and how often it fired (capacity,), and how many entries a step ends with.

    Sorted by step, then id. Only a sensor can emit more than one spike in a step.
    """

    id: NDArray[np.uint32]
    number: NDArray[np.int32]
    end: NDArray[np.int64]


class Scratch(NamedTuple):
    """Room to work in, whatever it holds: how often each neuron fires in a step (N,), and what
    :func:`poisson_pair` writes."""

    emitted: NDArray[np.int32]
    bits: NDArray[np.uint64]
    counts: NDArray[np.int64]


@kernel
def philox(
    c0: NDArray[np.uint32], c1: np.uint64, c2: np.uint64, c3: np.uint64, seed: NDArray[np.uint64],
    bits: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Philox4x32-10: for each counter (c0[j], c1, c2, c3) the four random words w as ``bits[j] = w0 << 32 | w1`` and
    ``bits[n + j] = w2 << 32 | w3``. 32-bit words, held in 64 bits.

    Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011).
    """
    n = np.uint64(c0.size)
    w1_, w2_, w3_, k0_, k1_ = c1 & _LOW, c2 & _LOW, c3 & _LOW, seed[0] & _LOW, seed[1] & _LOW
    for j in range(n):
        w0, w1, w2, w3, k0, k1 = np.uint64(c0[j]), w1_, w2_, w3_, k0_, k1_
        for _ in range(10):
            a, b = _M0 * w0, _M1 * w2
            w0, w1, w2, w3 = (b >> _32) ^ w1 ^ k0, b & _LOW, (a >> _32) ^ w3 ^ k1, a & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        bits[j] = w0 << _32 | w1
        bits[n + j] = w2 << _32 | w3


@kernel
def poisson_pair(step: int, drive: PoissonDrive, bits: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
    """Poisson counts (2 P,) of the even step ``step``, then of the one after it, by inversion of the distribution.

    Each depends on the seed, the neuron's key and the step alone. ``bits`` (2 P,) is scratch. The thresholds are the
    outer loop, so that the inner one is vector code; it ends when no number of the chunk is below one.
    """
    n, pair = np.uint64(drive.key.size), np.uint64(step) >> _ONE
    most = 0
    for r in range(drive.draws.size):
        most = max(most, drive.draws[r])
    for j in range(counts.size):
        counts[j] = 0
    for draw in range(most):
        philox(drive.key, pair, pair >> _32, np.uint64(draw), drive.seed, bits)
        for half in range(2):
            offset = np.uint64(half) * n
            for r in range(drive.row.size):
                if draw < drive.draws[r]:
                    for first in range(drive.run[r], drive.run[r + 1], _CHUNK):
                        last = min(first + _CHUNK, drive.run[r + 1])
                        row, below = drive.row[r], np.int64(1)
                        while below:
                            threshold, below = drive.table[row], np.int64(0)
                            for j in range(offset + first, offset + last):
                                hit = np.int64(bits[j] < threshold)
                                counts[j] += hit
                                below += hit
                            row += _ONE


@kernel
def _integrate(
    r: int,
    neurons: Neurons,
    current: NDArray[Any],
    now: np.uint64,
    slot: np.uint64,
    state: State,
    emitted: NDArray[np.int32],
) -> None:
    """One step of region r. Short loops over few arrays each, so that LLVM turns every one into vector code."""
    p22, p21_ex, p21_in, p20 = neurons.p22[r], neurons.p21_ex[r], neurons.p21_in[r], neurons.p20[r]
    p11_ex, p11_in = neurons.p11_ex[r], neurons.p11_in[r]
    theta, v_reset, ref_steps = neurons.theta[r], neurons.v_reset[r], neurons.ref_steps[r]
    v, i_ex, i_in, refractory, ring = state
    zero = v.dtype.type(0)
    ex = slot * np.uint64(v.size)
    inh = ex + np.uint64(ring.size) // np.uint64(2)
    for first in range(neurons.start[r], neurons.stop[r], _CHUNK):
        last = min(first + _CHUNK, neurons.stop[r])
        for i in range(first, last):
            v[i] = p22 * v[i] + p21_ex * i_ex[i] + p21_in * i_in[i] + p20 * current[now, i]
        for i in range(first, last):
            u = v[i] if refractory[i] == 0 else v_reset
            fires = u >= theta
            v[i] = v_reset if fires else u
            refractory[i] = ref_steps if fires else max(refractory[i] - np.int32(1), np.int32(0))
            emitted[i] = np.int32(fires)
        for i in range(first, last):
            i_ex[i] = p11_ex * i_ex[i] + ring[ex + i]
            ring[ex + i] = zero
        for i in range(first, last):
            i_in[i] = p11_in * i_in[i] + ring[inh + i]
            ring[inh + i] = zero


@kernel
def _collect(emitted: NDArray[np.int32], spikes: Spikes, n_spikes: int) -> int:
    """Append the neurons that emit, in order of id; most chunks hold none. Returns the new number."""
    size, chunk = np.uint64(emitted.size), np.uint64(64)
    for first in range(np.uint64(0), size, chunk):
        last = min(first + chunk, size)
        some = np.int32(0)
        for i in range(first, last):
            some |= emitted[i]
        if some:
            for i in range(first, last):
                if emitted[i]:
                    spikes.id[n_spikes] = np.uint32(i)
                    spikes.number[n_spikes] = emitted[i]
                    n_spikes += 1
    return n_spikes


@kernel
def _deliver(slot: np.uint64, first: int, last: int, edges: Edges, state: State, spikes: Spikes) -> None:
    """Put the spikes first .. last - 1, emitted at the step of ``slot``, into the ring over all their edges."""
    n = np.uint64(state.v.size)
    slots = np.uint64(state.ring.size) // np.uint64(2) // n
    for s in range(first, last):
        source = np.uint64(spikes.id[s])
        count = state.v.dtype.type(spikes.number[s])
        for e in range(edges.indptr[source], edges.indptr[source + _ONE]):
            weight = edges.weight[e]
            row = slot + np.uint64(edges.delay[e])
            row = row - slots if row >= slots else row
            row = row + slots if weight < 0 else row
            state.ring[row * n + np.uint64(edges.target[e])] += weight * count


@kernel
def _send(
    step: int, cursor: int, slot: np.uint64, injected: Injected, drive: PoissonDrive, counts: NDArray[np.int64],
    sensor: NDArray[np.bool_], state: State, emitted: NDArray[np.int32],
) -> int:  # fmt: skip
    """What enters at a step: Poisson counts, as arrivals or as a sensor's spikes; injected spikes from ``cursor`` on.

    Returns the new cursor.
    """
    n, places = np.uint64(state.v.size), np.uint64(drive.id.size)
    inhibitory = np.uint64(state.ring.size) // np.uint64(2)
    offset = np.uint64(step % 2) * places
    for j in range(places):
        count = counts[offset + j]
        if count:
            i, weight = np.uint64(drive.id[j]), drive.weight[j]
            if sensor[i]:
                emitted[i] = np.int32(count)
            else:
                i += slot * n + (inhibitory if weight < 0 else np.uint64(0))
                state.ring[i] += weight * state.v.dtype.type(count)
    while cursor < injected.step.size and injected.step[cursor] == step:
        emitted[injected.id[cursor]] += injected.number[cursor]
        cursor += 1
    return cursor


@kernel
def advance(
    first: int, n_steps: int, neurons: Neurons, edges: Edges, injected: Injected, drive: PoissonDrive,
    current: NDArray[Any], state: State, scratch: Scratch, spikes: Spikes, record: NDArray[np.int64],
    recorded: NDArray[Any],
) -> int:  # fmt: skip
    """Simulate steps first .. first + n_steps - 1, in place, or fewer: it stops before ``spikes`` could overflow.

    ``injected`` starts at step ``first``. ``current`` (1 or n_steps, N): pA, a row for each step or one for all.
    ``recorded`` (n_steps, K): v of the neurons ``record`` (K,) after each step. Returns the number of steps done; it is
    at least one if ``spikes`` has room for N.
    """
    n, n_spikes = state.v.size, 0
    slots = state.ring.size // 2 // max(n, 1)
    emitted, bits, counts = scratch
    cursor = 0
    for done in range(n_steps):
        if spikes.id.size - n_spikes < n:
            return done
        step = first + done
        slot = np.uint64(step % max(slots, 1))
        if drive.id.size and (done == 0 or step % 2 == 0):
            poisson_pair(step - step % 2, drive, bits, counts)
        for r in range(neurons.start.size):
            if neurons.sensor[neurons.start[r]]:
                for i in range(neurons.start[r], neurons.stop[r]):
                    emitted[i] = 0
        cursor = _send(step, cursor, slot, injected, drive, counts, neurons.sensor, state, emitted)
        for r in range(neurons.start.size):
            if not neurons.sensor[neurons.start[r]]:
                _integrate(r, neurons, current, np.uint64(done % current.shape[0]), slot, state, emitted)
        start = n_spikes
        n_spikes = _collect(emitted, spikes, start)
        _deliver(slot, start, n_spikes, edges, state, spikes)
        spikes.end[done] = n_spikes
        for k in range(record.size):
            recorded[done, k] = state.v[record[k]]
    return n_steps
