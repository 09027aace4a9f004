"""A few numbers side by side as one LLVM vector: Numba's own loops over them cost several times more.

A value of :class:`LanesType` lives in registers inside a kernel. It is loaded from and stored to ``x[at : at + width]``
of a flat float32 or float64 array, whatever vector width the machine has. Lanes know ``+``, ``-`` and ``*``, among
themselves and with a number. One bit a lane in an unsigned integer of ``width`` bits is what masks are made of; hence
the widths 8, 16, 32 and 64. Every lane is rounded by itself, and a sum over lanes has one fixed tree, so results do
not depend on the machine.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.utils import BINOPS_TO_OPERATORS

__all__ = [
    "LanesType", "all_lanes", "at_least", "choose", "count_lanes", "exp_lanes", "first_lane", "lanes_total",
    "larger", "later_lanes", "load_lanes", "mask_lanes", "multiply_add", "no_lanes", "store_lanes", "turn_lanes",
]  # fmt: skip

_WIDTHS = (8, 16, 32, 64)
_LN_2 = 0.6931471805599453


def intrinsic(function: Any) -> Any:
    """Numba's; what it makes is called without the first argument of its function."""
    return extending.intrinsic(prefer_literal=True)(function)


class LanesType(types.Type):
    """A vector of ``width`` numbers, inside kernels only."""

    def __init__(self, dtype: Any, width: int) -> None:
        self.dtype = dtype
        self.width = width
        super().__init__(name=f"Lanes({dtype}, {width})")


def _vector(lanes: LanesType) -> Any:
    return ir.VectorType(ir.FloatType() if lanes.dtype.bitwidth == 32 else ir.DoubleType(), lanes.width)


@extending.register_model(LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no annotations
    def __init__(self, manager: Any, lanes: LanesType) -> None:
        super().__init__(manager, lanes, _vector(lanes))


def _lanes(dtype: Any, width: Any) -> LanesType | None:
    """The type for a width that is a constant of the kernel; none, which Numba reports, for any other."""
    known = isinstance(width, types.IntegerLiteral) and width.literal_value in _WIDTHS
    return LanesType(dtype, width.literal_value) if known else None


def _bits(lanes: LanesType) -> Any:
    return types.Integer.from_bitwidth(lanes.width, signed=False)


def _pointer(context: Any, builder: Any, lanes: LanesType, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _vector(lanes).as_pointer())


def _spread(builder: Any, scalar: Any, lanes: LanesType) -> Any:
    undefined = ir.Constant(_vector(lanes), ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes.width), [0] * lanes.width)
    return builder.shuffle_vector(one, undefined, zeros)


def _as_lanes(context: Any, builder: Any, value: Any, given: Any, lanes: LanesType) -> Any:
    """Lanes as they are; a number in every lane."""
    return value if given == lanes else _spread(builder, context.cast(builder, value, given, lanes.dtype), lanes)


@intrinsic
def load_lanes(typingctx: Any, x: Any, at: Any, width: Any) -> Any:
    """``x[at : at + width]``; the width is a constant."""
    lanes = _lanes(x.dtype, width)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.return_type, signature.args[0], *args[:2])
        return builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)

    return lanes and (lanes(x, types.uint64, width), generate)


@intrinsic
def store_lanes(typingctx: Any, x: Any, at: Any, value: Any) -> Any:
    """``x[at : at + width] = value``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, _, lanes = signature.args
        pointer = _pointer(context, builder, lanes, array, *args[:2])
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, types.uint64, value), generate


@intrinsic
def turn_lanes(typingctx: Any, x: Any, at: Any, stride: Any, y: Any, to: Any, stride_to: Any, width: Any) -> Any:
    """``y[to + i * stride_to + k] = x[at + k * stride + i]`` for all i, k < width: a square the other way round."""
    known = _lanes(x.dtype, width)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given, place, step, out, place_out, step_out, _ = args
        lanes: Any = known
        rows, n, align = [], lanes.width, lanes.dtype.bitwidth // 8
        for _ in range(n):
            rows.append(builder.load(_pointer(context, builder, lanes, signature.args[0], given, place), align=align))
            place = builder.add(place, step)
        distance = n // 2
        while distance:
            low = [k if not k & distance else n + k - distance for k in range(n)]
            high = [k + distance if not k & distance else n + k for k in range(n)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), n), index) for index in (low, high)]
            for i in range(n):
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            distance //= 2
        for row in rows:
            builder.store(row, _pointer(context, builder, lanes, signature.args[3], out, place_out), align=align)
            place_out = builder.add(place_out, step_out)
        return context.get_dummy_value()

    numbers = (types.uint64, types.uint64)
    return known and (types.void(x, *numbers, y, *numbers, width), generate)


@intrinsic
def all_lanes(typingctx: Any, number: Any, width: Any) -> Any:
    """A number in each of ``width`` lanes; the width is a constant."""
    lanes = _lanes(number, width)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[0], signature.return_type)

    return lanes and (lanes(number, width), generate)


@intrinsic
def no_lanes(typingctx: Any, x: Any, width: Any) -> Any:
    """Zeros of the type of the array ``x``; the width is a constant."""
    lanes = _lanes(x.dtype, width)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_vector(signature.return_type), [0.0] * signature.return_type.width)

    return lanes and (lanes(x, width), generate)


@intrinsic
def mask_lanes(typingctx: Any, x: Any, bits: Any) -> Any:
    """1 in the lanes whose bit is set, 0 in the others, of the type of the array ``x``; as many lanes as ``bits``."""
    lanes = LanesType(x.dtype, bits.bitwidth)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, width = _vector(signature.return_type), signature.return_type.width
        chosen = builder.bitcast(args[1], ir.VectorType(ir.IntType(1), width))
        return builder.select(chosen, ir.Constant(vector, [1.0] * width), ir.Constant(vector, [0.0] * width))

    return lanes(x, bits), generate


@intrinsic
def at_least(typingctx: Any, lanes: Any, bound: Any) -> Any:
    """A bit for each lane: is it >= ``bound``, lanes or a number?"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        limit = _as_lanes(context, builder, args[1], signature.args[1], signature.args[0])
        is_so = builder.fcmp_ordered(">=", args[0], limit)
        return builder.bitcast(is_so, ir.IntType(signature.args[0].width))

    return _bits(lanes)(lanes, bound), generate


@intrinsic
def count_lanes(typingctx: Any, bits: Any) -> Any:
    """How many bits are set, as a number of the same type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return bits(bits), generate


@intrinsic
def first_lane(typingctx: Any, bits: Any) -> Any:
    """The number of the first lane whose bit is set; ``bits`` is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], ir.IntType(1)(1)), ir.IntType(64))

    return types.uint64(bits), generate


@intrinsic
def later_lanes(typingctx: Any, bits: Any) -> Any:
    """``bits`` without the first that is set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(args[0], builder.sub(args[0], args[0].type(1)))

    return bits(bits), generate


@intrinsic
def choose(typingctx: Any, bits: Any, lanes: Any, other: Any) -> Any:
    """``lanes`` where the bit is set, ``other``, lanes or a number, where it is not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), signature.args[1].width))
        return builder.select(chosen, args[1], _as_lanes(context, builder, args[2], signature.args[2], lanes))

    return lanes(_bits(lanes), lanes, other), generate


@intrinsic
def larger(typingctx: Any, lanes: Any, other: Any) -> Any:
    """The larger of the two in each lane; ``other`` is lanes or a number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _as_lanes(context, builder, args[1], signature.args[1], signature.args[0])
        return builder.select(builder.fcmp_ordered(">", args[0], value), args[0], value)

    return lanes(lanes, other), generate


@intrinsic
def multiply_add(typingctx: Any, factor: Any, lanes: Any, total: Any) -> Any:
    """``factor * lanes + total``, rounded once, as every machine does it; ``factor`` is lanes or a number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector(lanes)
        name = f"llvm.fma.v{lanes.width}f{lanes.dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(fma, [_as_lanes(context, builder, args[0], signature.args[0], lanes), *args[1:]])

    return lanes(factor, lanes, total), generate


@intrinsic
def lanes_total(typingctx: Any, lanes: Any) -> Any:
    """The sum over lanes, halves added to halves."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], signature.args[0].width
        while width > 1:
            width //= 2
            index = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(index, list(range(first, first + width))) for first in (0, width))
            value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, ir.IntType(32)(0))

    return lanes.dtype(lanes), generate


@intrinsic
def exp_lanes(typingctx: Any, lanes: Any) -> Any:
    """The exponential of each lane, which lies within what its type can hold: to the last place in float32, to 3e-15 in
    float64. (LLVM's own calls the C library for each lane, and that differs between machines.)"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, wide = signature.return_type, signature.return_type.dtype.bitwidth
        vector, integers = _vector(kind), ir.VectorType(ir.IntType(wide), kind.width)
        terms, shift, bias, parts = (9, 23, 127, 2**-13) if wide == 32 else (15, 52, 1023, 2**-32)

        def call(name: str, *given: Any) -> Any:
            shape = ir.FunctionType(vector, [vector] * len(given))
            of = f"llvm.{name}.v{kind.width}f{wide}"
            return builder.call(cgutils.get_or_insert_function(builder.module, shape, of), given)

        def all_of(number: float) -> Any:
            return ir.Constant(vector, [number] * kind.width)

        # exp(x) = 2^k exp(x - k ln 2), of which the first part of ln 2 has so few digits that k times it is exact
        first = int(_LN_2 / parts) * parts
        k = call("rint", builder.fmul(args[0], all_of(1 / _LN_2)))
        rest = call("fma", k, all_of(-first), args[0])
        rest = call("fma", k, all_of(first - _LN_2), rest)
        series = [1.0]  # 1 / n!
        for n in range(1, terms + 1):
            series.append(series[-1] / n)
        total = all_of(series[-1])
        for term in reversed(series[:-1]):
            total = call("fma", total, rest, all_of(term))
        power = builder.add(builder.fptosi(k, integers), ir.Constant(integers, [bias] * kind.width))
        power = builder.shl(power, ir.Constant(integers, [shift] * kind.width))
        return builder.fmul(total, builder.bitcast(power, vector))

    return lanes(lanes), generate


def _define(operation: Any, build: str) -> None:
    """An operator among lanes, and between lanes and numbers, each rounded by itself."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = signature.return_type
        both = [_as_lanes(context, builder, a, given, lanes) for a, given in zip(args, signature.args, strict=True)]
        return getattr(builder, build)(*both)

    def typer(context: Any) -> Any:
        def result(a: Any, b: Any) -> Any:
            lanes = a if isinstance(a, LanesType) else b
            fits = all(x == lanes or isinstance(x, types.Number) for x in (a, b))
            return lanes if fits and isinstance(lanes, LanesType) else None

        return result

    extending.type_callable(operation)(typer)
    for a, b in ((LanesType, LanesType), (LanesType, types.Number), (types.Number, LanesType)):
        extending.lower_builtin(operation, a, b)(generate)


for _sign, _build in (("+", "fadd"), ("-", "fsub"), ("*", "fmul")):
    _define(BINOPS_TO_OPERATORS[_sign], _build)
