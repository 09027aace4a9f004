"""Leaky integrators without spikes: readouts and graded cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from connectome.neurons.iaf_psc_exp import NeuronParameters, currents, membrane
from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LeakyIntegrator"]


@dataclass(frozen=True, eq=False, repr=False)
class LeakyIntegrator(NeuronModel):
    """A membrane that never fires, driven by exponential synaptic currents: that of
    :class:`~connectome.neurons.iaf_psc_exp.NeuronParameters`, without a threshold, exactly integrated.

    ``c_m dv/dt = -c_m (v - e_l) / tau_m + i_ex + i_in + i_e + current``, ``di/dt = -i / tau_syn``. The readout of
    Bellec et al. (2020, equation 9) with synapses. State: ``v`` in mV above e_l, the currents in pA. Such a neuron
    sends nothing over its edges: only its potential can be used, recorded or in a loss. In training only effectors'
    potentials reach the loss, so a region of another role made of this model has no effect.
    """

    model: ClassVar[str] = "leaky_integrator"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in")
    fires: ClassVar[bool] = False
    kernel: ClassVar[str] = "connectome.neurons.leaky_integrator_kernels:update"

    tau_m_ms: Quantity = field(default=10.0, metadata={"above": 0})
    c_m_pf: Quantity = field(default=250.0, metadata={"above": 0})
    e_l_mv: Quantity = field(default=-70.0, metadata={"learnt": False})  # what v is counted from
    tau_syn_ex_ms: Quantity = field(default=2.0, metadata={"above": 0})
    tau_syn_in_ms: Quantity = field(default=2.0, metadata={"above": 0})
    i_e_pa: Quantity = 0.0

    @property
    def reference_mv(self) -> Quantity:
        """See :class:`NeuronModel`."""
        return self.e_l_mv

    @property
    def one_accumulator(self) -> bool:
        """See :class:`NeuronModel`."""
        return self.linear().one_accumulator

    def linear(self) -> NeuronParameters:
        """See :class:`NeuronModel`."""
        rest = self.e_l_mv
        own = {"t_ref_ms": 0.0, "v_th_mv": rest + 1.0, "v_reset_mv": rest, **self.parameters()}
        return NeuronParameters.unchecked(**own)

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        return {**currents(self, dt_ms), "i_e": self.i_e_pa}

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`."""
        import torch

        u = membrane(constants, state, arrivals)
        return {
            "v": u,
            "i_ex": constants["p11_ex"] * state["i_ex"] + arrivals.excitatory,
            "i_in": constants["p11_in"] * state["i_in"] + arrivals.inhibitory,
        }, torch.zeros_like(u)
