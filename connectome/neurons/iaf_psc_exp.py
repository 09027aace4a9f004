"""Leaky integrate-and-fire neurons with exponential synaptic currents, exactly integrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.neurons.functions import exp, expm1, mean_decay, ordered, whole
from connectome.neurons.model import Arrivals, NeuronModel, Quantity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Dynamics", "NeuronParameters", "currents", "membrane", "propagators", "refractory_steps", "step_constants",
]  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class NeuronParameters(NeuronModel):
    """Leaky integrate-and-fire with exponential synaptic currents: names, units and meaning of NEST's ``iaf_psc_exp``.

    ``c_m dv/dt = -c_m (v - e_l) / tau_m + i_ex + i_in + i_e + current``, ``di/dt = -i / tau_syn``; a spike where
    v >= v_th, then v = v_reset for t_ref. Exact integration after Rotter & Diesmann (1999). An effector is the same
    neuron, except that it never fires. State: ``v`` in mV above e_l, the currents in pA.

    Each parameter is a number, or (N,) one for each neuron.
    """

    model: ClassVar[str] = "iaf_psc_exp"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in", "refractory")
    kernel: ClassVar[str] = "connectome.neurons.iaf_psc_exp_kernels:update"

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

    @property
    def one_accumulator(self) -> bool:
        """See :class:`NeuronModel`: where both time constants are the same."""
        return bool(np.array_equal(self.tau_syn_ex_ms, self.tau_syn_in_ms))

    def linear(self) -> NeuronParameters:
        """See :class:`NeuronModel`."""
        return self

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """See :class:`NeuronModel`."""
        names = ("p22", "p21_ex", "p21_in", "p20", "p11_ex", "p11_in", "theta", "v_reset", "i_e", "ref_steps")
        found = step_constants(self, dt_ms)
        return {name: found[name] for name in names}

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """See :class:`NeuronModel`."""
        import torch

        c, wait = constants, state["refractory"]
        u = torch.where(wait > 0, c["v_reset"], membrane(c, state, arrivals))
        spikes = threshold(u - c["theta"])
        fired = spikes.detach() > 0.5
        return {
            "v": torch.where(fired, c["v_reset"], u),
            "i_ex": c["p11_ex"] * state["i_ex"] + arrivals.excitatory,
            "i_in": c["p11_in"] * state["i_in"] + arrivals.inhibitory,
            "refractory": torch.where(fired, c["ref_steps"], (wait - 1).clamp(min=0)),
        }, spikes


def membrane(c: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals) -> Tensor:
    """v after a step without a spike, mV above e_l: exact for currents that decay by themselves."""
    synaptic = c["p21_ex"] * state["i_ex"] + c["p21_in"] * state["i_in"]
    u: Tensor = c["p22"] * state["v"] + synaptic + c["p20"] * (c["i_e"] + arrivals.current_pa)
    return u


class Dynamics(NamedTuple):
    """The constants of one step of N neurons, (N,) float64 each (``ref_steps`` int32).

    With v in mV above ``e_l`` and currents in pA: ``v <- p22 v + p21_ex i_ex + p21_in i_in + p20 (i_e + drive)``, then
    ``i_ex <- p11_ex i_ex + arrivals``; exact for steps of dt (Rotter & Diesmann 1999). ``theta`` is infinite for cells
    that never fire by themselves (sensors, effectors).
    """

    p22: NDArray[Any]
    p21_ex: NDArray[Any]
    p21_in: NDArray[Any]
    p20: NDArray[Any]
    p11_ex: NDArray[Any]
    p11_in: NDArray[Any]
    theta: NDArray[Any]
    v_reset: NDArray[Any]
    e_l: NDArray[Any]
    i_e: NDArray[Any]
    ref_steps: NDArray[np.int32]


def propagators(p: NeuronModel, dt_ms: float, *, fires: bool = True) -> Dynamics:
    """The exact propagators, for steps of ``dt_ms``, of a model with the parameters of ``iaf_psc_exp``: arrays of shape
    (), or (N,) for those that differ between neurons."""
    return Dynamics(**{name: np.asarray(value) for name, value in step_constants(p, dt_ms, fires=fires).items()})


def step_constants(p: NeuronModel, dt_ms: float, *, fires: bool = True) -> dict[str, Quantity]:
    """The same as :func:`propagators`, by name: numbers, (N,) arrays, or tensors where parameters learn."""
    return dict(
        currents(p, dt_ms), theta=p.v_th_mv - p.e_l_mv if fires else math.inf, v_reset=p.v_reset_mv - p.e_l_mv,
        e_l=p.e_l_mv, i_e=p.i_e_pa, ref_steps=refractory_steps(p.t_ref_ms, dt_ms),
    )  # fmt: skip


def currents(p: NeuronModel, dt_ms: float) -> dict[str, Quantity]:
    """The decay factors in :class:`Dynamics`, and the effect of currents on v."""

    def p21(tau_syn: Quantity) -> Quantity:
        # (exp(-dt/tau_m) - exp(-dt/tau_syn)) / (1/tau_syn - 1/tau_m) / C, written so that equal constants are no pole
        # and nothing overflows
        least, more = ordered(dt_ms / p.tau_m_ms, dt_ms / tau_syn)
        return exp(-least) * dt_ms / p.c_m_pf * mean_decay(more)

    return dict(
        p22=exp(-dt_ms / p.tau_m_ms), p21_ex=p21(p.tau_syn_ex_ms), p21_in=p21(p.tau_syn_in_ms),
        p20=-expm1(-dt_ms / p.tau_m_ms) * p.tau_m_ms / p.c_m_pf, p11_ex=exp(-dt_ms / p.tau_syn_ex_ms),
        p11_in=exp(-dt_ms / p.tau_syn_in_ms),
    )  # fmt: skip


def refractory_steps(t_ref_ms: Quantity, dt_ms: float) -> Any:
    """The refractory time in whole steps, int32. Raises :class:`ConnectomeError` if they do not fit."""
    longest = float(np.asarray(t_ref_ms).max(initial=0.0))
    if longest / dt_ms >= 2**31 - 1:
        raise ConnectomeError("neuron.t_ref_ms", f"must be fewer than 2^31 steps of {dt_ms:g} ms", longest)
    return whole(t_ref_ms / dt_ms)
