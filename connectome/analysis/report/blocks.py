"""The adjacency matrix of a page: sorted by any partition of the cells, as blocks or edge by edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.report.cells import Column
from connectome.analysis.report.render import packed
from connectome.graph.connectome import Connectome

__all__ = ["MAX_CELLS", "Partition", "adjacency", "block_sums", "partitions"]

#: Edge by edge only if there are no more cells, nor more edges over all stages.
MAX_CELLS: Final = 1000
_MAX_EDGES: Final = 30_000
_MOST_GROUPS: Final = 48
_MOST_REGIONS: Final = 500
_MOST_MATRICES: Final = 24  # partitions times stages
_OTHER, _MISSING = "(others)", "(missing)"


class Partition(NamedTuple):
    """Groups of cells: the name of the column they come from, the groups' names, (N,) the group of each cell, and how
    many small groups are merged into one."""

    name: str
    groups: tuple[str, ...]
    code: NDArray[np.int64]
    merged: int


class Blocks(NamedTuple):
    """(G, G) number of edges, and the sum of their |weight|, from each group (a row) to each other; (G,) number of
    cells of each."""

    edges: NDArray[np.int64]
    weight: NDArray[np.float64]
    size: NDArray[np.int64]


def partitions(columns: Sequence[Column], n_stages: int) -> tuple[list[Partition], list[str]]:
    """A partition for each column of categories with more than one value; and the names of the columns left out because
    nearly every cell has a value of its own, or because there is no room for more."""
    found, left_out = list[Partition](), list[str]()
    for column in columns:
        if column.names is None or column.values.size == 0:
            continue
        most = _MOST_REGIONS if column.name == "region" else _MOST_GROUPS
        count = np.bincount(column.values[column.values >= 0], minlength=len(column.names))
        used = np.flatnonzero(count)
        if used.size < 2:
            continue
        is_name = column.name != "region" and used.size > most and 2 * used.size > column.values.size
        if is_name or len(found) >= max(2, _MOST_MATRICES // n_stages):
            left_out.append(column.name)
            continue
        kept = used if used.size <= most else np.sort(used[np.argsort(-count[used], kind="stable")][: most - 1])
        groups = [column.names[i] for i in kept.tolist()]
        place = np.full(len(column.names) + 1, len(kept))  # the last one is for -1, missing
        place[kept] = np.arange(len(kept))
        if used.size > kept.size:
            groups.append(_OTHER)
        place[-1] = len(groups)
        if (column.values < 0).any():
            groups.append(_MISSING)
        found.append(Partition(column.name, tuple(groups), place[column.values], int(used.size - kept.size)))
    return found, left_out


def block_sums(c: Connectome, start: dict[str, int], partition: Partition) -> Blocks:
    """Edges among the groups of a partition in one stage."""
    n = len(partition.groups)
    edges, weight, size = np.zeros(n * n, np.int64), np.zeros(n * n), np.zeros(n, np.int64)
    code = {name: partition.code[start[name] : start[name] + r.size] for name, r in c.regions.items()}
    for one in code.values():
        size += np.bincount(one, minlength=n)
    for key, e in c.edges.items():
        at = code[key.source][e.source] * n + code[key.target][e.target]
        edges += np.bincount(at, minlength=n * n)
        weight += np.bincount(at, np.abs(e.weight), n * n)
    return Blocks(edges.reshape(n, n), weight.reshape(n, n), size)


def adjacency(stages: Sequence[Connectome], start: dict[str, int], n: int, of: Sequence[Partition]) -> dict[str, Any]:
    """Every partition's blocks in every stage and, of a small graph, every edge, for the page's script.

    An edge is given as the number ``source * n + target + 1``, negative if it is inhibitory; parallel edges are merged.
    """
    sorted_by = []
    for partition in of:
        rows = []
        for c in stages:
            b = block_sums(c, start, partition)
            at = np.flatnonzero(b.edges)
            rows.append({
                "at": packed(at), "edges": packed(b.edges.ravel()[at]),
                "weight": packed(b.weight.ravel()[at], np.float32), "size": packed(b.size),
            })  # fmt: skip
        sorted_by.append({
            "name": partition.name, "groups": partition.groups, "merged": partition.merged, "stages": rows,
            **({"code": packed(partition.code)} if n <= MAX_CELLS else {}),
        })  # fmt: skip
    single = None
    if 1 < n <= MAX_CELLS and 0 < sum(c.n_edges for c in stages) <= _MAX_EDGES:
        single = [packed(_edges(c, start, n)) for c in stages]
    return {"n": n, "by": sorted_by, "single": single}


def _edges(c: Connectome, start: dict[str, int], n: int) -> NDArray[np.int64]:
    pairs = [
        ((e.source.astype(np.int64) + start[key.source]) * n + e.target + start[key.target], e.weight)
        for key, e in c.edges.items()
    ]
    pair, at = np.unique(np.concatenate([np.zeros(0, np.int64), *(p for p, _ in pairs)]), return_inverse=True)
    weight = np.bincount(at, np.concatenate([np.zeros(0), *(w for _, w in pairs)]), pair.size)
    return np.where(weight < 0, -(pair + 1), pair + 1)
