"""Columns of a text table (CSV and similar), read without trust; errors name the line."""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import FLAG, TEXT, Attribute, attribute_name
from connectome.graph.columns import NO_FLAG
from connectome.graph.tables import STATE
from connectome.io.text_files import beginning, delimiter_of, opened, read_header, rows_of

__all__ = [
    "INTEGER",
    "Column",
    "Columns",
    "Texts",
    "normal",
    "read_columns",
]

_NO_NUMBER: Final = ["", "nan", "NaN", "NA", "N/A", "null", "None"]
#: Cells of a column of texts that say nothing; NA is a text there, of noradrenaline say.
_NOTHING: Final = ("", "nan", "NaN", "N/A", "n/a", "null", "None", "<NA>")
_FLAGS: Final = {"true": 1, "false": 0, "1": 1, "0": 0}
INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER: Final = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
MAX_COLUMNS: Final = 10_000
DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
COMMA_HINT: Final = "Write a decimal point; commas are read where semicolons separate the columns."
CHUNK_ROWS: Final = 1 << 18
#: Rows from which the kind of a column is read.
_SAMPLE: Final = 1 << 12


class Column(NamedTuple):
    """A column that is looked for: its other names, whether it holds numbers, whether it may have empty cells (nan),
    and whether it is a key; a key column that holds only integers is compared as numbers."""

    aliases: tuple[str, ...] = ()
    is_number: bool = False
    may_lack: bool = False
    is_key: bool = False


_STATE: Final = Column(is_number=True, may_lack=True)


class Texts(NamedTuple):
    """(n,) texts, as (n,) places in the list of distinct ones."""

    code: NDArray[np.integer[Any]]
    names: list[str]


class Columns(NamedTuple):
    """The columns of one table: the ones looked for, with their titles in the file, and the others as attributes;
    ``place(row)`` says where a row is in the file."""

    path: str
    size: int
    texts: Mapping[str, Texts]
    numbers: Mapping[str, NDArray[np.float64]]
    attributes: Mapping[str, Attribute]
    titles: Mapping[str, str]
    is_text: bool = False

    def refuse(self, column: str, row: int, rule: str, found: object, hint: str = "") -> ConnectomeError:
        """The error for one cell."""
        return ConnectomeError(f"{self.path}: {self.place(row)}, {column}", rule, found, hint)

    def place(self, row: int) -> str:
        """The line of a row in a text file, else its number."""
        if self.is_text:
            with (
                rows_of(self.path) as (reader, rows),
                suppress(csv.Error),
            ):  # a field of more than 128 KiB: pandas reads it
                for number, _ in enumerate(rows):
                    if number == row + 1:
                        return f"line {reader.line_num}"
        return f"row {row}"


def normal(name: object) -> str:
    """A column's name in lower case with underscores."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def read_columns(
    path: str | os.PathLike[str], wanted: Mapping[str, Column], words: frozenset[str],
    types: Mapping[str, str] = MappingProxyType({}),
) -> Columns:  # fmt: skip
    """The wanted columns of a table with a header, and all others as attributes. Names are compared regardless of case.

    The delimiter (comma, tab or semicolon) is the most frequent one in the header; with semicolons, numbers may have
    decimal commas, but then all must. Spaces at the ends of texts are removed. Columns whose names start with
    ``state_`` hold numbers and may have empty cells. The type of any other column follows from its cells (integers,
    numbers, flags (true, false) or texts), unless ``types`` gives it (of :data:`~connectome.graph.attributes.TYPES`); a
    column without any value is left out, and the names in ``words`` cannot be attributes. The file is read in parts.
    Raises :class:`ConnectomeError` for ragged rows, for two columns of the same name, and for a cell that must be a
    number and is not.
    """
    where = os.fspath(path)
    header = read_header(path)
    if not header or len(header) > MAX_COLUMNS:
        raise ConnectomeError(
            f"{where}: line 1", f"must have names of 1 .. {MAX_COLUMNS:,} columns", f"{len(header)} of them"
        )
    given = [normal(name) for name in header]
    chosen: dict[str, int] = {}
    for name, column in wanted.items():
        known = next((k for k in (name, *column.aliases) if k in given), None)
        if known is not None:
            chosen[name] = given.index(known)
            if given.count(known) > 1:
                raise ConnectomeError(f"{where}: line 1", "must name each column once", f"{known!r} twice")
    for at, name in enumerate(map(str.strip, header)):
        if name.startswith(STATE):
            if name in chosen:
                raise ConnectomeError(f"{where}: line 1", "must name each column once", f"{name!r} twice")
            chosen[name] = at
    others = {at: title.strip() for at, title in enumerate(header) if at not in chosen.values() and title.strip()}
    parser = _Parser(path, header, {at: wanted.get(name, _STATE) for name, at in chosen.items()}, others, types)
    found = parser.read()
    table = Columns(where, parser.size, {}, {}, {}, {name: header[at].strip() for name, at in chosen.items()}, True)
    texts, numbers = {}, {}
    for name, at in chosen.items():
        column = wanted.get(name, _STATE)
        if not column.is_number:
            texts[name] = found[at] if isinstance(found[at], Texts) else _numbered(found[at])
            continue
        numbers[name] = found[at]
        bad = ~np.isfinite(numbers[name])
        if bad.any() and not column.may_lack:
            row = int(np.argmax(bad))
            raise table.refuse(header[at], row, "must be a finite number", numbers[name][row])
    attributes: dict[str, Attribute] = {}
    for at, title in others.items():
        attribute = _attribute(f"{where}: {title}", found[at], types.get(title))
        if not attribute.is_missing.all():
            attributes[attribute_name(title, words, attributes)] = attribute
    return table._replace(texts=texts, numbers=numbers, attributes=attributes)


class _Parser:
    """A file's columns: numbers as float64, keys and integers as int64, texts as :class:`Texts`. A column whose type
    differs from that of its first rows becomes a column of texts."""

    def __init__(
        self, path: str | os.PathLike[str], header: list[str], chosen: Mapping[int, Column], others: Mapping[int, str],
        types: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.path, self.header, self.chosen, self.others, self.types = path, header, chosen, others, types
        self.delimiter = delimiter_of(beginning(path))
        self.size, self.decimal = 0, "."
        self.plan: dict[int, str] = {}

    def read(self) -> dict[int, Any]:
        """Place -> column."""
        import pandas

        while True:
            try:
                self.plan = self.plan or self._planned()
                return self._read()
            except (pandas.errors.ParserError, pandas.errors.ParserWarning, pandas.errors.EmptyDataError) as error:
                reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
                reason = "more in line 2" if isinstance(error, pandas.errors.ParserWarning) else reason
                rule = f"must have rows of {len(self.header)} fields, as its header has"
                raise ConnectomeError(os.fspath(self.path), rule, reason) from None
            except (ValueError, OverflowError) as error:
                if isinstance(error, ConnectomeError):
                    raise
                if not self._demoted():
                    raise self._no_number() from None

    def _planned(self) -> dict[int, str]:
        """Place -> how pandas shall read a column, from its first rows."""
        first = next(self._parts(dict.fromkeys(range(len(self.header)), "object"), _SAMPLE), None)
        sample = {
            at: [] if first is None else [cell.strip() for cell in first[at].tolist()] for at in range(len(self.header))
        }
        if self.delimiter == ";":
            numeric = [cells for at, cells in sample.items() if at in self.chosen and self.chosen[at].is_number]
            self.decimal = _decimal_mark(itertools.chain(*numeric)) or _decimal_mark(itertools.chain(*sample.values()))
        plan: dict[int, str] = {}
        for at, title in enumerate(self.header):
            cells = [cell.replace(",", ".") for cell in sample[at]] if self.decimal == "," else sample[at]
            if at in self.chosen:
                is_key = self.chosen[at].is_key and bool(cells) and all(map(INTEGER.fullmatch, cells))
                plan[at] = "float64" if self.chosen[at].is_number else "int64" if is_key else "object"
            elif at in self.others:
                plan[at] = _planned(cells, self.types.get(title.strip()))
        return plan

    def _read(self) -> dict[int, Any]:
        import pandas

        columns: dict[int, list[Any]] = {at: [] for at in self.plan}
        places: dict[int, dict[str, int]] = {at: {} for at, kind in self.plan.items() if kind == "object"}
        self.size = 0
        for part in self._parts(self.plan, CHUNK_ROWS):
            self.size += len(part)
            for at, kind in self.plan.items():
                if kind != "object":
                    columns[at].append(part[at].to_numpy(kind))
                    continue
                code, names = pandas.factorize(part[at].to_numpy(object))
                place = places[at]
                new = [place.setdefault(name, len(place)) for name in map(str.strip, names.tolist())]
                columns[at].append(np.array(new, np.int32)[code] if new else np.zeros(0, np.int32))
        found: dict[int, Any] = {}
        for at, kind in self.plan.items():
            dtype = np.int32 if kind == "object" else kind
            array = np.concatenate([np.zeros(0, dtype), *columns.pop(at)], dtype=dtype)
            found[at] = Texts(array, list(places[at])) if kind == "object" else array
        return found

    def _parts(self, plan: Mapping[int, str], rows: int) -> Iterator[Any]:
        import pandas

        numeric = dict.fromkeys((at for at, kind in plan.items() if kind == "float64"), _NO_NUMBER)
        with opened(self.path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # a first row that is too long is only that
            options: dict[str, Any] = {"na_values": numeric, **_exact(pandas.__version__)}
            try:
                with pandas.read_csv(
                    stream, sep=self.delimiter, decimal=self.decimal or ".", header=0, names=range(len(self.header)),
                    index_col=False, skipinitialspace=True, keep_default_na=False, dtype=dict(plan), chunksize=rows,
                    **options,
                ) as parts:  # fmt: skip
                    yield from parts
            except pandas.errors.EmptyDataError:
                return
            except pandas.errors.ParserError:
                if stream.failure is not None:
                    raise stream.failure from None
                raise

    def _demoted(self) -> bool:
        """Whether a column that was thought to be of integers, or of numbers, is of texts now."""
        for at, kind in self.plan.items():
            if kind == "object" or (at in self.chosen and self.chosen[at].is_number):
                continue
            try:
                for part in self._parts({**dict.fromkeys(range(len(self.header)), "object"), at: kind}, CHUNK_ROWS):
                    part[at].to_numpy(kind)
            except (ValueError, OverflowError):
                self.plan[at] = "object"
                return True
        return False

    def _no_number(self) -> ConnectomeError:
        """The error for the first cell of these columns that is no number."""
        numeric = [at for at, column in self.chosen.items() if column.is_number]
        with rows_of(self.path) as (reader, rows), suppress(csv.Error):
            next(rows, None)
            for fields in rows:
                for at in numeric:
                    cell = fields[at].strip() if at < len(fields) else ""
                    if not _is_number(cell, self.decimal):
                        comma = self.decimal != "," and DECIMAL_COMMA.fullmatch(cell)
                        hint = "Elsewhere it has decimal commas." if self.decimal == "," and "." in cell else ""
                        place = f"{os.fspath(self.path)}: line {reader.line_num}, {normal(self.header[at])}"
                        return ConnectomeError(
                            place, "must be a number", repr(cell[:80]), COMMA_HINT if comma else hint
                        )  # fmt: skip
        names = ", ".join(self.header[at].strip() for at in numeric)
        return ConnectomeError(os.fspath(self.path), f"must have numbers in {names}", "something else")


def _decimal_mark(cells: Iterable[str]) -> str:
    """Comma or point, as the first number with one of them has it; nothing if none has."""
    marked = (cell for cell in cells if DECIMAL_COMMA.fullmatch(cell) or ("." in cell and _NUMBER.fullmatch(cell)))
    return next(("." if "." in cell else "," for cell in marked), "")


def _is_number(cell: str, decimal: str) -> bool:
    """Whether it is one, or says that there is none."""
    number = cell.replace(",", ".") if decimal == "," and "." not in cell else cell
    try:
        return cell in _NO_NUMBER or not ("_" in cell or ("." in cell and decimal == ",") or math.isnan(float(number)))
    except ValueError:
        return False


def _planned(cells: list[str], kind: str | None) -> str:
    """How a column is read that nobody asked for: as its first cells are, or as its type is known to be."""
    if kind is not None:
        return "float64" if kind.startswith("float") else "object"
    known = [cell for cell in cells if cell not in _NOTHING]
    if known and len(known) == len(cells) and all(map(INTEGER.fullmatch, known)):
        return "int64"
    floats = known and all(map(_NUMBER.fullmatch, known)) and not all(map(INTEGER.fullmatch, known))
    return "float64" if floats else "object"


def _attribute(where: str, column: Any, kind: str | None) -> Attribute:
    """A column that nobody asked for; texts that all are integers, numbers or flags are those."""
    if not isinstance(column, Texts):
        if kind is None and column.dtype == np.int64:
            return _narrowest(where, Attribute(column))
        found = Attribute.of(where, column, column.size)
        return found if kind is None else found.astype(kind, where)
    nothing = ("",) if kind == TEXT else _NOTHING
    lost = np.array([name in nothing for name in column.names], bool)
    known = [name for name, is_lost in zip(column.names, lost.tolist(), strict=True) if not is_lost]
    is_lost = lost[column.code] if column.code.size else np.zeros(0, bool)

    def numbers(dtype: type, read: Callable[[str], Any]) -> NDArray[Any]:
        values: NDArray[Any] = np.zeros(max(len(column.names), 1), dtype)
        values[: len(column.names)][~lost] = [read(name) for name in known]
        return np.take(values, column.code)

    try:
        if kind == FLAG or (kind is None and known and all(name.lower() in ("true", "false") for name in known)):
            flags = numbers(np.int8, lambda name: _FLAGS[name.lower()])
            return Attribute(np.where(is_lost, np.int8(NO_FLAG), flags), None, True)
        if kind in (None, "int8", "int16", "int32", "int64") and known and all(map(INTEGER.fullmatch, known)):
            found = Attribute.of_masked(where, numbers(np.int64, int), is_lost)
            return found.astype(kind, where) if kind else _narrowest(where, found)
        if kind is None and known and all(map(_NUMBER.fullmatch, known)):
            return Attribute(np.where(is_lost, math.nan, numbers(np.float64, float)))
    except (KeyError, OverflowError):
        pass
    if kind not in (None, TEXT) and known:
        raise ConnectomeError(where, f"must be {kind}", repr(known[0])[:80])
    if kind not in (None, TEXT):
        return Attribute.missing(kind or TEXT, column.code.size)
    found = Attribute.of_codes(where, np.where(is_lost, -1, column.code), column.names)
    return found


def _narrowest(where: str, integers: Attribute) -> Attribute:
    """Integers in the fewest bytes that hold them."""
    lost = integers.is_missing
    known = integers.values[~lost] if lost.any() else integers.values
    low, high = (int(known.min()), int(known.max())) if known.size else (0, 0)
    for kind in ("int8", "int16", "int32"):
        if np.iinfo(kind).min < low and high <= np.iinfo(kind).max:
            return integers.astype(kind, where)
    return integers


def _numbered(keys: NDArray[np.int64]) -> Texts:
    """Integers as texts."""
    import pandas

    code, values = pandas.factorize(keys)
    return Texts(code.astype(np.int32), [str(value) for value in values.tolist()])


def _stripped(names: list[str], code: NDArray[Any]) -> Texts:
    """Texts without spaces at their ends, each once."""
    plain = [name.strip() for name in names]
    kept = list(dict.fromkeys(plain))
    place = {name: i for i, name in enumerate(kept)}
    return Texts(np.array([*(place[name] for name in plain), -1], np.int64)[code], kept)


def _exact(version: str) -> dict[str, Any]:
    """What makes pandas read numbers to the last bit; from 3.1 on it always does."""
    return {} if tuple(map(int, version.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}
