"""The step of the leaky integrator."""

from __future__ import annotations

from typing import Any

from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import HELD, cells

__all__ = ["update"]


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.leaky_integrator.LeakyIntegrator`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        u = membrane(p, x.v[i], x.excitatory[i], x.inhibitory[i], x.drive[i * varies], signs)
        x.excitatory[i] *= p.p11_ex
        if signs > 1:
            x.inhibitory[i] *= p.p11_in
        if clamped and x.clamp[i] == HELD:
            u = x.held[i]
        x.v[i] = u
    return n
