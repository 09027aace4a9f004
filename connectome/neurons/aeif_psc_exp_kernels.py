"""The step of ``aeif_psc_exp``: all neurons side by side, then those that are about to fire anew, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, inner
from connectome.lanes_kernels import (
    at_least,
    choose,
    exp_lanes,
    first_lane,
    larger,
    later_lanes,
    load_lanes,
    store_lanes,
)  # fmt: skip
from connectome.neurons.step_kernels import LANES, Bits, cells, constant, note, settle

__all__ = ["update"]

_LEAST = 1e-6
_TINY = 1e-20  # pA: less is 0, before it is denormal
_LOWEST = -80.0  # of an exponent: exp of it is no more denormal than 0
_1 = np.uint64(1)


@inner
def _slopes(
    v: Any, w: Any, hold: Any, pa: Any, h: Any, leak: Any, e_l: Any, v_th: Any, slope: Any, steep: Any, theta: Any,
    v_reset: Any, a: Any, h_w: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """mV and pA in a step, of sixteen neurons."""
    u = choose(at_least(v, theta), theta, v)
    u = choose(hold, v_reset, u)
    rise = steep * exp_lanes(larger((u - v_th) * slope, _LOWEST))
    return h * (rise - leak * (u - e_l) + pa - w), h_w * (a * (u - e_l) - w)


@inner
def _slopes_of_one(
    v: float, w: float, hold: bool, pa: float, h: float, leak: float, e_l: float, v_th: float, slope: float,
    steep: float, theta: float, v_reset: float, a: float, h_w: float,
) -> tuple[float, float]:  # fmt: skip
    """The same of one."""
    u = v_reset if hold else min(v, theta)
    rise = steep * np.exp(max((u - v_th) * slope, _LOWEST))
    return h * (rise - leak * (u - e_l) + pa - w), h_w * (a * (u - e_l) - w)


@inner
def _substep_of_one(
    v: float, w: float, hold: bool, start: float, middle: float, end: float, h: float, leak: float, e_l: float,
    v_th: float, slope: float, steep: float, theta: float, v_reset: float, a: float, h_w: float,
) -> tuple[float, float]:  # fmt: skip
    """v and w after a substep, by the currents at its beginning, middle and end."""
    k1, l1 = _slopes_of_one(v, w, hold, start, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w)
    k2, l2 = _slopes_of_one(
        v + 0.5 * k1, w + 0.5 * l1, hold, middle, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w
    )
    k3, l3 = _slopes_of_one(
        v + 0.5 * k2, w + 0.5 * l2, hold, middle, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w
    )
    k4, l4 = _slopes_of_one(v + k3, w + l3, hold, end, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w)
    after = v_reset if hold else v + (k1 + 2.0 * k2 + 2.0 * k3 + k4) / 6.0
    return after, w + (l1 + 2.0 * l2 + 2.0 * l3 + l4) / 6.0


@inner
def _fine(
    constants: NDArray[Any], stride: Index, at: Index, v: float, w: float, ex: float, inh: float, pa: float
) -> tuple[float, float, bool]:  # fmt: skip
    """A neuron's step in eight substeps: v and w, and whether it has reached its peak and gone on from the reset."""
    h = np.float64(constants[np.uint64(0) * stride + at])
    leak = np.float64(constants[np.uint64(1) * stride + at])
    e_l = np.float64(constants[np.uint64(2) * stride + at])
    v_th = np.float64(constants[np.uint64(3) * stride + at])
    slope = np.float64(constants[np.uint64(4) * stride + at])
    steep = np.float64(constants[np.uint64(5) * stride + at])
    theta = np.float64(constants[np.uint64(6) * stride + at])
    v_reset = np.float64(constants[np.uint64(7) * stride + at])
    a = np.float64(constants[np.uint64(8) * stride + at])
    b = np.float64(constants[np.uint64(9) * stride + at])
    h_w = np.float64(constants[np.uint64(10) * stride + at])
    fine_ex = np.float64(constants[np.uint64(14) * stride + at])
    fine_in = np.float64(constants[np.uint64(15) * stride + at])
    ref_steps = np.float64(constants[np.uint64(16) * stride + at])
    h, h_w, peaked = h * 0.125, h_w * 0.125, False
    for _ in range(8):
        mid_ex, mid_in = fine_ex * ex, fine_in * inh
        end_ex, end_in = fine_ex * mid_ex, fine_in * mid_in
        start, middle, end = ex + inh + pa, mid_ex + mid_in + pa, end_ex + end_in + pa
        before, w_before, hold = v, w, bool(peaked and ref_steps > 0.0)
        v, w = _substep_of_one(
            v, w, hold, start, middle, end, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w
        )  # fmt: skip
        if not peaked and v >= theta:
            # Where in the substep: exp(-v / delta_t) falls evenly there. The rest of it begins with the reset.
            rise, _ = _slopes_of_one(
                before, w_before, False, start, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w
            )
            part = min(max((1.0 - np.exp((before - theta) * slope)) / max(rise * slope, _LEAST), 0.0), 1.0)
            peaked, w = True, w_before + part * (w - w_before) + b
            v, w = _substep_of_one(
                v_reset, w, bool(ref_steps > 0.0), end, end, end, h * (1.0 - part), leak, e_l, v_th, slope, steep,
                theta, v_reset, a, h_w * (1.0 - part),
            )  # fmt: skip
        ex, inh = end_ex, end_in
    return v, w, peaked


def update(
    first: Index, last: Index, place: Index, each: Index, varies: Index, signs: Index, clamped: Index, row: Index,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """See :mod:`connectome.neurons.step_kernels` and :class:`connectome.neurons.aeif_psc_exp.AeifPscExp`."""
    x = cells(last, each, row, constants, state, v, excitatory, inhibitory, drive, clamp, held, fired)
    n = np.uint64(0)
    for i in range(first, last, np.uint64(LANES)):
        c = i * each
        h = constant(x.constants, 0, x.stride, c)
        leak = constant(x.constants, 1, x.stride, c)
        e_l = constant(x.constants, 2, x.stride, c)
        v_th = constant(x.constants, 3, x.stride, c)
        slope = constant(x.constants, 4, x.stride, c)
        steep = constant(x.constants, 5, x.stride, c)
        theta = constant(x.constants, 6, x.stride, c)
        v_reset = constant(x.constants, 7, x.stride, c)
        a = constant(x.constants, 8, x.stride, c)
        h_w = constant(x.constants, 10, x.stride, c)
        i_e = constant(x.constants, 11, x.stride, c)
        half_ex = constant(x.constants, 12, x.stride, c)
        half_in = constant(x.constants, 13, x.stride, c)
        ref_steps = constant(x.constants, 16, x.stride, c)
        fine_from = constant(x.constants, 17, x.stride, c)
        pa = i_e + load_lanes(x.drive, i * varies, LANES)
        u, wait, w = load_lanes(x.v, i, LANES), load_lanes(x.state, i, LANES), load_lanes(x.state, row + i, LANES)
        ex, inh = load_lanes(x.excitatory, i, LANES), load_lanes(x.inhibitory, i, LANES)
        waits = at_least(wait, 0.5)
        steep_ones, _, _ = settle(Bits(~at_least(fine_from, u) & ~waits), i, last, np.uint64(0), x.clamp)
        mid_ex, mid_in = half_ex * ex, half_in * inh
        end_ex, end_in = half_ex * mid_ex, half_in * mid_in
        middle, end = mid_ex + mid_in + pa, end_ex + end_in + pa
        k1, l1 = _slopes(u, w, waits, ex + inh + pa, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w)
        k2, l2 = _slopes(
            u + 0.5 * k1, w + 0.5 * l1, waits, middle, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w
        )
        k3, l3 = _slopes(
            u + 0.5 * k2, w + 0.5 * l2, waits, middle, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w
        )
        k4, l4 = _slopes(u + k3, w + l3, waits, end, h, leak, e_l, v_th, slope, steep, theta, v_reset, a, h_w)
        after = u + (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (1.0 / 6.0)
        after = choose(waits, v_reset, after)
        w = w + (l1 + 2.0 * l2 + 2.0 * l3 + l4) * (1.0 / 6.0)
        w = choose(Bits(at_least(w, _TINY) | ~at_least(w, -_TINY)), w, 0.0)
        peaked = Bits(0)
        if steep_ones:
            bits = steep_ones
            while bits:
                lane = first_lane(bits)
                one = i + lane
                amp = np.float64(x.constants[np.uint64(11) * x.stride + one * each]) + x.drive[one * varies]
                fine_v, fine_w, now = _fine(
                    x.constants, x.stride, one * each, np.float64(x.v[one]), np.float64(x.state[row + one]),
                    np.float64(x.excitatory[one]), np.float64(x.inhibitory[one]), amp,
                )  # fmt: skip
                x.v[one], x.state[row + one] = fine_v, fine_w
                peaked = Bits(peaked | (_1 << lane)) if now else peaked
                bits = later_lanes(bits)
            after = choose(steep_ones, load_lanes(x.v, i, LANES), after)
            w = choose(steep_ones, load_lanes(x.state, row + i, LANES), w)
        store_lanes(x.excitatory, i, end_ex)
        store_lanes(x.inhibitory, i, end_in)
        above = Bits(at_least(after, theta) | peaked)
        fires, _, kept = settle(above, i, last, clamped, x.clamp)
        b = constant(x.constants, 9, x.stride, c)
        jumps, undone = Bits(fires & ~peaked), Bits(peaked & ~fires)
        w = choose(jumps, w + b, w)
        w = choose(undone, w - b, w)
        after = choose(Bits(at_least(after, theta) | undone), theta, after)
        store_lanes(x.v, i, choose(jumps, v_reset, after))
        store_lanes(x.state, i, choose(fires, ref_steps, larger(wait - 1.0, 0.0)))
        store_lanes(x.state, row + i, w)
        if fires | kept:
            n = note(fires, kept, n, i, place, x.fired, x.v, x.held)
    return n
