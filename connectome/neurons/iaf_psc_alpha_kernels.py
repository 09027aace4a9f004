"""The step of ``iaf_psc_alpha``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.lanes_kernels import at_least, choose, larger, multiply_add
from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import step

__all__ = ["update"]

Constants = namedtuple(
    "Constants", "p22 p21_ex p21_in p20 p11_ex p11_in theta v_reset i_e ref_steps rise_ex rise_in p31_ex p31_in"
)
Memory = namedtuple("Memory", "refractory i_ex i_in")


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. What arrives makes currents rise."""
    rising = multiply_add(c.p31_ex, excitatory, c.p31_in * inhibitory)
    u = choose(at_least(m.refractory, 0.5), c.v_reset, membrane(c, v, m.i_ex, m.i_in, pa) + rising)
    i_ex = multiply_add(c.p11_ex, m.i_ex, c.rise_ex * excitatory)
    i_in = multiply_add(c.p11_in, m.i_in, c.rise_in * inhibitory)
    return u, c.theta, c.p11_ex * excitatory, c.p11_in * inhibitory, Memory(m.refractory, i_ex, i_in)


@inlined
def reset(c: Any, m: Any, v: Any, fires: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    wait = choose(fires, c.ref_steps, larger(m.refractory - 1.0, 0.0))
    return choose(fires, c.v_reset, v), Memory(wait, m.i_ex, m.i_in)


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
