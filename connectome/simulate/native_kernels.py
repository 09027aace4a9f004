"""What Numba has no words for: arrays by address, prefetching, and counters that threads share."""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

__all__ = ["PHILOX_LANES", "fetch_soon", "observe", "philox_lanes", "publish", "store_at", "value_at", "yield_core"]

_I8, _I32 = ir.IntType(8), ir.IntType(32)
#: Counters that :func:`philox_lanes` does at once.
PHILOX_LANES = 8

#: Let another thread have this core: a function of the C library.
yield_core = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())


def intrinsic(function: Any) -> Any:
    """Numba's; what it makes is called without the first argument of its function."""
    return extending.intrinsic(function)


@intrinsic
def value_at(typingctx: Any, address: Any, like: Any, index: Any) -> Any:
    """Element ``index`` of an array of the type of the number ``like``, at this address. Nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], context.get_value_type(signature.args[1]).as_pointer())
        return builder.load(builder.gep(pointer, [args[2]]))

    return like(types.uint64, like, types.uint64), generate


@intrinsic
def store_at(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """``array[index] = value`` for an array of the type of the value, at this address. Nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], context.get_value_type(signature.args[2]).as_pointer())
        builder.store(args[2], builder.gep(pointer, [args[1]]))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, value), generate


@intrinsic
def fetch_soon(typingctx: Any, address: Any) -> Any:
    """Bring the line at this address into the cache; any address will do, also one that is not mapped."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I8.as_pointer())
        shape = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(prefetch, [pointer, _I32(0), _I32(3), _I32(1)])  # to read, to stay, data
        return context.get_dummy_value()

    return types.void(types.uint64), generate


@intrinsic
def publish(typingctx: Any, counters: Any, at: Any, value: Any) -> Any:
    """``counters[at] = value``; a thread that observes it also sees everything written before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.store_atomic(args[2], builder.gep(data, [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(counters, types.uint64, counters.dtype), generate


@intrinsic
def observe(typingctx: Any, counters: Any, at: Any) -> Any:
    """``counters[at]`` as another thread has published it by now."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return counters.dtype(counters, types.uint64), generate


@intrinsic
def philox_lanes(
    typingctx: Any, c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, bits: Any, at: Any, stride: Any
) -> Any:
    """Philox4x32-10 for the counters ``(c0 + lane, c1, c2, c3)``, all 32-bit words held in 64 bits.

    Writes the random words w0 .. w3 of each as eight numbers of 16 bits, low half first, to the uint16 array
    ``bits[at + half * stride + lane]``. Numba's loops do not turn these products into vector code.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.VectorType(ir.IntType(64), PHILOX_LANES)
        low, shift = (ir.Constant(wide, [value] * PHILOX_LANES) for value in (0xFFFFFFFF, 32))

        def spread(scalar: Any) -> Any:
            one = builder.insert_element(ir.Constant(wide, ir.Undefined), scalar, _I32(0))
            zeros = ir.Constant(ir.VectorType(_I32, PHILOX_LANES), [0] * PHILOX_LANES)
            return builder.shuffle_vector(one, ir.Constant(wide, ir.Undefined), zeros)

        x = [spread(arg) for arg in args[:4]]
        x[0] = builder.and_(builder.add(x[0], ir.Constant(wide, list(range(PHILOX_LANES)))), low)
        for turn in range(10):
            key = []
            for arg, weyl in zip(args[4:6], (0x9E3779B9, 0xBB67AE85), strict=True):
                step = ir.Constant(ir.IntType(64), turn * weyl % 2**32)
                key.append(spread(builder.and_(builder.add(arg, step), ir.Constant(ir.IntType(64), 0xFFFFFFFF))))
            a = builder.mul(builder.and_(x[0], low), ir.Constant(wide, [0xD2511F53] * PHILOX_LANES))
            b = builder.mul(builder.and_(x[2], low), ir.Constant(wide, [0xCD9E8D57] * PHILOX_LANES))
            x = [
                builder.xor(builder.xor(builder.lshr(b, shift), x[1]), key[0]), builder.and_(b, low),
                builder.xor(builder.xor(builder.lshr(a, shift), x[3]), key[1]), builder.and_(a, low),
            ]  # fmt: skip
        data = context.make_array(signature.args[6])(context, builder, args[6]).data
        half = ir.VectorType(ir.IntType(16), PHILOX_LANES)
        place = args[7]
        for word in x:
            for part in (word, builder.lshr(word, ir.Constant(wide, [16] * PHILOX_LANES))):
                pointer = builder.bitcast(builder.gep(data, [place]), half.as_pointer())
                builder.store(builder.trunc(part, half), pointer, align=2)
                place = builder.add(place, args[8])
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 6, bits, types.uint64, types.uint64), generate
