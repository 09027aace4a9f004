"""From numbers to spikes: population codes, and what an image can reach a sensor as."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.datasets.spike_codes import adaptive_code

__all__ = ["ENCODERS", "current_code", "latency_code", "poisson_code", "population_code", "rate_code"]

#: Successive multiples of the golden ratio are spread evenly over 0 .. 1.
_GOLDEN = 0.6180339887498949
#: Membrane time constant of the integrators of :func:`current_code`, steps.
_CURRENT_TAU = 10.0


def population_code(value: NDArray[Any], low: float, high: float, units: int) -> NDArray[Any]:
    """(B,) values to (B, units) activity in 0 .. 1: Gaussian tuning curves, as wide as the units are apart."""
    centre = np.linspace(low, high, units)
    return np.asarray(np.exp(-0.5 * ((value[:, None] - centre) / (centre[1] - centre[0])) ** 2))


def rate_code(activity: NDArray[Any], steps: int, peak: float = 0.5) -> Tensor:
    """(B, N) activity in 0 .. 1 to (B, steps, N) spikes: evenly spaced, ``peak`` x activity spikes a step, at most one.

    Each unit has a phase of its own, so that units do not fire together.
    """
    rate = np.clip(activity, 0, 1).astype(np.float64)
    phase = (np.arange(activity.shape[1]) * _GOLDEN) % 1
    spikes = np.empty((len(activity), steps, activity.shape[1]), bool)
    before = np.zeros_like(rate)
    for t in range(steps):
        count = np.floor((t + 1) * rate * peak + phase)
        np.greater(count, before, out=spikes[:, t])
        before = count
    return torch.from_numpy(spikes)


def current_code(activity: NDArray[Any], steps: int, peak: float = 0.5) -> Tensor:
    """(B, N) activity in 0 .. 1 to (B, steps, N) spikes of leaky integrators, one for each unit, which a constant
    current in proportion to the activity drives from rest: their time constant is 10 steps, and the full current makes
    them fire ``peak`` times a step. A weak current never makes them fire.
    """
    decay = math.exp(-1 / _CURRENT_TAU)
    current = np.clip(activity, 0, 1) / (1 - math.exp(-1 / (peak * _CURRENT_TAU)))
    potential = np.zeros_like(current)
    spikes = np.zeros((len(activity), steps, activity.shape[1]), bool)
    for t in range(steps):
        potential = decay * potential + (1 - decay) * current
        spikes[:, t] = potential >= 1 - 1e-9  # the full current is to reach it in whole steps, up to rounding
        potential[spikes[:, t]] = 0.0
    return torch.from_numpy(spikes)


def latency_code(activity: NDArray[Any], steps: int) -> Tensor:
    """(B, N) activity in 0 .. 1 to (B, steps, N) spikes: one each, the stronger the sooner, none for 0."""
    when = np.rint((1 - np.clip(activity, 0, 1)) * (steps - 1)).astype(int)
    return torch.from_numpy((np.arange(steps)[None, :, None] == when[:, None, :]) & (activity > 0)[:, None, :])


def poisson_code(activity: NDArray[Any], steps: int, peak: float, rng: np.random.Generator) -> Tensor:
    """(B, N) activity in 0 .. 1 to (B, steps, N) spikes, each step with probability ``peak`` x activity: a Poisson
    process of which a step keeps one spike at most."""
    chance = np.clip(activity, 0, 1) * peak
    return torch.from_numpy(rng.random((len(activity), steps, activity.shape[1])) < chance[:, None, :])


#: How an image can reach a sensor: functions of activity (B, N), steps, peak (spikes a step of a white pixel) and a
#: random generator.
ENCODERS: Final[Mapping[str, Callable[[NDArray[Any], int, float, np.random.Generator], Tensor]]] = MappingProxyType(
    {
        "rate": lambda activity, steps, peak, rng: rate_code(activity, steps, peak),
        "current": lambda activity, steps, peak, rng: current_code(activity, steps, peak),
        "latency": lambda activity, steps, peak, rng: latency_code(activity, steps),
        "poisson": poisson_code,
        "adaptive": lambda activity, steps, peak, rng: adaptive_code(activity, steps),
    }
)
