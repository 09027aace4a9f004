"""Thresholds that rise with each spike and decay, in lanes, and their adjoint.

A spike of step t is where u(t) >= theta + beta a(t); then a(t + 1) = rho a(t) + spike(t). Neurons without it have
rho = beta = 0, which changes no bit of what they do. Where no neuron has it, there is no record, and Numba compiles
none of this.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner
from connectome.lanes_kernels import all_lanes, choose, load_lanes, multiply_add, store_lanes
from connectome.learning.bundle_kernels import LANES, Mask, Whole

__all__ = ["Adaptation", "barrier", "rise", "sent_back"]

Array = NDArray[Any]
_W = np.uint64(LANES)


class Adaptation(NamedTuple):
    """Of the N' neurons with a membrane, in all tiles."""

    rho: Array  # (N',) what is left of a after a step
    beta: Array  # (N',) mV
    level: Array  # (tiles, N' * LANES) a, at first and in the end; backwards, its adjoint


@inner
def barrier(theta: Any, tile: Whole, i: Whole, adaptation: Adaptation | None) -> Any:
    """What neuron i fires at."""
    limit = all_lanes(theta, LANES)
    if adaptation is not None:
        limit = multiply_add(adaptation.beta[i], load_lanes(adaptation.level[tile], i * _W, LANES), limit)
    return limit


@inner
def rise(fires: Mask, tile: Whole, i: Whole, adaptation: Adaptation) -> None:
    """a after a step."""
    level, at, zero = adaptation.level[tile], i * _W, adaptation.rho.dtype.type(0)
    one = all_lanes(adaptation.rho.dtype.type(1), LANES)
    store_lanes(level, at, multiply_add(adaptation.rho[i], load_lanes(level, at, LANES), choose(fires, one, zero)))


@inner
def sent_back(spikes: Any, slope: Any, tile: Whole, i: Whole, adaptation: Adaptation) -> Any:
    """All that is sent back to the spikes of a step: besides what came over edges, what later thresholds send."""
    level, at = adaptation.level[tile], i * _W
    later = load_lanes(level, at, LANES)
    total = spikes + later
    store_lanes(level, at, multiply_add(-adaptation.beta[i], slope * total, adaptation.rho[i] * later))
    return total
