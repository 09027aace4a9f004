"""What the kernels of the models of neurons share, and how the engine calls them.

A kernel updates neurons ``first .. last - 1`` of a region by one step, sixteen side by side, as lanes of
:mod:`connectome.lanes_kernels`. It returns how many of them fired, and writes their numbers plus place to ``fired``.
It is compiled to a function of the C language for each floating type, so that the engine calls it by its address, and
is compiled once whatever models there are. It takes

first, last, place : numbers in the region, the first a multiple of 16; the place of the region's neuron 0
each : 1 if there are constants for each neuron, 0 if one for all; varies : likewise of ``drive``
signs : 2; or 1 where arrivals of both signs are in ``excitatory``
clamped : 1 if ``clamp`` and ``held`` say something
row : N rounded up to a multiple of 16: how far apart the rows of ``state`` are, and of ``constants`` if ``each``
constants : (C, row), or (C, 16) with the same number throughout: in the order of the model's ``constants()``
state : (S, row): what else it remembers, in the order of the model's ``state``, without v and the synapses
v, excitatory, inhibitory : (row,): the potential, and what the arrivals of positive and negative weight are added to
drive : (row,) injected current, pA; or (16,) where it is the same throughout
clamp : (N,) uint8: see below; held : (N,) mV, the potential of those that are held
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, extending
from numba.core import types
from numpy.typing import NDArray

from connectome.jit import Index, inner
from connectome.lanes_kernels import first_lane, later_lanes, load_lanes

__all__ = [
    "FIRE",
    "FREE",
    "HELD",
    "LANES",
    "NEVER",
    "SILENT",
    "Bits",
    "Cells",
    "call_step",
    "cells",
    "constant",
    "note",
    "settle",
]

#: What a clamp says of a neuron in a step: nothing; it may not fire, and stays below its threshold; it fires; its
#: potential is held; it has no threshold (an effector).
FREE, SILENT, FIRE, HELD, NEVER = range(5)
#: Neurons side by side, and a bit for each of them.
LANES = 16
Bits = np.uint16

_ALL, _1 = np.uint16(2**16 - 1), np.uint64(1)
_LANES = np.uint64(LANES)


class Cells(NamedTuple):
    """A kernel's arrays, and how it finds its constants."""

    constants: NDArray[Any]
    state: NDArray[Any]
    v: NDArray[Any]
    excitatory: NDArray[Any]
    inhibitory: NDArray[Any]
    drive: NDArray[Any]
    clamp: NDArray[Any]
    held: NDArray[Any]
    fired: NDArray[Any]
    stride: Any
    each: Any


@inner
def cells(
    last: int, each: Any, row: Any, constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any,
    clamp: Any, held: Any, fired: Any,
) -> Cells:  # fmt: skip
    """The arrays at these addresses. Nothing is checked."""
    return Cells(
        carray(constants, (last,)), carray(state, (last,)), carray(v, (last,)), carray(excitatory, (last,)),
        carray(inhibitory, (last,)), carray(drive, (last,)), carray(clamp, (last,)), carray(held, (last,)),
        carray(fired, (last,)), row if each else _LANES, each,
    )  # fmt: skip


@inner
def constant(constants: NDArray[Any], k: int, stride: Index, at: Index) -> Any:
    """Constant k of sixteen neurons; ``at``: the first of them, or 0 if it is one for all."""
    return load_lanes(constants, np.uint64(k) * stride + at, LANES)


@inner
def settle(
    above: Any, i: Index, last: Index, clamped: Any, clamp: NDArray[Any]
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Bits of those of neurons i .. i + 15 that fire, of those that have to stay at their threshold, and of those that
    are held; ``above``: of those that would fire by themselves."""
    valid = _ALL if last - i >= _LANES else Bits((_1 << (last - i)) - _1)
    fires, silent, held = Bits(above & valid), Bits(0), Bits(0)
    if clamped:
        for k in range(min(_LANES, last - i)):
            code, bit = clamp[i + k], Bits(_1 << k)
            if code != FREE:
                fires = Bits(fires | bit) if code == FIRE else Bits(fires & ~bit)
            if code == SILENT and above & bit:
                silent |= bit
            if code == HELD:
                held |= bit
    return fires, Bits(silent), Bits(held)


@inner
def note(
    fires: Any, held: Any, n: Any, i: Index, place: Index, fired: NDArray[Any], v: NDArray[Any], held_v: NDArray[Any]
) -> Any:  # fmt: skip
    """Note who has fired, and put back the potential of those that are held. Returns how many have fired by now."""
    while fires:
        fired[n] = np.uint32(place + i + first_lane(fires))
        n += _1
        fires = later_lanes(fires)
    while held:
        at = i + first_lane(held)
        v[at] = held_v[at]
        held = later_lanes(held)
    return n


def intrinsic(function: Any) -> Any:
    """Numba's; what it makes is called without the first argument of its function."""
    return extending.intrinsic(function)


@intrinsic
def call_step(
    typingctx: Any, address: Any, first: Any, last: Any, place: Any, each: Any, varies: Any, signs: Any, clamped: Any,
    row: Any, constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any,
    fired: Any,
) -> Any:  # fmt: skip
    """Call the kernel at an address, with its numbers and the addresses of its arrays; all are uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        shape = ir.FunctionType(number, [number] * 8 + [pointer] * 9)
        function = builder.inttoptr(args[0], shape.as_pointer())
        return builder.call(function, [*args[1:9], *(builder.inttoptr(a, pointer) for a in args[9:])])

    return types.uint64(*[types.uint64] * 18), generate
