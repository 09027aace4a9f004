"""The step of Izhikevich's model."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.neurons.step_kernels import cells, settle

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
        u, v_now = np.float64(x.state[i].u), np.float64(x.v[i] + x.excitatory[i])
        x.excitatory[i] = 0
        if signs > 1:
            v_now += x.inhibitory[i]
            x.inhibitory[i] = 0
        after = v_now + p.dt * (0.04 * v_now * v_now + 5 * v_now + 140 - u + p.i_e + x.drive[i * varies])
        u += p.a * (p.b * v_now - u)
        after, fires = settle(max(after, p.v_min), p.theta, clamped, i, x)
        if fires:
            after = np.float64(p.c)
            u += p.d
            x.fired[n] = place + i
            n += 1
        x.v[i], x.state[i].u = after, u
    return n
