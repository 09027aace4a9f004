"""The step of ``iaf_psc_exp`` for neurons of unlike parameters: bit for bit what the kernel for like ones does."""

from __future__ import annotations

from typing import Any

from connectome.jit import inner
from connectome.neurons.step_kernels import Cells, cells, fused, settle

__all__ = ["membrane", "update"]


@inner
def membrane(p: Any, i: int, varies: int, signs: int, x: Cells) -> Any:
    """v after a step without a spike; the currents decay."""
    u = p.p20 * (p.i_e + x.drive[i * varies])
    if signs > 1:
        pa = x.inhibitory[i]
        u = fused(p.p21_in, pa, u)
        x.inhibitory[i] = p.p11_in * pa
    pa = x.excitatory[i]
    u = fused(p.p22, x.v[i], fused(p.p21_ex, pa, u))
    x.excitatory[i] = p.p11_ex * pa
    return u


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.iaf_psc_exp.NeuronParameters`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        u, s = membrane(p, i, varies, signs, x), x.state[i]
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
