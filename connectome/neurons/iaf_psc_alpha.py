"""Leaky integrate-and-fire neurons with alpha-shaped synaptic currents, exactly integrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from connectome.neurons.functions import exp
from connectome.neurons.iaf_psc_exp import membrane, step_constants
from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IafPscAlpha"]

#: Of Gauss and Legendre on 0 .. 1: to the last digits for steps of up to a few time constants.
_NODES: Final = tuple(((np.polynomial.legendre.leggauss(10)[0] + 1) / 2).tolist())
_WEIGHTS: Final = tuple((np.polynomial.legendre.leggauss(10)[1] / 2).tolist())


@dataclass(frozen=True, eq=False, repr=False)
class IafPscAlpha(NeuronModel):
    """Leaky integrate-and-fire with alpha-shaped synaptic currents: names, units and meaning of NEST's
    ``iaf_psc_alpha``.

    ``c_m dv/dt = -c_m (v - e_l) / tau_m + i_ex + i_in + i_e + current``; a spike of weight w brings a current of
    ``w (t / tau_syn) exp(1 - t / tau_syn)``, which peaks at w, after tau_syn, and carries a charge of ``e w tau_syn``.
    A spike where v >= v_th, then v = v_reset for t_ref. Exact integration after Rotter & Diesmann (1999):
    ``tau_syn di/dt = -i + e rise``, ``d rise/dt = -rise / tau_syn``, and w is added to ``rise``. State: ``v`` in mV
    above e_l, the rises and the currents in pA.
    """

    model: ClassVar[str] = "iaf_psc_alpha"
    state: ClassVar[tuple[str, ...]] = ("v", "rise_ex", "rise_in", "refractory", "i_ex", "i_in")
    synapses: ClassVar[tuple[str, str]] = ("rise_ex", "rise_in")
    units: ClassVar[Mapping[str, str]] = {"i_ex": "pA", "i_in": "pA"}
    kernel: ClassVar[str] = "connectome.neurons.iaf_psc_alpha_kernels:update"

    tau_m_ms: Quantity = field(default=10.0, metadata={"above": 0})
    c_m_pf: Quantity = field(default=250.0, metadata={"above": 0})
    t_ref_ms: Quantity = field(default=2.0, metadata={"low": 0, "learnt": False})
    v_th_mv: Quantity = field(default=-55.0, metadata={"over": "v_reset_mv"})
    v_reset_mv: Quantity = field(default=-70.0, metadata={"learnt": False})
    e_l_mv: Quantity = -70.0
    tau_syn_ex_ms: Quantity = field(default=2.0, metadata={"above": 0})
    tau_syn_in_ms: Quantity = field(default=2.0, metadata={"above": 0})
    i_e_pa: Quantity = 0.0

    def check(self) -> None:
        """See :class:`NeuronModel`."""
        self._below("v_reset_mv", "v_th_mv")

    @property
    def reference_mv(self) -> Quantity:
        """See :class:`NeuronModel`."""
        return self.e_l_mv

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`. ``p31`` is what rises do to v, ``p21`` what they do to currents."""
        found = step_constants(self, dt_ms)
        names = ("p22", "p21_ex", "p21_in", "p20", "p11_ex", "p11_in", "theta", "v_reset", "i_e", "ref_steps")
        own = {
            "rise_ex": math.e * dt_ms / self.tau_syn_ex_ms * found["p11_ex"],
            "rise_in": math.e * dt_ms / self.tau_syn_in_ms * found["p11_in"],
            "p31_ex": self._p31(dt_ms, self.tau_syn_ex_ms), "p31_in": self._p31(dt_ms, self.tau_syn_in_ms),
        }  # fmt: skip
        return {name: found[name] for name in names} | own

    def _p31(self, dt_ms: float, tau_syn: Quantity) -> Quantity:
        """exp(-(dt - s) / tau_m) e s / tau_syn exp(-s / tau_syn) / C over a step, in a form without a pole for any time
        constants."""
        found: Quantity = 0.0
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            s = node * dt_ms
            found = found + weight * s * exp((s - dt_ms) / self.tau_m_ms - s / tau_syn)
        return found * (math.e * dt_ms / self.c_m_pf) / tau_syn

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`."""
        import torch

        c, wait = constants, state["refractory"]
        rising = c["p31_ex"] * state["rise_ex"] + c["p31_in"] * state["rise_in"]
        u = torch.where(wait > 0, c["v_reset"], membrane(c, state, arrivals) + rising)
        spikes = threshold(u - c["theta"])
        fired = spikes.detach() > 0.5
        return {
            "v": torch.where(fired, c["v_reset"], u),
            "rise_ex": c["p11_ex"] * state["rise_ex"] + arrivals.excitatory,
            "rise_in": c["p11_in"] * state["rise_in"] + arrivals.inhibitory,
            "i_ex": c["p11_ex"] * state["i_ex"] + c["rise_ex"] * state["rise_ex"],
            "i_in": c["p11_in"] * state["i_in"] + c["rise_in"] * state["rise_in"],
            "refractory": torch.where(fired, c["ref_steps"], (wait - 1).clamp(min=0)),
        }, spikes
