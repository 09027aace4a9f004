"""The step of ``aeif_psc_exp``: first for the neurons that are about to fire, in substeps, then for all."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, inlined, inner
from connectome.lanes_kernels import (
    all_lanes,
    at_least,
    choose,
    exp2_lanes,
    first_lane,
    gather_lanes,
    gather_rows,
    larger,
    later_lanes,
    load_lanes,
    load_rows,
    multiply_add,
    scatter_lanes,
    smaller,
)  # fmt: skip
from connectome.neurons.step_kernels import LANES, Bits, Cells, cells, in_range, step

__all__ = ["update"]

Constants = namedtuple(
    "Constants",
    "h leak e_l v_th slope steep theta v_reset a b h_w i_e half_ex half_in fine_ex fine_in ref_steps fine_from",
)
Memory = namedtuple("Memory", "refractory w")

_LEAST = 1e-6
_TINY = 1e-20  # pA: less is 0, before it is denormal
_LOWEST = -115.0  # of an exponent: 2 to its power is not denormal
_LOG2_E = 1.4426950408889634
_0, _1, _LANES = np.uint64(0), np.uint64(1), np.uint64(LANES)
#: What ``refractory`` says of a neuron whose step has been made in substeps: that, and that it has reached its peak.
_FINE, _PEAKED = -1.0, -2.0


@inlined
def _slopes(c: Any, v: Any, w: Any, pa: Any) -> tuple[Any, Any]:
    """c_m dv/dt and tau_w dw/dt, pA; ``pa`` includes the constant part of the leak."""
    u = smaller(v, c.theta)
    slope = _LOG2_E * c.slope
    rise = exp2_lanes(larger(multiply_add(slope, u, 0.0 - slope * c.v_th), _LOWEST))
    dw = multiply_add(c.a, u, 0.0 - c.a * c.e_l - w)
    return multiply_add(c.steep, rise, multiply_add(0.0 - c.leak, u, pa - w)), dw


@inlined
def _substep(c: Any, v: Any, w: Any, start: Any, middle: Any, end: Any, h: Any, h_w: Any) -> tuple[Any, Any]:
    """v and w after a step or a part of it, by the currents at its beginning, middle and end. Where h is 0, v stays."""
    half, half_w = 0.5 * h, 0.5 * h_w
    k1, l1 = _slopes(c, v, w, start)
    k2, l2 = _slopes(c, multiply_add(half, k1, v), multiply_add(half_w, l1, w), middle)
    k3, l3 = _slopes(c, multiply_add(half, k2, v), multiply_add(half_w, l2, w), middle)
    k4, l4 = _slopes(c, multiply_add(h, k3, v), multiply_add(h_w, l3, w), end)
    v = multiply_add((1.0 / 6.0) * h, multiply_add(2.0, k2 + k3, k1 + k4), v)
    return v, multiply_add((1.0 / 6.0) * h_w, multiply_add(2.0, l2 + l3, l1 + l4), w)


@inlined
def integrate(c: Any, m: Any, v: Any, excitatory: Any, inhibitory: Any, pa: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. Neurons that have reached their peak keep their v, and their limit is
    set to it."""
    waits, coarse = at_least(m.refractory, 0.5), at_least(m.refractory, 0.5 * _FINE)
    below = at_least(m.refractory, 1.5 * _FINE)
    pa = multiply_add(c.leak, c.e_l, c.i_e + pa)
    mid_ex, mid_in = c.half_ex * excitatory, c.half_in * inhibitory
    end_ex, end_in = c.half_ex * mid_ex, c.half_in * mid_in
    u, w = _substep(
        c, choose(waits, c.v_reset, v), m.w, excitatory + inhibitory + pa, mid_ex + mid_in + pa, end_ex + end_in + pa,
        choose(Bits(~waits), c.h, 0.0), c.h_w,
    )  # fmt: skip
    w = choose(Bits(at_least(w, _TINY) | ~at_least(w, -_TINY)), w, 0.0)
    u, w = choose(coarse, u, v), choose(coarse, w, m.w)
    return u, choose(below, c.theta, u), end_ex, end_in, Memory(m.refractory, w)


@inlined
def reset(c: Any, m: Any, v: Any, fires: Any) -> Any:
    """See :mod:`connectome.neurons.step_kernels`. Neurons that have reached their peak have already continued from the
    reset."""
    peaked = Bits(~at_least(m.refractory, 1.5 * _FINE))
    jumps, undone = Bits(fires & ~peaked), Bits(peaked & ~fires)
    w = choose(jumps, m.w + c.b, choose(undone, m.w - c.b, m.w))
    v = choose(Bits(at_least(v, c.theta) | undone), c.theta, v)
    wait = choose(fires, c.ref_steps, larger(m.refractory - 1.0, 0.0))
    return choose(jumps, c.v_reset, v), Memory(wait, w)


@inner
def _fine(x: Cells, numbers: NDArray[np.uint32]) -> None:
    """The step of sixteen neurons in eight substeps; the result is in v, w and ``refractory``."""
    if x.each:
        c = gather_rows(Constants, x.constants, x.stride, numbers, LANES)
    else:
        c = load_rows(Constants, x.constants, _0, x.stride, LANES)
    v, w = gather_lanes(x.v, _0, numbers, LANES), gather_lanes(x.state, x.row, numbers, LANES)
    ex, inh = gather_lanes(x.excitatory, _0, numbers, LANES), gather_lanes(x.inhibitory, _0, numbers, LANES)
    drive = gather_lanes(x.drive, _0, numbers, LANES) if x.varies else all_lanes(x.drive[_0], LANES)
    pa = multiply_add(c.leak, c.e_l, c.i_e + drive)
    h, h_w, holds = 0.125 * c.h, 0.125 * c.h_w, at_least(c.ref_steps, 0.5)
    peaked, one = Bits(0), all_lanes(x.v.dtype.type(1), LANES)
    for _ in range(8):
        mid_ex, mid_in = c.fine_ex * ex, c.fine_in * inh
        end_ex, end_in = c.fine_ex * mid_ex, c.fine_in * mid_in
        start, middle, end = ex + inh + pa, mid_ex + mid_in + pa, end_ex + end_in + pa
        before, w_before = v, w
        v, w = _substep(c, v, w, start, middle, end, h, h_w)
        now = Bits(at_least(v, c.theta) & ~peaked)
        if now:
            # Where in the substep: exp(-v / delta_t) falls evenly there. The rest of it begins with the reset.
            rise, _ = _slopes(c, before, w_before, start)
            far = exp2_lanes(larger((before - c.theta) * c.slope * _LOG2_E, _LOWEST))
            part = smaller(larger((one - far) / larger(h * rise * c.slope, _LEAST), 0.0), one)
            h = choose(Bits(now & holds), 0.0 * one, h)
            jumped, rest = multiply_add(part, w - w_before, w_before + c.b), one - part
            reset_v, reset_w = _substep(c, c.v_reset, jumped, end, end, end, h * rest, h_w * rest)
            v, w = choose(now, reset_v, v), choose(now, reset_w, w)
            peaked = Bits(peaked | now)
        ex, inh = end_ex, end_in
    scatter_lanes(x.v, _0, numbers, v)
    scatter_lanes(x.state, x.row, numbers, w)
    scatter_lanes(x.state, _0, numbers, choose(peaked, _PEAKED * one, _FINE))


def update(task: Any, v: Any) -> Index:
    """See :mod:`connectome.neurons.step_kernels`."""
    x = cells(task, v)
    numbers, n = np.empty(LANES, np.uint32), _0
    for i in range(x.first, x.last, _LANES):
        fine_from = load_lanes(x.constants, np.uint64(17) * x.stride + (i if x.each else np.uint64(0)), LANES)
        steep = Bits(~at_least(fine_from, load_lanes(x.v, i, LANES)) & ~at_least(load_lanes(x.state, i, LANES), 0.5))
        steep = in_range(steep, i, x.last)
        while steep:
            numbers[n] = i + first_lane(steep)
            steep, n = later_lanes(steep), n + _1
            if n == _LANES:
                _fine(x, numbers)
                n = _0
    if n:
        numbers[n:] = numbers[_0]  # done several times, with one result
        _fine(x, numbers)
    return step(task, v, Constants, Memory, integrate, reset)
