"""Leaky integrate-and-fire neurons with exponential synaptic currents, exactly integrated."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError

__all__ = ["Dynamics", "NeuronParameters", "propagators"]


@dataclass(frozen=True)
class NeuronParameters:
    """Leaky integrate-and-fire with exponential synaptic currents: names, units and meaning of NEST's ``iaf_psc_exp``.

    Exact integration after Rotter & Diesmann (1999). An effector is the same neuron that never fires.
    """

    tau_m_ms: float = 10.0
    c_m_pf: float = 250.0
    t_ref_ms: float = 2.0
    v_th_mv: float = -55.0
    v_reset_mv: float = -70.0
    e_l_mv: float = -70.0
    tau_syn_ex_ms: float = 2.0
    tau_syn_in_ms: float = 2.0
    i_e_pa: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, (int, float, np.floating, np.integer)) or not math.isfinite(value):
                raise ConnectomeError(f"neuron.{f.name}", "must be a finite number", repr(value))
            object.__setattr__(self, f.name, float(value))
        for name in ("tau_m_ms", "c_m_pf", "tau_syn_ex_ms", "tau_syn_in_ms"):
            if getattr(self, name) <= 0:
                raise ConnectomeError(f"neuron.{name}", "must be > 0", getattr(self, name))
        if self.t_ref_ms < 0:
            raise ConnectomeError("neuron.t_ref_ms", "must be >= 0", self.t_ref_ms)
        if self.v_reset_mv >= self.v_th_mv:
            raise ConnectomeError(
                "neuron.v_reset_mv", f"must be below v_th_mv = {self.v_th_mv}", self.v_reset_mv, "Or it fires forever."
            )


class Dynamics(NamedTuple):
    """One step of each of the N neurons, (N,) float64 each (``ref_steps`` int32).

    With v in mV above ``e_l`` and currents in pA: ``v <- p22 v + p21_ex i_ex + p21_in i_in + p20 (i_e + drive)``, then
    ``i_ex <- p11_ex i_ex + arrivals``; exact for steps of dt (Rotter & Diesmann 1999).
    ``theta`` is infinite for what never fires by itself (sensors, effectors).
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


def propagators(p: NeuronParameters, dt_ms: float, *, fires: bool = True) -> Dynamics:
    """The exact propagators of one neuron for steps of ``dt_ms``: arrays of no dimension."""

    def p21(tau_syn: float) -> float:
        # (exp(-dt/tau_m) - exp(-dt/tau_syn)) / (1/tau_syn - 1/tau_m) / C, written so that equal constants are no pole
        # and nothing overflows
        a, b = sorted((dt_ms / p.tau_m_ms, dt_ms / tau_syn))
        return math.exp(-a) * dt_ms / p.c_m_pf * (-math.expm1(a - b) / (b - a) if b > a else 1.0)

    scalars = dict(
        p22=math.exp(-dt_ms / p.tau_m_ms), p21_ex=p21(p.tau_syn_ex_ms), p21_in=p21(p.tau_syn_in_ms),
        p20=-math.expm1(-dt_ms / p.tau_m_ms) * p.tau_m_ms / p.c_m_pf,
        p11_ex=math.exp(-dt_ms / p.tau_syn_ex_ms), p11_in=math.exp(-dt_ms / p.tau_syn_in_ms),
        theta=p.v_th_mv - p.e_l_mv if fires else math.inf, v_reset=p.v_reset_mv - p.e_l_mv, e_l=p.e_l_mv, i_e=p.i_e_pa,
        ref_steps=np.int32(np.rint(p.t_ref_ms / dt_ms)),
    )  # fmt: skip
    return Dynamics(**{name: np.asarray(value) for name, value in scalars.items()})
