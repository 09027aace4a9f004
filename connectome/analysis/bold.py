"""What a scanner sees of neural activity: the balloon model of the BOLD signal.

A node has activity x, a vasodilatory signal s, blood flow f, blood volume v and deoxyhaemoglobin q. At rest x and s are
0 and f, v and q are 1 (Friston, Harrison & Penny 2003, NeuroImage 19:1273):

    ds/dt = x - kappa s - gamma (f - 1)        df/dt = s
    tau dv/dt = f - v^(1 / alpha)              tau dq/dt = f (1 - (1 - rho)^(1 / f)) / rho - v^(1 / alpha) q / v
    y = v0 (k1 (1 - q) + k2 (1 - q / v) + k3 (1 - v))
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.parameters import Parameters, bounded

__all__ = ["FRISTON_2003", "STEPHAN_2007", "Balloon", "bold", "steady_bold", "synaptic_gating"]

#: The longest step of the integration, s: at it the signal is right to eight digits.
_STEP_S: Final = 0.02


@dataclass(frozen=True)
class Balloon(Parameters):
    """Constants of the balloon model.

    Parameters
    ----------
    kappa_hz, gamma_hz : rates of decay of the vasodilatory signal, and of its autoregulation by flow, Hz
    tau_s : mean transit time of blood through the balloon, s
    alpha : stiffness: outflow is volume^(1 / alpha)
    rho : oxygen extraction fraction at rest
    v0 : blood volume fraction of the tissue at rest
    k1, k2, k3 : weights of extravascular deoxyhaemoglobin, of its intravascular concentration, and of blood volume
    """

    kappa_hz: float = bounded(0.65, 0)
    gamma_hz: float = bounded(0.41, 1e-9)
    tau_s: float = bounded(0.98, 1e-9)
    alpha: float = bounded(0.32, 1e-9)
    rho: float = bounded(0.34, 1e-9, 1 - 1e-9)
    v0: float = bounded(0.02, 0)
    k1: float = 7 * 0.34
    k2: float = 2.0
    k3: float = 2 * 0.34 - 0.2


#: Friston, Harrison & Penny (2003), NeuroImage 19:1273, as in the models of Deco and others.
FRISTON_2003: Final = Balloon()
#: The signal of Stephan et al. (2007), NeuroImage 38:387, at 1.5 T: frequency offset 40.3 Hz, relaxation slope 25 Hz,
#: echo time 0.04 s, signal inside over outside of vessels 0.5, oxygen extraction 0.4, as in The Virtual Brain.
STEPHAN_2007: Final = Balloon(rho=0.4, k1=4.3 * 40.3 * 0.4 * 0.04, k2=0.5 * 25 * 0.4 * 0.04, k3=1 - 0.5)


def synaptic_gating(rate_hz: xr.DataArray, *, tau_ms: float = 100.0, gamma: float = 0.641) -> xr.DataArray:
    """The fraction of open NMDA channels, (time_s, node), in 0 .. 1, that rates (time_s, node) in Hz lead to:
    ``dS/dt = -S / tau + (1 - S) gamma rate``, begun at the steady state of each node's mean rate, exact for rates that
    are constant in each bin (Deco et al. 2014, J. Neurosci. 34:7886, eq. 9, whose balloon model takes S as its input).
    Raises :class:`ConnectomeError` for rates below 0."""
    for name, value in (("tau_ms", tau_ms), ("gamma", gamma)):
        if not 0 < value < math.inf:
            raise ConnectomeError(name, "must be finite and > 0", value)
    rate, step_s = _values(rate_hz)
    if not (rate >= 0).all():
        raise ConnectomeError("rate_hz", "must be 0 or more", rate[~(rate >= 0)][0])
    leak = 1000 / tau_ms + gamma * rate
    steady, left = gamma * rate / leak, np.exp(-step_s * leak)
    mean = rate.mean(0)
    s, found = gamma * mean / (1000 / tau_ms + gamma * mean), np.empty_like(rate)
    for t in range(len(rate)):
        s = steady[t] + (s - steady[t]) * left[t]
        found[t] = s
    return rate_hz.copy(data=found).rename("synaptic_gating").assign_attrs(units="1")


def bold(
    activity: xr.DataArray, tr_s: float = 2.0, *, skip_s: float = 0.0, balloon: Balloon = FRISTON_2003
) -> xr.DataArray:
    """The BOLD signal, (time_s, node), as a fraction of the signal at rest.

    Parameters
    ----------
    activity : (time_s, node), x in the equations above. Its times are evenly spaced and are the ends of bins. Where it
        stays at 1, flow comes to 1 + 1 / gamma, 3.4 times that at rest.
    tr_s : repetition time, between two samples, s; a whole number of bins
    skip_s : how much to cut off at the start, while the model leaves its rest, s; rounded down to whole bins

    Raises :class:`ConnectomeError`, also for activity so large that flow would turn negative when it ends.
    """
    from connectome.analysis.bold_kernels import Constants, integrate

    x, step_s = _values(activity)
    every = round(tr_s / step_s) if math.isfinite(tr_s) else 0
    if every < 1 or abs(every * step_s - tr_s) > 1e-6 * step_s * max(every, 1):
        raise ConnectomeError("tr_s", f"must be a whole number of bins of {step_s:g} s, 1 or more", tr_s)
    first = math.floor(skip_s / step_s + 1e-6) if math.isfinite(skip_s) and skip_s >= 0 else len(x)
    n = (len(x) - first) // every
    if n < 1:
        raise ConnectomeError("skip_s", f"must be >= 0 and leave a sample of the {len(x) * step_s:g} s", skip_s)
    seen = np.empty((n, x.shape[1]))
    substeps = max(1, math.ceil(step_s / _STEP_S - 1e-6))
    broken = integrate(x, step_s, substeps, first, every, Constants(*astuple(balloon)), seen)
    if broken >= 0:
        raise ConnectomeError(
            "activity", "must be so small that blood flow stays positive, such as 0 .. 1",
            f"{x[: broken + 1].max():.3g} before {(broken + 1) * step_s:g} s", "Scale it.",
        )  # fmt: skip
    time_s = (first + every * np.arange(1, n + 1)) * step_s
    return xr.DataArray(
        seen, {"time_s": time_s, "node": activity.node.values}, ("time_s", "node"), "bold", {"units": "1"}
    )


def steady_bold(activity: NDArray[np.float64], balloon: Balloon = FRISTON_2003) -> NDArray[np.float64]:
    """The steady signal under constant activity, in closed form."""
    b = balloon
    f = 1 + np.asarray(activity, np.float64) / b.gamma_hz
    v = f**b.alpha
    q = v * (1 - (1 - b.rho) ** (1 / f)) / b.rho
    found: NDArray[np.float64] = b.v0 * (b.k1 * (1 - q) + b.k2 * (1 - q / v) + b.k3 * (1 - v))
    return found


def _values(signal: xr.DataArray) -> tuple[NDArray[np.float64], float]:
    """(T, N) finite numbers, and the step of their times, s. Raises :class:`ConnectomeError`."""
    if signal.dims != ("time_s", "node") or "time_s" not in signal.coords or "node" not in signal.coords:
        raise ConnectomeError("activity", "must have the dimensions time_s and node, with coordinates", signal.dims)
    values = np.ascontiguousarray(signal.values, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise ConnectomeError("activity", "must be finite numbers, at least one", f"{values.size} values")
    time_s = np.asarray(signal.time_s.values, np.float64)
    step_s = float(time_s[0] if time_s.size == 1 else (time_s[-1] - time_s[0]) / (time_s.size - 1))
    if step_s <= 0 or np.abs(np.diff(time_s) - step_s).max(initial=0) > 1e-6 * step_s:
        raise ConnectomeError("time_s", "must be evenly spaced and increasing", time_s[:3])
    return values, step_s
