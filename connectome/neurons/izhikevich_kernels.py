"""The step of Izhikevich's model."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from connectome.jit import Index, inlined
from connectome.lanes_kernels import choose, larger
from connectome.neurons.step_kernels import Bits, step

__all__ = ["update"]

Constants = namedtuple("Constants", "a b c d dt theta v_min i_e")
Memory = namedtuple("Memory", "u")


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. All jumps are in ``excitatory``."""
    v, none = v + excitatory, choose(Bits(0), excitatory, 0.0)
    # Rounded as NEST does: in a second, other last bits are other times of spikes.
    after = v + c.dt * (0.04 * v * v + 5.0 * v + 140.0 - m.u + c.i_e + pa)
    return larger(after, c.v_min), c.theta, none, inhibitory, Memory(m.u + c.a * (c.b * v - m.u))


@inlined
def reset(c: Any, m: Any, v: Any, fires: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`."""
    return choose(fires, c.c, v), Memory(choose(fires, m.u + c.d, m.u))


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    return step(task, v, Constants, Memory, integrate, reset)
