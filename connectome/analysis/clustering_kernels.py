"""Kernels that list the triangles of a graph, each once, and add up what they weigh at their nodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, kernel

__all__ = ["Pairs", "join_pairs", "sum_triangles", "weigh_pairs"]

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """Joined pairs of nodes, each seen once, from the end with fewer neighbours: those of i are ``indptr[i] ..
    indptr[i + 1]``, with the edge to the neighbour and the one back, -1 where there is none.

    Of the nodes: ``neighbours``, and ``mutual``, those among them with an edge each way.
    """

    indptr: Ints
    neighbour: Ids
    out: Ids
    back: Ids
    neighbours: Ints
    mutual: Ints


@kernel
def join_pairs(indptr: Ints, target: Ids, back_indptr: Ints, back_source: Ids, back_edge: Ints) -> Pairs:
    """The pairs of a graph: its rows and its columns, both by rising neighbour, merged."""
    n = indptr.size - 1
    neighbours, mutual = np.zeros(n, np.int64), np.zeros(n, np.int64)
    size = 0
    for i in range(n):
        e: Index = np.uint64(indptr[i])
        b: Index = np.uint64(back_indptr[i])
        e_end, b_end = np.uint64(indptr[i + 1]), np.uint64(back_indptr[i + 1])
        both = 0
        while e < e_end and b < b_end:
            to: Index = target[e]
            of: Index = back_source[b]
            both += to == of
            e += np.uint64(to <= of)
            b += np.uint64(of <= to)
        mutual[i] = both
        neighbours[i] = indptr[i + 1] - indptr[i] + back_indptr[i + 1] - back_indptr[i] - both
        size += neighbours[i]
    start = np.zeros(n + 1, np.int64)
    neighbour, out, back = np.empty(size // 2, np.int32), np.empty(size // 2, np.int32), np.empty(size // 2, np.int32)
    at: Index = np.uint64(0)
    for i in range(n):
        e, b = np.uint64(indptr[i]), np.uint64(back_indptr[i])
        e_end, b_end = np.uint64(indptr[i + 1]), np.uint64(back_indptr[i + 1])
        k = neighbours[i]
        while e < e_end or b < b_end:
            to = target[e] if e < e_end else np.int32(n)
            of = back_source[b] if b < b_end else np.int32(n)
            j = min(to, of)
            if k < neighbours[np.uint64(j)] or (k == neighbours[np.uint64(j)] and i < j):
                neighbour[at] = j
                out[at] = e if to <= of else -1
                back[at] = back_edge[b] if of <= to else -1
                at += np.uint64(1)
            e += np.uint64(to <= of)
            b += np.uint64(of <= to)
        start[i + 1] = at
    return Pairs(start, neighbour, out, back, neighbours, mutual)


@kernel
def weigh_pairs(p: Pairs, weight: Floats) -> Floats:
    """(pairs, 2): the cube root of |the mean of the weights there and back|; the sum of their cube roots."""
    value = np.empty((p.neighbour.size, 2))
    for ij in range(p.neighbour.size):
        out, back = 0.0, 0.0
        if p.out[ij] >= 0:
            out = weight[np.uint64(p.out[ij])]
        if p.back[ij] >= 0:
            back = weight[np.uint64(p.back[ij])]
        value[ij, 0] = np.cbrt(abs(out + back) / 2)
        value[ij, 1] = np.cbrt(abs(out)) + np.cbrt(abs(back))
    return value


@kernel
def sum_triangles(p: Pairs, value: NDArray[Any]) -> Floats:
    """(N, 2): over the triangles of each node, the sums of the products of their pairs' two values.

    O(E sqrt E): no node begins more than sqrt(2 E) pairs.
    """
    n = p.neighbours.size
    found = np.zeros((n, 2))
    place = np.zeros(n, np.int32)  # 1 + the place of a neighbour among those of i
    for i in range(n):
        first, last = np.uint64(p.indptr[i]), np.uint64(p.indptr[i + 1])
        for ij in range(first, last):
            place[np.uint64(p.neighbour[ij])] = ij - first + 1
        for ij in range(first, last):
            j = np.uint64(p.neighbour[ij])
            for jk in range(np.uint64(p.indptr[j]), np.uint64(p.indptr[j + np.uint64(1)])):
                k = np.uint64(p.neighbour[jk])
                if place[k]:
                    ik = first + np.uint64(place[k] - 1)
                    a = np.float64(value[ij, 0]) * value[jk, 0] * value[ik, 0]
                    b = np.float64(value[ij, 1]) * value[jk, 1] * value[ik, 1]
                    for m in (np.uint64(i), j, k):
                        found[m, 0] += a
                        found[m, 1] += b
        for ij in range(first, last):
            place[np.uint64(p.neighbour[ij])] = 0
    return found
