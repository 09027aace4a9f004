"""The step of neurons with an adaptive threshold."""

from __future__ import annotations

from typing import Any

from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import FREE, HELD, cells, settle

__all__ = ["update"]

_TINY = 1e-20  # spikes: less is 0, before it is denormal


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.alif.Alif`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        s = x.state[i]
        u = membrane(p, x.v[i], x.excitatory[i], x.inhibitory[i], x.drive[i * varies], signs)
        x.excitatory[i] *= p.p11_ex
        if signs > 1:
            x.inhibitory[i] *= p.p11_in
        if s.refractory > 0:
            u = p.v_reset
            s.refractory -= 1
        code = x.clamp[i] if clamped else FREE
        u, fires = settle(u, p.theta + p.beta * s.a, code, x.held[i] if code == HELD else p.v_reset)
        s.a = s.a * p.rho if s.a > _TINY else 0.0
        if fires:
            u, s.refractory = p.v_reset, p.ref_steps
            s.a += 1
            x.fired[n] = place + i
            n += 1
        x.v[i] = u
    return n
