"""The Virtual Brain's connectivity, a zip of text files, read and written.

``weights.txt`` and ``tract_lengths.txt`` (mm) are N x N with row = target, column = source; ``centres.txt`` has a label
and x, y, z in mm in each row; ``hemispheres.txt``, if present, has 1 for the right hemisphere. ``nodes.txt``, which is
our own and which TVB ignores, has the region and the label (spaces included) of each row, with a tab between them. The
other files are recognised, as in TVB, by a part of their name; ``cortical``, ``areas`` and ``average_orientations``
have no place in a connectome and are left out. State of neurons, and of edges except for the tract length, is not
written. Sanz Leon et al. (2013), https://doi.org/10.3389/fninf.2013.00010.

A brain region of TVB is a neuron here, with its label; regions are those of ``nodes.txt``, else the hemispheres,
``right`` and ``left``, or ``all``.
A tract length is the state ``tract_length_um`` of its edge and gives its delay, at TVB's 3 mm/ms by default. Weights
are in pA here, and in arbitrary units there.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.tables import DEFAULT_DT_MS, region_names
from connectome.io.archives import unzip
from connectome.io.files import naming
from connectome.io.hdf5 import atomic
from connectome.wiring.edges import TRACT_VELOCITY_MM_PER_MS, Conduction, from_matrix

__all__ = ["read_tvb", "write_tvb"]

MAX_NODES: Final = 1 << 14
_HEMISPHERES: Final = ("left", "right")
#: What TVB looks for in the names of files.
_TOKENS: Final = {"weights": ("weight",), "lengths": ("tract",), "centres": ("centre", "center"),
                  "hemispheres": ("hemisphere",)}  # fmt: skip
_NODES: Final = "nodes.txt"


def read_tvb(
    path: str | os.PathLike[str], *, dt_ms: float | None = None,
    velocity_mm_per_ms: float = TRACT_VELOCITY_MM_PER_MS,
) -> Connectome:  # fmt: skip
    """Read a connectivity zip. Nothing is unpacked to disk. Raises :class:`ConnectomeError` with file and line."""
    file = Path(path)
    with naming(file, "a connectivity of The Virtual Brain"):
        members = unzip(file, lambda name: name.lower().endswith(".txt") and bool(_part(name)))
        found: dict[str, tuple[str, bytes]] = {}
        for name, data in members.items():
            part = _part(name)
            if part in found:
                raise ConnectomeError(str(file), f"must have one file of {part}", f"{found[part][0]} and {name}")
            found[part] = f"{file}: {name}", data
        for needed in ("weights", "centres"):
            if needed not in found:
                raise ConnectomeError(str(file), f"must have a text file of {needed}", sorted(members) or "none")
        rows = _rows(*found["centres"])
        n = len(rows)
        if not 1 <= n <= MAX_NODES:
            raise ConnectomeError(found["centres"][0], f"must have 1 .. {MAX_NODES:,} rows", n)
        for line, row in rows:
            if len(row) < 4:
                raise ConnectomeError(f"{found['centres'][0]}: line {line}", "must be a label, x, y, z", " ".join(row))
        about: dict[str, Any] = {
            "node_labels": [row[0] for _, row in rows],
            "position_um": 1000
            * _numbers(found["centres"][0], [(line, row[1:4]) for line, row in rows], 3, may_lack=True),
        }
        if "lengths" in found and found["lengths"][1].strip():  # it may be empty
            about["tract_length_mm"] = _square(*found["lengths"], n).T
            about["delay_ms"] = Conduction(velocity_mm_per_ms)
        if "hemispheres" in found:
            side = _numbers(found["hemispheres"][0], _rows(*found["hemispheres"]), 1).ravel()
            if side.shape != (n,) or not np.isin(side, (0, 1)).all():
                raise ConnectomeError(found["hemispheres"][0], f"must be {n} times 0 or 1", f"{side.size} values")
            about["labels"] = [_HEMISPHERES[int(i)] for i in side]
        if "nodes" in found:
            about["labels"], about["node_labels"] = _nodes(*found["nodes"], n)
        weights = _square(*found["weights"], n).T
        return from_matrix(weights, **about, dt_ms=DEFAULT_DT_MS if dt_ms is None else dt_ms)


def _nodes(where: str, data: bytes, n: int) -> tuple[list[str], list[str]]:
    """The region and the label of each of n rows."""
    lines = _decoded(where, data).split("\n")
    rows = [line.rstrip("\r").split("\t") for line in (lines if lines[-1] else lines[:-1])]
    if len(rows) != n or any(len(row) != 2 for row in rows):
        raise ConnectomeError(where, f"must have {n} rows of a region, a tab and a label", f"{len(rows)} rows")
    given = list(dict.fromkeys(region for region, _ in rows))
    name = dict(zip(given, region_names(where, given), strict=True))
    return [name[region] for region, _ in rows], [label for _, label in rows]


def _part(name: str) -> str:
    if name.lower() == _NODES:
        return "nodes"
    return next((part for part, tokens in _TOKENS.items() if any(t in name.lower() for t in tokens)), "")


def _rows(where: str, data: bytes) -> list[tuple[int, list[str]]]:
    """Line number and fields of each line that has any."""
    lines = enumerate(_decoded(where, data).splitlines(), 1)
    return [(i, fields) for i, line in lines if (fields := line.split()) and not fields[0].startswith("#")]


def _decoded(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConnectomeError(
            f"{where}: line {line}", "must be text in UTF-8", repr(error.object[error.start])
        ) from None


def _square(where: str, data: bytes, n: int) -> NDArray[np.float64]:
    rows = _rows(where, data)
    if len(rows) != n:
        raise ConnectomeError(where, f"must have {n} rows, as there are centres", len(rows))
    return _numbers(where, rows, n)


def _numbers(
    where: str, rows: list[tuple[int, list[str]]], width: int, *, may_lack: bool = False
) -> NDArray[np.float64]:
    """Finite numbers, ``width`` in each row; or nan."""
    found = np.empty((len(rows), width))
    for at, (line, fields) in enumerate(rows):
        if len(fields) != width:
            raise ConnectomeError(f"{where}: line {line}", f"must have {width} numbers", len(fields))
        try:
            found[at] = fields
        except ValueError as error:
            raise ConnectomeError(f"{where}: line {line}", "must be numbers", str(error)[:80]) from None
        if np.isinf(found[at]).any() or (np.isnan(found[at]).any() and not may_lack):
            raise ConnectomeError(f"{where}: line {line}", "must be finite", found[at][~np.isfinite(found[at])][0])
    return found


def write_tvb(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write a connectivity zip; every neuron is a region of TVB. The same connectome makes the same bytes.

    Weights of parallel edges are summed. A tract length is the edge's state ``tract_length_um`` or, where there is
    none, its delay at 3 mm/ms, so that TVB at its default speed has the same delays; parallel edges give their mean. In
    TVB a neuron without a label is called ``region:index``; spaces become ``_``, and a leading ``#`` becomes ``_#``.
    Raises :class:`ConnectomeError` for more than 16,384 neurons, and if the file cannot be written.
    """
    n = connectome.n_neurons
    if not 1 <= n <= MAX_NODES:
        raise ConnectomeError("connectome", f"must have 1 .. {MAX_NODES:,} neurons for TVB's dense matrices", f"{n:,}")
    regions = list(connectome.regions.values())
    start = starts(regions)
    weight, length_mm, count = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for key, e in connectome.expanded().edges.items():
        at = start[key.target] + e.target, start[key.source] + e.source
        measured = e.state.get("tract_length_um")
        length = e.delay * TRACT_VELOCITY_MM_PER_MS
        if measured is not None:
            length = np.where(np.isnan(measured), length, measured.astype(np.float64) / 1000)
        for matrix, values in ((weight, e.weight), (length_mm, length), (count, 1)):
            np.add.at(matrix, at, values)
    length_mm /= np.maximum(count, 1)
    centres = [
        f"{_word(label) or f'{r.name}:{i}'} {x!r} {y!r} {z!r}"
        for r in regions
        for i, (label, (x, y, z)) in enumerate(zip(r.labels.tolist(), (r.position_um / 1000).tolist(), strict=True))
    ]
    texts = {
        "centres.txt": "\n".join(centres) + "\n",
        "weights.txt": _text(weight),
        "tract_lengths.txt": _text(length_mm),
        _NODES: "".join(
            f"{r.name}\t{label}\n" for r in regions for label in r.labels.tolist()
        ),
    }  # fmt: skip
    if set(connectome.regions) <= set(_HEMISPHERES):
        sides = (str(_HEMISPHERES.index(r.name)) for r in regions for _ in range(r.size))
        texts["hemispheres.txt"] = "\n".join(sides) + "\n"
    texts["info.txt"] = 'weights_unit = "pA"\nlength_unit = "mm"\n'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    try:
        with atomic(Path(path)) as sink:
            sink.write(buffer.getbuffer())
    except OSError as error:
        raise ConnectomeError(str(path), "must be writable", error.strerror or error) from None


def _word(label: str) -> str:
    """A label as TVB can read it: one word that is not a comment."""
    word = "_".join(label.split())
    return f"_{word}" if word.startswith("#") else word


def _text(matrix: NDArray[np.float64]) -> str:
    return "".join(" ".join(map(repr, row)) + "\n" for row in matrix.tolist())
