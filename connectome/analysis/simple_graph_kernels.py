"""Kernels that put edges in CSR order: counting sort, as the keys are nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, kernel

__all__ = ["argsort_nodes", "distance", "join", "merge", "partners"]

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Floats = NDArray[np.float64]


@kernel
def argsort_nodes(node: Ids, n: int) -> tuple[Ints, Ids]:
    """Where each node begins, (n + 1,), and the stable order of the edges by node."""
    start = np.zeros(n + 1, np.int64)
    for e in range(node.size):
        start[np.uint64(node[e]) + np.uint64(1)] += 1
    for i in range(n):
        start[i + 1] += start[i]
    at, order = start.copy(), np.empty(node.size, np.int32)
    for e in range(node.size):
        place = np.uint64(node[e])
        order[np.uint64(at[place])] = e
        at[place] += 1
    return start, order


@kernel
def merge(source: Ids, target: Ids, weight: Floats, length: Floats, n: int) -> tuple[Ints, Ids, Floats, Floats, int]:
    """Row starts, targets, weights and lengths (unless ``length`` is empty) in CSR order without loops, parallel edges
    merged; number of loops."""
    start = np.zeros(n + 2, np.int64)
    for e in range(source.size):
        start[np.uint64(source[e]) + np.uint64(2)] += 1
    for i in range(n):
        start[i + 1] += start[i]
    key = np.empty(source.size, np.int64)
    for e in range(source.size):
        place: Index = np.uint64(source[e]) + np.uint64(1)
        key[np.uint64(start[place])] = np.int64(target[e]) << 32 | e
        start[place] += 1
    tgt, w, um = np.empty(key.size, np.int32), np.empty(key.size), np.empty(length.size)
    indptr = np.zeros(n + 1, np.int64)
    end: Index = np.uint64(0)
    loops = 0
    for i in range(n):
        row = key[start[i] : start[i + 1]]
        row.sort()
        last, parallel = np.int64(-1), 1
        for k in range(row.size):
            j, edge = row[np.uint64(k)] >> 32, np.uint64(row[np.uint64(k)] & 0xFFFFFFFF)
            if j == i:
                loops += 1
            elif j == last:
                w[end - np.uint64(1)] += weight[edge]
                parallel += 1
                if um.size:  # a running mean
                    um[end - np.uint64(1)] += (length[edge] - um[end - np.uint64(1)]) / parallel
            else:
                last, parallel = j, 1
                tgt[end], w[end] = j, weight[edge]
                if um.size:
                    um[end] = length[edge]
                end += np.uint64(1)
        indptr[i + 1] = end
    return indptr, tgt[:end], w[:end], um[:end], loops


@kernel
def distance(indptr: Ints, target: Ids, position: Floats) -> Floats:
    """(E,) distance between the ends of each edge, in the unit of ``position``."""
    found = np.empty(target.size)
    for i in range(indptr.size - 1):
        for e in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j = np.uint64(target[e])
            x, y, z = position[i, 0] - position[j, 0], position[i, 1] - position[j, 1], position[i, 2] - position[j, 2]
            found[e] = np.sqrt(x * x + y * y + z * z)
    return found


@kernel
def partners(indptr: Ints, target: Ids, back_indptr: Ints, back_source: Ids, back_edge: Ints) -> Ints:
    """(E,) for each edge the one in the other direction, -1 without one."""
    found = np.full(target.size, -1)
    for i in range(indptr.size - 1):
        b: Index = np.uint64(back_indptr[i])
        b_end = np.uint64(back_indptr[i + 1])
        for e in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            while b < b_end and back_source[b] < target[e]:
                b += np.uint64(1)
            if b < b_end and back_source[b] == target[e]:
                found[e] = back_edge[b]
    return found


@kernel
def join(
    indptr: Ints, target: Ids, weight: Floats, length: Floats, back_indptr: Ints, back_source: Ids, back_edge: Ints
) -> tuple[Ints, Ids, Floats, Floats]:
    """Rows and columns of a graph merged: each edge in both directions, with half the sum of the weights that there
    are and the mean of the lengths."""
    n, n_edges = indptr.size - 1, target.size
    tgt = np.empty(2 * n_edges, np.int32)
    w, um = np.empty(2 * n_edges), np.empty(2 * n_edges)
    start = np.zeros(n + 1, np.int64)
    at: Index = np.uint64(0)
    for i in range(n):
        e: Index = np.uint64(indptr[i])
        b: Index = np.uint64(back_indptr[i])
        e_end, b_end = np.uint64(indptr[i + 1]), np.uint64(back_indptr[i + 1])
        while e < e_end or b < b_end:
            to = target[e] if e < e_end else np.int32(n)
            of = back_source[b] if b < b_end else np.int32(n)
            total: Index = 0.0
            extent: Index = 0.0
            if to <= of:
                total, extent = weight[e], length[e]
                e += np.uint64(1)
            if of <= to:
                back = np.uint64(back_edge[b])
                total += weight[back]
                extent += length[back]
                b += np.uint64(1)
            tgt[at], w[at] = min(to, of), total / 2
            um[at] = extent / 2 if to == of else extent
            at += np.uint64(1)
        start[i + 1] = at
    return start, tgt[:at], w[:at], um[:at]
