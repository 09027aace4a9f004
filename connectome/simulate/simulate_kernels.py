"""The event-driven simulation on plain arrays: neuron update, spike collection, delivery.

Each thread owns some neurons: it updates them and delivers to them, over edges from any source. Sums over the edges
into a neuron are always made in the same order, by edge set, delay, source, however many threads there are; so results
are the same to the last bit. Threads wait for each other no more often than the shortest delay.

A spike waits in the list of its step until it is due. An edge set's rows are sorted by delay, so the edges due in a row
are one stretch of it, added straight to the synaptic currents: there is no buffer of future arrivals.

Indices are unsigned: Numba then emits neither sign extension nor wrap-around for them. Nothing is allocated in a loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, Records, inlined, inner, kernel
from connectome.lanes_kernels import at_least, load_lanes, multiply_add, store_lanes
from connectome.neurons.step_kernels import call_step
from connectome.simulate.native_kernels import fetch_soon, observe, publish, value_at, yield_core
from connectome.simulate.plastic_kernels import deliver_and_learn, react
from connectome.simulate.poisson_kernels import OCTET, PoissonDrive, draw

__all__ = [
    "BLOCK", "DUE", "FLUSH", "RECORD", "SEGMENT", "STREAM", "Scratch", "State", "Visits", "add_poisson", "advance",
    "deliver", "flush", "narrow", "neuron_type", "wait_for",
]  # fmt: skip

#: Neurons are laid out, and shared out to threads, in blocks of so many: a multiple of any vector and of a cache line.
BLOCK = 16

_BLOCK = np.uint64(BLOCK)
_U0, _U1, _U2 = np.uint64(0), np.uint64(1), np.uint64(2)

_LINE = np.uint64(64)  # bytes
_AHEAD = np.uint64(8)  # visits
_MIXED = np.uint64(2**64 - 1)
_FAR = np.uint64(1024)  # bytes of a stretch that are fetched ahead
_FEW = np.uint64(32)  # edges: two lines of targets and three of weights hold them
_SPIN = 2000
FLUSH = 32  # steps between two removals of what is about to become denormal
_TINY = 1e-20  # pA and mV


def neuron_type(real: np.dtype[Any]) -> np.dtype[Any]:
    """A region of neurons or an effector: see :class:`connectome.neurons.iaf_psc_exp.Dynamics`.

    ``inhibitory``: what to add to a neuron's place to find its inhibitory current; 0 if it has one current for both
    signs, which is enough where their time constants are equal. ``cells``: 0; or 1 plus its number among the
    tasks, where a region is updated by a kernel of its own: then the rest says nothing.
    """
    names = ("p22", "p21_ex", "p21_in", "p11_ex", "p11_in", "theta", "v_reset")
    return np.dtype(
        [("ref_steps", np.uint64), ("inhibitory", np.uint64), ("cells", np.uint64), *((name, real) for name in names)],
        align=True,
    )


#: Neurons that one thread owns of one region; in order of region, then place. A sensor is one segment.
#:
#: region : its number among all regions; owner : the thread, or -1 for a sensor
#: start, stop : places in :class:`State`, whole blocks; for a sensor, numbers of its neurons
#: varies : all bits set; or 0 where what is injected is the same for all neurons, and the first block's is read for all
SEGMENT = np.dtype(
    [("region", np.uint64), ("owner", np.int64), ("start", np.uint64), ("stop", np.uint64), ("varies", np.uint64)]
)

#: An edge set into the neurons that one thread owns of one region; in the order in which they are delivered.
#:
#: owner : the thread; -1 for a set that learns, which is delivered by other kernels
#: first_segment, last_segment : those of the source region; source_start : the place of its first neuron
#: delays : number of its delays, which are at ``due[delay_at : delay_at + delays]``
#: table, row : ``table[source * row + column + due[...].column]`` is where the edges of a delay begin, and the next
#:     entry where they end. Its address; uint32.
#: each : 0; or the address of the edges' delays (uint16) where the table is for several delays at once
#: low, high : the targets that are meant, where the table does not tell
#: indices : the address of the targets; shift : 1 if they are uint16, 2 if they are uint32
#: weight : the address of the weights, or 0 where all are ``constant``
#: sign : the address of the source neurons' signs, or 0 where a row may hold both
#: plus, minus : where the target region's current for positive and for negative weights begins
STREAM = np.dtype(
    [
        ("owner", np.int64), ("first_segment", np.uint64), ("last_segment", np.uint64), ("source_start", np.uint64),
        ("delays", np.uint64), ("delay_at", np.uint64), ("table", np.uint64), ("row", np.uint64),
        ("column", np.uint64), ("each", np.uint64), ("low", np.uint64), ("high", np.uint64),
        ("indices", np.uint64), ("shift", np.uint64),
        ("weight", np.uint64), ("constant", np.float64), ("sign", np.uint64), ("plus", np.uint64),
        ("minus", np.uint64),
    ]
)  # fmt: skip

#: A delay of a stream, in steps, and its column in the stream's table.
DUE = np.dtype([("delay", np.uint64), ("column", np.uint64)])


#: A number to record after each step: the thread that changes it, its address, and what is recorded where it is -inf.
RECORD = np.dtype([("owner", np.int64), ("address", np.uint64), ("held", np.float64)])


class State(NamedTuple):
    """What a step leaves for the next.

    v : (P,) mV above e_l; -inf while refractory, and where there is no neuron
    current : (2 P,) or (P,) pA: of both signs or excitatory; inhibitory
    ids : (capacity,) places of the neurons that fired (for a sensor: numbers), step after step
    begin, end : (H + steps, G) where a segment's spikes of a step are in ``ids``. Row H is the first step.
    free : (threads,) where a thread's next spike goes
    done : (8 * threads,) steps since the beginning of the run whose spikes are known, at every eighth place
    """

    v: NDArray[Any]
    current: NDArray[Any]
    ids: NDArray[np.uint32]
    begin: NDArray[np.uint64]
    end: NDArray[np.uint64]
    free: NDArray[np.uint64]
    done: NDArray[np.int64]


class Visits(NamedTuple):
    """Room for stretches of an edge set that are due: from edge ``begin`` to ``end``, to the currents of the targets
    counted from ``base``; or, if that is ``2**64 - 1``, from one place for positive weights, another for negative."""

    begin: NDArray[np.uint64]
    end: NDArray[np.uint64]
    base: NDArray[np.uint64]


class Scratch(NamedTuple):
    """Room for one thread to work in: what :func:`draw_octet` wants, counts of its runs (OCTET * P',), visits."""

    bits: NDArray[np.uint16]
    unsure: NDArray[np.uint16]
    counts: NDArray[np.uint8]
    visits: Visits


@inner
def _integrate(
    g: Index, r: Index, neurons: Records, segments: Records, drive: NDArray[Any], v: NDArray[Any],
    current: NDArray[Any], ids: NDArray[np.uint32], free: Index,
) -> Index:  # fmt: skip
    """One step of a segment: a pass over v and the currents. ``drive`` (P,). Returns where the next spike goes."""
    p22, p21_ex, p21_in = neurons[r].p22, neurons[r].p21_ex, neurons[r].p21_in
    p11_ex, p11_in, theta = neurons[r].p11_ex, neurons[r].p11_in, neurons[r].theta
    inhibitory = neurons[r].inhibitory
    start, varies = segments[g].start, segments[g].varies
    for i in range(start, segments[g].stop, _BLOCK):
        u = load_lanes(drive, start + ((i - start) & varies), BLOCK)
        if inhibitory:
            pa = load_lanes(current, inhibitory + i, BLOCK)
            u = multiply_add(p21_in, pa, u)
            store_lanes(current, inhibitory + i, p11_in * pa)
        pa = load_lanes(current, i, BLOCK)
        u = multiply_add(p22, load_lanes(v, i, BLOCK), multiply_add(p21_ex, pa, u))
        store_lanes(current, i, p11_ex * pa)
        store_lanes(v, i, u)
        fires = np.uint64(at_least(u, theta))
        at: Index = i
        while fires:
            if fires & _U1:
                v[at] = -np.inf
                ids[free] = np.uint32(at)
                free += _U1
            fires, at = fires >> _U1, at + _U1
    return free


@inner
def _update(
    t: Index, g: Index, r: Index, cells: Records, inhibitory: Index, segments: Records, drive: NDArray[Any],
    v: NDArray[Any], current: NDArray[Any], ids: NDArray[np.uint32], free: Index,
) -> Index:  # fmt: skip
    """One step of a segment by the kernel of its region. Returns where the next spike goes."""
    c, real = cells[r], np.uint64(v.itemsize)
    c.first, c.last = segments[g].start - c.place, min(segments[g].stop - c.place, c.size)
    at, c.varies = c.place * real, segments[g].varies & _U1
    c.excitatory = np.uint64(current.ctypes.data) + at
    c.inhibitory = c.excitatory + inhibitory * real
    c.drive = np.uint64(drive.ctypes.data) + at
    c.fired = np.uint64(ids.ctypes.data) + (free << _U2)
    if t:
        c.clamp += c.clamp_row
    return free + call_step(
        c.update, np.uint64(cells.ctypes.data) + r * np.uint64(cells.itemsize), np.uint64(v.ctypes.data) + at
    )


@inner
def flush(x: NDArray[Any], first: np.uint64, last: np.uint64) -> None:
    """Denormal numbers would cost a hundred times as much as others; nothing that small matters."""
    tiny, zero = x.dtype.type(_TINY), x.dtype.type(0)
    for i in range(first, last):
        x[i] = zero if abs(x[i]) < tiny else x[i]


@inner
def _fetch(k: Index, m: Index, streams: Records, visits: Visits) -> None:
    """Bring the beginning of a visit's edges into the cache."""
    stream, begin, end = streams[m], visits.begin[k], visits.end[k]
    first, last = stream.indices + (begin << stream.shift), stream.indices + (end << stream.shift)
    if end - begin <= _FEW:  # no loops: they would end where the processor does not expect it
        fetch_soon(first)
        fetch_soon(last)
        if stream.weight:
            first, last = stream.weight + (begin << _U2), stream.weight + (end << _U2)
            fetch_soon(first)
            fetch_soon((first + last) >> _U1)
            fetch_soon(last)
        return
    for line in range(first, min(last, first + _FAR), _LINE):
        fetch_soon(line)
    if stream.weight:
        first = stream.weight + (begin << _U2)
        for line in range(first, min(stream.weight + (end << _U2), first + _FAR), _LINE):
            fetch_soon(line)


@inner
def _rows(
    like: Any, n: Index, m: Index, streams: Records, visits: Visits, current: NDArray[Any]
) -> None:  # fmt: skip
    """Make the first n visits; ``like`` is a number of the type of the targets."""
    stream = streams[m]
    indices, weights, plus, minus, none = stream.indices, stream.weight, stream.plus, stream.minus, np.float32(0)
    for k in range(min(_AHEAD, n)):
        _fetch(k, m, streams, visits)
    for k in range(n):
        if k + _AHEAD < n:
            _fetch(k + _AHEAD, m, streams, visits)
        begin, end, base = visits.begin[k], visits.end[k], visits.base[k]
        if weights == _U0:
            constant = current.dtype.type(stream.constant)
            for j in range(begin, end):
                current[base + np.uint64(value_at(indices, like, j))] += constant
        elif base != _MIXED:
            for j in range(begin, end):
                current[base + np.uint64(value_at(indices, like, j))] += value_at(weights, none, j)
        else:
            for j in range(begin, end):
                weight = value_at(weights, none, j)
                base_now = minus if weight < 0 else plus
                current[base_now + np.uint64(value_at(indices, like, j))] += weight


@inner
def deliver(
    thread: Index, row: Index, streams: Records, due: Records, visits: Visits, state: State, wide: bool | None,
    coarse: bool | None,
) -> None:  # fmt: skip
    """Deliver to a thread's neurons all that is due in the step of this row: of each edge set, note the stretches of
    edges to visit, then visit them while the next are on their way from memory."""
    ids, full = state.ids, np.uint64(visits.begin.size)
    for m in range(np.uint64(streams.size)):
        stream = streams[m]
        if stream.owner != thread:
            continue
        n, table, signs, none = _U0, stream.table, stream.sign, np.uint32(0)
        base = stream.plus
        if stream.weight == _U0:
            base = stream.minus if stream.constant < 0 else stream.plus
        elif signs == _U0 and stream.plus != stream.minus:
            base = _MIXED
        for d in range(stream.delay_at, stream.delay_at + stream.delays):
            past = row - due[d].delay
            column = stream.column + due[d].column
            for g in range(stream.first_segment, stream.last_segment):
                for k in range(state.begin[past, g], state.end[past, g]):
                    source = np.uint64(ids[k]) - stream.source_start
                    at = source * stream.row + column
                    visits.begin[n] = value_at(table, none, at)
                    visits.end[n] = value_at(table, none, at + _U1)
                    if coarse is not None and stream.each:
                        narrow(n, due[d].delay, m, streams, visits)
                    visits.base[n] = base
                    if signs and value_at(signs, np.int8(0), source) < 0:
                        visits.base[n] = stream.minus
                    n += np.uint64(visits.end[n] > visits.begin[n])
                    if n == full:
                        _visit(n, m, streams, visits, state.current, wide)
                        n = _U0
        _visit(n, m, streams, visits, state.current, wide)


@inner
def narrow(n: Index, delay: Index, m: Index, streams: Records, visits: Visits) -> None:
    """Of a stretch with several delays, only the edges of this one and into the thread's targets."""
    stream, begin, end, none = streams[m], visits.begin[n], visits.end[n], np.uint16(0)
    while begin < end and value_at(stream.each, none, begin) < delay:
        begin += _U1
    while begin < end and value_at(stream.each, none, end - _U1) > delay:
        end -= _U1
    while begin < end and _target(begin, m, streams) < stream.low:
        begin += _U1
    while begin < end and _target(end - _U1, m, streams) >= stream.high:
        end -= _U1
    visits.begin[n], visits.end[n] = begin, end


@inner
def _target(edge: Index, m: Index, streams: Records) -> Index:
    if streams[m].shift == _U1:
        return np.uint64(value_at(streams[m].indices, np.uint16(0), edge))
    return np.uint64(value_at(streams[m].indices, np.uint32(0), edge))


@inlined
def _visit(n: Index, m: Index, streams: Records, visits: Visits, current: NDArray[Any], wide: bool | None) -> None:
    if wide is None or streams[m].shift == _U1:
        _rows(np.uint16(0), n, m, streams, visits, current)
    else:
        _rows(np.uint32(0), n, m, streams, visits, current)


@inner
def add_poisson(
    step: int, fresh: bool, thread: int, drive: PoissonDrive, scratch: Scratch, current: NDArray[Any]
) -> None:
    """Add a step's Poisson events to the currents of a thread's neurons."""
    counts, at = scratch.counts, _U0
    for r in range(np.uint64(drive.run.size)):
        run = drive.run[r]
        if run.owner != thread:
            continue
        n, start = run.stop - run.start, run.start
        if fresh or step % OCTET == 0:
            draw(r, np.uint64(step) // np.uint64(OCTET), drive, scratch.bits, scratch.unsure, counts[at:])
        now, entry = at + np.uint64(step % OCTET) * n, run.first
        if run.spread:
            for j in range(n):
                weight = drive.weight[entry + j]
                current[start + j + (run.inhibitory if weight < 0 else _U0)] += weight * counts[now + j]
        else:
            weight = drive.weight[entry]
            if weight < 0:
                start += run.inhibitory
            for j in range(n):
                current[start + j] += weight * counts[now + j]
        at += np.uint64(OCTET) * n


@inner
def wait_for(thread: int, until: int, done: NDArray[np.int64]) -> None:
    """Until the other threads know their spikes of so many steps."""
    for k in range(np.uint64(done.size // 8)):
        if k != np.uint64(thread):
            spins = 0
            while observe(done, np.uint64(8) * k) < until:
                spins += 1
                if spins > _SPIN:
                    yield_core()


@kernel
def advance(
    thread: int, first: int, n_steps: int, ahead: int, history: int, neurons: Records, segments: Records,
    streams: Records, due: Records, poisson: PoissonDrive | None, drive: NDArray[Any], state: State,
    scratch: Scratch, record: Records, recorded: NDArray[Any], plastic: Any,
    cells: Records | None, wide: bool | None, coarse: bool | None,
) -> None:  # fmt: skip
    """Simulate a thread's share of steps first .. first + n_steps - 1, in place, while the other threads do theirs.

    ahead : steps of the shortest delay: a thread may be so far before another
    history : H, rows of ``state.begin`` before the first step
    due : the delays of all streams
    drive : (1 or n_steps, P) mV: what the injected currents add to v in each step
    record : (K,) of ``RECORD``: what to put into ``recorded`` (n_steps, K)
    plastic : the edge sets that learn: see ``plastic_kernels``
    cells : of ``TASK``: the regions with kernels of their own; what changes from call to call is written here
    wide, coarse : whether a stream has targets of 32 bits, and a table for several delays at once

    What is None is not even compiled: ``poisson``, ``plastic``, ``cells``, ``wide``,
    ``coarse``.
    """
    threads = state.done.size // 8
    free = state.free[thread]
    v, current, ids = state.v, state.current, state.ids
    for t in range(n_steps):
        step, row, now = first + t, np.uint64(history + t), np.uint64(t % drive.shape[0])
        for g in range(np.uint64(segments.size)):
            if segments[g].owner != thread:
                continue
            r = segments[g].region
            if cells is not None and neurons[r].cells:
                state.begin[row, g] = free
                free = _update(
                    np.uint64(t), g, neurons[r].cells - _U1, cells, neurons[r].inhibitory, segments, drive[now], v,
                    current, ids, free,
                )  # fmt: skip
            else:
                past, v_reset = row - neurons[r].ref_steps - _U1, neurons[r].v_reset
                for k in range(state.begin[past, g], state.end[past, g]):
                    v[ids[k]] = v_reset
                state.begin[row, g] = free
                free = _integrate(g, r, neurons, segments, drive[now], v, current, ids, free)
            state.end[row, g] = free
            if step % FLUSH == 0:
                start, stop, inhibitory = segments[g].start, segments[g].stop, neurons[r].inhibitory
                flush(v, start, stop)
                flush(current, start, stop)
                if inhibitory:
                    flush(current, start + inhibitory, stop + inhibitory)
        publish(state.done, np.uint64(8 * thread), step + 1)  # the spikes are all that others ask for
        if poisson is not None:
            add_poisson(step, t == 0, thread, poisson, scratch, current)
        if threads > 1:
            wait_for(thread, step - ahead + 1, state.done)
        if plastic is not None:
            react(thread, step, row, plastic, streams, due, state)
        deliver(thread, row, streams, due, scratch.visits, state, wide, coarse)
        if plastic is not None:
            deliver_and_learn(thread, step, row, plastic, streams, due, state)
        for k in range(record.size):
            if record[k].owner == thread:
                value = value_at(record[k].address, v.dtype.type(0), _U0)
                recorded[t, k] = record[k].held if value == -np.inf else value
    state.free[thread] = free
