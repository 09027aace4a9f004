"""Izhikevich's simple model of spiking neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Izhikevich"]


@dataclass(frozen=True, eq=False, repr=False)
class Izhikevich(NeuronModel):
    """Izhikevich (2003), IEEE Transactions on Neural Networks 14:1569: names and units of NEST's ``izhikevich``.

    ``dv/dt = 0.04 v^2 + 5 v + 140 - u + i_e + current``, ``du/dt = a (b v - u)``; a spike where v >= v_th, then v = c
    and u = u + d. Integrated by forward Euler with step dt, both variables from their values at the beginning of the
    step, as NEST does with ``consistent_integration``: use dt = 0.1 ms for spike patterns that do not depend on it.

    A spike that arrives makes v jump by the edge's weight in mV, at the end of the step and after any spike of that
    step. So a spike caused by a jump alone comes one step later than in NEST, and a jump in the step of a spike is not
    lost in the reset, as it is in NEST. A current is in the model's own unit, mV/ms, though named pA. State: ``v``
    (mV), ``u`` (mV/ms), and the jumps to come (mV). A run begins with u = -65 b.
    """

    model: ClassVar[str] = "izhikevich"
    state: ClassVar[tuple[str, ...]] = ("v", "jump_ex", "jump_in", "u")
    synapses: ClassVar[tuple[str, str]] = ("jump_ex", "jump_in")
    units: ClassVar[Mapping[str, str]] = {"u": "mV/ms"}
    jumps: ClassVar[bool] = True
    effector: ClassVar[bool] = False
    kernel: ClassVar[str] = "connectome.neurons.izhikevich_kernels:update"
    weight_unit: ClassVar[str] = "mV"

    a_per_ms: Quantity = field(default=0.02)
    b_per_ms: Quantity = field(default=0.2)
    c_mv: Quantity = field(default=-65.0, metadata={"learnt": False})
    d_mv_per_ms: Quantity = 8.0
    v_th_mv: Quantity = field(default=30.0, metadata={"over": "c_mv"})
    v_min_mv: Quantity = field(default=-1e9, metadata={"learnt": False})
    i_e_pa: Quantity = 0.0

    def check(self) -> None:
        """See :class:`NeuronModel`."""
        self._below("c_mv", "v_th_mv")

    @property
    def one_accumulator(self) -> bool:
        """See :class:`NeuronModel`."""
        return True

    def rest(self) -> Mapping[str, Quantity]:
        """See :class:`NeuronModel`."""
        return {"v": -65.0, "u": -65.0 * self.b_per_ms}

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        return {
            "a": dt_ms * self.a_per_ms, "b": self.b_per_ms, "c": self.c_mv, "d": self.d_mv_per_ms, "dt": dt_ms,
            "theta": self.v_th_mv, "v_min": self.v_min_mv, "i_e": self.i_e_pa,
        }  # fmt: skip

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`."""
        import torch

        k, u = constants, state["u"]
        v = state["v"] + state["jump_ex"] + state["jump_in"]
        after = v + k["dt"] * (0.04 * v * v + 5 * v + 140 - u + k["i_e"] + arrivals.current_pa)
        u = u + k["a"] * (k["b"] * v - u)
        after = torch.maximum(after, k["v_min"].expand_as(after))
        spikes = threshold(after - k["theta"])
        fired = spikes.detach() > 0.5
        return {
            "v": torch.where(fired, k["c"], after),
            "jump_ex": arrivals.excitatory + 0 * v,
            "jump_in": arrivals.inhibitory + 0 * v,
            "u": torch.where(fired, u + k["d"], u),
        }, spikes
