"""The LANES samples of a tile as one LLVM vector: Numba's own loops over lanes cost several times more.

A value of :class:`LanesType` lives in registers inside a kernel. It is loaded from and stored to
``x[at : at + LANES]`` of a flat float32 or float64 array, whatever vector width the machine has. Every lane is rounded
by itself, and a sum over lanes has one fixed tree, so results do not depend on the machine.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import types
from numba.core.datamodel import models

__all__ = ["LANES", "LanesType", "add_scaled", "lanes_total", "load_lanes", "mask_lanes", "no_lanes", "store_lanes"]

#: Samples in a tile: one bit each in a uint32 mask.
LANES = 32


def intrinsic(function: Any) -> Any:
    """Numba's; what it makes is called without the first argument of its function."""
    return extending.intrinsic(function)


class LanesType(types.Type):
    """A vector of LANES numbers, inside kernels only."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


def _vector(dtype: Any) -> Any:
    return ir.VectorType(ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType(), LANES)


@extending.register_model(LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no annotations
    def __init__(self, manager: Any, lanes: LanesType) -> None:
        super().__init__(manager, lanes, _vector(lanes.dtype))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _vector(array_type.dtype).as_pointer())


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


@intrinsic
def load_lanes(typingctx: Any, x: Any, at: Any) -> Any:
    """``x[at:][:LANES]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = signature.args[0]
        return builder.load(_pointer(context, builder, array, *args), align=array.dtype.bitwidth // 8)

    return LanesType(x.dtype)(x, types.uint64), generate


@intrinsic
def store_lanes(typingctx: Any, x: Any, at: Any, value: Any) -> Any:
    """``x[at:][:LANES] = value``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = signature.args[0]
        pointer = _pointer(context, builder, array, *args[:2])
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, types.uint64, LanesType(x.dtype)), generate


@intrinsic
def no_lanes(typingctx: Any, x: Any) -> Any:
    """Zeros of the type of the array ``x``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_vector(signature.args[0].dtype), [0.0] * LANES)

    return LanesType(x.dtype)(x), generate


@intrinsic
def mask_lanes(typingctx: Any, x: Any, bits: Any) -> Any:
    """1 in the lanes whose bit of the uint32 ``bits`` is set, 0 in the others, of the type of the array ``x``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector(signature.args[0].dtype)
        chosen = builder.bitcast(args[1], ir.VectorType(ir.IntType(1), LANES))
        return builder.select(chosen, ir.Constant(vector, [1.0] * LANES), ir.Constant(vector, [0.0] * LANES))

    return LanesType(x.dtype)(x, types.uint32), generate


@intrinsic
def add_scaled(typingctx: Any, total: Any, factor: Any, lanes: Any) -> Any:
    """``total + factor * lanes``; ``factor`` is a number or lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        total_value, factor_value, lanes_value = args
        if signature.args[1] != signature.args[0]:
            factor_value = _spread(builder, factor_value, _vector(signature.args[0].dtype))
        return builder.fadd(total_value, builder.fmul(factor_value, lanes_value))

    return total(total, factor if isinstance(factor, LanesType) else total.dtype, lanes), generate


@intrinsic
def lanes_total(typingctx: Any, lanes: Any) -> Any:
    """The sum over lanes, halves added to halves."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            index = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(index, list(range(first, first + width))) for first in (0, width))
            value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return lanes.dtype(lanes), generate
