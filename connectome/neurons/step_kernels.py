"""What the kernels of the models of neurons share, and how the engine calls them.

A kernel updates neurons ``first .. last - 1`` of a region by one step, and returns how many of them fired; it writes
their numbers plus ``place`` to ``fired``. It is compiled to a function of the C language for each floating type, so
that the engine calls it by its address, and is compiled once whatever models there are. It takes

first, last, place : numbers in the region; the place of the region's neuron 0
each : 1 if there are constants for each neuron, 0 if one for all; varies : likewise of ``drive``
signs : 2; or 1 where arrivals of both signs are in ``excitatory``
clamped : 1 if ``clamp`` and ``held`` say something
constants : (N,) or (1,) records of the model's constants; state : (N,) of what else it remembers
v, excitatory, inhibitory : (N,): the potential, and what the arrivals of positive and negative weight are added to
drive : (N,) or (1,) injected current, pA
clamp : (N,) uint8: see below; held : (N,) mV, the potential of those that are held
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import carray, extending
from numba.core import cgutils, types
from numpy.typing import NDArray

from connectome.jit import Records, inner

__all__ = ["FIRE", "FREE", "HELD", "NEVER", "SILENT", "Cells", "call_step", "cells", "fused", "settle"]

#: What a clamp says of a neuron in a step: nothing; it may not fire, and stays below its threshold; it fires; its
#: potential is held; it has no threshold (an effector).
FREE, SILENT, FIRE, HELD, NEVER = range(5)


class Cells(NamedTuple):
    """A kernel's arrays."""

    constants: Records
    state: Records
    v: NDArray[Any]
    excitatory: NDArray[Any]
    inhibitory: NDArray[Any]
    drive: NDArray[Any]
    clamp: NDArray[Any]
    held: NDArray[Any]
    fired: NDArray[Any]


@inner
def cells(
    last: int, constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any,
    fired: Any,
) -> Cells:  # fmt: skip
    """The arrays at these addresses. Nothing is checked."""
    return Cells(
        carray(constants, (last,)), carray(state, (last,)), carray(v, (last,)), carray(excitatory, (last,)),
        carray(inhibitory, (last,)), carray(drive, (last,)), carray(clamp, (last,)), carray(held, (last,)),
        carray(fired, (last,)),
    )  # fmt: skip


@inner
def settle(u: Any, theta: Any, code: int, held: Any) -> tuple[Any, bool]:
    """The potential and whether the neuron fires, for what it would be by itself and what the clamp says."""
    if code == FREE:
        return u, u >= theta
    if code == HELD:
        return held, False
    if code == SILENT:
        return min(u, theta), False
    return u, code == FIRE


def intrinsic(function: Any) -> Any:
    """Numba's; what it makes is called without the first argument of its function."""
    return extending.intrinsic(function)


@intrinsic
def fused(typingctx: Any, factor: Any, number: Any, total: Any) -> Any:
    """``factor * number + total``, rounded once, as every machine does it; all of one floating type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = args[0].type
        name = f"llvm.fma.f{number.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), name)
        return builder.call(fma, args)

    return number(number, number, number), generate


@intrinsic
def call_step(
    typingctx: Any, address: Any, first: Any, last: Any, place: Any, each: Any, varies: Any, signs: Any, clamped: Any,
    constants: Any, state: Any, v: Any, excitatory: Any, inhibitory: Any, drive: Any, clamp: Any, held: Any, fired: Any,
) -> Any:  # fmt: skip
    """Call the kernel at an address, with its numbers and the addresses of its arrays; all are uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        shape = ir.FunctionType(number, [number] * 7 + [pointer] * 9)
        function = builder.inttoptr(args[0], shape.as_pointer())
        return builder.call(function, [*args[1:8], *(builder.inttoptr(a, pointer) for a in args[8:])])

    return types.uint64(*[types.uint64] * 17), generate
