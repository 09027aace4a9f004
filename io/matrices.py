"""A square matrix of weights as a connectome: CSV, TSV and other text, npy, npz. Row = source, column = target.

Every entry that is not 0 is an edge, its weight in pA. Text may have a header of names, a first column of names, or
both, which must then agree; names may be numbers, as pandas writes them. Numbers separated by semicolons may have
decimal commas. An npz file has ``weights`` and may have ``tract_lengths_mm`` (N, N), ``labels`` (N,) and
``position_um`` (N, 3); if it holds only one array, the name does not matter. Beside ``name.csv`` (.npy, ...) may lie
``name_nodes.csv`` with the columns of :data:`connectome.io.node_tables.NODE_COLUMNS`: its rows are matched with those
of the matrix by name if the matrix has names, else by order; regions, labels, positions, signs and attributes are taken
from it, but no state.

A node is a neuron with a label, in the region that the nodes file gives it, else in one region ``"all"``. Pickles are
not opened.
"""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import tokenize
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.tables import DEFAULT_DT_MS
from connectome.io.archives import unzip
from connectome.io.delimited import COMMA_HINT, DECIMAL_COMMA, Columns
from connectome.io.files import naming, read_bytes, unpacked
from connectome.io.node_tables import node_attributes, node_table, read_nodes
from connectome.io.text_files import delimiter_of, read_text
from connectome.wiring.edges import TRACT_VELOCITY_MM_PER_MS, Conduction, from_matrix

__all__ = ["may_be_matrix", "read_matrix", "read_npy"]

#: A text of so many rows makes 2 GiB.
MAX_ROWS: Final = 1 << 14


def read_matrix(
    path: str | os.PathLike[str], *, dt_ms: float | None = None,
    velocity_mm_per_ms: float = TRACT_VELOCITY_MM_PER_MS,
) -> Connectome:  # fmt: skip
    """Read a matrix from ``.npy``, ``.npz`` or text. Delays are one step of ``dt_ms`` (default 0.1 ms) or, with tract
    lengths, follow from them and the velocity. Raises :class:`ConnectomeError` naming the file and the place."""
    file = Path(path)
    with naming(file, "a square matrix of numbers"):
        arrays: dict[str, NDArray[Any]] = {}
        match unpacked(file).suffix.lower():
            case ".npy":
                arrays["weights"] = read_npy(str(file), read_bytes(file))
            case ".npz":
                members = unzip(file, lambda name: name.endswith(".npy"))
                arrays = {k.removesuffix(".npy"): read_npy(f"{file}: {k}", data) for k, data in members.items()}
                arrays = {"weights": next(iter(arrays.values()))} if len(arrays) == 1 else arrays
            case _:
                matrix, names = _text(file)
                arrays = {"weights": matrix} | ({"labels": np.array(names, object)} if names else {})
        if "weights" not in arrays:
            raise ConnectomeError(str(file), "must have an array 'weights'", sorted(arrays))
        weight = _square(str(file), arrays["weights"])
        about: dict[str, Any] = {}
        if "labels" in arrays:
            about["node_labels"] = [str(name) for name in arrays["labels"].tolist()]
        if "position_um" in arrays:
            about["position_um"] = arrays["position_um"]
        nodes = read_nodes(unpacked(file).with_name(f"{unpacked(file).stem}_nodes.csv"))
        if nodes is not None:
            about |= _of_nodes(nodes, len(weight), about.get("node_labels"), str(file))
        if "tract_lengths_mm" in arrays:
            about["tract_length_mm"] = arrays["tract_lengths_mm"]
            about["delay_ms"] = Conduction(velocity_mm_per_ms)
        return from_matrix(weight, **about, dt_ms=DEFAULT_DT_MS if dt_ms is None else dt_ms)


def _square(where: str, weight: NDArray[Any]) -> NDArray[Any]:
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        raise ConnectomeError(where, "must be a square matrix", f"shape {weight.shape}")
    if weight.dtype.kind not in "biuf":
        raise ConnectomeError(where, "must be real numbers", weight.dtype)
    weight = weight.astype(np.float64, copy=False)  # scipy.sparse takes not every width and order of bytes
    bad = ~np.isfinite(weight)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise ConnectomeError(
            f"{where}: row {row}, column {column}", "must be finite", weight[row, column], "Write 0 for no edge."
        )
    return weight


def read_npy(where: str, data: bytes) -> NDArray[Any]:
    """The array of an npy file, after a check that it has as many bytes as its header claims. Raises
    :class:`ConnectomeError`."""
    file = io.BytesIO(data)
    try:
        formats: Any = np.lib.format  # not all of it has types
        version = formats.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ConnectomeError(where, "must be of version 1.0 or 2.0", version)
        header = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
        with warnings.catch_warnings():  # one of Python 2 will do
            warnings.simplefilter("ignore", UserWarning)
            shape, _, dtype = header(file)
        claimed = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biufU" or claimed != len(data) - file.tell():
            raise ConnectomeError(
                where, "must hold numbers or text, as many bytes as its header claims",
                f"{dtype} of shape {shape} in {len(data) - file.tell()} bytes", "Pickles are not opened.",
            )  # fmt: skip
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            array: NDArray[Any] = np.load(file, allow_pickle=False)
        if dtype.kind == "U" and dtype.itemsize:
            codes = array.astype(dtype.newbyteorder("="), copy=False).ravel().view(np.uint32)
            if codes.max(initial=0) > sys.maxunicode:
                raise ConnectomeError(where, "must hold characters of Unicode", hex(codes.max()))
    except (ValueError, EOFError, TypeError, SyntaxError, OverflowError, RecursionError, tokenize.TokenError) as error:
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(where, "must be a readable npy file", str(error)[:200]) from None
    return array


def _text(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """The matrix and its names, if it has any."""
    text = read_text(path)
    delimiter = delimiter_of(text)
    lines = io.StringIO(text, newline="")
    if delimiter in text.lstrip("\r\n").partition("\n")[0]:
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    else:
        reader = csv.reader((" ".join(line.split()) for line in lines), delimiter=" ")
    rows: list[NDArray[np.float64]] = []
    names: list[str] = []
    header: list[str] = []
    first: list[str] = []
    width = 0
    try:
        for fields in reader:
            where, cells = f"{path}: line {reader.line_num}", [cell.strip() for cell in fields]
            if not any(cells):
                continue
            comma = [i for i, cell in enumerate(cells) if DECIMAL_COMMA.fullmatch(cell)]
            if comma and delimiter != ";":
                found = repr(cells[comma[0]][:80])
                raise ConnectomeError(f"{where}, field {comma[0]}", "must be a number", found, COMMA_HINT)
            for i in comma:
                cells[i] = cells[i].replace(",", ".")
            is_corner = not cells[0] and len(cells) > 1  # pandas writes none above the column of names
            if not rows and not header and (is_corner or not all(map(_is_number, cells[1:]))):
                header, width = cells, len(cells)
                continue
            if len(rows) == 1 and len(cells) == width + 1 and not header:  # numbers as names
                header, rows = first, []
            width, first = width or len(cells), first or cells
            if len(cells) == width + 1 and not rows and header:  # R writes no corner at all
                header, width = ["", *header], width + 1
            if len(cells) != width or len(rows) >= MAX_ROWS:
                raise ConnectomeError(where, f"must have {width} fields, and be at most {MAX_ROWS:,} rows", len(cells))
            if (not rows and len(cells) > 1 and (not _is_number(cells[0]) or (header and not header[0]))) or names:
                cells = cells.copy()
                names.append(cells.pop(0))
            try:
                rows.append(np.array(cells, np.float64))
            except ValueError:
                at = next(i for i, cell in enumerate(cells) if not _is_number(cell))
                raise ConnectomeError(f"{where}, field {at}", "must be a number", repr(cells[at][:80])) from None
    except csv.Error as error:
        raise ConnectomeError(f"{path}: line {reader.line_num}", "must be CSV", error) from None
    is_index = first == [str(i) for i in range(len(first))]  # pandas' own names, alone
    if rows and len(rows) == rows[0].size + 1 and not header and (names or is_index):
        header, rows, names = first, rows[1:], names[1:]
    if not rows or len(rows) != rows[0].size:
        raise ConnectomeError(
            str(path), "must be a square matrix, or a table of edges with columns source and target",
            f"{len(rows)} rows of {rows[0].size if rows else width} numbers",
        )  # fmt: skip
    columns = header[len(header) - len(rows) :]
    if header and names and columns != names:
        at = next(i for i, pair in enumerate(zip(columns, names, strict=True)) if pair[0] != pair[1])
        raise ConnectomeError(
            str(path), "must name its rows and its columns alike", f"{names[at]!r} and {columns[at]!r}"
        )
    return np.stack(rows), names or columns


def may_be_matrix(text: str) -> bool:
    """Whether a text without known columns is a square matrix of numbers, below names if it has any. (Otherwise it is a
    table whose column names are unknown.)"""
    delimiter = delimiter_of(text)
    if delimiter not in text.lstrip("\r\n").partition("\n")[0]:
        return True
    lines = [line for line in text.splitlines() if line.strip()]
    first, second = (
        [cell.strip().strip('"').replace(",", ".") for cell in line.split(delimiter)] for line in (lines * 2)[:2]
    )
    if all(map(_is_number, first[1:])):
        return True
    return all(map(_is_number, second[1:])) and len(lines) - 1 <= len(second) <= len(lines) + 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_nodes(nodes: Columns, n: int, names: list[str] | None, where: str) -> dict[str, Any]:
    """The contents of a nodes file, in the order of the matrix."""
    table, _, _ = node_table(nodes)
    if len(table) != n:
        raise ConnectomeError(nodes.path, f"must have {n} rows, as {where} has", len(table))
    order, chosen = np.arange(n), ""
    if names is not None:
        keys = {k: [texts.names[i] for i in texts.code] for k, texts in nodes.texts.items() if k in ("id", "label")}
        chosen = next((k for k, given in keys.items() if set(names) <= set(given)), "")
        key = keys.get(chosen, [])
        if len(set(key)) < n:
            lost = sorted(set(names) - set(keys.get("label", keys.get("id", []))))
            raise ConnectomeError(
                nodes.path, f"must name each node of {where} once, in a column id, label or name",
                f"none for {lost[0]!r}" if lost else "a name twice",
            )  # fmt: skip
        row_of = {name: row for row, name in enumerate(key)}
        order = np.array([row_of[name] for name in names], np.int64)
    table = table.iloc[order]
    known = node_attributes(nodes, "" if "label" in table else chosen)
    found: dict[str, Any] = {"attributes": {name: a.take(order) for name, a in known.items()}}
    if "region" in nodes.texts:
        found["labels"] = table["region"].tolist()
    if "label" in table:
        found["node_labels"] = table["label"].tolist()
    if {"x", "y", "z"} <= set(table.columns):
        found["position_um"] = table[["x", "y", "z"]].to_numpy(np.float64)
    if "sign" in table:
        found["sign"] = table["sign"].to_numpy()
    return found
