"""Leaky integrate-and-fire neurons with exponential synaptic conductances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from connectome.neurons.functions import exp
from connectome.neurons.iaf_psc_exp import refractory_steps
from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IafCondExp"]

SUBSTEPS: Final = 2


@dataclass(frozen=True, eq=False, repr=False)
class IafCondExp(NeuronModel):
    """Leaky integrate-and-fire with exponential conductances: names, units and meaning of NEST's ``iaf_cond_exp``.

    ``c_m dv/dt = -g_l (v - e_l) - g_ex (v - e_ex) - g_in (v - e_in) + i_e + current``, ``dg/dt = -g / tau_syn``; a
    spike where v >= v_th, then v = v_reset for t_ref (Meffin, Burkitt & Grayden 2004).

    v is integrated by the classical fourth-order Runge-Kutta method in two substeps a step, the conductances exactly;
    NEST integrates both with an adaptive step to 1e-3. At dt = 0.1 ms v is within 1e-3 mV of the solution while the
    total conductance stays below c_m / dt; above ten times that, the integration is unstable.

    Edges add their weight in nS: positive ones to g_ex, negative ones to g_in, which is kept as it is added up, as a
    number <= 0. State: ``v`` in mV, ``g_ex`` and ``g_in`` in nS.
    """

    model: ClassVar[str] = "iaf_cond_exp"
    state: ClassVar[tuple[str, ...]] = ("v", "g_ex", "g_in", "refractory")
    synapses: ClassVar[tuple[str, str]] = ("g_ex", "g_in")
    kernel: ClassVar[str] = "connectome.neurons.iaf_cond_exp_kernels:update"
    weight_unit: ClassVar[str] = "nS"

    g_l_ns: Quantity = field(default=16.6667, metadata={"above": 0})
    c_m_pf: Quantity = field(default=250.0, metadata={"above": 0})
    t_ref_ms: Quantity = field(default=2.0, metadata={"low": 0, "learnt": False})
    v_th_mv: Quantity = field(default=-55.0, metadata={"over": "v_reset_mv"})
    v_reset_mv: Quantity = field(default=-60.0, metadata={"learnt": False})
    e_l_mv: Quantity = -70.0
    e_ex_mv: Quantity = 0.0
    e_in_mv: Quantity = -85.0
    tau_syn_ex_ms: Quantity = field(default=0.2, metadata={"above": 0})
    tau_syn_in_ms: Quantity = field(default=2.0, metadata={"above": 0})
    i_e_pa: Quantity = 0.0

    def check(self) -> None:
        """See :class:`NeuronModel`."""
        self._below("v_reset_mv", "v_th_mv")

    def rest(self) -> Mapping[str, Quantity]:
        """See :class:`NeuronModel`."""
        return {"v": self.e_l_mv}

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        h = dt_ms / SUBSTEPS / self.c_m_pf
        return {
            "h": h, "leak": self.g_l_ns, "e_l": self.e_l_mv, "e_ex": self.e_ex_mv, "e_in": self.e_in_mv,
            "half_ex": exp(-dt_ms / (2 * SUBSTEPS * self.tau_syn_ex_ms)),
            "half_in": exp(-dt_ms / (2 * SUBSTEPS * self.tau_syn_in_ms)),
            "theta": self.v_th_mv, "v_reset": self.v_reset_mv, "i_e": self.i_e_pa,
            "ref_steps": refractory_steps(self.t_ref_ms, dt_ms),
        }  # fmt: skip

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`."""
        import torch

        c, wait = constants, state["refractory"]
        pa = c["i_e"] + arrivals.current_pa
        v, g_ex, g_in = state["v"], state["g_ex"], state["g_in"]

        def slope(v: Tensor, g_ex: Tensor, g_in: Tensor) -> Tensor:
            """Change of v in a substep, mV."""
            total: Tensor = (v - c["e_in"]) * g_in - (v - c["e_l"]) * c["leak"] - (v - c["e_ex"]) * g_ex + pa
            scaled: Tensor = c["h"] * total
            return scaled

        for _ in range(SUBSTEPS):
            mid_ex, mid_in = c["half_ex"] * g_ex, c["half_in"] * g_in
            end_ex, end_in = c["half_ex"] * mid_ex, c["half_in"] * mid_in
            k1 = slope(v, g_ex, g_in)
            k2 = slope(v + k1 / 2, mid_ex, mid_in)
            k3 = slope(v + k2 / 2, mid_ex, mid_in)
            k4 = slope(v + k3, end_ex, end_in)
            v, g_ex, g_in = v + (k1 + 2 * k2 + 2 * k3 + k4) / 6, end_ex, end_in
        v = torch.where(wait > 0, c["v_reset"], v)
        spikes = threshold(v - c["theta"])
        fired = spikes.detach() > 0.5
        return {
            "v": torch.where(fired, c["v_reset"], v), "g_ex": g_ex + arrivals.excitatory,
            "g_in": g_in + arrivals.inhibitory,
            "refractory": torch.where(fired, c["ref_steps"], (wait - 1).clamp(min=0)),
        }, spikes  # fmt: skip
