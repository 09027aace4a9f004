"""What a column of an attribute is made from: lists, NumPy's arrays and pandas's columns, coded."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import describe, first_bad, is_constant, lock, numbers_of
from connectome.errors import ConnectomeError

__all__ = [
    "MAX_LABEL",
    "NO_FLAG",
    "ReverseView",
    "Values",
    "checked_labels",
    "clean_text",
    "code_type",
    "coded",
    "column_of",
    "delay_to_steps",
    "missing_of",
]

NO_FLAG: Final = -1
MAX_DELAY_STEPS: Final = np.iinfo(np.uint16).max
MAX_TEXT: Final = 10_000
MAX_LABEL: Final = 128
#: Control characters, which no text format can hold, halves of surrogate pairs, and what is no character.
_NO_TEXT: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class ReverseView(NamedTuple):
    """An edge set by target: the edges into neuron j are ``edge[indptr[j]:indptr[j + 1]]``, from ``source[...]``."""

    indptr: NDArray[np.int64]
    source: NDArray[np.int32]
    edge: NDArray[np.int64]


class Values(NamedTuple):
    """The fields of an :class:`~connectome.graph.attributes.Attribute`."""

    values: NDArray[Any]
    names: tuple[str, ...] | None = None
    is_flag: bool = False


def missing_of(dtype: np.dtype[Any], is_flag: bool) -> Any:
    """What stands for a missing number, or flag, of this type."""
    if is_flag:
        return np.int8(NO_FLAG)
    return dtype.type(math.nan) if dtype.kind == "f" else dtype.type(np.iinfo(dtype).min)


def code_type(n: int) -> type[np.uint8] | type[np.uint16] | type[np.uint32]:
    """The narrowest type for places among n texts."""
    return np.uint8 if n <= 2**8 else np.uint16 if n <= 2**16 else np.uint32


def coded(where: str, code: NDArray[np.integer[Any]], texts: Sequence[str]) -> Values:
    """Texts from (n,) places in a list of them, -1 where missing. Raises :class:`ConnectomeError`."""
    names = [clean_text(where, text) for text in texts]
    ordered = sorted({*names, ""})
    place = {name: i for i, name in enumerate(ordered)}
    new = np.array([*(place[name] for name in names), 0], code_type(len(ordered)))
    found = np.broadcast_to(new[code[0]], code.shape) if is_constant(code) else lock(new[code])
    return Values(found, tuple(ordered))


def clean_text(where: str, text: Any) -> str:
    """A text as it is kept. Raises :class:`ConnectomeError`."""
    if not isinstance(text, str):
        raise ConnectomeError(where, "must be texts", repr(text)[:80])
    if text.isascii() and text.isprintable() and "  " not in text and text == text.strip() and len(text) <= MAX_TEXT:
        return str(text)
    clean = " ".join(text.split())
    if _NO_TEXT.search(clean) or len(clean) > MAX_TEXT:
        rule = f"must be texts of at most {MAX_TEXT:,} characters, without control characters"
        raise ConnectomeError(where, rule, repr(clean)[:80])
    return clean


def column_of(where: str, given: Any, lost: NDArray[np.bool_] | None = None) -> Values:
    """From anything that holds one value for each; or an array, and which of its values are missing. Raises
    :class:`ConnectomeError`."""
    if lost is not None:
        return _of_array(where, given, lost)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(given, (pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)):
        return _of_pandas(where, pandas.Series(given), pandas)
    if isinstance(given, np.ma.MaskedArray):
        lost = np.ma.getmaskarray(given)  # type: ignore[no-untyped-call]
        return _of_array(where, np.asarray(given.filled(0) if given.dtype.kind in "biuf" else given.data), lost)
    try:
        array = np.asarray(given) if isinstance(given, np.ndarray) else np.asarray(list(given), object)
    except (TypeError, ValueError):
        raise ConnectomeError(where, "must be one value for each", repr(given)[:80]) from None
    return _of_array(where, array)


def _of_pandas(where: str, column: Any, pandas: Any) -> Values:
    if isinstance(column.dtype, pandas.CategoricalDtype):
        categories = column.cat.categories
        if all(isinstance(name, str) for name in categories):
            return coded(where, column.cat.codes.to_numpy(), list(categories))
        column = column.astype(categories.dtype if not column.isna().any() else object)
    lost = column.isna().to_numpy()
    kind = getattr(column.dtype, "kind", "O")
    if isinstance(column.dtype, np.dtype) and kind in "biuf":
        return _of_array(where, column.to_numpy())
    if kind in "biu":
        return _of_array(where, column.to_numpy(dtype="bool" if kind == "b" else f"{kind}8", na_value=0), lost)
    if kind == "f":
        return _of_array(where, column.to_numpy(dtype=np.float64, na_value=math.nan))
    if isinstance(column.dtype, pandas.StringDtype):
        code, names = pandas.factorize(column)
        return coded(where, code, [str(name) for name in names])
    return _of_array(where, column.to_numpy(object), lost)


def _of_array(where: str, array: NDArray[Any], lost: NDArray[np.bool_] | None = None) -> Values:
    if array.ndim != 1:
        raise ConnectomeError(where, "must be one-dimensional", describe(array))
    match array.dtype.kind:
        case "f":
            dtype = np.float32 if array.dtype.itemsize <= 4 else np.float64
            values = array.astype(dtype, copy=False)
            return Values(values if lost is None or not lost.any() else np.where(lost, dtype(math.nan), values))
        case "b":
            flags = array.astype(np.int8)
            return Values(flags if lost is None else np.where(lost, np.int8(NO_FLAG), flags), None, True)
        case "i" | "u":
            return Values(_integers(where, array, lost))
        case "U":
            names, code = np.unique(array, return_inverse=True)
            return coded(where, code if lost is None else np.where(lost, -1, code), names.tolist())
        case "O":
            return _of_objects(where, array.tolist(), lost)
    raise ConnectomeError(where, "must be numbers, flags or texts", describe(array))


def _integers(where: str, array: NDArray[Any], lost: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """With a sign, and wide enough that the lowest number is free for missing. Raises :class:`ConnectomeError`."""
    known = array if lost is None else array[~lost]
    if is_constant(array) and lost is None:
        return np.broadcast_to(_integers(where, np.array(array[:1]))[0], array.shape)
    width = array.dtype.itemsize * (2 if array.dtype.kind == "u" else 1)
    low, high = (int(known.min()), int(known.max())) if known.size else (0, 0)
    while width < 8 and low <= -(2 ** (8 * width - 1)):
        width *= 2
    dtype = np.dtype(f"i{min(width, 8)}")
    if low <= np.iinfo(np.int64).min or high > np.iinfo(np.int64).max:
        raise ConnectomeError(where, "must be integers of 64 bits, the lowest left out", low if low < 0 else high)
    values = array.astype(dtype, copy=False)
    return values if lost is None or not lost.any() else np.where(lost, missing_of(dtype, False), values)


def _of_objects(where: str, values: list[Any], lost: NDArray[np.bool_] | None) -> Values:
    """From Python's values: of one kind, but that integers may stand among floats."""
    if lost is None:
        lost = np.array([_is_nothing(value) for value in values], bool)
    known = [value for value, is_lost in zip(values, lost.tolist(), strict=True) if not is_lost]
    kinds: set[Any] = {type(value) for value in known}

    def filled(dtype: type, nothing: Any) -> NDArray[Any]:
        array: NDArray[Any] = np.full(len(values), nothing, dtype)
        array[~lost] = known
        return array

    def are(*allowed: type) -> bool:
        return all(issubclass(kind, allowed) for kind in kinds)

    try:
        if are(str):
            texts = [str(value) for value in known]
            place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            code = np.full(len(values), -1, np.int64)
            code[~lost] = [place[text] for text in texts]
            return coded(where, code, list(place))
        if are(bool, np.bool_):
            return Values(filled(np.int8, NO_FLAG), None, True)
        if are(int, np.integer) and not are(bool, np.bool_) and bool not in kinds:
            return Values(_integers(where, filled(np.int64, 0), lost))
        if are(int, float, np.integer, np.floating) and bool not in kinds:
            return Values(filled(np.float64, math.nan))
    except OverflowError:
        raise ConnectomeError(where, "must be integers of 64 bits", "a larger one", "Give them as texts.") from None
    found = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise ConnectomeError(where, "must be numbers, flags or texts, all of one kind", found)


def _is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)) or _is_na(value)


def _is_na(value: Any) -> bool:
    return type(value).__name__ in ("NAType", "NaTType")


def checked_labels(where: str, given: ArrayLike, n: int) -> NDArray[np.str_] | None:
    """(n,) names, read-only; None if all are empty. Raises :class:`ConnectomeError`."""
    array = np.asarray(given, object)
    if array.shape != (n,):
        raise ConnectomeError(where, f"must have shape {(n,)}", array.shape)
    names = array.tolist()
    for place, name in enumerate(names):
        if not isinstance(name, str) or len(name) > MAX_LABEL or not name.isprintable() or name != name.strip():
            raise ConnectomeError(
                where, f"must be printable text of at most {MAX_LABEL} characters, without a space at either end",
                f"{name!r:.200} at index {place}",
            )  # fmt: skip
    return lock(np.array(names, str)) if any(names) else None


def delay_to_steps(delay_ms: ArrayLike, dt_ms: float, where: str = "delay_ms") -> NDArray[np.uint16]:
    """Whole steps of ``dt_ms``, rounded. Raises :class:`ConnectomeError` outside 1 .. 65535 steps."""
    given = numbers_of(where if where.endswith("delay_ms") else f"{where}.delay_ms", delay_ms)
    if is_constant(given):
        return np.broadcast_to(delay_to_steps(given[0], dt_ms, where), given.shape)
    with np.errstate(over="ignore"):  # what is infinite is refused on the next line
        steps = np.rint(given / dt_ms)
    bad = ~((steps >= 1) & (steps <= MAX_DELAY_STEPS))  # also true for nan
    if bad.any():
        raise ConnectomeError(
            where if where.endswith("delay_ms") else f"{where}.delay_ms",
            f"must be {dt_ms:g} .. {MAX_DELAY_STEPS * dt_ms:g} ms (1 .. {MAX_DELAY_STEPS} steps of {dt_ms:g} ms)",
            first_bad(bad, given) if given.ndim else given,
        )
    return steps.astype(np.uint16)
