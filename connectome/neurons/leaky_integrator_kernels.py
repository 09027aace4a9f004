"""The step of the leaky integrator."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.neurons.iaf_psc_exp_kernels import membrane
from connectome.neurons.step_kernels import step

__all__ = ["update"]

_NEVER = float("inf")

Constants = namedtuple("Constants", "p22 p21_ex p21_in p20 p11_ex p11_in i_e")
Memory = namedtuple("Memory", "")


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    u = membrane(c, v, excitatory, inhibitory, pa)
    return u, _NEVER, c.p11_ex * excitatory, c.p11_in * inhibitory, m


@inlined
def reset(c: Any, m: Any, v: Any, fires: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    return v, m


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
