"""The step of ``iaf_cond_exp``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.lanes_kernels import at_least, choose, multiply_add
from connectome.neurons.iaf_psc_exp_kernels import Memory, reset
from connectome.neurons.step_kernels import step

__all__ = ["update"]

Constants = namedtuple("Constants", "h leak e_l e_ex e_in half_ex half_in theta v_reset i_e ref_steps")


@inlined
def _forces(c: Any, g_ex: Any, g_in: Any, pa: Any) -> tuple[Any, Any]:
    """a and b in c_m dv/dt = a + b v; ``pa`` includes the constant part of the leak, and g_in <= 0."""
    return multiply_add(c.e_ex, g_ex, pa - c.e_in * g_in), g_in - g_ex - c.leak


@inlined
def _substep(c: Any, v: Any, start: Any, middle: Any, end: Any) -> Any:
    """v after a substep, from a and b at its beginning, middle and end."""
    half = 0.5 * c.h
    k1 = multiply_add(start[1], v, start[0])
    k2 = multiply_add(middle[1], multiply_add(half, k1, v), middle[0])
    k3 = multiply_add(middle[1], multiply_add(half, k2, v), middle[0])
    k4 = multiply_add(end[1], multiply_add(c.h, k3, v), end[0])
    return multiply_add((1.0 / 6.0) * c.h, multiply_add(2.0, k2 + k3, k1 + k4), v)


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    g_ex, g_in, pa = excitatory, inhibitory, multiply_add(c.leak, c.e_l, c.i_e + pa)
    start = _forces(c, g_ex, g_in, pa)
    for _ in range(2):  # substeps
        g_ex, g_in = c.half_ex * g_ex, c.half_in * g_in
        middle = _forces(c, g_ex, g_in, pa)
        g_ex, g_in = c.half_ex * g_ex, c.half_in * g_in
        end = _forces(c, g_ex, g_in, pa)
        v, start = _substep(c, v, start, middle, end), end
    return choose(at_least(m.refractory, 0.5), c.v_reset, v), c.theta, g_ex, g_in, m


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
