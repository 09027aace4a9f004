"""Columns of a text table (CSV and its kin), read without being believed; what is wrong with one says on which line."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.parts import NAME_RULE
from connectome.io.files import naming, read_bytes, unpacked

__all__ = [
    "Column",
    "Columns",
    "Texts",
    "header_of",
    "naming_once",
    "normal",
    "read_columns",
    "read_text",
    "region_names",
]

_DELIMITERS: Final = ",\t;"
_NO_NUMBER: Final = ["", "nan", "NaN", "NA", "N/A", "null", "None"]
MAX_COLUMNS: Final = 10_000
DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
COMMA_HINT: Final = "Write a decimal point; commas are read where semicolons separate the columns."


class Column(NamedTuple):
    """A column that is looked for: its other names, and whether it holds numbers, and may have empty cells (nan)."""

    aliases: tuple[str, ...] = ()
    is_number: bool = False
    may_lack: bool = False


_STATE: Final = Column(is_number=True, may_lack=True)


class Texts(NamedTuple):
    """(n,) texts as (n,) places in the list of those that there are."""

    code: NDArray[np.int64]
    names: list[str]


class Columns(NamedTuple):
    """The columns of one table that were looked for; ``place(row)`` is where a row is in the file."""

    path: str
    size: int
    texts: Mapping[str, Texts]
    numbers: Mapping[str, NDArray[np.float64]]
    source: str = ""

    def refuse(self, column: str, row: int, rule: str, found: object, hint: str = "") -> ConnectomeError:
        """The error for one cell."""
        return ConnectomeError(f"{self.path}: {self.place(row)}, {column}", rule, found, hint)

    def place(self, row: int) -> str:
        """The line of a row of a text, else its number."""
        if self.source:
            reader = csv.reader(io.StringIO(self.source, newline=""), delimiter=delimiter_of(self.source))
            seen = -1
            with suppress(csv.Error):  # a field of more than 128 KiB, which pandas reads
                for fields in reader:
                    seen += bool(fields)
                    if seen == row + 1:
                        return f"line {reader.line_num}"
        return f"row {row}"


@contextmanager
def naming_once(path: Path, what: str) -> Iterator[None]:
    """As :func:`connectome.io.files.naming`, but an error that names this file, or one beside it, stays as it is."""
    named: ConnectomeError | None = None
    with naming(path, what):
        try:
            yield
        except ConnectomeError as error:
            if not error.field.startswith(str(unpacked(path).with_suffix(""))):
                raise
            named = error
    if named is not None:
        raise named


def normal(name: object) -> str:
    """A column's name in small letters with underscores."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def read_text(path: str | os.PathLike[str]) -> str:
    """A text file in UTF-8. Raises :class:`ConnectomeError`."""
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConnectomeError(
            f"{os.fspath(path)}: line {line}", "must be text in UTF-8", repr(data[error.start : error.start + 10]),
            "Save it again as CSV UTF-8.",
        ) from None  # fmt: skip
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ConnectomeError(f"{os.fspath(path)}: line {line}", "must be text without the character NUL", "NUL")
    return text


def header_of(text: str) -> list[str]:
    """The fields of the first line that is not empty."""
    reader = csv.reader(io.StringIO(text[: 1 << 20], newline=""), delimiter=delimiter_of(text))
    try:
        return next((fields for fields in reader if fields), [])
    except csv.Error:  # a field of more than 128 KiB
        return []


def read_columns(path: str | os.PathLike[str], text: str, wanted: Mapping[str, Column], prefix: str = "") -> Columns:
    """The wanted columns of a table with a header. Names are compared without case; what is not wanted is left out.

    The delimiter (comma, tab or semicolon) is the one that the header has most of; with semicolons, numbers may have
    decimal commas, all of them. Texts lose spaces at their ends. Columns whose names start with
    ``prefix``, if any, hold numbers and may have empty cells. Raises :class:`ConnectomeError` for ragged rows, for two
    columns of one name and for a cell that is no number.
    """
    import pandas

    where = os.fspath(path)
    header = header_of(text)
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
        if prefix and name.startswith(prefix):
            if name in chosen:
                raise ConnectomeError(f"{where}: line 1", "must name each column once", f"{name!r} twice")
            chosen[name] = at
    known_as = {name: wanted.get(name, _STATE) for name in chosen}
    is_number = {at for name, at in chosen.items() if known_as[name].is_number}
    labels = list(range(len(header)))
    separator = delimiter_of(text)
    numeric = {at: name for name, at in chosen.items() if at in is_number}
    decimal = "," if separator == ";" and _has_decimal_comma(text, numeric) else "."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # a first row that is too long is only that
            options: dict[str, Any] = {"na_values": dict.fromkeys(is_number, _NO_NUMBER), **_exact(pandas.__version__)}
            frame: pandas.DataFrame = pandas.read_csv(
                io.StringIO(text), sep=separator, decimal=decimal, header=0, names=labels, index_col=False,
                skipinitialspace=True, keep_default_na=False,
                dtype={at: "float64" if at in is_number else "category" for at in labels},
                **options,
            )  # fmt: skip
    except (pandas.errors.ParserError, pandas.errors.ParserWarning, pandas.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        reason = "more in line 2" if isinstance(error, pandas.errors.ParserWarning) else reason
        raise ConnectomeError(where, f"must have rows of {len(header)} fields, as its header has", reason) from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, ConnectomeError):
            raise
        raise _first_no_number(where, text, numeric, decimal) from None
    table = Columns(where, len(frame), {}, {}, text)
    texts, numbers = {}, {}
    for name, at in chosen.items():
        column = known_as[name]
        if not column.is_number:
            texts[name] = _stripped([str(v) for v in frame[at].cat.categories], frame[at].cat.codes.to_numpy())
            continue
        values = frame[at].to_numpy(np.float64)
        bad = ~np.isfinite(values)
        if bad.any() and not column.may_lack:
            row = int(np.argmax(bad))
            raise table.refuse(header[at], row, "must be a finite number", values[row])
        numbers[name] = values
    return table._replace(texts=texts, numbers=numbers)


def _stripped(names: list[str], code: NDArray[Any]) -> Texts:
    """Texts without spaces at their ends, each once."""
    plain = [name.strip() for name in names]
    kept = list(dict.fromkeys(plain))
    place = {name: i for i, name in enumerate(kept)}
    return Texts(np.array([*(place[name] for name in plain), -1], np.int64)[code], kept)


def _exact(version: str) -> dict[str, Any]:
    """What makes pandas read numbers to the last bit; from 3.1 on it always does."""
    return {} if tuple(map(int, version.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}


def _cells(text: str, numeric: Mapping[int, str]) -> Iterator[tuple[int, str, str]]:
    """Line, column and text of each cell of these columns."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    rows = (fields for fields in reader if fields)
    with suppress(csv.Error):
        next(rows)
        for fields in rows:
            for at, name in numeric.items():
                yield reader.line_num, name, fields[at].strip() if at < len(fields) else ""


def _has_decimal_comma(text: str, numeric: Mapping[int, str]) -> bool:
    """Whether the first number with a comma or a point in these columns has a comma."""
    written = (cell for _, _, cell in _cells(text, numeric))
    return next((bool(DECIMAL_COMMA.fullmatch(cell)) for cell in written if "," in cell or "." in cell), False)


def _first_no_number(where: str, text: str, numeric: Mapping[int, str], decimal: str) -> ConnectomeError:
    """The error for the first cell of these columns that is no number."""
    for line, name, cell in _cells(text, numeric):
        number = cell.replace(",", ".") if decimal == "," and "." not in cell else cell
        try:
            bad = cell not in _NO_NUMBER and (
                "_" in cell or ("." in cell and decimal == ",") or math.isnan(float(number))
            )
        except ValueError:
            bad = True
        if bad:
            hint = COMMA_HINT if decimal == "." and DECIMAL_COMMA.fullmatch(cell) else ""
            hint = "Elsewhere it has decimal commas." if decimal == "," and "." in cell else hint
            return ConnectomeError(f"{where}: line {line}, {name}", "must be a number", repr(cell[:80]), hint)
    return ConnectomeError(where, f"must have numbers in {', '.join(numeric.values())}", "something else")


def delimiter_of(text: str) -> str:
    """The delimiter of the first line."""
    line = text[: 1 << 20].lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=line.count)


def region_names(where: str, names: list[str]) -> list[str]:
    """Names of regions as this project has them: accents go, and what else is not letter, digit, ``_ . -`` becomes
    ``_``. Raises :class:`ConnectomeError` for an empty name and for two that become one."""
    made: dict[str, str] = {}
    for name in names:
        plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip(".-")
        plain = name if plain == name else plain.strip("_")
        if not plain:
            raise ConnectomeError(f"{where}: region", f"must be {NAME_RULE}", repr(name), "Give every node a region.")
        if made.setdefault(plain, name) != name:
            raise ConnectomeError(
                f"{where}: region", f"must differ in {NAME_RULE}", f"{made[plain]!r} and {name!r}", "Rename one."
            )
    return list(made)
