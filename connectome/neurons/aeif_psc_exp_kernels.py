"""The step of ``aeif_psc_exp``."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import inner
from connectome.neurons.step_kernels import FIRE, FREE, HELD, cells

__all__ = ["update"]

_LEAST = 1e-6
_TINY = 1e-20  # pA: less is 0, before it is denormal


@inner
def _slopes(p: Any, v: Any, w: Any, hold: bool, pa: Any, part: float) -> tuple[Any, Any]:
    """mV and pA in a part of the step."""
    u = p.v_reset if hold else min(v, p.theta)
    rise = p.steep * np.exp((u - p.v_th) * p.slope)
    dv = part * p.h * (rise - p.leak * (u - p.e_l) + pa - w)
    return dv, part * p.h_w * (p.a * (u - p.e_l) - w)


@inner
def _substep(
    p: Any, v: Any, w: Any, hold: bool, start: Any, middle: Any, end: Any, part: float
) -> tuple[Any, Any]:  # fmt: skip
    """v and w after a part of the step, by the currents at its beginning, middle and end."""
    k1, l1 = _slopes(p, v, w, hold, start, part)
    k2, l2 = _slopes(p, v + 0.5 * k1, w + 0.5 * l1, hold, middle, part)
    k3, l3 = _slopes(p, v + 0.5 * k2, w + 0.5 * l2, hold, middle, part)
    k4, l4 = _slopes(p, v + k3, w + l3, hold, end, part)
    after = p.v_reset if hold else v + (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (1.0 / 6.0)
    return after, w + (l1 + 2.0 * l2 + 2.0 * l3 + l4) * (1.0 / 6.0)


@inner
def _fine(p: Any, v: Any, w: Any, ex: Any, inh: Any, pa: Any) -> tuple[Any, Any, bool]:
    """A step in eight substeps: v and w, and whether it has reached its peak and gone on from the reset."""
    peaked = False
    for _ in range(8):
        mid_ex, mid_in = p.fine_ex * ex, p.fine_in * inh
        end_ex, end_in = p.fine_ex * mid_ex, p.fine_in * mid_in
        before, w_before, hold, end = v, w, peaked and p.ref_steps > 0, end_ex + end_in + pa
        v, w = _substep(p, v, w, hold, ex + inh + pa, mid_ex + mid_in + pa, end, 0.125)
        if not peaked and v >= p.theta:
            # Where in the substep: exp(-v / delta_t) falls evenly there. The rest of it begins with the reset.
            peaked, rise = True, max(_slopes(p, before, w_before, False, ex + inh + pa, 0.125)[0] * p.slope, _LEAST)
            at = min(max((1 - np.exp((before - p.theta) * p.slope)) / rise, 0.0), 1.0)
            w = w_before + at * (w - w_before) + p.b
            v, w = _substep(p, np.float64(p.v_reset), w, p.ref_steps > 0, end, end, end, (1 - at) * 0.125)
        ex, inh = end_ex, end_in
    return v, w, peaked


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.aeif_psc_exp.AeifPscExp`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        s, u, pa = x.state[i], np.float64(x.v[i]), np.float64(p.i_e + x.drive[i * varies])
        ex, inh, w = np.float64(x.excitatory[i]), np.float64(x.inhibitory[i]), np.float64(s.w)
        mid_ex, mid_in = p.half_ex * ex, p.half_in * inh
        end_ex, end_in = p.half_ex * mid_ex, p.half_in * mid_in
        waits, peaked = s.refractory > 0, False
        if u > p.v_th and not waits:
            u, w, peaked = _fine(p, u, w, ex, inh, pa)
        else:
            u, w = _substep(p, u, w, waits, ex + inh + pa, mid_ex + mid_in + pa, end_ex + end_in + pa, 1.0)
        x.excitatory[i], x.inhibitory[i] = end_ex, end_in
        code = x.clamp[i] if clamped else FREE
        above = peaked or u >= p.theta
        fires = code == FIRE or (code == FREE and above)
        if waits:
            s.refractory -= 1
        if fires:
            if not peaked:
                u, w = np.float64(p.v_reset), w + p.b
            s.refractory = p.ref_steps
            x.fired[n] = place + i
            n += 1
        elif peaked:
            u, w = np.float64(p.theta), w - p.b
        u = min(u, np.float64(p.theta))
        x.v[i], s.w = (x.held[i] if code == HELD else u), (w if abs(w) > _TINY else 0.0)
    return n
