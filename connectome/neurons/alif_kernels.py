"""The step of neurons with an adaptive threshold."""

from __future__ import annotations

from typing import Any

from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import cells, settle

__all__ = ["update"]


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.alif.Alif`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        u, s = membrane(p, i, varies, signs, x), x.state[i]
        if s.refractory > 0:
            u = p.v_reset
            s.refractory -= 1
        u, fires = settle(u, p.theta + p.beta * s.a, clamped, i, x)
        s.a *= p.rho
        if fires:
            u, s.refractory = p.v_reset, p.ref_steps
            s.a += 1
            x.fired[n] = place + i
            n += 1
        x.v[i] = u
    return n
