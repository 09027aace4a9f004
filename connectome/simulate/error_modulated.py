"""Plasticity of edges into effectors during a run: the delta rule, gated in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from numpy.typing import ArrayLike

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.simulate.run_rules import finite

__all__ = ["ErrorModulated"]


@dataclass(frozen=True, eq=False)
class ErrorModulated(ReadOnly):
    """The delta rule (Widrow & Hoff 1960) on the edges into an effector, in each step, for as long as a gate is open; a
    three-factor rule whose third factor is the error of the edge's own target (Fremaux & Gerstner 2016, section 3.3).

    The readout v_k of effector k is its potential above e_l. An effector is linear in its weights:
    ``v_k = sum over edges w_ki x_i``, plus what other currents give, where x_i in mV/pA is the potential that the
    spikes of source i would have caused through the edge, with its delay, if its weight were 1 pA. In step t, after the
    effectors' update::

        dw_ki = rate dt gate_k(t) ((target_k(t) - v_k(t)) x_i(t) - ridge w_ki)

    which descends the gradient of the gated square error,
    ``sum over t, k of gate dt ((target - v)^2 + ridge |w|^2) / 2``, exactly, except for the change of w within a time
    constant. Spikes that arrive from step t on act with the new weight. A weight keeps the sign of its source neuron,
    if that has one. It is stored as float64 and acts as float32.

    Each step costs a pass over the source neurons, and over the edges into every effector whose gate is not 0.

    Parameters
    ----------
    target_mv : (steps, K), or what broadcasts to it: mV above e_l
    rate_pa2_per_mv2_ms : >= 0. As v follows w only with the effector's time constants, the weights diverge unless
        ``rate (tau_m + tau_syn) |x|^2`` is well below 1.
    gate : (steps, K), or what broadcasts to it; >= 0
    ridge_mv2_per_pa2 : >= 0
    w_min_pa, w_max_pa : bounds, within which the initial weights must lie; may be infinite

    Raises
    ------
    ConnectomeError : a parameter is invalid; the message names it
    """

    name: ClassVar[str] = "error_modulated"

    target_mv: ArrayLike
    rate_pa2_per_mv2_ms: float
    gate: ArrayLike = field(default=1.0)
    ridge_mv2_per_pa2: float = 0.0
    w_min_pa: float = -math.inf
    w_max_pa: float = math.inf

    def __post_init__(self) -> None:
        for name in ("rate_pa2_per_mv2_ms", "ridge_mv2_per_pa2"):
            value = finite(f"ErrorModulated.{name}", getattr(self, name))
            if value < 0:
                raise ConnectomeError(f"ErrorModulated.{name}", "must be >= 0", value)
            object.__setattr__(self, name, value)
        for name, unbounded in (("w_min_pa", -math.inf), ("w_max_pa", math.inf)):
            value = getattr(self, name)
            object.__setattr__(self, name, unbounded if value == unbounded else finite(f"ErrorModulated.{name}", value))
        if not self.w_min_pa < self.w_max_pa:
            raise ConnectomeError(
                "ErrorModulated.w_max_pa", f"must be above w_min_pa = {self.w_min_pa:g}", self.w_max_pa
            )
