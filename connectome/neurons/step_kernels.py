"""What the kernels of neuron models share, and how the engine calls them.

A model's kernel is its equation, for sixteen neurons side by side, as lanes of :mod:`connectome.lanes_kernels`::

    class Constants(NamedTuple): ...  # the names of the model's ``constants()``, in this order
    class Memory(NamedTuple): ...     # the names of its ``state``, without v and the synapses

    @inlined
    def integrate(c, m, v, excitatory, inhibitory, pa):
        # A step without a spike. ``excitatory`` and ``inhibitory`` are what arrivals of positive and of negative weight
        # have been added to (the latter 0 where both go to the former), ``pa`` is the injected current.
        return v, limit, excitatory, inhibitory, m    # v, what it fires at, what is left of the others

    @inlined
    def reset(c, m, v, fires):
        return v, m  # v and m after the spikes of those whose bit is set in ``fires``

    def update(task, v):
        return step(task, v, Constants, Memory, integrate, reset)

``update`` is compiled to a C function for each floating type, so that the engine can call it by its address and is
itself compiled only once, whatever models there are. It updates some neurons of a region by a step, and returns how
many of them fired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, extending, types
from numpy.typing import NDArray

from connectome.jit import Index, inlined, inner
from connectome.lanes_kernels import (
    at_least,
    choose,
    first_lane,
    later_lanes,
    load_lanes,
    load_rows,
    no_lanes,
    store_lanes,
    store_rows,
)  # fmt: skip

__all__ = [
    "FIRE", "FREE", "HELD", "LANES", "NEVER", "SILENT", "TASK", "Bits", "Cells", "call_step", "cells", "in_range",
    "pointer_to", "step",
]  # fmt: skip

#: What a clamp says of a neuron in a step: nothing; it may not fire, and stays below its threshold; it fires; its
#: potential is held; it has no threshold (an effector).
FREE, SILENT, FIRE, HELD, NEVER = range(5)
#: Neurons side by side, and a bit for each of them.
LANES: Final = 16
Bits = np.uint16

_ALL, _0, _1 = np.uint16(2**16 - 1), np.uint64(0), np.uint64(1)
_LANES = np.uint64(LANES)

#: A region with a kernel of its own, and what of it is to be updated. N neurons; R is N rounded up to whole lanes.
#:
#: update : the address of the kernel; place : of neuron 0; size : N
#: row : R, how far apart the rows of ``state`` are, and of ``constants`` if ``each``
#: each : 1 if there are constants for each neuron, 0 if one for all; varies : likewise of ``drive``
#: signs : 2; or 1 where arrivals of both signs are in ``excitatory``
#: clamped : 1 if ``clamp`` and ``held`` say something; clamp_row : what to add for the next step's ``clamp``, N or 0
#: first, last : neurons ``first .. last - 1``, the first a multiple of 16
#: quick : 1 if the kernel may take the quicker way that its model says it has
#: until : 0 for one step of all; or, on the quicker way, the step of a window that is to be done, counted from 1, by
#:     the blocks of sixteen neurons whose bit is set in ``touched``, all if that is 0, each from its ``since`` on
#: and addresses of arrays:
#: constants : (C, R), or (C, 16) with the same number throughout; state : (S, R)
#: excitatory, inhibitory : (R,)
#: drive : (R,) injected current, pA; or (16,) where it is the same throughout
#: clamp : (N,) uint8: see above; held : (N,) mV, the potential of those that are held
#: fired : where the places go of those that fire, uint32; when : and in which step of the window, counted from 0, uint8
#: resting : uint8, for each block of the region, for the quicker way: 0 if none of it is refractory; 1 to begin with
#: touched : uint64, a bit for each block of all places; since : uint8, the steps of the window that it has done
TASK: Final = np.dtype([
    (name, np.uint64) for name in (
        "update", "place", "size", "row", "each", "varies", "signs", "clamped", "clamp_row", "first", "last",
        "quick", "until", "constants", "state", "excitatory", "inhibitory", "drive", "clamp", "held", "fired", "when",
        "resting", "touched", "since",
    )
])  # fmt: skip


class Cells(NamedTuple):
    """The contents of a task, with arrays in place of addresses."""

    first: Any
    last: Any
    place: Any
    row: Any
    stride: Any  # of constants
    each: Any
    varies: Any
    signs: Any
    clamped: Any
    constants: NDArray[Any]
    state: NDArray[Any]
    v: NDArray[Any]
    excitatory: NDArray[Any]
    inhibitory: NDArray[Any]
    drive: NDArray[Any]
    clamp: NDArray[Any]
    held: NDArray[Any]
    fired: NDArray[Any]


def intrinsic(function: Any) -> Any:
    """Numba's; what it makes is called without the first argument of its function."""
    return extending.intrinsic(function)


@intrinsic
def pointer_to(typingctx: Any, address: Any, like: Any) -> Any:
    """A pointer to numbers of the type of ``like``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.uint64, like), generate


@inlined
def cells(task: Any, v: Any) -> Cells:
    """The :class:`Cells` of a kernel's arguments. Nothing is checked."""
    (t,) = carray(task, 1)
    v = carray(v, t.last)
    size, real = t.last, v.dtype.type(0)
    return Cells(
        t.first, t.last, t.place, t.row, t.row if t.each else _LANES, t.each, t.varies, t.signs, t.clamped,
        carray(pointer_to(t.constants, real), size), carray(pointer_to(t.state, real), size), v,
        carray(pointer_to(t.excitatory, real), size), carray(pointer_to(t.inhibitory, real), size),
        carray(pointer_to(t.drive, real), size), carray(pointer_to(t.clamp, np.uint8(0)), size),
        carray(pointer_to(t.held, real), size), carray(pointer_to(t.fired, np.uint32(0)), size),
    )  # fmt: skip


@inlined
def step(
    task: Any, v: Any, constants: type, memory: type, integrate: Callable[..., Any], reset: Callable[..., Any]
) -> Index:  # fmt: skip
    """A step of a task's neurons: see above. ``task`` and ``v`` are the arguments of ``update``."""
    x = cells(task, v)
    n, c = _0, load_rows(constants, x.constants, _0, x.stride, LANES)
    for i in range(x.first, x.last, _LANES):
        if x.each:
            c = load_rows(constants, x.constants, i, x.stride, LANES)
        inhibitory = load_lanes(x.inhibitory, i, LANES) if x.signs > _1 else no_lanes(x.v, LANES)
        u, limit, excitatory, inhibitory, m = integrate(
            c, load_rows(memory, x.state, i, x.row, LANES), load_lanes(x.v, i, LANES),
            load_lanes(x.excitatory, i, LANES), inhibitory, load_lanes(x.drive, i * x.varies, LANES),
        )  # fmt: skip
        store_lanes(x.excitatory, i, excitatory)
        if x.signs > _1:
            store_lanes(x.inhibitory, i, inhibitory)
        fires, held = in_range(at_least(u, limit), i, x.last), Bits(0)
        if x.clamped:
            fires, silent, held = _clamped(fires, i, min(_LANES, x.last - i), x.clamp)
            u = choose(Bits(~silent), u, limit)
        u, m = reset(c, m, u, fires)
        store_lanes(x.v, i, u)
        store_rows(x.state, i, x.row, m)
        while fires:
            x.fired[n] = np.uint32(x.place + i + first_lane(fires))
            n += _1
            fires = later_lanes(fires)
        while held:
            at = i + first_lane(held)
            x.v[at] = x.held[at]
            held = later_lanes(held)
    return n


@inlined
def in_range(bits: Any, i: Index, last: Index) -> Any:
    """The bits of neurons i .. i + 15 that are below ``last``."""
    return bits if last - i >= _LANES else Bits(bits & ((_1 << (last - i)) - _1))


@inner
def _clamped(above: Any, i: Index, size: Index, clamp: NDArray[Any]) -> tuple[Any, Any, Any]:
    """The bits of the neurons that fire, of those that have to stay at their threshold, and of those that are held;
    ``above`` has the bits of those that would fire by themselves."""
    fires, silent, held = above, Bits(0), Bits(0)
    for k in range(size):
        code, bit = clamp[i + k], Bits(_1 << k)
        if code != FREE:
            fires = Bits(fires | bit) if code == FIRE else Bits(fires & ~bit)
        if code == SILENT and above & bit:
            silent |= bit
        if code == HELD:
            held |= bit
    return fires, Bits(silent), Bits(held)


@intrinsic
def call_step(typingctx: Any, address: Any, task: Any, v: Any) -> Any:
    """Call the kernel at an address, for the task and the potentials at two others; all are uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        function = builder.inttoptr(args[0], ir.FunctionType(number, [pointer] * 2).as_pointer())
        return builder.call(function, [builder.inttoptr(a, pointer) for a in args[1:]])

    return types.uint64(*[types.uint64] * 3), generate
