"""The step of ``iaf_psc_exp`` for neurons of unlike parameters: bit for bit what the kernel for like ones does."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index, inner
from connectome.lanes_kernels import at_least, choose, larger, load_lanes, multiply_add, store_lanes
from connectome.neurons.step_kernels import LANES, Cells, cells, constant, note, settle

__all__ = ["membrane", "update"]


@inner
def membrane(
    i: Index, varies: Index, signs: Index, x: Cells, p22: Any, p21_ex: Any, p21_in: Any, p20: Any,
    p11_ex: Any, p11_in: Any, i_e: Any,
) -> Any:  # fmt: skip
    """v after a step without a spike; the currents decay."""
    u = p20 * (i_e + load_lanes(x.drive, i * varies, LANES))
    if signs > np.uint64(1):
        pa = load_lanes(x.inhibitory, i, LANES)
        u = multiply_add(p21_in, pa, u)
        store_lanes(x.inhibitory, i, p11_in * pa)
    pa = load_lanes(x.excitatory, i, LANES)
    u = multiply_add(p22, load_lanes(x.v, i, LANES), multiply_add(p21_ex, pa, u))
    store_lanes(x.excitatory, i, p11_ex * pa)
    return u


def update(
    first: Index, last: Index, place: Index, each: Index, varies: Index, signs: Index, clamped: Index, row: Index,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.iaf_psc_exp.NeuronParameters`."""
    x = cells(last, each, row, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = np.uint64(0)
    for i in range(first, last, np.uint64(LANES)):
        c = i * each
        p22 = constant(x.constants, 0, x.stride, c)
        p21_ex = constant(x.constants, 1, x.stride, c)
        p21_in = constant(x.constants, 2, x.stride, c)
        p20 = constant(x.constants, 3, x.stride, c)
        p11_ex = constant(x.constants, 4, x.stride, c)
        p11_in = constant(x.constants, 5, x.stride, c)
        theta = constant(x.constants, 6, x.stride, c)
        v_reset = constant(x.constants, 7, x.stride, c)
        i_e = constant(x.constants, 8, x.stride, c)
        ref_steps = constant(x.constants, 9, x.stride, c)
        u = membrane(i, varies, signs, x, p22, p21_ex, p21_in, p20, p11_ex, p11_in, i_e)
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
