"""The neuron of Shiu et al.'s whole-brain model of the fly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from connectome.neurons.functions import exp, expm1, mean_decay, ordered
from connectome.neurons.iaf_psc_exp import refractory_steps
from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Shiu2024"]


@dataclass(frozen=True, eq=False, repr=False)
class Shiu2024(NeuronModel):
    """Shiu et al. (2024), Nature 634:210: leaky integrate-and-fire driven by synapse counts, as in their Brian 2 model.

    ``tau_m dv/dt = e_l - v + w_syn g + i_e + current``, ``tau_syn dg/dt = -g``; a spike where v reaches v_th, then
    v = v_reset and g = 0, and neither moves for t_ref. Exactly integrated.

    An arriving spike adds its edge's weight, a signed count of synapses, to g, so that measured counts stay as they are
    and no digit of them is lost. Both variables are "unless refractory" in their model. As Brian 2 counts steps, what
    arrives in the step of a spike and in the t_ref / dt - 1 steps after it is lost, and v moves again in the next step.
    With t_ref = 0, which they give the neurons that they stimulate, v moves in the step after the spike, and only what
    arrives with the spike is lost. Currents are in mV, though named pA. State: ``v`` in mV above e_l, g in synapses.
    """

    model: ClassVar[str] = "shiu2024"
    state: ClassVar[tuple[str, ...]] = ("v", "g", "g_in", "refractory")
    synapses: ClassVar[tuple[str, str]] = ("g", "g_in")
    kernel: ClassVar[str] = "connectome.neurons.shiu2024_kernels:update"
    weight_unit: ClassVar[str] = "synapses"
    quick: ClassVar[tuple[str, ...] | None] = ("ref_steps",)

    tau_m_ms: Quantity = field(default=20.0, metadata={"above": 0})
    tau_syn_ms: Quantity = field(default=5.0, metadata={"above": 0})
    w_syn_mv: Quantity = field(default=0.275, metadata={"above": 0})
    t_ref_ms: Quantity = field(default=2.2, metadata={"low": 0, "learnt": False})
    v_th_mv: Quantity = field(default=-45.0, metadata={"over": "v_reset_mv"})
    v_reset_mv: Quantity = field(default=-52.0, metadata={"learnt": False})
    e_l_mv: Quantity = -52.0
    i_e_pa: Quantity = 0.0

    def check(self) -> None:
        """See :class:`NeuronModel`."""
        self._below("v_reset_mv", "v_th_mv")

    @property
    def reference_mv(self) -> Quantity:
        """See :class:`NeuronModel`."""
        return self.e_l_mv

    @property
    def one_accumulator(self) -> bool:
        """See :class:`NeuronModel`."""
        return True

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        least, more = ordered(dt_ms / self.tau_m_ms, dt_ms / self.tau_syn_ms)
        return {
            "p22": exp(-dt_ms / self.tau_m_ms),
            "p21": exp(-least) * dt_ms / self.tau_m_ms * mean_decay(more) * self.w_syn_mv,
            "p20": -expm1(-dt_ms / self.tau_m_ms), "p11": exp(-dt_ms / self.tau_syn_ms),
            "theta": self.v_th_mv - self.e_l_mv, "v_reset": self.v_reset_mv - self.e_l_mv, "i_e": self.i_e_pa,
            "ref_steps": np.maximum(refractory_steps(self.t_ref_ms, dt_ms), 1),
        }  # fmt: skip

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`."""
        import torch

        c, wait, v = constants, state["refractory"], state["v"]
        g = torch.where(wait < 1, state["g"] + state["g_in"], 0.0)
        u = c["p22"] * v + c["p21"] * g + c["p20"] * (c["i_e"] + arrivals.current_pa)
        u = torch.where(wait < 2, u, c["v_reset"])
        spikes = threshold(u - c["theta"])
        fired = spikes.detach() > 0.5
        return {
            "v": torch.where(fired, c["v_reset"], u),
            "g": c["p11"] * g + arrivals.excitatory,
            "g_in": arrivals.inhibitory + 0 * v,
            "refractory": torch.where(fired, c["ref_steps"], (wait - 1).clamp(min=0)),
        }, spikes
