"""Several steps at once, where no event within them can take effect within them.

A spike arrives no sooner than the shortest delay, so everything that will arrive in a window of that many steps is
known when it begins. A block of sixteen neurons is therefore left alone until something is about to reach it, or the
window ends; then it catches up on the steps that it has missed, in registers. Each neuron does the same operations in
the same order as step by step, to the last bit. Where so much is due that most blocks are soon reached, all take every
step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, Records, inner, kernel
from connectome.neurons.step_kernels import call_step
from connectome.simulate.native_kernels import publish, value_at
from connectome.simulate.poisson_kernels import PoissonDrive
from connectome.simulate.simulate_kernels import (
    FLUSH,
    Scratch,
    State,
    add_poisson,
    deliver,
    flush,
    narrow,
    wait_for,
)  # fmt: skip

__all__ = ["Window", "advance_windows"]

_U0, _U1, _U2, _U4, _U6, _U63 = (np.uint64(k) for k in (0, 1, 2, 4, 6, 63))
_SHIFT = np.uint64(32)
#: Blocks are left alone where fewer edges than one for so many blocks are due in a step: to make up for one costs as
#: much as so many in turn.
_SPARSE = np.uint64(12)


class Window(NamedTuple):
    """Room for one thread's windows of at most W steps.

    touched : (W, words) a bit for each block of all places: whether something reaches it in a step
    since : (blocks,) see ``step_kernels.TASK``
    places, when, keys : (capacity,) of the spikes of a window
    """

    touched: NDArray[np.uint64]
    since: NDArray[np.uint8]
    places: NDArray[np.uint32]
    when: NDArray[np.uint8]
    keys: NDArray[np.uint64]


@inner
def _touch(like: Any, m: Index, begin: Index, end: Index, streams: Records, touched: NDArray[np.uint64]) -> None:
    """Set the bits of the blocks that a stretch of edges leads to; ``like`` is a number of the type of the targets."""
    indices, base = streams[m].indices, streams[m].plus
    for j in range(begin, end):
        block = (base + np.uint64(value_at(indices, like, j))) >> _U4
        touched[block >> _U6] |= _U1 << (block & _U63)


@inner
def _foresee(
    thread: Index, row: Index, streams: Records, due: Records, scratch: Scratch, state: State,
    touched: NDArray[np.uint64] | None, coarse: bool | None,
) -> Index:  # fmt: skip
    """How many edges are due in the step of this row; and, unless ``touched`` is None, set the bits of the blocks that
    they lead to."""
    visits, none, edges = scratch.visits, np.uint32(0), _U0
    for m in range(np.uint64(streams.size)):
        stream = streams[m]
        if stream.owner != thread:
            continue
        for d in range(stream.delay_at, stream.delay_at + stream.delays):
            past, column = row - due[d].delay, stream.column + due[d].column
            for g in range(stream.first_segment, stream.last_segment):
                for k in range(state.begin[past, g], state.end[past, g]):
                    at = (np.uint64(state.ids[k]) - stream.source_start) * stream.row + column
                    visits.begin[0] = value_at(stream.table, none, at)
                    visits.end[0] = value_at(stream.table, none, at + _U1)
                    if coarse is not None and stream.each:
                        narrow(_U0, due[d].delay, m, streams, visits)
                    edges += visits.end[0] - visits.begin[0]
                    if touched is not None:
                        if stream.shift == _U1:
                            _touch(np.uint16(0), m, visits.begin[0], visits.end[0], streams, touched)
                        else:
                            _touch(np.uint32(0), m, visits.begin[0], visits.end[0], streams, touched)
    return edges


@inner
def _collect(
    n: Index, row: Index, steps: Index, thread: int, segments: Records, state: State, window: Window, free: Index
) -> Index:
    """Put n spikes of a window where those of each step are looked for, in order of place. Returns where the next spike
    goes."""
    keys = window.keys[:n]
    for spike in range(n):
        keys[spike] = np.uint64(window.when[spike]) << _SHIFT | np.uint64(window.places[spike])
    keys.sort()
    k: Index = _U0
    for step in range(steps):
        for g in range(np.uint64(segments.size)):
            if segments[g].owner != thread:
                continue
            state.begin[row + step, g] = free
            while k < n and keys[k] < (step << _SHIFT | segments[g].stop):
                state.ids[free] = np.uint32(keys[k] & ((_U1 << _SHIFT) - _U1))
                free, k = free + _U1, k + _U1
            state.end[row + step, g] = free
    return free


@kernel
def advance_windows(
    thread: int, first: int, n_steps: int, ahead: int, history: int, neurons: Records, segments: Records,
    streams: Records, due: Records, poisson: PoissonDrive | None, drive: NDArray[Any], state: State,
    scratch: Scratch, window: Window, cells: Records, wide: bool | None, coarse: bool | None,
) -> None:  # fmt: skip
    """As :func:`connectome.simulate.simulate_kernels.advance`, where every region has a kernel that takes the quicker
    way, the drive is constant, nothing learns and nothing is recorded."""
    threads, v, current = state.done.size // 8, state.v, state.current
    free, t, real = state.free[thread], 0, np.uint64(state.v.itemsize)
    most = min(ahead, window.touched.shape[0])
    while t < n_steps:
        start = first + t
        steps = min(most, n_steps - t, (-start) % FLUSH + 1)  # what is nearly 0 is removed at the end of a window
        if threads > 1:
            wait_for(thread, start, state.done)
        reached, n = _U0, _U0
        for k in range(steps):
            reached += _foresee(thread, np.uint64(history + t + k), streams, due, scratch, state, None, coarse)
            if poisson is not None:
                for run in poisson.run:
                    if run.owner == thread:
                        reached += (run.stop - run.start + np.uint64(15)) >> _U4
        sparse = reached * _SPARSE < np.uint64(steps) * np.uint64(window.since.size)
        window.since[:] = 0
        for k in range(steps if sparse else 0):
            touched = window.touched[k]
            touched[:] = 0
            _foresee(thread, np.uint64(history + t + k), streams, due, scratch, state, touched, coarse)
            if poisson is not None:
                for run in poisson.run:
                    if run.owner == thread:
                        for block in range(run.start >> _U4, (run.stop + np.uint64(15)) >> _U4):
                            touched[block >> _U6] |= _U1 << (block & _U63)
        for k in range(steps):
            ends, step = k == steps - 1, start + k
            for g in range(np.uint64(segments.size)):
                if segments[g].owner != thread:
                    continue
                at = neurons[segments[g].region].cells - _U1
                c = cells[at]
                c.first, c.last = segments[g].start - c.place, min(segments[g].stop - c.place, c.size)
                c.varies, c.until = segments[g].varies & _U1, np.uint64(k + 1) if sparse else _U0
                c.excitatory = np.uint64(current.ctypes.data) + c.place * real
                c.drive = np.uint64(drive.ctypes.data) + c.place * real
                c.fired = np.uint64(window.places.ctypes.data) + (n << _U2)
                c.when = np.uint64(window.when.ctypes.data) + n
                c.since = np.uint64(window.since.ctypes.data)
                c.touched = _U0 if ends else np.uint64(window.touched[k].ctypes.data)
                before = n
                n += call_step(
                    c.update, np.uint64(cells.ctypes.data) + at * np.uint64(cells.itemsize),
                    np.uint64(v.ctypes.data) + c.place * real,
                )  # fmt: skip
                if not sparse:
                    window.when[before:n] = k
                if ends and step % FLUSH == 0:
                    flush(v, segments[g].start, segments[g].stop)
                    flush(current, segments[g].start, segments[g].stop)
            if poisson is not None:
                add_poisson(step, t + k == 0, thread, poisson, scratch, current)
            deliver(thread, np.uint64(history + t + k), streams, due, scratch.visits, state, wide, coarse)
        free = _collect(n, np.uint64(history + t), np.uint64(steps), thread, segments, state, window, free)
        publish(state.done, np.uint64(8 * thread), start + steps)
        t += steps
    state.free[thread] = free
