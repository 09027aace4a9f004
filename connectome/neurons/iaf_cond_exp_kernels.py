"""The step of ``iaf_cond_exp``."""

from __future__ import annotations

from typing import Any

from connectome.jit import inner
from connectome.neurons.step_kernels import cells, settle

__all__ = ["update"]


@inner
def _slope(p: Any, v: Any, g_ex: Any, g_in: Any, pa: Any) -> Any:
    """mV in a substep; g_in <= 0."""
    return p.h * ((v - p.e_in) * g_in - (v - p.e_l) * p.leak - (v - p.e_ex) * g_ex + pa)


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.iaf_cond_exp.IafCondExp`, two
    substeps."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        u, g_ex, g_in, pa, s = x.v[i], x.excitatory[i], x.inhibitory[i], p.i_e + x.drive[i * varies], x.state[i]
        for _ in range(2):
            mid_ex, mid_in = p.half_ex * g_ex, p.half_in * g_in
            end_ex, end_in = p.half_ex * mid_ex, p.half_in * mid_in
            k1 = _slope(p, u, g_ex, g_in, pa)
            k2 = _slope(p, u + k1 / 2, mid_ex, mid_in, pa)
            k3 = _slope(p, u + k2 / 2, mid_ex, mid_in, pa)
            k4 = _slope(p, u + k3, end_ex, end_in, pa)
            u += (k1 + 2 * k2 + 2 * k3 + k4) / 6
            g_ex, g_in = end_ex, end_in
        x.excitatory[i], x.inhibitory[i] = g_ex, g_in
        if s.refractory > 0:
            u = p.v_reset
            s.refractory -= 1
        u, fires = settle(u, p.theta, clamped, i, x)
        if fires:
            u, s.refractory = p.v_reset, p.ref_steps
            x.fired[n] = place + i
            n += 1
        x.v[i] = u
    return n
