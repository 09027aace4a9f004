"""The step of neurons with an adaptive threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index
from connectome.lanes_kernels import at_least, choose, larger, load_lanes, store_lanes
from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import LANES, cells, constant, note, settle

__all__ = ["update"]

_TINY = 1e-20  # spikes: less is 0, before it is denormal


def update(
    first: Index, last: Index, place: Index, each: Index, varies: Index, signs: Index, clamped: Index, row: Index,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.alif.Alif`."""
    x = cells(last, each, row, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = np.uint64(0)
    for i in range(first, last, np.uint64(LANES)):
        c = i * each
        rho = constant(x.constants, 0, x.stride, c)
        beta = constant(x.constants, 1, x.stride, c)
        p22 = constant(x.constants, 2, x.stride, c)
        p21_ex = constant(x.constants, 3, x.stride, c)
        p21_in = constant(x.constants, 4, x.stride, c)
        p20 = constant(x.constants, 5, x.stride, c)
        p11_ex = constant(x.constants, 6, x.stride, c)
        p11_in = constant(x.constants, 7, x.stride, c)
        theta = constant(x.constants, 8, x.stride, c)
        v_reset = constant(x.constants, 9, x.stride, c)
        i_e = constant(x.constants, 10, x.stride, c)
        ref_steps = constant(x.constants, 11, x.stride, c)
        u = membrane(i, varies, signs, x, p22, p21_ex, p21_in, p20, p11_ex, p11_in, i_e)
        wait = load_lanes(x.state, i, LANES)
        u = choose(at_least(wait, 0.5), v_reset, u)
        a = load_lanes(x.state, row + i, LANES)
        limit = theta + beta * a
        fires, silent, kept = settle(at_least(u, limit), i, last, clamped, x.clamp)
        if silent:
            u = choose(silent, limit, u)
        store_lanes(x.state, i, choose(fires, ref_steps, larger(wait - 1.0, 0.0)))
        a = choose(at_least(a, _TINY), rho * a, 0.0)
        store_lanes(x.state, row + i, choose(fires, a + 1.0, a))
        store_lanes(x.v, i, choose(fires, v_reset, u))
        if fires | kept:
            n = note(fires, kept, n, i, place, x.fired, x.v, x.held)
    return n
