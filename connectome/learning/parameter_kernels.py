"""Constants that are one for each neuron, and what their gradients are made of where they learn, in lanes.

The forward pass leaves the state before each step, the backward pass sums over steps: of ``u = p22 v + p21 i + bias``
the gradient of p22 is the sum of (adjoint of u) v, and so on. What constants are made of, such as time constants, is
left to torch. Where all neurons of a region are alike there is no record, and Numba compiles none of this.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner
from connectome.lanes_kernels import all_lanes, choose, load_lanes, multiply_add, store_lanes
from connectome.learning.adaptation_kernels import Adaptation
from connectome.learning.bundle_kernels import LANES, Mask, Whole

__all__ = ["CONSTANTS", "Own", "collect_membrane", "collect_threshold", "remember"]

Array = NDArray[Any]
_W = np.uint64(LANES)

#: Those that have a gradient, in the order of its rows.
CONSTANTS: Final = ("p22", "bias", "p21", "p11", "p21_in", "p11_in", "theta", "v_reset", "rho", "beta")
_P22, _BIAS, _P21, _P11, _P21_IN, _P11_IN, _THETA, _V_RESET, _RHO, _BETA = range(len(CONSTANTS))


class Own(NamedTuple):
    """Of the N' neurons with a membrane, S numbers of state each; arrays of no steps or no neurons: nothing learns."""

    constants: Array  # (N',) records of :func:`connectome.learning.learning_kernels.neuron_type`
    before: Array  # (tiles, T, S, N' * LANES) potential, currents and, where thresholds rise, a, before each step
    gradient: Array  # (tiles, 10, N' * LANES) sums over the steps, out of the backward pass


@inner
def remember(p: Any, tile: Whole, t: Whole, state: Array, own: Own, adaptation: Adaptation | None) -> None:
    """The state of a region before a step."""
    before, rows = own.before[tile, t], np.uint64(len(state))
    for row in range(rows):
        for at in range(p.start * _W, p.stop * _W):
            before[row, at] = state[row, at]
    if adaptation is not None:
        for at in range(p.start * _W, p.stop * _W):
            before[rows, at] = adaptation.level[tile, at]


@inner
def collect_threshold(
    i: Whole, tile: Whole, t: Whole, to_potential: Any, free: Mask, slope: Any, sent: Any, own: Own,
    adaptation: Adaptation | None,
) -> None:  # fmt: skip
    """What a step of neuron i adds to the gradients of the constants that are at work where it fires. ``to_potential``:
    the adjoint of the potential after the step; ``sent``: what came back to its spikes over edges."""
    at, gradient, total = i * _W, own.gradient[tile], sent
    zero = all_lanes(gradient.dtype.type(0), LANES)
    if adaptation is not None:
        before = own.before[tile, t]
        later, a = load_lanes(adaptation.level[tile], at, LANES), load_lanes(before[len(before) - 1], at, LANES)
        total = sent + later
        _add(gradient[_RHO], at, later, a)
        _add(gradient[_BETA], at, zero - slope * total, a)
    _add(gradient[_THETA], at, zero - slope, total)
    at_reset = gradient[_V_RESET]
    store_lanes(at_reset, at, load_lanes(at_reset, at, LANES) + choose(free, zero, to_potential))


@inner
def collect_membrane(p: Any, tile: Whole, t: Whole, adjoint: Array, own: Own) -> None:
    """What a step of a region adds to the gradients of the others. adjoint (1 + C, N' * LANES), of the step."""
    gradient, before = own.gradient[tile], own.before[tile, t]
    for i in range(p.start, p.stop):
        at = i * _W
        u, x = load_lanes(adjoint[0], at, LANES), load_lanes(before[1], at, LANES)
        _add(gradient[_P22], at, u, load_lanes(before[0], at, LANES))
        store_lanes(gradient[_BIAS], at, load_lanes(gradient[_BIAS], at, LANES) + u)
        _add(gradient[_P21], at, u, x)
        _add(gradient[_P11], at, load_lanes(adjoint[1], at, LANES), x)
        if len(adjoint) > 2:
            x = load_lanes(before[2], at, LANES)
            _add(gradient[_P21_IN], at, u, x)
            _add(gradient[_P11_IN], at, load_lanes(adjoint[2], at, LANES), x)


@inner
def _add(total: Array, at: Whole, x: Any, y: Any) -> None:
    store_lanes(total, at, multiply_add(x, y, load_lanes(total, at, LANES)))
