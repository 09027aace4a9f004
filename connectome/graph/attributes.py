"""Attributes: what is known of each neuron or edge besides what a simulation needs, some of it missing.

A column is numbers, flags or texts, and keeps the width that it was given: int8 to int64, float32 or float64; texts
are places in a list of those that there are, one byte each up to 256 of them. Missing is said in the column itself, so
that it costs nothing: nan among floats, the lowest number of its type among integers (as in R and NumPy's NaT), -1
among flags, the empty text among texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly, first_bad, is_constant, is_writable, lock, one_nan, take_rows
from connectome.errors import ConnectomeError
from connectome.graph.columns import code_type, coded, column_of, missing_of

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = [
    "EDGE_WORDS", "NODE_WORDS", "TYPES", "Attribute", "attribute_name", "checked_attributes", "joined_attributes",
]  # fmt: skip

TEXT: Final = "text"
FLAG: Final = "flag"
#: Every type that a column can have.
TYPES: Final = (TEXT, FLAG, "int8", "int16", "int32", "int64", "float32", "float64")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RULE: Final = "letters, digits and '_', starting with a letter, at most 64 of them"
#: Words that the query language or a table of nodes or edges has for something else.
_WORDS: Final = frozenset({"and", "or", "not", "in", "is", "like", "missing", "true", "false", "nan"})
NODE_WORDS: Final = _WORDS | {
    "region", "index", "label", "name", "id", "role", "birth_stage", "sign", "x", "y", "z", "value", "source", "target",
    "graphics",
}  # fmt: skip
EDGE_WORDS: Final = _WORDS | {
    "source", "target", "source_region", "target_region", "kind", "weight", "weight_pa", "delay", "delay_ms",
    "birth_stage", "id", "key", "interaction", "syn_weight", "tract_length_um", "tract_length_mm",
}  # fmt: skip
#: What SONATA's groups hold besides.
_SONATA: Final = frozenset({"model_type", "model_template", "dynamics_params"})


@dataclass(frozen=True, eq=False)
class Attribute(ReadOnly):
    """One value for each neuron of a region, or for each edge of a set. Make one with :meth:`of`.

    Parameters
    ----------
    values : (n,) float32 or float64, int8 to int64; of flags int8: 1, 0, or -1 where missing; of texts the place of
        each in ``names``: uint8, uint16 or uint32, the narrowest that will do
    names : the texts that there are, sorted, each once, the empty one for missing; None for what is no text
    is_flag : whether the numbers are flags
    """

    values: NDArray[Any]
    names: tuple[str, ...] | None = None
    is_flag: bool = False

    def __post_init__(self) -> None:
        values, names = self.values, self.names
        if names is not None:
            values, names = _narrow(values, names)
        elif values.dtype.kind == "f":
            values = one_nan(values)
        object.__setattr__(self, "values", values if _is_locked(values) else lock(values.copy()))
        object.__setattr__(self, "names", names)

    @classmethod
    def of(cls, where: str, given: Any, n: int) -> Attribute:
        """A column of n values from a list, an array of NumPy's or a column of pandas's; or one value for all.

        Missing are None, nan, empty texts, and what is masked. Integers without a sign get one, in twice the width.
        Texts lose spaces at their ends, and have one space where there were several or a line ended. Raises
        :class:`ConnectomeError`.
        """
        if isinstance(given, cls):
            found = given
        elif given is None or isinstance(given, (str, bool, int, float, np.generic)):
            found = cls._repeated(where, given, n)
        else:
            found = cls(*column_of(where, given))
        if len(found) != n:
            raise ConnectomeError(where, f"must have {n} values", len(found))
        return found

    @classmethod
    def of_codes(cls, where: str, code: NDArray[np.integer[Any]], texts: Sequence[str]) -> Attribute:
        """A column of texts from (n,) places in a list of them, -1 where missing. Raises :class:`ConnectomeError`."""
        return cls(*coded(where, code, texts))

    @classmethod
    def of_masked(cls, where: str, values: NDArray[Any], lost: NDArray[np.bool_]) -> Attribute:
        """A column of numbers or flags, and (n,) which of them are missing. Raises :class:`ConnectomeError`."""
        return cls(*column_of(where, values, lost))

    @classmethod
    def missing(cls, kind: str, n: int) -> Attribute:
        """A column of this type in which every value is missing; it takes no room."""
        if kind == TEXT:
            return cls(np.broadcast_to(np.uint8(0), n), ("",) if n else ())
        dtype = np.dtype(np.int8 if kind == FLAG else kind)
        return cls(np.broadcast_to(missing_of(dtype, kind == FLAG), n), None, kind == FLAG)

    @classmethod
    def _repeated(cls, where: str, value: Any, n: int) -> Attribute:
        one = column_of(where, np.array([value], object))
        return cls(np.broadcast_to(one.values[0], n), one.names, one.is_flag)

    def __len__(self) -> int:
        return int(self.values.size)

    def __repr__(self) -> str:
        return f"Attribute({self.type}, {len(self)} values, {int(self.is_missing.sum())} missing)"

    @property
    def type(self) -> str:
        """Which of :data:`TYPES`."""
        return TEXT if self.names is not None else FLAG if self.is_flag else self.values.dtype.name

    @property
    def kind(self) -> str:
        """``"text"``, ``"flag"``, ``"integer"`` or ``"number"``: columns of one name agree in it."""
        return self.type if self.type in (TEXT, FLAG) else "integer" if self.values.dtype.kind == "i" else "number"

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """(n,) where nothing is known."""
        if self.names is not None:
            return lock(self.values == 0) if self.names[:1] == ("",) else np.broadcast_to(np.False_, len(self))
        if self.values.dtype.kind == "f":
            return lock(np.isnan(self.values))
        return lock(self.values == missing_of(self.values.dtype, self.is_flag))

    @property
    def categories(self) -> tuple[str, ...]:
        """The texts that there are, sorted, without the empty one."""
        names = self.names or ()
        return names[1:] if names[:1] == ("",) else names

    def take(self, which: NDArray[Any]) -> Attribute:
        """The values where a mask is true, or at these places."""
        if is_constant(self.values):
            values = np.broadcast_to(self.values[0], int(which.sum()) if which.dtype == bool else which.size)
        else:
            values = take_rows(self.values, which) if which.dtype == bool else lock(self.values[which])
        return Attribute(values, self.names, self.is_flag)

    def astype(self, kind: str, where: str = "attribute") -> Attribute:
        """The same values as another type of numbers, or zeros and ones as flags. Raises :class:`ConnectomeError` for
        what that cannot hold."""
        if kind == self.type:
            return self
        if kind not in TYPES or TEXT in (kind, self.type) or self.is_flag or (kind == FLAG and self.kind != "integer"):
            raise ConnectomeError(where, f"must be {kind}", self.type)
        lost, dtype = self.is_missing, np.dtype(np.int8 if kind == FLAG else kind)
        nothing = missing_of(dtype, kind == FLAG)
        with np.errstate(invalid="ignore", over="ignore"):
            values = self.values.astype(dtype)
            same = values.astype(self.values.dtype) == self.values
        if kind == FLAG:
            same &= (values == 0) | (values == 1)
        elif dtype.kind == "i":
            same &= values != nothing
        elif self.values.dtype.kind == "f":  # fewer digits of a number that has them
            same[:] = True
        if not (same | lost).all():
            raise ConnectomeError(where, f"must be {kind}", first_bad(~(same | lost), self.values))
        values[lost] = nothing
        return Attribute(lock(values), None, kind == FLAG)

    def agreed(self, member: NDArray[np.integer[Any]], n: int) -> Attribute:
        """One value for each of n groups, the one that all its members have, else missing. ``member`` (E,): the group
        of each value."""
        first = np.full(n, -1)
        first[member[::-1]] = np.arange(len(self))[::-1]
        differs = self.values != self.values[first[member]]
        if self.values.dtype.kind == "f":
            differs &= ~(np.isnan(self.values) & np.isnan(self.values[first[member]]))
        lost = np.zeros(n, bool)
        lost[member[differs]] = True
        return self.take(first).without(lost)

    def without(self, mask: NDArray[np.bool_]) -> Attribute:
        """The same, but missing where the (n,) mask is true."""
        if self.names is None:
            values, names, nothing = self.values.copy(), None, missing_of(self.values.dtype, self.is_flag)
        else:
            names = ("", *self.categories)
            shift, nothing = len(names) - len(self.names), 0
            values = (self.values.astype(np.int64) + shift).astype(code_type(len(names)))
        values[mask] = nothing
        return Attribute(lock(values), names, self.is_flag)

    def tolist(self) -> list[Any]:
        """Python's values, None where missing."""
        if self.names is not None:
            names = np.array([name or None for name in self.names], object)
            return names[self.values].tolist() if len(self) else []
        values: list[Any] = (self.values == 1).tolist() if self.is_flag else self.values.tolist()
        for place in np.flatnonzero(self.is_missing).tolist():
            values[place] = None
        return values

    def to_pandas(self) -> Any:
        """As pandas has it: a categorical of texts, ``boolean`` flags, integers that may lack (``Int64``...) or not,
        floats."""
        import pandas

        if self.names is not None:
            codes = self.values.astype(np.int32) - np.int32(self.names[:1] == ("",))
            return pandas.Categorical.from_codes(codes, categories=pandas.Index(self.categories, dtype=object))
        lost = np.array(self.is_missing)
        if self.is_flag:
            return pandas.arrays.BooleanArray(self.values == 1, lost) if lost.any() else self.values == 1
        if self.values.dtype.kind == "f" or not lost.any():
            return np.array(self.values)
        return pandas.arrays.IntegerArray(np.where(lost, self.values.dtype.type(0), self.values), lost)

    def feed(self, name: str, sha: _Hash) -> None:
        """Give name, type and content to a digest."""
        sha.update(repr((name, self.type, self.names)).encode())
        sha.update(np.ascontiguousarray(self.values).data)


def attribute_name(text: str, words: frozenset[str], taken: Iterable[str] = ()) -> str:
    """A column's title as the name of an attribute: accents go, what else is not allowed becomes ``_``, and one that
    would mean something else, or is taken, ends in ``_``."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", plain)[:50].strip("_")
    plain = plain if plain[:1].isalpha() and not plain.startswith("state_") else f"column_{plain}"
    while not _is_free(plain, words) or plain in taken:
        plain += "_"
    return plain


def checked_attributes(where: str, given: Mapping[str, Any], n: int, words: frozenset[str]) -> Mapping[str, Attribute]:
    """Attributes by name, in order. Raises :class:`ConnectomeError` for a name or a column that does not fit."""
    if not given:
        return _NONE
    for name in given:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not _is_free(name, words):
            words_there = ", ".join(sorted(words - _WORDS))
            raise ConnectomeError(
                f"{where}.attributes", f"must have names of {_RULE}, and none of {words_there}", repr(name)
            )
    return MappingProxyType({k: Attribute.of(f"{where}.attributes[{k}]", given[k], n) for k in sorted(given)})


def joined_attributes(where: str, parts: Sequence[tuple[Mapping[str, Attribute], int]]) -> dict[str, Attribute]:
    """Columns one after the other, for each part its attributes and how many there are; missing where a part has no
    such attribute. Raises :class:`ConnectomeError` for attributes of one name and two kinds."""
    found = {}
    for name in sorted({name for attributes, _ in parts for name in attributes}):
        given = [attributes[name] for attributes, _ in parts if name in attributes]
        kinds = sorted({a.kind for a in given})
        if len(kinds) > 1:
            raise ConnectomeError(
                f"{where}.attributes[{name}]", "must be of one kind wherever there is one", " and ".join(kinds)
            )
        kind = given[0].type
        if kind not in (TEXT, FLAG):
            kind = np.result_type(*(a.values.dtype for a in given)).name
        found[name] = _joined([a.get(name) or Attribute.missing(kind, n) for a, n in parts], kind)
    return found


def _joined(parts: list[Attribute], kind: str) -> Attribute:
    parts = [p for p in parts if len(p)] or parts[:1]
    n = sum(map(len, parts))
    if kind != TEXT:
        values = [p.astype(kind).values for p in parts]
        return Attribute(_concatenated(values, n), None, kind == FLAG)
    names = sorted({name for p in parts for name in p.names or ()})
    place = {name: i for i, name in enumerate(names)}
    dtype = code_type(len(names))
    codes = []
    for p in parts:
        new = np.array([place[name] for name in p.names or ()], dtype)
        codes.append(
            np.broadcast_to(new[p.values[0]], len(p)) if is_constant(p.values) else new[p.values] if len(p) else new
        )
    return Attribute(_concatenated(codes, n), tuple(names))


def _concatenated(values: list[NDArray[Any]], n: int) -> NDArray[Any]:
    first = values[0]
    if all(is_constant(v) for v in values) and all(v[:1].tobytes() == first[:1].tobytes() for v in values):
        return np.broadcast_to(first[0], n)
    return lock(np.concatenate(values))


_NONE: Final[Mapping[str, Attribute]] = MappingProxyType({})


def _is_free(name: str, words: frozenset[str]) -> bool:
    return name.lower() not in words and name not in _SONATA and not name.startswith("state_")


def _is_locked(values: NDArray[Any]) -> bool:
    return is_constant(values) or not is_writable(values)


def _narrow(code: NDArray[Any], names: tuple[str, ...]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Codes and names without the names that nothing has, so that equal columns are equal."""
    if is_constant(code):
        return np.broadcast_to(np.uint8(0), code.size), (names[code[0]],)
    used = np.bincount(code, minlength=len(names)) > 0
    if used.all():
        return code.astype(code_type(len(names)), copy=False), names
    kept = tuple(name for name, is_used in zip(names, used.tolist(), strict=True) if is_used)
    new = (np.cumsum(used) - 1).astype(code_type(len(kept)))
    return lock(new[code]) if code.size else np.zeros(0, np.uint8), kept
