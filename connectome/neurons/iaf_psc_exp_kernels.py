"""The step of ``iaf_psc_exp`` for neurons of unlike parameters: bit for bit what the kernel for like ones does."""

from __future__ import annotations

from typing import Any

from connectome.jit import inner
from connectome.neurons.step_kernels import FREE, HELD, cells, fused, settle

__all__ = ["membrane", "update"]


@inner
def membrane(p: Any, v: Any, ex: Any, inh: Any, pa: Any, signs: int) -> Any:
    """v after a step without a spike."""
    u = p.p20 * (p.i_e + pa)
    if signs > 1:
        u = fused(p.p21_in, inh, u)
    return fused(p.p22, v, fused(p.p21_ex, ex, u))


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.iaf_psc_exp.NeuronParameters`."""
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
        u, fires = settle(u, p.theta, code, x.held[i] if code == HELD else p.v_reset)
        if fires:
            u, s.refractory = p.v_reset, p.ref_steps
            x.fired[n] = place + i
            n += 1
        x.v[i] = u
    return n
