"""The step of Izhikevich's model."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index
from connectome.lanes_kernels import at_least, choose, larger, load_lanes, no_lanes, store_lanes
from connectome.neurons.step_kernels import LANES, cells, constant, note, settle

__all__ = ["update"]


def update(
    first: Index, last: Index, place: Index, each: Index, varies: Index, signs: Index, clamped: Index, row: Index,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.izhikevich.Izhikevich`."""
    x = cells(last, each, row, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = np.uint64(0)
    for i in range(first, last, np.uint64(LANES)):
        c = i * each
        a = constant(x.constants, 0, x.stride, c)
        b = constant(x.constants, 1, x.stride, c)
        reset = constant(x.constants, 2, x.stride, c)
        jump = constant(x.constants, 3, x.stride, c)
        dt = constant(x.constants, 4, x.stride, c)
        theta = constant(x.constants, 5, x.stride, c)
        v_min = constant(x.constants, 6, x.stride, c)
        i_e = constant(x.constants, 7, x.stride, c)
        v_now = load_lanes(x.v, i, LANES) + load_lanes(x.excitatory, i, LANES)
        store_lanes(x.excitatory, i, no_lanes(x.excitatory, LANES))
        w = load_lanes(x.state, i, LANES)
        pa = load_lanes(x.drive, i * varies, LANES)
        u = v_now + dt * (0.04 * v_now * v_now + 5.0 * v_now + 140.0 - w + i_e + pa)
        u = larger(u, v_min)
        w = w + a * (b * v_now - w)
        fires, silent, kept = settle(at_least(u, theta), i, last, clamped, x.clamp)
        if silent:
            u = choose(silent, theta, u)
        store_lanes(x.state, i, choose(fires, w + jump, w))
        store_lanes(x.v, i, choose(fires, reset, u))
        if fires | kept:
            n = note(fires, kept, n, i, place, x.fired, x.v, x.held)
    return n
