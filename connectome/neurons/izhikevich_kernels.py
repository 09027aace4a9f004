"""The step of Izhikevich's model."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.neurons.step_kernels import FREE, HELD, cells, settle

__all__ = ["update"]


def update(
    first: int, last: int, place: int, each: int, varies: int, signs: int, clamped: int, constants: Any, state: Any,
    v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> int:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.izhikevich.Izhikevich`."""
    x = cells(last, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = 0
    for i in range(first, last):
        p = x.constants[i * each]
        s, now = x.state[i], np.float64(x.v[i] + x.excitatory[i])
        x.excitatory[i] = 0
        if signs > 1:
            now += x.inhibitory[i]
            x.inhibitory[i] = 0
        w = np.float64(s.u)
        u = max(now + p.dt * (0.04 * now * now + 5.0 * now + 140.0 - w + p.i_e + x.drive[i * varies]), p.v_min)
        w += p.a * (p.b * now - w)
        code = x.clamp[i] if clamped else FREE
        u, fires = settle(u, p.theta, code, x.held[i] if code == HELD else p.c)
        if fires:
            u = np.float64(p.c)
            w += p.d
            x.fired[n] = place + i
            n += 1
        x.v[i], s.u = u, w
    return n
