"""The step of ``iaf_cond_exp``."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import inner
from connectome.neurons.step_kernels import FREE, HELD, cells, settle

__all__ = ["update"]


@inner
def _slope(p: Any, v: Any, g_ex: Any, g_in: Any, pa: Any) -> Any:
    """mV in a substep; g_in <= 0."""
    return p.h * ((v - p.e_in) * g_in - (v - p.e_l) * p.leak - (v - p.e_ex) * g_ex + pa)


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.iaf_cond_exp.IafCondExp`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        s, u, pa = x.state[i], np.float64(x.v[i]), np.float64(p.i_e + x.drive[i * varies])
        g_ex, g_in = np.float64(x.excitatory[i]), np.float64(x.inhibitory[i])
        for _ in range(2):
            mid_ex, mid_in = p.half_ex * g_ex, p.half_in * g_in
            end_ex, end_in = p.half_ex * mid_ex, p.half_in * mid_in
            k1 = _slope(p, u, g_ex, g_in, pa)
            k2 = _slope(p, u + 0.5 * k1, mid_ex, mid_in, pa)
            k3 = _slope(p, u + 0.5 * k2, mid_ex, mid_in, pa)
            k4 = _slope(p, u + k3, end_ex, end_in, pa)
            u += (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (1.0 / 6.0)
            g_ex, g_in = end_ex, end_in
        x.excitatory[i], x.inhibitory[i] = g_ex, g_in
        if s.refractory > 0:
            u = np.float64(p.v_reset)
            s.refractory -= 1
        code = x.clamp[i] if clamped else FREE
        u, fires = settle(u, p.theta, code, x.held[i] if code == HELD else p.v_reset)
        if fires:
            u, s.refractory = np.float64(p.v_reset), p.ref_steps
            x.fired[n] = place + i
            n += 1
        x.v[i] = u
    return n
