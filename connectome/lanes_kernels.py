"""Vector operations on the LANES samples of a tile, as LLVM vectors: Numba's own loops over 32 lanes cost several times more.

Each works on ``x[at : at + LANES]`` of a flat float32 or float64 array, whatever vector width the machine has. Every
lane is rounded by itself, and the sum over lanes has one fixed tree, so results do not depend on the machine.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = ["LANES", "add_scaled", "add_where", "sum_where"]

#: Samples in a tile: one bit each in a uint32 mask.
LANES = 32


def _vector(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> tuple[Any, Any, Any]:
    """The pointer to LANES elements, their vector type and the alignment of one."""
    element = context.get_value_type(array_type.dtype)
    vector = ir.VectorType(element, LANES)
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer()), vector, array_type.dtype.bitwidth // 8


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    index = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), index)


def _chosen(builder: Any, bits: Any) -> Any:
    return builder.bitcast(bits, ir.VectorType(ir.IntType(1), LANES))


@intrinsic
def add_scaled(typingctx: Any, y: Any, y_at: Any, factor: Any, x: Any, x_at: Any) -> Any:
    """``y[y_at:][:LANES] += factor * x[x_at:][:LANES]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        y_type, _, _, x_type, _ = signature.args
        into, vector, align = _vector(context, builder, y_type, args[0], args[1])
        source, _, _ = _vector(context, builder, x_type, args[3], args[4])
        product = builder.fmul(_spread(builder, args[2], vector), builder.load(source, align=align))
        builder.store(builder.fadd(builder.load(into, align=align), product), into, align=align)
        return context.get_dummy_value()

    return types.void(y, types.uint64, y.dtype, x, types.uint64), generate


@intrinsic
def add_where(typingctx: Any, y: Any, y_at: Any, value: Any, bits: Any) -> Any:
    """``y[y_at:][:LANES] += value`` in the lanes whose bit of the uint32 ``bits`` is set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into, vector, align = _vector(context, builder, signature.args[0], args[0], args[1])
        zero = ir.Constant(vector, [0.0] * LANES)
        value = builder.select(_chosen(builder, args[3]), _spread(builder, args[2], vector), zero)
        builder.store(builder.fadd(builder.load(into, align=align), value), into, align=align)
        return context.get_dummy_value()

    return types.void(y, types.uint64, y.dtype, types.uint32), generate


@intrinsic
def sum_where(typingctx: Any, x: Any, x_at: Any, bits: Any) -> Any:
    """The sum of ``x[x_at:][:LANES]`` over the lanes whose bit is set, halves added to halves."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, vector, align = _vector(context, builder, signature.args[0], args[0], args[1])
        zero = ir.Constant(vector, [0.0] * LANES)
        value = builder.select(_chosen(builder, args[2]), builder.load(source, align=align), zero)
        width = LANES
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width)))
                )
                for first in (0, width)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x, types.uint64, types.uint32), generate
