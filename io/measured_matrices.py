"""Measured connectomes that are published as matrices: the fly's larva, human tracts, the mouse."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.tables import DEFAULT_DT_MS
from connectome.io.files import naming
from connectome.io.frames import Member, read_frame

__all__ = ["allen", "enigma", "larva", "load_npy", "recognise"]

_LARVA: Final = re.compile(r"(all-all|ad|aa|dd|da)_connectivity_matrix\.csv(\.gz)?", re.IGNORECASE)
_ENIGMA: Final = re.compile(r"strucMatrix_.*\.csv", re.IGNORECASE)
_ALLEN: Final = re.compile(r"(normalized_)?connection_(density|strength)\.csv(\.gz)?", re.IGNORECASE)
#: Of the larva's four matrices: from which part of the one cell to which of the other.
_PARTS: Final = {"ad": "axo-dendritic", "aa": "axo-axonic", "dd": "dendro-dendritic", "da": "dendro-axonic"}
_NO_PAIR: Final = "no pair"
_INPUTS_OUTPUTS: Final = frozenset({"axon_input", "dendrite_input", "axon_output", "dendrite_output"})


def recognise(names: Sequence[str]) -> str:
    """Which of the three files with these names belong to; "" if none."""
    patterns = {"larva": _LARVA, "hcp": _ENIGMA, "allen": _ALLEN}
    return next((name for name, p in patterns.items() if any(p.fullmatch(n) for n in names)), "")


def load_npy(member: Member) -> NDArray[Any]:
    """An array of NumPy's own format, without pickles."""
    with naming(member.where, "an array of NumPy's"), member.open() as stream:
        found: NDArray[Any] = np.load(io.BytesIO(stream.read()), allow_pickle=False)
        return found


def larva(there: list[Member]) -> Connectome | None:
    """Winding et al. (2023): row = presynaptic cell. The four matrices of axons and dendrites are told apart by the
    attribute ``synapse``; if not all four are present, the matrix of all connections is read."""
    by_name = {m.name.lower().removesuffix(".gz").split("_")[0]: m for m in there if _LARVA.fullmatch(m.name)}
    parts = {kind: by_name[part] for part, kind in _PARTS.items() if part in by_name}
    chosen = parts if len(parts) == len(_PARTS) else {"": by_name["all-all"]} if "all-all" in by_name else {}
    if not chosen:
        return None
    matrices = {kind: _square(member) for kind, member in chosen.items()}
    ids = sorted({i for names, _ in matrices.values() for i in names})
    place = {name: k for k, name in enumerate(ids)}
    source, target, weight, synapse = [], [], [], list[str]()
    for kind, (names, matrix) in matrices.items():
        i, j = np.nonzero(matrix)
        at = np.array([place[name] for name in names])
        source.append(at[i])
        target.append(at[j])
        weight.append(matrix[i, j])
        synapse += [kind] * i.size
    attributes = _larva_cells(there, place)
    region = Region("brain", len(ids), label=np.array(ids, object), attributes=attributes)
    edges = EdgeSet.from_arrays(
        ("brain", "local", "brain"), np.concatenate(source), np.concatenate(target), np.concatenate(weight),
        n_source=len(ids), n_target=len(ids), dt_ms=DEFAULT_DT_MS, attributes={"synapse": synapse} if parts else None,
    )  # fmt: skip
    return Connectome.of([region], [edges], dt_ms=DEFAULT_DT_MS)


def _square(member: Member) -> tuple[list[str], NDArray[np.float64]]:
    """Names and (N, N) numbers of a matrix with a header and a first column of the same names."""
    frame = read_frame(member)
    with naming(member.where, "a square matrix with names in its first row and column"):
        rows, columns = [str(v).strip() for v in frame.iloc[:, 0]], [str(c).strip() for c in frame.columns[1:]]
        matrix = frame.iloc[:, 1:].to_numpy(np.float64)
        if sorted(rows) != sorted(columns) or len(set(rows)) < len(rows):
            raise ConnectomeError("names", "must be the same in rows and columns, each once", f"{matrix.shape}")
        if not np.isfinite(matrix).all() or (matrix < 0).any():
            raise ConnectomeError("cells", "must be numbers, 0 or more", "others")
        order = {name: k for k, name in enumerate(columns)}
        return rows, matrix[:, [order[name] for name in rows]]


def _larva_cells(there: list[Member], place: dict[str, int]) -> dict[str, Attribute]:
    """Attributes of each cell: its side, its homologue on the other side, its type, its annotations, its cluster, and
    its inputs and outputs by place."""
    found: dict[str, list[Any]] = {}

    def put(name: str, cell: object, value: object) -> None:
        at = place.get(str(cell).strip().removesuffix(".0"))
        if at is not None:
            found.setdefault(name, [None] * len(place))[at] = value

    for member in there:
        if member.name.lower().endswith(".npy") or _LARVA.fullmatch(member.name):
            continue
        frame = read_frame(member).astype(object)
        rows = frame.where(frame.notna(), None).to_dict("records")
        titles = [str(t) for t in frame.columns]
        for row in rows if {"left_id", "right_id"} <= set(titles) else []:
            pair = {side: str(row.pop(f"{side}_id")).strip().removesuffix(".0") for side in ("left", "right")}
            for side, other in (("left", "right"), ("right", "left")):
                like = None if pair[other] in (_NO_PAIR, "None", "") else pair[other]
                for name, value in {"side": side, "homologue": like, **row}.items():
                    put(str(name), pair[side], value)
        for row in rows if set(titles[1:]) <= _INPUTS_OUTPUTS else []:
            cell, *values = row.values()
            for name, value in zip(titles[1:], values, strict=True):
                put(name, cell, value)
    return {name: Attribute.of(name, values, len(place)) for name, values in found.items()}


def enigma(there: list[Member]) -> Connectome | None:
    """HCP's group average, from ``strucMatrix_NAME.csv`` and ``strucLabels_NAME.csv``: undirected, so an edge in each
    direction; weights are logarithms of streamline counts."""
    matrices = [m for m in there if _ENIGMA.fullmatch(m.name)]
    if len(matrices) != 1:
        if matrices:
            raise ConnectomeError(
                "strucMatrix_*.csv", "must be one", ", ".join(m.name for m in matrices), "Name the file."
            )
        return None
    (member,) = matrices
    beside = re.sub("matrix", "Labels", member.name, count=1, flags=re.IGNORECASE).lower()
    labels = next((m for m in there if m.name.lower() == beside), None)
    with naming(member.where, "a square matrix of numbers"), member.open() as stream:
        lines = [line for line in stream if line.strip()]
        matrix = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, 1))
        if matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
            raise ConnectomeError("matrix", "must be square, of finite numbers", matrix.shape)
    n = len(matrix)
    names = [""] * n
    if labels is not None:
        with naming(labels.where, "a row of labels"), labels.open() as stream:
            names = [t.strip() for t in re.split(r"[,\n]", stream.read().decode("utf-8-sig").strip())]
            if len(names) != n:
                raise ConnectomeError("labels", f"must be {n}, as many as rows", len(names))
    sides = [re.search(r"(?:^|_)([LR])(?:H)?_|^([LR])[a-z]", name) for name in names]
    side = [{"L": "left", "R": "right"}.get((m[1] or m[2]) if m else "") for m in sides]
    network = [(m[1] if (m := re.match(r"7Networks_[LR]H_([A-Za-z]+)", name)) else None) for name in names]
    said = {"side": side, "network": network}
    known = {name: Attribute.of(name, values, n) for name, values in said.items() if any(values)}
    region = Region("brain", n, label=np.array(names, object) if any(names) else None, attributes=known)
    i, j = np.nonzero(matrix)
    edges = EdgeSet.from_arrays(
        ("brain", "local", "brain"), i, j, matrix[i, j], n_source=n, n_target=n, dt_ms=DEFAULT_DT_MS
    )
    return Connectome.of([region], [edges], dt_ms=DEFAULT_DT_MS)


def allen(there: list[Member]) -> Connectome | None:
    """Knox et al. (2018): a row for each source; column headers give ipsi or contra, and the target. The model is of
    injections into one side and is used for both: each structure is a node on the left and one on the right."""
    matrices = [m for m in there if _ALLEN.fullmatch(m.name)]
    if len(matrices) != 1:
        if matrices:
            raise ConnectomeError(
                "connection_*.csv", "must be one", ", ".join(m.name for m in matrices), "Name the file."
            )
        return None
    (member,) = matrices
    frame = read_frame(member)
    with naming(member.where, "a matrix with ipsi or contra and targets above its columns"):
        side = [re.sub(r"\.\d+$", "", str(c)).strip() for c in frame.columns[1:]]
        target = [str(v).strip() for v in frame.iloc[0, 1:]]
        if set(side) != {"ipsi", "contra"}:
            raise ConnectomeError(
                "first row", "must say ipsi or contra of each column", ", ".join(sorted(set(side))[:5])
            )
        rows = frame.iloc[1:]
        rows = rows[rows.iloc[:, 1:].notna().any(axis=1)]  # pandas writes a row for the name of the index
        source = [str(v).strip() for v in rows.iloc[:, 0]]
        matrix = rows.iloc[:, 1:].to_numpy(np.float64)
        if not np.isfinite(matrix).all():
            raise ConnectomeError("cells", "must be numbers", "others")
    names = list(dict.fromkeys([*source, *target]))
    place, n = {name: k for k, name in enumerate(names)}, len(names)
    i, j = np.nonzero(matrix)
    start, end = np.array([place[s] for s in source])[i], np.array([place[t] for t in target])[j]
    across = np.array([s == "contra" for s in side])[j]
    ends = [(start + h * n, end + np.where(across, 1 - h, h) * n) for h in (0, 1)]
    region = Region(
        "brain", 2 * n, label=np.array([f"{name}_{h}" for h in "LR" for name in names], object),
        attributes={
            "structure": Attribute.of("structure", names * 2, 2 * n),
            "side": Attribute.of("side", ["left"] * n + ["right"] * n, 2 * n),
        },
    )  # fmt: skip
    edges = EdgeSet.from_arrays(
        ("brain", "local", "brain"), np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends]),
        np.tile(matrix[i, j], 2), n_source=2 * n, n_target=2 * n, dt_ms=DEFAULT_DT_MS,
    )  # fmt: skip
    return Connectome.of([region], [edges], dt_ms=DEFAULT_DT_MS)
