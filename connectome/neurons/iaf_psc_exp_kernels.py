"""The step of ``iaf_psc_exp`` for neurons with different parameters: bit for bit what the kernel for equal ones
does."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.lanes_kernels import at_least, choose, larger, multiply_add
from connectome.neurons.step_kernels import step

__all__ = ["membrane", "update"]

Constants = namedtuple("Constants", "p22 p21_ex p21_in p20 p11_ex p11_in theta v_reset i_e ref_steps")
Memory = namedtuple("Memory", "refractory")


@inlined
def membrane(c: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """v after a step without a spike; ``c`` has the constants of ``iaf_psc_exp``, or more."""
    u = multiply_add(c.p21_in, inhibitory, c.p20 * (c.i_e + pa))
    return multiply_add(c.p22, v, multiply_add(c.p21_ex, excitatory, u))


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    u = choose(at_least(m.refractory, 0.5), c.v_reset, membrane(c, v, excitatory, inhibitory, pa))
    return u, c.theta, c.p11_ex * excitatory, c.p11_in * inhibitory, m


@inlined
def reset(c: Any, m: Any, v: Any, fires: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    wait = choose(fires, c.ref_steps, larger(m.refractory - 1.0, 0.0))
    return choose(fires, c.v_reset, v), Memory(wait)


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
