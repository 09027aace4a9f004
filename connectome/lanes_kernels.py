"""A few numbers side by side as one LLVM vector: Numba's own loops over them cost several times more.

A value of :class:`LanesType` lives in registers inside a kernel. It is loaded from and stored to ``x[at : at + width]``
of a flat float32 or float64 array, whatever vector width the machine has. Lanes know ``+ - * /``, among
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
from numba.core.types import containers
from numba.core.utils import BINOPS_TO_OPERATORS

__all__ = [
    "LanesType", "all_lanes", "at_least", "choose", "count_lanes", "exp2_lanes", "first_lane", "gather_lanes",
    "gather_rows", "lanes_total", "larger", "later_lanes", "load_lanes", "load_rows", "mask_lanes", "multiply_add",
    "no_lanes", "scatter_lanes", "smaller", "store_lanes", "store_rows", "turn_lanes",
]  # fmt: skip

_WIDTHS = (8, 16, 32, 64)
#: Polynomials for 2**x, |x| <= 1/2, of least relative error (Remez): 2e-9 and 3e-18.
_POWER_OF_2 = {
    32: (
        1.0, 0.6931472057372979, 0.24022646890629545, 0.05550328776899591, 0.00961848895740141, 0.0013399931245744938,
        0.0001534581198009913,
    ),
    64: (
        1.0, 0.6931471805599453, 0.24022650695910158, 0.0555041086648199, 0.009618129107588006, 0.0013333558146794912,
        0.00015403530462873192, 1.5252733485636117e-05, 1.3215432925840289e-06, 1.0178199720937172e-07,
        7.0741321085915885e-09, 4.435042953973786e-10,
    ),
}  # fmt: skip


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


def _rows(kind: Any, lanes: LanesType) -> Any:
    """The type of a named tuple of lanes."""
    return containers.BaseTuple.from_types([lanes] * len(kind.instance_class._fields), kind.instance_class)


@intrinsic
def load_rows(typingctx: Any, kind: Any, x: Any, at: Any, stride: Any, width: Any) -> Any:
    """The named tuple ``kind`` of lanes, one from each row: ``x[at + k * stride : at + k * stride + width]``."""
    lanes: Any = _lanes(x.dtype, width)
    rows = _rows(kind, lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, array, place, step, _ = args
        found = []
        for _ in range(len(rows)):
            pointer = _pointer(context, builder, lanes, signature.args[1], array, place)
            found.append(builder.load(pointer, align=x.dtype.bitwidth // 8))
            place = builder.add(place, step)
        return context.make_tuple(builder, rows, found)

    return lanes and (rows(kind, x, types.uint64, types.uint64, width), generate)


@intrinsic
def store_rows(typingctx: Any, x: Any, at: Any, stride: Any, rows: Any) -> Any:
    """The other way round."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, place, step, values = args
        for value in cgutils.unpack_tuple(builder, values, len(rows)):
            pointer = _pointer(context, builder, rows[0], x, array, place)
            builder.store(value, pointer, align=x.dtype.bitwidth // 8)
            place = builder.add(place, step)
        return context.get_dummy_value()

    return types.void(x, types.uint64, types.uint64, rows), generate


def _places(context: Any, builder: Any, kinds: Any, x: Any, at: Any, numbers: Any) -> Any:
    """Pointers to ``x[at + numbers[lane]]``, for any lane. ``kinds``: of both arrays."""
    data, number = (context.make_array(k)(context, builder, a).data for k, a in zip(kinds, (x, numbers), strict=True))

    def place(lane: int) -> Any:
        one = builder.load(builder.gep(number, [ir.IntType(64)(lane)]))
        return builder.gep(data, [builder.add(at, builder.zext(one, ir.IntType(64)))])

    return place


def _gather(builder: Any, lanes: LanesType, place: Any) -> Any:
    value = ir.Constant(_vector(lanes), ir.Undefined)
    for lane in range(lanes.width):
        value = builder.insert_element(value, builder.load(place(lane)), ir.IntType(32)(lane))
    return value


@intrinsic
def gather_lanes(typingctx: Any, x: Any, at: Any, numbers: Any, width: Any) -> Any:
    """``x[at + numbers[lane]]`` in each lane; ``numbers`` (width,) uint32."""
    lanes: Any = _lanes(x.dtype, width)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, first, which, _ = args
        return _gather(builder, lanes, _places(context, builder, (x, numbers), array, first, which))

    return lanes and (lanes(x, types.uint64, numbers, width), generate)


@intrinsic
def gather_rows(typingctx: Any, kind: Any, x: Any, stride: Any, numbers: Any, width: Any) -> Any:
    """The named tuple ``kind`` of lanes, one from each row: ``x[k * stride + numbers[lane]]``."""
    lanes: Any = _lanes(x.dtype, width)
    rows = _rows(kind, lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, array, step, which, _ = args
        found, at = [], ir.IntType(64)(0)
        for _ in range(len(rows)):
            found.append(_gather(builder, lanes, _places(context, builder, (x, numbers), array, at, which)))
            at = builder.add(at, step)
        return context.make_tuple(builder, rows, found)

    return lanes and (rows(kind, x, types.uint64, numbers, width), generate)


@intrinsic
def scatter_lanes(typingctx: Any, x: Any, at: Any, numbers: Any, value: Any) -> Any:
    """``x[at + numbers[lane]] = value[lane]``, the last lane last."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, first, which, lanes = args
        place = _places(context, builder, (x, numbers), array, first, which)
        for lane in range(value.width):
            builder.store(builder.extract_element(lanes, ir.IntType(32)(lane)), place(lane))
        return context.get_dummy_value()

    return types.void(x, types.uint64, numbers, value), generate


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


def _between(sign: str, lanes: Any, other: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _as_lanes(context, builder, args[1], signature.args[1], lanes)
        return builder.select(builder.fcmp_ordered(sign, args[0], value), args[0], value)

    return lanes(lanes, other), generate


@intrinsic
def larger(typingctx: Any, lanes: Any, other: Any) -> Any:
    """The larger of the two in each lane; ``other`` is lanes or a number."""
    return _between(">", lanes, other)


@intrinsic
def smaller(typingctx: Any, lanes: Any, other: Any) -> Any:
    """The smaller of the two in each lane; ``other`` is lanes or a number."""
    return _between("<", lanes, other)


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
def exp2_lanes(typingctx: Any, lanes: Any) -> Any:
    """2 to the power of each lane, which lies within what its type can hold, to the last place. (LLVM's own calls the C
    library for each lane, and that differs between machines.)"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, width = lanes.dtype.bitwidth, lanes.width
        vector, integers = _vector(lanes), ir.VectorType(ir.IntType(wide), width)
        shift = 23 if wide == 32 else 52

        def fma(*given: Any) -> Any:
            name, shape = f"llvm.fma.v{width}f{wide}", ir.FunctionType(vector, [vector] * 3)
            return builder.call(cgutils.get_or_insert_function(builder.module, shape, name), given)

        # Added to a number whose last digit is worth 1, x is rounded to k, whose bits are then the last ones.
        unit = ir.Constant(vector, [1.5 * 2**shift] * width)
        total = builder.fadd(args[0], unit)
        rest = builder.fsub(args[0], builder.fsub(total, unit))
        first, *terms = (ir.Constant(vector, [term] * width) for term in _POWER_OF_2[wide])
        power = rest
        while len(terms) > 1:  # pairs at once, so that fewer wait for each other
            odd = terms[len(terms) & ~1 :]
            terms = [fma(b, power, a) for a, b in zip(terms[::2], terms[1::2], strict=False)] + odd
            power = builder.fmul(power, power)
        found = builder.bitcast(fma(terms[0], rest, first), integers)
        k = builder.shl(builder.bitcast(total, integers), ir.Constant(integers, [shift] * width))
        return builder.bitcast(builder.add(found, k), vector)

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


for _sign, _build in (("+", "fadd"), ("-", "fsub"), ("*", "fmul"), ("/", "fdiv")):
    _define(BINOPS_TO_OPERATORS[_sign], _build)
