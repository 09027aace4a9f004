"""The step of ``shiu2024``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from connectome.jit import Index, inlined
from connectome.lanes_kernels import (
    at_least,
    choose,
    first_lane,
    later_lanes,
    load_lanes,
    load_rows,
    multiply_add,
    store_lanes,
)
from connectome.neurons.iaf_psc_exp_kernels import Memory, reset
from connectome.neurons.step_kernels import LANES, cells, in_range, step

__all__ = ["update"]

Constants = namedtuple("Constants", "p22 p21 p20 p11 theta v_reset i_e ref_steps")

_0, _1, _5, _LANES, _REF_STEPS = (np.uint64(k) for k in (0, 1, 5, LANES, 7))


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. All synapses are in ``excitatory``."""
    g = choose(at_least(m.refractory, 0.5), inhibitory, excitatory)  # what came while it rested is lost
    u = multiply_add(c.p22, v, multiply_add(c.p21, g, c.p20 * (c.i_e + pa)))
    return choose(at_least(m.refractory, 1.5), c.v_reset, u), c.theta, c.p11 * g, inhibitory, m


@inlined
def _quick(task: Any, v: Any) -> Index:
    """The same for neurons that differ in their refractory time at most, and are not clamped: most of a brain's are not
    refractory, and do not fire."""
    x = cells(task, v)
    n, c = _0, load_rows(Constants, x.constants, _0, x.stride, LANES)
    drive = c.p20 * (c.i_e + load_lanes(x.drive, _0, LANES))
    for i in range(x.first, x.last, _LANES):
        if x.varies:
            drive = c.p20 * (c.i_e + load_lanes(x.drive, i, LANES))
        g, u, wait = load_lanes(x.excitatory, i, LANES), load_lanes(x.v, i, LANES), load_lanes(x.state, i, LANES)
        waits = at_least(wait, 0.5)
        if waits:
            g = choose(waits, g - g, g)
        u = multiply_add(c.p22, u, multiply_add(c.p21, g, drive))
        if waits:
            u = choose(at_least(wait, 1.5), c.v_reset, u)
            store_lanes(x.state, i, choose(waits, wait - 1.0, wait))
        store_lanes(x.excitatory, i, c.p11 * g)
        store_lanes(x.v, i, u)
        fires = in_range(at_least(u, c.theta), i, x.last)
        while fires:
            at = i + first_lane(fires)
            x.v[at] = x.constants[_5 * x.stride]
            x.state[at] = x.constants[_REF_STEPS * x.stride + (at if x.each else _0)]
            x.fired[n] = np.uint32(x.place + at)
            n += _1
            fires = later_lanes(fires)
    return n


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    x = cells(task, v)
    if x.clamped or x.each & ((_1 << _REF_STEPS) - _1):
        return step(task, v, Constants, Memory, integrate, reset)
    return _quick(task, v)
