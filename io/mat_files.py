"""MATLAB files for the Brain Connectivity Toolbox: a connectivity matrix whose row is the source.

Written with scipy, for MATLAB, Octave and bctpy:

=================  =========  =============================================================================
``connectivity``   (N, N)     weights in pA; parallel edges are summed
``delay_ms``       (N, N)     mean delay of the edges of a pair, 0 where there is none: a 0 weight is an edge too
``tract_length_um``  (N, N)   mean measured length, if edges have that state
``names``          (N, 1)     cell of labels, or ``region:index``
``regions``        (N, 1)     cell of each node's region
``coordinates``    (N, 3)     micrometres
``sign``           (N, 1)     -1, 0 or 1
``attribute_NAME``  (N, 1)    an attribute of the nodes: a cell of texts, or numbers; flags are 0 and 1
``connectome``     text       JSON: dt_ms, the parameters of regions, provenance
=================  =========  =============================================================================

It has no other state of edges, no attributes of edges, and no state of neurons. A missing text is empty, a missing
number nan, a missing integer or flag the lowest number of its type. Matrices are full up to 4,096 nodes, as the toolbox
wants them, and sparse above.

Reading decodes the file itself (MATLAB 5 to 7.2): numbers, sparse matrices, text and cells of text, each backed by as
many bytes as it claims. Structures, objects and functions are skipped, where scipy's reader follows them to any depth.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import NODE_WORDS, Attribute, attribute_name, joined_attributes
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.parts import Region
from connectome.graph.tables import STATE, connect, entries, header_of, make_regions, numbers, read_header
from connectome.io.files import naming, read_bytes, writing

__all__ = ["decode_mat", "read_mat", "write_mat"]

MAX_DENSE: Final = 4096
#: What all variables of a file may take, decompressed: a full matrix of 16,384 nodes.
MAX_BYTES: Final = 1 << 31
TRACT_LENGTH: Final = "tract_length_um"
ATTRIBUTE: Final = "attribute_"
#: MATLAB's names have 63 letters.
_LONGEST: Final = 63 - len(ATTRIBUTE)
HEADER_BYTES: Final = 128
_TITLE: Final = b"MATLAB 5.0 MAT-file, written by connectome"
# Types of data and classes of arrays: MathWorks, "MAT-File Format", R2019b, tables 1-1 and 1-3.
_NUMBERS: Final[Mapping[int, str]] = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS: Final[Mapping[int, str]] = {2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX: Final = 14
_COMPRESSED: Final = 15
_CELL: Final = 1
_CHAR: Final = 4
_SPARSE: Final = 5
_NUMERIC: Final = range(6, 16)
_COMPLEX: Final = 0x0800
#: What other people call these variables.
_MATRICES: Final = ("connectivity", "CIJ", "W", "A", "SC", "weights")
_NAMES: Final = ("names", "Names", "labels")
_COORDINATES: Final = ("coordinates", "Coordinates", "coords", "xyz")


def write_mat(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write a .mat file. Equal graphs make equal bytes. Raises :class:`ConnectomeError` if it cannot be written; an
    existing file is then unchanged."""
    import scipy.io

    connectome = connectome.expanded()
    regions = list(connectome.regions.values())
    n = connectome.n_neurons
    first = starts(regions)
    sets = list(connectome.edges.values())

    def joined(columns: list[NDArray[Any]]) -> NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *columns])

    source = joined([e.source + first[e.key.source] for e in sets]).astype(np.int64)
    target = joined([e.target + first[e.key.target] for e in sets]).astype(np.int64)
    pair, member, count = np.unique(source * n + target, return_inverse=True, return_counts=True)

    def matrix(values: NDArray[np.float64], divisor: NDArray[Any] | int = 1) -> Any:
        row, column = np.divmod(pair, max(n, 1))
        entry = np.bincount(member, values, pair.size) / divisor
        if n <= MAX_DENSE:
            full = np.zeros((n, n))
            full[row, column] = entry
            return full
        return scipy.sparse.csc_array((entry, (row, column)), shape=(n, n))

    content: dict[str, Any] = {
        "connectivity": matrix(joined([e.weight for e in sets])),
        "delay_ms": matrix(joined([e.delay for e in sets]), count),
        "names": _cell([name for r in regions for name in _names(r)]),
        "regions": _cell([r.name for r in regions for _ in range(r.size)]),
        "coordinates": np.concatenate([np.zeros((0, 3)), *(r.position_um for r in regions)]),
        "sign": joined([r.sign for r in regions])[:, None],
        "connectome": json.dumps(header_of(connectome), sort_keys=True),
    }
    for name, attribute in joined_attributes("nodes", [(r.attributes, r.size) for r in regions]).items():
        if len(name) > _LONGEST:
            rule = f"must have a name of at most {_LONGEST} letters for MATLAB"
            raise ConnectomeError(f"attribute {name!r}", rule, len(name))
        content[ATTRIBUTE + name] = _column(attribute)
    if any(TRACT_LENGTH in e.state for e in sets):
        lengths = joined([e.state.get(TRACT_LENGTH, np.full(len(e), math.nan)) for e in sets])
        content[TRACT_LENGTH] = matrix(lengths, count)
    buffer = BytesIO()
    scipy.io.savemat(buffer, content, do_compression=True)
    buffer.seek(0)
    buffer.write(_TITLE.ljust(116))  # scipy writes the date
    with writing(path) as sink:
        sink.write(buffer.getbuffer())


def _column(attribute: Attribute) -> NDArray[Any]:
    """(N, 1) as MATLAB has it."""
    if attribute.names is not None:
        return _cell([text or "" for text in attribute.tolist()])
    values = np.array(attribute.values)
    if attribute.is_flag:
        values[attribute.is_missing] = np.iinfo(np.int8).min
    return values[:, None]


def _names(region: Region) -> list[str]:
    return [given or f"{region.name}:{i}" for i, given in enumerate(region.labels.tolist())]


def _cell(texts: list[str]) -> NDArray[Any]:
    cell = np.empty((len(texts), 1), object)
    cell[:, 0] = texts
    return cell


def read_mat(path: str | os.PathLike[str]) -> Connectome:
    """Read a matrix and the variables that describe its nodes: one of our files, or any with one square matrix.
    Row = source.

    The matrix is called connectivity, CIJ, W, A, SC or weights, or is the only square one; the variables of
    :mod:`connectome.io.mat_files` are optional. Edges are the entries that are not 0 or have a delay. Without a delay
    variable all delays are one step. Raises :class:`ConnectomeError` naming the file.
    """
    content = read_bytes(path)
    with naming(path, "a MATLAB file, version 5 to 7.2"):
        found = decode_mat(content)
        matrix, n = _square(found)
        header = read_header(json.loads(found["connectome"]) if "connectome" in found else {}, "connectome")
        nodes = _nodes(found, n)
        header = header._replace(regions={k: {**v, "state": ()} for k, v in header.regions.items()})
        regions, code, index = make_regions("nodes", n, nodes, header, _attributes(found, n))
        row, column, weight, _ = entries("connectivity", matrix)
        columns: dict[str, Any] = {"weight": weight}
        if "delay_ms" in found:
            row, column, columns["delay"], m = entries("delay_ms", found["delay_ms"])
            if m != n:
                raise ConnectomeError("delay_ms", f"must be {n} x {n}, as the connectivity is", f"{m} x {m}")
            columns["weight"] = _at(matrix, row, column)
            if np.count_nonzero(columns["weight"]) < np.count_nonzero(weight):
                raise ConnectomeError("delay_ms", "must be > 0 for each edge", "a weight without one")
        if TRACT_LENGTH in found:
            _, _, _, m = entries(TRACT_LENGTH, found[TRACT_LENGTH])
            if m != n:
                raise ConnectomeError(TRACT_LENGTH, f"must be {n} x {n}, as the connectivity is", f"{m} x {m}")
            columns[STATE + TRACT_LENGTH] = _at(found[TRACT_LENGTH], row, column)
        header = header._replace(edge_sets={})  # of their states the file has none
        return connect("connectivity", regions, (code[row], index[row]), (code[column], index[column]), columns, header)


def _square(found: Mapping[str, Any]) -> tuple[Any, int]:
    """The matrix, by its name or as the only one of its kind, and its size."""
    square = [
        k for k, v in found.items() if not isinstance(v, (list, str)) and v.ndim == 2 and v.shape[0] == v.shape[1]
    ]
    some = [k for k in square if k not in _COORDINATES and found[k].shape[0] > 1]
    chosen = [k for k in _MATRICES if k in square][:1] or some
    if len(chosen) != 1:
        raise ConnectomeError(
            "variables", f"must have a square matrix called {' or '.join(_MATRICES)}, or only one",
            f"{', '.join(map(repr, square))[:200] or 'none'}",
        )  # fmt: skip
    return found[chosen[0]], found[chosen[0]].shape[0]


def _nodes(found: Mapping[str, Any], n: int) -> dict[str, Any]:
    """The columns of nodes that are present."""
    nodes: dict[str, Any] = {}
    columns: dict[str, tuple[str, ...]] = {"label": _NAMES, "region": ("regions",)}
    for column, known in columns.items():
        texts = next((found[k] for k in known if isinstance(found.get(k), list)), None)
        if texts is not None:
            if len(texts) != n:
                raise ConnectomeError(known[0], f"must be {n}, one for each row", len(texts))
            nodes[column] = texts
    if "label" in nodes and "regions" in found:  # ours: who has no name is called region:index
        seen: dict[str, int] = {}
        for place, (region, text) in enumerate(zip(nodes["region"], nodes["label"], strict=True)):
            index = seen[region] = seen.get(region, -1) + 1
            if text == f"{region}:{index}":
                nodes["label"][place] = ""
    places: dict[int, tuple[str, ...]] = {3: _COORDINATES, 1: ("sign",)}
    for width, known in places.items():
        name = next((k for k in known if k in found), None)
        if name is None:
            continue
        values = found[name]
        if isinstance(values, (list, str)) or values.shape != (n, width):
            shape = "text" if isinstance(values, (list, str)) else values.shape
            raise ConnectomeError(name, f"must have shape ({n}, {width})", shape)
        values = numbers(name, values.toarray() if hasattr(values, "toarray") else values)
        nodes |= dict(zip("xyz", values.T, strict=True)) if width == 3 else {"sign": values[:, 0]}
    return nodes


def _attributes(found: Mapping[str, Any], n: int) -> dict[str, Attribute]:
    """The attributes of the nodes."""
    attributes: dict[str, Attribute] = {}
    for title, values in found.items():
        if not title.startswith(ATTRIBUTE) or isinstance(values, str):
            continue
        if not isinstance(values, list):
            values = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
            if values.shape != (n, 1):
                raise ConnectomeError(title, f"must have shape ({n}, 1)", values.shape)
            values = values[:, 0]
        name = attribute_name(title.removeprefix(ATTRIBUTE), NODE_WORDS, attributes)
        is_integer = not isinstance(values, list) and values.dtype.kind == "i"
        attributes[name] = (
            Attribute(values.astype(values.dtype.newbyteorder("="))) if is_integer else Attribute.of(title, values, n)
        )
    return attributes


def _at(matrix: Any, row: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(matrix[row, column]).ravel() if row.size else np.zeros(0)


def decode_mat(content: bytes) -> dict[str, Any]:
    """The variables of a MAT file, version 5: arrays, scipy sparse arrays, texts (``str``) and columns of texts
    (``list``). Raises :class:`ConnectomeError`."""
    if content[:8] == b"\x89HDF\r\n\x1a\n" or content[:10] == b"MATLAB 7.3":
        raise ConnectomeError("file", "must be of version 5 to 7.2", "7.3, which is HDF5", "In MATLAB: save -v7.")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ConnectomeError("file", "must be a MATLAB file, version 5 to 7.2", repr(content[:20]), "Or: save -v7.")
    found: dict[str, Any] = {}
    left = MAX_BYTES
    file = _Elements(memoryview(content)[HEADER_BYTES:], order)
    while file.rest():
        kind, data = file.next(padded=False)
        if kind == _COMPRESSED:
            inflate = zlib.decompressobj()
            try:
                data = memoryview(inflate.decompress(data, left + 1))
            except zlib.error as error:
                raise ConnectomeError("variable", "must be compressed with zlib", error) from None
        left -= len(data)
        if left < 0:
            raise ConnectomeError("variables", f"must take at most {MAX_BYTES:,} bytes", "more")
        if kind == _COMPRESSED:
            kind, data = _Elements(data, order).next()
        if kind == _MATRIX:
            name, value = _variable(_Elements(data, order))
            if value is not None:
                found[name] = value
    return found


class _Elements:
    """The data elements of a part of the file, one after the other."""

    def __init__(self, data: memoryview, order: str) -> None:
        self.data, self.order, self.at = data, order, 0

    def rest(self) -> bool:
        """Whether there is another one."""
        return self.at < len(self.data)

    def next(self, *, padded: bool = True) -> tuple[int, memoryview]:
        """The type and the bytes of the next one."""
        if self.at + 8 > len(self.data):
            raise ConnectomeError(f"byte {self.at}", "must have 8 bytes that say what follows", "the end")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        first = self.at + 8
        if kind >> 16:  # a small one: its size and data are in the tag
            kind, size, first = kind & 0xFFFF, min(kind >> 16, 4), self.at + 4
            self.at += 8
        else:
            self.at = first + (-(-size // 8) * 8 if padded else size)
        if first + size > len(self.data):
            raise ConnectomeError(f"byte {first}", f"must have the {size} bytes that it claims", "the end")
        return kind, self.data[first : first + size]

    def numbers(self) -> NDArray[Any]:
        """The next one as numbers."""
        kind, data = self.next()
        if kind not in _NUMBERS:
            raise ConnectomeError("variable", "must be of numbers", f"data of type {kind}")
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if len(data) % dtype.itemsize:
            raise ConnectomeError("variable", f"must be whole numbers of {dtype.itemsize} bytes", len(data))
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def _variable(parts: _Elements) -> tuple[str, Any]:
    """The name and the value of a variable, None for a class that is skipped."""
    if not parts.rest():
        return "", None
    flags = parts.numbers()
    shape = tuple(parts.numbers().tolist())
    name = bytes(parts.next()[1]).decode("ascii", "replace")
    kind = int(flags[0]) & 0xFF if flags.size else 0
    if len(shape) < 2 or min(shape) < 0:
        raise ConnectomeError(f"variable {name!r}", "must have two or more dimensions", shape)
    size = math.prod(shape)
    if flags[0] & _COMPLEX and (kind == _SPARSE or kind in _NUMERIC):
        return name, None
    if kind in _NUMERIC:
        values = parts.numbers()
        if values.size != size:
            raise ConnectomeError(f"variable {name!r}", f"must have {size} numbers", values.size)
        return name, values.reshape(shape, order="F")
    if kind == _SPARSE:
        return name, _sparse(name, parts, shape)
    if kind == _CHAR:
        return name, _text(name, parts, shape)
    if kind == _CELL:
        return name, _texts(name, parts, size)
    return name, None


def _sparse(name: str, parts: _Elements, shape: tuple[int, ...]) -> Any:
    from scipy.sparse import csc_array

    row, first, values = parts.numbers(), parts.numbers(), parts.numbers()
    n = int(first[-1]) if first.size else -1
    if len(shape) != 2 or first.size != shape[1] + 1 or not 0 <= n <= min(row.size, values.size):
        raise ConnectomeError(
            f"variable {name!r}", f"must be a sparse matrix of shape {shape}", f"{first.size} columns"
        )
    if first[0] != 0 or (np.diff(first) < 0).any() or (n and not (0 <= row[:n].min() <= row[:n].max() < shape[0])):
        raise ConnectomeError(f"variable {name!r}", "must have rows and columns inside the matrix", shape)
    return csc_array((values[:n], row[:n], first), shape=shape)


def _text(name: str, parts: _Elements, shape: tuple[int, ...]) -> Any:
    """One row of text as ``str``, several as a list of them."""
    kind, data = parts.next() if parts.rest() else (16, memoryview(b""))
    if kind not in _TEXTS or len(shape) != 2:
        raise ConnectomeError(f"variable {name!r}", "must be text", f"data of type {kind}, shape {shape}")
    encoding = _TEXTS[kind] + ("" if _TEXTS[kind] == "utf-8" else {"<": "-le", ">": "-be"}[parts.order])
    text = bytes(data).decode(encoding)
    if shape[0] == 1 or not math.prod(shape):
        return text
    if len(text) != math.prod(shape):
        raise ConnectomeError(f"variable {name!r}", f"must have {math.prod(shape)} characters", len(text))
    return ["".join(text[row :: shape[0]]).rstrip() for row in range(shape[0])]


def _texts(name: str, parts: _Elements, size: int) -> list[str] | None:
    """A cell whose members are all one text; None for another cell."""
    texts = []
    while parts.rest():
        kind, data = parts.next()
        if kind != _MATRIX:
            raise ConnectomeError(f"variable {name!r}", "must be a cell of arrays", f"data of type {kind}")
        member = _Elements(data, parts.order)
        class_ = int(member.numbers()[:1].sum()) & 0xFF if member.rest() else _CHAR
        if class_ == _CELL:
            return None
        _, value = _variable(_Elements(data, parts.order))
        if isinstance(value, np.ndarray) and not value.size:
            value = ""  # MATLAB's [] in a cell of texts
        if not isinstance(value, (str, type(None))) or (value is None and len(data)):
            return None
        texts.append(value or "")
    if len(texts) != size:
        raise ConnectomeError(f"variable {name!r}", f"must have {size} members", len(texts))
    return texts
