"""The step of ``shiu2024``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.lanes_kernels import at_least, choose, multiply_add
from connectome.neurons.iaf_psc_exp_kernels import Memory, reset
from connectome.neurons.step_kernels import step

__all__ = ["update"]

Constants = namedtuple("Constants", "p22 p21 p20 p11 theta v_reset i_e ref_steps")


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. All synapses are in ``excitatory``."""
    g = choose(at_least(m.refractory, 0.5), inhibitory, excitatory)  # what came while it rested is lost
    u = multiply_add(c.p22, v, multiply_add(c.p21, g, c.p20 * (c.i_e + pa)))
    return choose(at_least(m.refractory, 1.5), c.v_reset, u), c.theta, c.p11 * g, inhibitory, m


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
