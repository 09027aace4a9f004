"""How fast synaptic elements grow at a given calcium concentration: the curves of Butz & van Ooyen (2013) and of NEST.

Calcium is the measure of activity: ``dCa/dt = -Ca / tau``, with a jump of beta at each spike. Elements z grow or shrink
by ``dz/dt = nu f(Ca)``; where f crosses 0 from above is the set point. Between two spikes calcium is
``Ca exp(-t / tau)``, so the growth in between is an integral along a known course: in closed form for the linear curve,
by quadrature to the last digits for the others (where NEST takes Euler steps of its resolution).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.simulate.run_rules import finite

__all__ = ["Gaussian", "GrowthCurve", "Linear", "Sigmoid"]

Floats = NDArray[np.float64]
#: Of Gauss and Legendre on 0 .. 1. Panels of half a curve's width leave errors of 1e-11.
_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(5)[0] + 1) / 2, np.polynomial.legendre.leggauss(5)[1] / 2
_PANEL: Final = 0.5


class GrowthCurve(Protocol):
    """A frozen dataclass of the curve's parameters."""

    def __call__(self, calcium: Floats) -> Floats:
        """f(Ca), at most 1."""
        ...

    def grown(self, calcium: Floats, gap_ms: Floats, tau_ms: float) -> Floats:
        """(N,) ms: the integral of f over a gap without a spike, from calcium (N,) on."""
        ...


@dataclass(frozen=True)
class Linear:
    """``f = 1 - Ca / eps``. Raises :class:`ConnectomeError` unless eps > 0."""

    eps: float = 0.7

    def __post_init__(self) -> None:
        finite("Linear.eps", self.eps, above_0=True)

    def __call__(self, calcium: Floats) -> Floats:
        """See :class:`GrowthCurve`."""
        return 1 - calcium / self.eps

    def grown(self, calcium: Floats, gap_ms: Floats, tau_ms: float) -> Floats:
        """See :class:`GrowthCurve`."""
        found: Floats = gap_ms + calcium * tau_ms / self.eps * np.expm1(-gap_ms / tau_ms)
        return found


@dataclass(frozen=True)
class Gaussian:
    """``f = 2 exp(-((Ca - xi) / zeta)^2) - 1``, ``xi = (eta + eps) / 2``, ``zeta = (eps - eta) / (2 sqrt(ln 2))``:
    0 at eta and at eps, 1 midway. Below eta elements are lost: what is silent for long stays so, unless eta is 0.
    Raises :class:`ConnectomeError` unless eta < eps."""

    eta: float = 0.1
    eps: float = 0.7

    def __post_init__(self) -> None:
        if finite("Gaussian.eta", self.eta) >= finite("Gaussian.eps", self.eps):
            raise ConnectomeError("Gaussian.eta", f"must be below eps, {self.eps:g}", self.eta)

    @property
    def _zeta(self) -> float:
        return (self.eps - self.eta) / (2 * math.sqrt(math.log(2)))

    def __call__(self, calcium: Floats) -> Floats:
        """See :class:`GrowthCurve`."""
        found: Floats = 2 * np.exp(-(((calcium - (self.eta + self.eps) / 2) / self._zeta) ** 2)) - 1
        return found

    def grown(self, calcium: Floats, gap_ms: Floats, tau_ms: float) -> Floats:
        """See :class:`GrowthCurve`."""
        return _integral(self, self._zeta, calcium, gap_ms, tau_ms)


@dataclass(frozen=True)
class Sigmoid:
    """``f = 2 / (1 + exp((Ca - eps) / psi)) - 1``. Raises :class:`ConnectomeError` unless psi > 0."""

    eps: float = 0.7
    psi: float = 0.1

    def __post_init__(self) -> None:
        finite("Sigmoid.eps", self.eps)
        finite("Sigmoid.psi", self.psi, above_0=True)

    def __call__(self, calcium: Floats) -> Floats:
        """See :class:`GrowthCurve`."""
        found: Floats = -np.tanh((calcium - self.eps) / (2 * self.psi))
        return found

    def grown(self, calcium: Floats, gap_ms: Floats, tau_ms: float) -> Floats:
        """See :class:`GrowthCurve`."""
        return _integral(self, self.psi, calcium, gap_ms, tau_ms)


def _integral(curve: GrowthCurve, width: float, calcium: Floats, gap_ms: Floats, tau_ms: float) -> Floats:
    """(N,) by Gauss and Legendre, in as many panels as it takes where calcium falls fastest."""
    if not calcium.size:
        return np.zeros(0)
    fastest = np.maximum(calcium / width, 1) * gap_ms / tau_ms
    panels = max(1, math.ceil(float(fastest.max()) / _PANEL))
    share = ((np.arange(panels)[:, None] + _NODES) / panels).ravel()
    values = curve(calcium[:, None] * np.exp(-gap_ms[:, None] / tau_ms * share))
    found: Floats = gap_ms * (values * (np.tile(_WEIGHTS, panels) / panels)).sum(1)
    return found
