"""The step of ``iaf_cond_exp``."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index, inner
from connectome.lanes_kernels import at_least, choose, larger, load_lanes, store_lanes
from connectome.neurons.step_kernels import LANES, cells, constant, note, settle

__all__ = ["update"]


@inner
def _slope(
    v: Any, g_ex: Any, g_in: Any, h: Any, leak: Any, e_l: Any, e_ex: Any, e_in: Any, pa: Any
) -> Any:  # fmt: skip
    """mV in a substep; g_in <= 0."""
    return h * ((v - e_in) * g_in - (v - e_l) * leak - (v - e_ex) * g_ex + pa)


def update(
    first: Index, last: Index, place: Index, each: Index, varies: Index, signs: Index, clamped: Index, row: Index,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.iaf_cond_exp.IafCondExp`."""
    x = cells(last, each, row, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = np.uint64(0)
    for i in range(first, last, np.uint64(LANES)):
        c = i * each
        h = constant(x.constants, 0, x.stride, c)
        leak = constant(x.constants, 1, x.stride, c)
        e_l = constant(x.constants, 2, x.stride, c)
        e_ex = constant(x.constants, 3, x.stride, c)
        e_in = constant(x.constants, 4, x.stride, c)
        half_ex = constant(x.constants, 5, x.stride, c)
        half_in = constant(x.constants, 6, x.stride, c)
        theta = constant(x.constants, 7, x.stride, c)
        v_reset = constant(x.constants, 8, x.stride, c)
        i_e = constant(x.constants, 9, x.stride, c)
        ref_steps = constant(x.constants, 10, x.stride, c)
        u, pa = load_lanes(x.v, i, LANES), i_e + load_lanes(x.drive, i * varies, LANES)
        g_ex, g_in = load_lanes(x.excitatory, i, LANES), load_lanes(x.inhibitory, i, LANES)
        for _ in range(2):  # substeps
            mid_ex, mid_in = half_ex * g_ex, half_in * g_in
            end_ex, end_in = half_ex * mid_ex, half_in * mid_in
            k1 = _slope(u, g_ex, g_in, h, leak, e_l, e_ex, e_in, pa)
            k2 = _slope(u + 0.5 * k1, mid_ex, mid_in, h, leak, e_l, e_ex, e_in, pa)
            k3 = _slope(u + 0.5 * k2, mid_ex, mid_in, h, leak, e_l, e_ex, e_in, pa)
            k4 = _slope(u + k3, end_ex, end_in, h, leak, e_l, e_ex, e_in, pa)
            u = u + (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (1.0 / 6.0)
            g_ex, g_in = end_ex, end_in
        store_lanes(x.excitatory, i, g_ex)
        store_lanes(x.inhibitory, i, g_in)
        wait = load_lanes(x.state, i, LANES)
        u = choose(at_least(wait, 0.5), v_reset, u)
        fires, silent, kept = settle(at_least(u, theta), i, last, clamped, x.clamp)
        if silent:
            u = choose(silent, theta, u)
        store_lanes(x.state, i, choose(fires, ref_steps, larger(wait - 1.0, 0.0)))
        store_lanes(x.v, i, choose(fires, v_reset, u))
        if fires | kept:
            n = note(fires, kept, n, i, place, x.fired, x.v, x.held)
    return n
