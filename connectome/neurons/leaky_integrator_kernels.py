"""The step of the leaky integrator."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index
from connectome.lanes_kernels import store_lanes
from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import LANES, cells, constant, note, settle

__all__ = ["update"]


def update(
    first: Index, last: Index, place: Index, each: Index, varies: Index, signs: Index, clamped: Index, row: Index,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.leaky_integrator.LeakyIntegrator`."""
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
        i_e = constant(x.constants, 6, x.stride, c)
        u = membrane(i, varies, signs, x, p22, p21_ex, p21_in, p20, p11_ex, p11_in, i_e)
        store_lanes(x.v, i, u)
        _, _, kept = settle(np.uint16(0), i, last, clamped, x.clamp)
        if kept:
            n = note(np.uint16(0), kept, n, i, place, x.fired, x.v, x.held)
    return n
