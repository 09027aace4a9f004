"""Adaptive exponential integrate-and-fire neurons (AdEx) with exponential synaptic currents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from connectome.neurons.functions import choice, exp, inverse
from connectome.neurons.iaf_psc_exp import refractory_steps
from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AeifPscExp"]

#: Of a step that begins where the exponential current rises steeply.
SUBSTEPS: Final = 8
_EXPONENT_MAX: Final = 80.0  # exp of it is finite in float32
_LEAST: Final = 1e-6
_GROWTH: Final = 0.2


@dataclass(frozen=True, eq=False, repr=False)
class AeifPscExp(NeuronModel):
    """AdEx (Brette & Gerstner 2005) with exponential currents: names, units and meaning of NEST's ``aeif_psc_exp``.

    ``c_m dv/dt = -g_l (v - e_l) + g_l delta_t exp((v - v_th) / delta_t) + i_ex + i_in - w + i_e + current``,
    ``tau_w dw/dt = a (v - e_l) - w``, ``di/dt = -i / tau_syn``; a spike where v >= v_peak (v_th if delta_t is 0), then
    v = v_reset for t_ref, and w rises by b.

    v and w are integrated by the classical fourth-order Runge-Kutta method, the currents exactly. A step is one
    substep, or eight where v is so far above v_th that the exponential current grows by a fifth within the step; a
    neuron that reaches the peak is reset within the step and integrated on from there. NEST does the same with an
    adaptive step. At dt = 0.1 ms spikes stay within 0.5 ms of NEST's over one second at the same dt; both are further
    from the exact solution where refractory times are rounded to steps.

    It fires at most once a step. State: ``v`` in mV, the currents and ``w`` in pA.
    """

    model: ClassVar[str] = "aeif_psc_exp"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in", "refractory", "w")
    units: ClassVar[Mapping[str, str]] = {"w": "pA"}
    effector: ClassVar[bool] = False
    kernel: ClassVar[str] = "connectome.neurons.aeif_psc_exp_kernels:update"

    c_m_pf: Quantity = field(default=281.0, metadata={"above": 0})
    g_l_ns: Quantity = field(default=30.0, metadata={"above": 0})
    e_l_mv: Quantity = -70.6
    v_th_mv: Quantity = field(default=-50.4, metadata={"under": "v_peak_mv"})
    delta_t_mv: Quantity = field(default=2.0, metadata={"low": 0})
    v_peak_mv: Quantity = field(default=0.0, metadata={"learnt": False})
    v_reset_mv: Quantity = field(default=-60.0, metadata={"learnt": False})
    t_ref_ms: Quantity = field(default=0.0, metadata={"low": 0, "learnt": False})
    a_ns: Quantity = 4.0
    b_pa: Quantity = 80.5
    tau_w_ms: Quantity = field(default=144.0, metadata={"above": 0})
    tau_syn_ex_ms: Quantity = field(default=0.2, metadata={"above": 0})
    tau_syn_in_ms: Quantity = field(default=2.0, metadata={"above": 0})
    i_e_pa: Quantity = 0.0

    def check(self) -> None:
        """See :class:`NeuronModel`."""
        peak, hint = self._peak(), "Otherwise it fires forever."
        rule = "must be below v_peak_mv (v_th_mv if delta_t_mv is 0) = "
        self._require("neuron.v_reset_mv", self.v_reset_mv, np.less(self.v_reset_mv, peak), rule, peak, hint)
        good = np.greater_equal(self.v_peak_mv, self.v_th_mv)
        self._require("neuron.v_peak_mv", self.v_peak_mv, good, "must be >= v_th_mv = ", self.v_th_mv)
        least = np.subtract(self.v_peak_mv, self.v_th_mv) / _EXPONENT_MAX
        good = np.greater_equal(self.delta_t_mv, least) | np.equal(self.delta_t_mv, 0)
        rule = f"must be 0, or at least (v_peak_mv - v_th_mv) / {_EXPONENT_MAX:g} = "
        self._require("neuron.delta_t_mv", self.delta_t_mv, good, rule, least)

    def _peak(self) -> Quantity:
        return choice(self.delta_t_mv > 0, self.v_peak_mv, self.v_th_mv)

    def rest(self) -> Mapping[str, Quantity]:
        """See :class:`NeuronModel`."""
        return {"v": self.e_l_mv}

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        ex, inh = self.tau_syn_ex_ms, self.tau_syn_in_ms
        growth = _GROWTH * self.c_m_pf / (self.g_l_ns * dt_ms)
        # In delta_t above v_th, where the exponential current grows by a fifth in a step.
        rises = growth.log().clamp(min=0) if hasattr(growth, "requires_grad") else np.maximum(np.log(growth), 0.0)
        return {
            "h": dt_ms / self.c_m_pf, "leak": self.g_l_ns, "e_l": self.e_l_mv, "v_th": self.v_th_mv,
            "slope": inverse(self.delta_t_mv), "steep": self.g_l_ns * self.delta_t_mv, "theta": self._peak(),
            "v_reset": self.v_reset_mv, "a": self.a_ns, "b": self.b_pa, "h_w": dt_ms / self.tau_w_ms,
            "i_e": self.i_e_pa, "half_ex": exp(-dt_ms / (2 * ex)), "half_in": exp(-dt_ms / (2 * inh)),
            "fine_ex": exp(-dt_ms / (2 * SUBSTEPS * ex)), "fine_in": exp(-dt_ms / (2 * SUBSTEPS * inh)),
            "ref_steps": refractory_steps(self.t_ref_ms, dt_ms), "fine_from": self.v_th_mv + self.delta_t_mv * rises,
        }  # fmt: skip

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`. A neuron that reaches the peak in a substep continues from the reset; ``threshold``
        is called once, for the step as a whole, and may overrule that."""
        import torch

        c, wait = constants, state["refractory"]
        pa, theta = c["i_e"] + arrivals.current_pa, c["theta"]
        ex, inh = state["i_ex"], state["i_in"]

        def slopes(v: Tensor, w: Tensor, hold: Tensor, synaptic: Tensor, part: Any) -> tuple[Tensor, Tensor]:
            """mV and pA in a part of the step."""
            u = torch.where(hold, c["v_reset"], torch.minimum(v, theta.expand_as(v)))
            rise = c["steep"] * torch.exp((u - c["v_th"]) * c["slope"])
            dv = part * c["h"] * (rise - c["leak"] * (u - c["e_l"]) + synaptic - w + pa)
            return dv, part * c["h_w"] * (c["a"] * (u - c["e_l"]) - w)

        def substep(v: Tensor, w: Tensor, hold: Tensor, synaptic: Sequence[Tensor], part: Any) -> tuple[Tensor, Tensor]:
            """v and w after a part of the step; the currents at its beginning, middle and end."""
            k1, l1 = slopes(v, w, hold, synaptic[0], part)
            k2, l2 = slopes(v + k1 / 2, w + l1 / 2, hold, synaptic[1], part)
            k3, l3 = slopes(v + k2 / 2, w + l2 / 2, hold, synaptic[1], part)
            k4, l4 = slopes(v + k3, w + l3, hold, synaptic[2], part)
            after = torch.where(hold, c["v_reset"], v + (k1 + 2 * k2 + 2 * k3 + k4) / 6)
            return after, w + (l1 + 2 * l2 + 2 * l3 + l4) / 6

        mid_ex, mid_in = c["half_ex"] * ex, c["half_in"] * inh
        end_ex, end_in = c["half_ex"] * mid_ex, c["half_in"] * mid_in
        v, w = substep(state["v"], state["w"], wait > 0, (ex + inh, mid_ex + mid_in, end_ex + end_in), 1.0)
        steep = (state["v"] > c["fine_from"]) & (wait <= 0)
        peaked, top = torch.zeros_like(steep), v
        if bool(steep.any()):
            fine_v, fine_w, now_ex, now_in = state["v"], state["w"], ex, inh
            for _ in range(SUBSTEPS):
                currents = [now_ex + now_in]
                for _ in range(2):
                    now_ex, now_in = c["fine_ex"] * now_ex, c["fine_in"] * now_in
                    currents.append(now_ex + now_in)
                before, w_before, hold = fine_v, fine_w, peaked & (c["ref_steps"] > 0)
                fine_v, fine_w = substep(before, w_before, hold, currents, 1 / SUBSTEPS)
                now = steep & ~peaked & (fine_v >= theta)
                top = torch.where(now, fine_v, top)
                # Where in the substep: exp(-v / delta_t) falls evenly there. The rest of it begins with the reset.
                rise = (slopes(before, w_before, hold, currents[0], 1 / SUBSTEPS)[0] * c["slope"]).clamp(min=_LEAST)
                at = ((1 - torch.exp((before - theta) * c["slope"])) / rise).clamp(0, 1)
                reset = c["v_reset"] + torch.zeros_like(before)
                jumped = w_before + at * (fine_w - w_before) + c["b"]
                hold = now & (c["ref_steps"] > 0)
                rest_v, rest_w = substep(reset, jumped, hold, currents[2:] * 3, (1 - at) / SUBSTEPS)
                fine_v, fine_w = torch.where(now, rest_v, fine_v), torch.where(now, rest_w, fine_w)
                peaked = peaked | now
            v, w = torch.where(steep, fine_v, v), torch.where(steep, fine_w, w)
        spikes = threshold(torch.where(peaked, top, v) - theta)
        fired = spikes.detach() > 0.5
        jumps = fired & ~peaked  # at the end of the step
        v = torch.where(peaked, torch.where(fired, torch.minimum(v, theta.expand_as(v)), top), v)
        w = torch.where(peaked & ~fired, w - c["b"], torch.where(jumps, w + c["b"], w))
        return {
            "v": torch.where(jumps, c["v_reset"], v),
            "i_ex": end_ex + arrivals.excitatory,
            "i_in": end_in + arrivals.inhibitory,
            "refractory": torch.where(fired, c["ref_steps"], (wait - 1).clamp(min=0)),
            "w": w,
        }, spikes
