"""Leaky integrate-and-fire neurons whose threshold rises with each spike (ALIF)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from connectome.neurons.functions import exp
from connectome.neurons.iaf_psc_exp import NeuronParameters, membrane, step_constants
from connectome.neurons.model import Adaptive, Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Alif"]


@dataclass(frozen=True, eq=False, repr=False)
class Alif(NeuronModel):
    """``iaf_psc_exp`` with an adaptive threshold (Bellec et al. 2018, NeurIPS; 2020, Nature Communications 11:3625,
    equations 6 to 8).

    ``c_m dv/dt = -c_m (v - e_l) / tau_m + i_ex + i_in + i_e + current``, ``di/dt = -i / tau_syn``, exactly integrated.
    A spike where ``v >= v_th + adapt_beta a``; then v = v_reset for t_ref, and a rises by 1. Between spikes
    ``da/dt = -a / adapt_tau``. In steps: ``a(t + 1) = exp(-dt / adapt_tau) a(t) + spike(t)``, and the threshold of
    step t is that of a(t). The names are those of NEST's ``eprop_iaf_adapt``. State: ``v`` in mV above e_l, the
    currents in pA, ``a`` in spikes.
    """

    model: ClassVar[str] = "alif"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in", "refractory", "a")
    units: ClassVar[Mapping[str, str]] = {"a": "spikes"}
    kernel: ClassVar[str] = "connectome.neurons.alif_kernels:update"

    tau_m_ms: Quantity = field(default=20.0, metadata={"above": 0})
    c_m_pf: Quantity = field(default=250.0, metadata={"above": 0})
    t_ref_ms: Quantity = field(default=2.0, metadata={"low": 0, "learnt": False})
    v_th_mv: Quantity = field(default=-55.0, metadata={"over": "v_reset_mv"})
    v_reset_mv: Quantity = field(default=-70.0, metadata={"learnt": False})
    e_l_mv: Quantity = -70.0
    tau_syn_ex_ms: Quantity = field(default=2.0, metadata={"above": 0})
    tau_syn_in_ms: Quantity = field(default=2.0, metadata={"above": 0})
    i_e_pa: Quantity = 0.0
    adapt_tau_ms: Quantity = field(default=200.0, metadata={"above": 0})
    adapt_beta_mv: Quantity = field(default=1.7, metadata={"low": 0})

    def check(self) -> None:
        """See :class:`NeuronModel`."""
        self._below("v_reset_mv", "v_th_mv")

    @property
    def reference_mv(self) -> Quantity:
        """See :class:`NeuronModel`."""
        return self.e_l_mv

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        found = step_constants(self, dt_ms)
        names = NeuronParameters().constants(dt_ms)
        own = {"rho": exp(-dt_ms / self.adapt_tau_ms), "beta": self.adapt_beta_mv}
        return own | {name: found[name] for name in names}

    def adaptive(self, dt_ms: float) -> Adaptive:
        """See :class:`NeuronModel`."""
        own = self.parameters()
        base = NeuronParameters.unchecked(**{name: own[name] for name in NeuronParameters().parameters()})
        return Adaptive(base, exp(-dt_ms / self.adapt_tau_ms), self.adapt_beta_mv)

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`. Gradients pass from spikes to the thresholds of later ones."""
        import torch

        c, wait, a = constants, state["refractory"], state["a"]
        u = torch.where(wait > 0, c["v_reset"], membrane(c, state, arrivals))
        spikes = threshold(u - (c["theta"] + c["beta"] * a))
        fired = spikes.detach() > 0.5
        return {
            "v": torch.where(fired, c["v_reset"], u),
            "i_ex": c["p11_ex"] * state["i_ex"] + arrivals.excitatory,
            "i_in": c["p11_in"] * state["i_in"] + arrivals.inhibitory,
            "refractory": torch.where(fired, c["ref_steps"], (wait - 1).clamp(min=0)),
            "a": c["rho"] * a + spikes,
        }, spikes
