"""Arrays that are checked once and then read-only, and so are the objects that hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.printed import Printed

__all__ = [
    "ReadOnly",
    "aligned_zeros",
    "boolean_mask",
    "checked_ids",
    "csr_order",
    "describe",
    "finite_step",
    "first_bad",
    "freeze",
    "in_blocks",
    "index_type",
    "integer",
    "is_constant",
    "is_mapped",
    "is_writable",
    "lock",
    "not_finite",
    "numbers_of",
    "one_nan",
    "out_of_order",
    "read_only",
    "row_blocks",
    "row_starts",
    "stable_argsort",
    "take_rows",
]

_LINE = 64  # bytes
_BLOCK_EDGES = 2**20
K = TypeVar("K")
V = TypeVar("V")


class ReadOnly(Printed):
    """Base of frozen dataclasses that hold read-only arrays or mappings: they print in a line, can be pickled and
    deep-copied.

    What is read-only in them is so in the copy, though neither NumPy nor ``MappingProxyType`` would see to it; a column
    of one value stays a broadcast view. What a cached property holds is left out, and made anew when it is asked for.
    """

    def __copy__(self) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        kind = type(self)
        kept = {k: v for k, v in vars(self).items() if not isinstance(getattr(kind, k, None), cached_property)}
        return {name: _portable(value) for name, value in kept.items()}


class _Made:
    """What stands in a copied state for something that a function makes: the copy holds what it made."""

    def __init__(self, make: Callable[..., Any], *given: Any) -> None:
        self.make, self.given = make, given

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.make, self.given


def _portable(value: Any) -> Any:
    """A value as it goes into a copied state."""
    if isinstance(value, np.ndarray):
        if is_constant(value):
            return _Made(np.broadcast_to, value[0], value.shape)
        return value if value.flags.writeable else _Made(lock, value)
    if isinstance(value, MappingProxyType):
        return _Made(read_only, {k: _portable(v) for k, v in value.items()})
    if type(value) is dict:
        return {k: _portable(v) for k, v in value.items()}
    if isinstance(value, tuple):
        parts = map(_portable, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def read_only(mapping: Mapping[K, V]) -> Mapping[K, V]:
    """A copy of a mapping that nobody can write to."""
    return MappingProxyType(dict(mapping))


def integer(name: str, value: object, low: int, high: int) -> int:
    """An integer in ``low .. high``. Raises :class:`ConnectomeError`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ConnectomeError(name, f"must be an integer in {low} .. {high}", repr(value))
    return int(value)


def finite_step(name: str, value: object) -> float:
    """A finite number above 0. Raises :class:`ConnectomeError`."""
    if not isinstance(value, (int, float, np.floating, np.integer)) or not (math.isfinite(value) and value > 0):
        raise ConnectomeError(name, "must be finite and > 0", repr(value))
    return float(value)


def aligned_zeros(shape: int | tuple[int, ...], dtype: np.dtype[Any] | type) -> NDArray[Any]:
    """Zeros that begin with a cache line. NumPy's begin 16 bytes later, so that every other vector lies on two lines,
    which takes twice as long to load."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    raw = np.zeros(size * np.dtype(dtype).itemsize + _LINE, np.uint8)
    first = -raw.ctypes.data % _LINE
    return raw[first : first + raw.size - _LINE].view(dtype).reshape(shape)


def boolean_mask(name: str, mask: ArrayLike, n: int) -> NDArray[np.bool_]:
    """A mask of n booleans. Raises :class:`ConnectomeError`."""
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != (n,):
        raise ConnectomeError(name, f"must be booleans of shape ({n},)", describe(array))
    return array


def numbers_of(name: str, given: ArrayLike) -> NDArray[Any]:
    """An array of numbers. Raises :class:`ConnectomeError`."""
    try:
        array = np.asarray(given)
    except ValueError:  # lists of unequal lengths
        raise ConnectomeError(name, "must be numbers in a regular array", repr(given)) from None
    if array.dtype.kind not in "biuf":
        raise ConnectomeError(name, "must be numbers", describe(array))
    return array


def freeze(name: str, array: ArrayLike, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """A read-only array of this type and shape. It copies what its caller could still write to."""
    given = numbers_of(name, array)
    if given.ndim != len(shape) or any(want not in (None, n) for want, n in zip(shape, given.shape, strict=True)):
        raise ConnectomeError(name, f"must have shape {shape}", given.shape)
    if is_constant(given):  # one value for all: keep it so
        return np.broadcast_to(freeze(name, given[:1].copy(), dtype, (1,))[0], given.shape)
    if np.dtype(dtype).kind in "iu" and given.dtype != dtype and given.size:
        info = np.iinfo(dtype)
        bad = ~((given >= info.min) & (given <= info.max))  # also true for nan
        if given.dtype.kind == "f":
            bad |= given != np.rint(given)
        if bad.any():
            raise ConnectomeError(name, f"must be integers in {info.min} .. {info.max}", first_bad(bad, given))
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes inf or nan and is refused by name
        return lock(given.astype(dtype, order="C", copy=is_writable(given)))


def is_constant(array: NDArray[Any]) -> bool:
    """Whether this column is a broadcast view of one value."""
    return array.ndim == 1 and array.strides == (0,) and array.size > 0


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether this column is part of a file that is mapped into memory."""
    view: object = array
    while isinstance(view, np.ndarray):
        if isinstance(view, np.memmap):
            return True
        view = view.base
    return False


def is_writable(array: NDArray[Any]) -> bool:
    """Whether anybody could still write to it: a read-only view says nothing about the array that it views."""
    view: object = array
    while isinstance(view, np.ndarray):
        if view.flags.writeable:
            return True
        view = view.base
    return False


def stable_argsort(key: NDArray[np.integer[Any]], bound: int) -> NDArray[np.int64]:
    """The stable order of integers in 0 .. bound - 1."""
    n = key.size
    if bound * n < 2**63:  # key and position fit in one integer, and sorting those is several times faster
        return np.sort(key.astype(np.int64) * n + np.arange(n)) % max(n, 1)
    return np.argsort(key, kind="stable")


def csr_order(
    source: NDArray[np.int32], target: NDArray[Any], delay: NDArray[np.uint16], indptr: NDArray[np.int64], n_target: int
) -> NDArray[np.int64] | None:
    """The stable order by source, delay, target; None if the edges are in it. By blocks of rows: they fit in cache."""
    by_source = None if (source[1:] >= source[:-1]).all() else stable_argsort(source, indptr.size - 1)
    order = by_source
    delays = 1 if is_constant(delay) or not delay.size else int(delay.max()) + 1
    for rows, block in row_blocks(indptr):
        edge = block if by_source is None else by_source[block]
        key = (source[edge] - rows.start).astype(np.int64)
        if delays > 1:
            key = key * delays + delay[edge]
        key = key * n_target + target[edge]
        if (key[1:] < key[:-1]).any():
            if order is None:
                order = np.arange(source.size)
            within = stable_argsort(key, (rows.stop - rows.start) * delays * n_target)
            order[block] = block.start + within if by_source is None else by_source[block][within]
    return order


def out_of_order(indptr: NDArray[np.int64], target: NDArray[Any], delay: NDArray[np.uint16]) -> str:
    """The first target that does not rise by delay, then target, within a row, and its place; "" if all do."""
    last = indptr[(indptr > 0) & (indptr < target.size)] - 1  # of each row
    for block in in_blocks(target.size):
        more = slice(block.start, block.stop + 1)
        here, late = target[more], delay[more]
        falls = here[1:] < here[:-1]
        if not is_constant(delay):
            falls &= late[1:] == late[:-1]
            falls |= late[1:] < late[:-1]
        first, end = np.searchsorted(last, (block.start, block.start + falls.size))
        falls[last[first:end] - block.start] = False
        if falls.any():
            at = int(np.argmax(falls))
            return f"{here[at]} at index {block.start + at}"
    return ""


def not_finite(column: NDArray[np.floating[Any]]) -> str:
    """The first number that is not finite, and its place; "" if all are."""
    for block in in_blocks(column.size):
        bad = ~np.isfinite(column[block])
        if bad.any():
            at = block.start + int(np.argmax(bad))
            return f"{column[at]} at index {at}"
    return ""


def in_blocks(n: int, most: int = _BLOCK_EDGES) -> Iterator[slice]:
    """Slices of n edges, one after the other: what is made of a block fits in cache, of all maybe not in memory."""
    for first in range(0, n, most):
        yield slice(first, min(first + most, n))


def row_blocks(indptr: NDArray[np.int64], most: int = _BLOCK_EDGES) -> Iterator[tuple[slice, slice]]:
    """Slices of rows, and of their edges, one after the other: at most so many edges, or those of one row."""
    first = 0
    while first < indptr.size - 1:
        last = max(first + 1, int(np.searchsorted(indptr, indptr[first] + most, "right")) - 1)
        yield slice(first, last), slice(int(indptr[first]), int(indptr[last]))
        first = last


def one_nan(values: NDArray[Any]) -> NDArray[Any]:
    """With nan of one bit pattern, so that equal columns are equal."""
    if is_constant(values):
        return np.broadcast_to(values.dtype.type(math.nan), values.shape) if np.isnan(values[0]) else values
    lost = np.isnan(values)
    if not lost.any():
        return values
    nan = np.array(math.nan, values.dtype)
    bits = f"u{values.dtype.itemsize}"
    if (values[lost].view(bits) == nan.view(bits)).all():
        return values
    values = values.copy()
    values[lost] = nan
    return values


def row_starts(row: NDArray[np.integer[Any]], n: int) -> NDArray[np.int64]:
    """(n + 1,) where each row begins once its members are sorted."""
    return lock(np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))], dtype=np.int64))


def lock(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, read-only."""
    array.flags.writeable = False
    return array


def take_rows(array: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The values where the mask is true, read-only; one value for all stays a broadcast view."""
    if is_constant(array):
        return np.broadcast_to(array[0], int(mask.sum()))
    return lock(array[mask])


def first_bad(bad: NDArray[np.bool_], array: NDArray[Any]) -> str:
    """The first value where ``bad`` is true, and its place: for a message."""
    where = np.unravel_index(int(np.argmax(bad)), bad.shape)
    index = ", ".join(str(int(i)) for i in where)
    return f"{array[where]!s} at index {index}"


def describe(array: NDArray[Any]) -> str:
    """Type and shape: for a message."""
    return f"{array.dtype} of shape {array.shape}"


def index_type(n_target: int) -> type[np.uint16] | type[np.int32]:
    """The narrowest type that a target is stored in."""
    return np.uint16 if n_target <= 2**16 else np.int32


def checked_ids(where: str, given: ArrayLike, n: int, what: str) -> NDArray[Any]:
    """(E,) integers in 0 .. n - 1, ``what`` that is. Raises :class:`ConnectomeError`."""
    array = numbers_of(where, given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ConnectomeError(where, "must be one-dimensional integers", describe(array))
    if array.size and (array.min() < 0 or array.max() >= n):
        raise ConnectomeError(where, f"must be in 0 .. {n - 1}, {what}", first_bad((array < 0) | (array >= n), array))
    return array
