"""The balloon model of blood flow, integrated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner, kernel

__all__ = ["Constants", "integrate"]


class Constants(NamedTuple):
    """Constants of the balloon, and of the signal measured from it; see :class:`connectome.analysis.bold.Balloon`."""

    kappa: float
    gamma: float
    tau: float
    alpha: float
    rho: float
    v0: float
    k1: float
    k2: float
    k3: float


@inner
def _slope(
    c: Constants, x: float, s: float, f: float, v: float, q: float
) -> tuple[float, float, float, float]:  # fmt: skip
    outflow = v ** (1 / c.alpha)
    extracted = f * (1 - (1 - c.rho) ** (1 / f)) / c.rho
    return x - c.kappa * s - c.gamma * (f - 1), s, (f - outflow) / c.tau, (extracted - outflow * q / v) / c.tau


@kernel
def integrate(
    activity: NDArray[np.float64], step_s: float, substeps: int, first: int, every: int, c: Constants,
    seen: NDArray[np.float64],
) -> int:  # fmt: skip
    """Runge-Kutta of fourth order from rest. ``activity`` (T, N) is constant in each step of ``step_s``; ``seen``
    (K, N) takes the signal after steps ``first + every``, ``first + 2 every``, ... Gives the step in which blood flow
    was no longer positive, or -1."""
    n = activity.shape[1]
    s, f, v, q = np.zeros(n), np.ones(n), np.ones(n), np.ones(n)
    h = step_s / substeps
    row = 0
    for t in range(activity.shape[0]):
        for i in range(n):
            x = activity[t, i]
            for _ in range(substeps):
                a = _slope(c, x, s[i], f[i], v[i], q[i])
                b = _slope(c, x, s[i] + h / 2 * a[0], f[i] + h / 2 * a[1], v[i] + h / 2 * a[2], q[i] + h / 2 * a[3])
                d = _slope(c, x, s[i] + h / 2 * b[0], f[i] + h / 2 * b[1], v[i] + h / 2 * b[2], q[i] + h / 2 * b[3])
                e = _slope(c, x, s[i] + h * d[0], f[i] + h * d[1], v[i] + h * d[2], q[i] + h * d[3])
                s[i] += h / 6 * (a[0] + 2 * b[0] + 2 * d[0] + e[0])
                f[i] += h / 6 * (a[1] + 2 * b[1] + 2 * d[1] + e[1])
                v[i] += h / 6 * (a[2] + 2 * b[2] + 2 * d[2] + e[2])
                q[i] += h / 6 * (a[3] + 2 * b[3] + 2 * d[3] + e[3])
                if not (f[i] > 0 and v[i] > 0):
                    return t
        if t + 1 > first and (t + 1 - first) % every == 0:
            for i in range(n):
                seen[row, i] = c.v0 * (c.k1 * (1 - q[i]) + c.k2 * (1 - q[i] / v[i]) + c.k3 * (1 - v[i]))
            row += 1
    return -1
