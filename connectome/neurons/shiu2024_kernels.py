"""The step of ``shiu2024``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from numba import carray

from connectome.jit import Index, inlined
from connectome.lanes_kernels import (
    at_least,
    choose,
    first_lane,
    larger,
    later_lanes,
    load_lanes,
    load_rows,
    multiply_add,
    store_lanes,
)
from connectome.neurons.iaf_psc_exp_kernels import Memory, reset
from connectome.neurons.step_kernels import LANES, Cells, cells, pointer_to, step

__all__ = ["update"]

Constants = namedtuple("Constants", "p22 p21 p20 p11 theta v_reset i_e ref_steps")

_0, _1, _4, _6, _63, _64 = (np.uint64(k) for k in (0, 1, 4, 6, 63, 64))
_LANES, _V_RESET, _REF_STEPS = (np.uint64(k) for k in (LANES, 5, 7))
_ROWS = np.uint64(len(Constants._fields))


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. All synapses are in ``excitatory``."""
    g = choose(at_least(m.refractory, 0.5), inhibitory, excitatory)  # what came while it rested is lost
    u = multiply_add(c.p22, v, multiply_add(c.p21, g, c.p20 * (c.i_e + pa)))
    return choose(at_least(m.refractory, 1.5), c.v_reset, u), c.theta, c.p11 * g, inhibitory, m


@inlined
def _waiting(x: Cells, resting: Any, i: Index) -> tuple[Any, Any]:
    """How long sixteen neurons still rest, and the bits of those that do. It is noted if none does."""
    wait = load_lanes(x.state, i, LANES)
    waits = at_least(wait, 0.5)
    if not waits:
        resting[i >> _4] = 0
    return wait, waits


@inlined
def _one(c: Any, x: Cells, resting: Any, i: Index, drive: Any) -> Any:
    """A step of sixteen neurons. Returns the bits of those that fire. (Where there is no neuron, v is -inf.)"""
    g, u = load_lanes(x.excitatory, i, LANES), load_lanes(x.v, i, LANES)
    if resting[i >> _4]:
        wait, waits = _waiting(x, resting, i)
        g = choose(waits, g - g, g)
        u = multiply_add(c.p22, u, multiply_add(c.p21, g, drive))
        u = choose(at_least(wait, 1.5), c.v_reset, u)
        store_lanes(x.state, i, choose(waits, wait - 1.0, wait))
    else:
        u = multiply_add(c.p22, u, multiply_add(c.p21, g, drive))
    store_lanes(x.excitatory, i, c.p11 * g)
    store_lanes(x.v, i, u)
    return at_least(u, c.theta)


@inlined
def _several(c: Any, x: Cells, resting: Any, i: Index, drive: Any, steps: Index) -> Any:
    """Several steps of sixteen neurons, if none of them rests or fires during these steps. Returns whether that was
    so."""
    if resting[i >> _4] and _waiting(x, resting, i)[1]:
        return False
    g, u = load_lanes(x.excitatory, i, LANES), load_lanes(x.v, i, LANES)
    most = u
    for _ in range(steps):
        u = multiply_add(c.p22, u, multiply_add(c.p21, g, drive))
        g = c.p11 * g
        most = larger(most, u)
    if at_least(most, c.theta):
        return False
    store_lanes(x.excitatory, i, g)
    store_lanes(x.v, i, u)
    return True


@inlined
def _spike(x: Cells, constants: Any, resting: Any, i: Index) -> None:
    """Reset a neuron."""
    x.v[i] = constants[_V_RESET * x.stride]
    x.state[i] = constants[_REF_STEPS * x.stride + (i if x.each else _0)]
    resting[i >> _4] = 1


@inlined
def _constants(task: Any, x: Cells) -> Any:
    """All rows of the constants."""
    return carray(pointer_to(task.constants, x.v.dtype.type(0)), _ROWS * x.stride)


@inlined
def _quick(task: Any, v: Any) -> Index:
    """A step of all neurons, most of which do not rest and do not fire."""
    (t,), x = carray(task, 1), cells(task, v)
    resting, constants = carray(pointer_to(t.resting, np.uint8(0)), x.last), _constants(t, x)
    n, c = _0, load_rows(Constants, x.constants, _0, x.stride, LANES)
    for i in range(x.first, x.last, _LANES):
        fires = _one(c, x, resting, i, c.p20 * (c.i_e + load_lanes(x.drive, i * x.varies, LANES)))
        while fires:
            at = i + first_lane(fires)
            _spike(x, constants, resting, at)
            x.fired[n] = np.uint32(x.place + at)
            n += _1
            fires = later_lanes(fires)
    return n


@inlined
def _window(task: Any, v: Any) -> Index:
    """Up to a step of a window: only the blocks that an arrival is about to reach; at the window's end, all."""
    (t,), x = carray(task, 1), cells(task, v)
    resting, none = carray(pointer_to(t.resting, np.uint8(0)), x.last), np.uint8(0)
    touched, since = carray(pointer_to(t.touched, _0), x.last), carray(pointer_to(t.since, none), x.last)
    when, constants = carray(pointer_to(t.when, none), x.last), _constants(t, x)
    n, c = _0, load_rows(Constants, x.constants, _0, x.stride, LANES)
    i = x.first
    while i < x.last:
        block = (x.place + i) >> _4
        if t.touched:
            word = touched[block >> _6] >> (block & _63)
            if word == _0:
                i += (_64 - (block & _63)) << _4
                continue
            skip = first_lane(word)
            i, block = i + (skip << _4), block + skip
            if i >= x.last:
                break
        drive = c.p20 * (c.i_e + load_lanes(x.drive, i * x.varies, LANES))
        if not _several(c, x, resting, i, drive, t.until - np.uint64(since[block])):
            for k in range(np.uint64(since[block]), t.until):
                fires = _one(c, x, resting, i, drive)
                while fires:
                    at = i + first_lane(fires)
                    _spike(x, constants, resting, at)
                    x.fired[n], when[n] = np.uint32(x.place + at), np.uint8(k)
                    n += _1
                    fires = later_lanes(fires)
        since[block] = np.uint8(t.until)
        i += _LANES
    return n


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    (t,) = carray(task, 1)
    if t.until:
        return _window(task, v)
    return _quick(task, v) if t.quick else step(task, v, Constants, Memory, integrate, reset)
