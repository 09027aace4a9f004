"""From numbers to spikes: population codes and deterministic rate codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["population_code", "rate_code"]

#: Successive multiples of the golden ratio are spread evenly over 0 .. 1.
_GOLDEN = 0.6180339887498949


def population_code(value: NDArray[Any], low: float, high: float, units: int) -> NDArray[Any]:
    """(B,) values to (B, units) activity in 0 .. 1: Gaussian tuning curves, as wide as the units are apart."""
    centre = np.linspace(low, high, units)
    return np.asarray(np.exp(-0.5 * ((value[:, None] - centre) / (centre[1] - centre[0])) ** 2))


def rate_code(activity: NDArray[Any], steps: int, peak: float = 0.5) -> Tensor:
    """(B, N) activity in 0 .. 1 to (B, steps, N) spikes: evenly spaced, ``peak`` x activity spikes a step, at most one.

    Each unit has a phase of its own, so that units do not fire together.
    """
    phase = (np.arange(activity.shape[1]) * _GOLDEN) % 1
    count = np.floor(np.arange(steps + 1)[None, :, None] * np.clip(activity, 0, 1)[:, None, :] * peak + phase)
    return torch.from_numpy(np.diff(count, axis=1) > 0)
