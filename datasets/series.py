"""Series that are generated: what memory and forecasts are tried on."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import integer
from connectome.errors import ConnectomeError

__all__ = ["failed", "link_loads", "mackey_glass", "narma10"]

_SUBSTEPS: Final = 10  # of a unit of time


def narma10(steps: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T,) input, uniform in 0 .. 0.5, and (T,) output of the system of Atiya & Parlos (2000, IEEE Trans. Neural Netw.
    11:697): ``y(t+1) = 0.3 y(t) + 0.05 y(t) sum_{i<10} y(t-i) + 1.5 u(t-9) u(t) + 0.1``. ``y(t)`` answers to what has
    been given up to ``u(t-1)``. For some inputs it grows without end: those are drawn anew. Raises
    :class:`ConnectomeError`."""
    steps = integer("steps", steps, 11, 10**8)
    while True:
        u, y = rng.uniform(0, 0.5, steps), np.zeros(steps)
        for t in range(9, steps - 1):
            y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * y[t - 9 : t + 1].sum() + 1.5 * u[t - 9] * u[t] + 0.1
            if y[t + 1] > 10:
                break
        else:
            return u, y


def mackey_glass(steps: int, rng: np.random.Generator, *, tau: int = 17) -> NDArray[np.float64]:
    """(T,) x at whole times: ``dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x`` (Mackey & Glass 1977, Science
    197:287), chaotic for tau above 16.8, from a random past and after 1,000 units of time. By Runge and Kutta's method
    of fourth order, ten steps a unit. Raises :class:`ConnectomeError`."""
    steps = integer("steps", steps, 1, 10**8)
    if tau < 1:
        raise ConnectomeError("tau", "must be >= 1", tau)
    lag, h = tau * _SUBSTEPS, 1 / _SUBSTEPS
    x = np.empty(lag + 1 + (1000 + steps) * _SUBSTEPS)
    x[: lag + 1] = 1.2 + 0.1 * rng.standard_normal() + 0.02 * rng.standard_normal(lag + 1)
    for k in range(lag, x.size - 1):
        then, after = float(x[k - lag]), float(x[k - lag + 1])
        g0, g2 = (0.2 * past / (1 + past**10) for past in (then, after))
        past = (then + after) / 2
        g1 = 0.2 * past / (1 + past**10)
        now = float(x[k])
        k1 = g0 - 0.1 * now
        k2 = g1 - 0.1 * (now + h * k1 / 2)
        k3 = g1 - 0.1 * (now + h * k2 / 2)
        k4 = g2 - 0.1 * (now + h * k3)
        x[k + 1] = now + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    return x[lag + 1 + 1000 * _SUBSTEPS :: _SUBSTEPS][:steps].copy()


def link_loads(hours: int, links: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(T, links) load of each link of a network, an hour a sample: a mean of 0.3 .. 0.6, a daily sine of half of that
    with its hour of most load, seven tenths of both on two days of each seven, and noise that lasts (first order, 0.8
    an hour, 0.05 in all); never below 0. Raises :class:`ConnectomeError`."""
    t = np.arange(integer("hours", hours, 1, 10**7))[:, None]
    mean = rng.uniform(0.3, 0.6, integer("links", links, 1, 1000))
    daily = 1 + 0.5 * np.sin(2 * np.pi * (t - rng.uniform(0, 24, mean.size)) / 24)
    weekly = np.where(t // 24 % 7 >= 5, 0.7, 1.0)
    noise = rng.normal(0, 0.05, (t.size, mean.size))
    for k in range(1, t.size):
        noise[k] = 0.8 * noise[k - 1] + 0.6 * noise[k]
    loads: NDArray[np.float64] = np.maximum(mean * daily * weekly + noise, 0)
    return loads


def failed(loads: NDArray[np.float64], link: int, at: int) -> NDArray[np.float64]:
    """What (T, links) loads are if a link fails at an hour: from then on its load is shared out among the others.
    Raises :class:`ConnectomeError`."""
    hours, links = loads.shape
    found = loads.copy()
    gone = integer("link", link, 0, links - 1)
    after = slice(integer("at", at, 0, hours), None)
    found[after] += loads[after, [gone]] / (integer("links", links, 2, 1000) - 1)
    found[after, gone] = 0
    return found
