"""The step of neurons with an adaptive threshold."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.lanes_kernels import at_least, choose, larger
from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import step

__all__ = ["update"]

_TINY = 1e-20  # spikes: less is 0, before it is denormal

Constants = namedtuple("Constants", "rho beta p22 p21_ex p21_in p20 p11_ex p11_in theta v_reset i_e ref_steps")
Memory = namedtuple("Memory", "refractory a")


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    u = choose(at_least(m.refractory, 0.5), c.v_reset, membrane(c, v, excitatory, inhibitory, pa))
    return u, c.theta + c.beta * m.a, c.p11_ex * excitatory, c.p11_in * inhibitory, m


@inlined
def reset(c: Any, m: Any, v: Any, fires: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    wait = choose(fires, c.ref_steps, larger(m.refractory - 1.0, 0.0))
    a = choose(at_least(m.a, _TINY), c.rho * m.a, 0.0)
    return choose(fires, c.v_reset, v), Memory(wait, choose(fires, a + 1.0, a))


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
