"""Kernels that count connected triples of nodes by class, and sum their weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, inner, kernel

__all__ = ["Dyads", "count_triples", "join_directions", "weigh_triples"]

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Codes = NDArray[np.int8]
Floats = NDArray[np.float64]


class Dyads(NamedTuple):
    """Joined pairs, each seen from both ends, in CSR order: ``code`` 1 is an edge to the neighbour, 2 one from it, 3
    both; ``out`` and ``back`` are the edges' weights, 0 where there is none."""

    indptr: Ints
    neighbour: Ids
    code: Codes
    out: Floats
    back: Floats


@kernel
def join_directions(
    indptr: Ints, target: Ids, weight: Floats, back_indptr: Ints, back_source: Ids, back_edge: Ints
) -> Dyads:
    """The dyads of a graph: its rows and its columns, both by rising neighbour, merged."""
    n = indptr.size - 1
    start = np.zeros(n + 1, np.int64)
    neighbour, code = np.empty(2 * target.size, np.int32), np.empty(2 * target.size, np.int8)
    out, back = np.zeros(2 * target.size), np.zeros(2 * target.size)
    at = 0
    for i in range(n):
        e, b = indptr[i], back_indptr[i]
        while e < indptr[i + 1] or b < back_indptr[i + 1]:
            to = np.int64(target[e]) if e < indptr[i + 1] else np.int64(n)
            of = np.int64(back_source[b]) if b < back_indptr[i + 1] else np.int64(n)
            neighbour[at] = min(to, of)
            code[at] = 0
            if to <= of:
                code[at] += 1
                out[at] = abs(weight[e])
                e += 1
            if of <= to:
                code[at] += 2
                back[at] = abs(weight[back_edge[b]])
                b += 1
            at += 1
        start[i + 1] = at
    return Dyads(start, neighbour[:at], code[:at], out[:at], back[:at])


@kernel
def count_triples(d: Dyads, classes: NDArray[np.int64]) -> Ints:
    """(N, 13) how many connected triples of each class each node is in.

    ``classes[ij, jk, ik]`` is the class of a triple by the codes of its pairs. Pairs of neighbours are counted from the
    numbers of neighbours of each code; triangles are then listed, each once, from its node of lowest degree, to correct
    the counts: O(E sqrt E) rather than O(sum of squared degrees).
    """
    n = d.indptr.size - 1
    found = np.zeros((n, 13), np.int64)
    tally = np.zeros((n, 4), np.int64)
    for i in range(n):
        for e in range(d.indptr[i], d.indptr[i + 1]):
            tally[i, d.code[e]] += 1
    for i in range(n):
        for a in range(1, 4):
            for b in range(a, 4):
                pairs = tally[i, a] * tally[i, b] if a != b else tally[i, a] * (tally[i, a] - 1) // 2
                found[i, classes[_turned(a), b, 0]] += pairs
        for e in range(d.indptr[i], d.indptr[i + 1]):
            middle, code = d.neighbour[e], np.int64(d.code[e])
            for b in range(1, 4):
                found[i, classes[code, b, 0]] += tally[middle, b] - (1 if b == _turned(code) else 0)
    # Each pair from the end of the lower degree: no node keeps more than sqrt(2 E) neighbours.
    start = np.zeros(n + 1, np.int64)
    up, up_code = np.empty(d.neighbour.size // 2, np.int32), np.empty(d.neighbour.size // 2, np.int64)
    at = 0
    for i in range(n):
        size = d.indptr[i + 1] - d.indptr[i]
        for e in range(d.indptr[i], d.indptr[i + 1]):
            j = d.neighbour[e]
            other = d.indptr[j + 1] - d.indptr[j]
            if size < other or (size == other and i < j):
                up[at], up_code[at] = j, d.code[e]
                at += 1
        start[i + 1] = at
    mark = np.zeros(n, np.int64)
    for i in range(n):
        for e in range(start[i], start[i + 1]):
            mark[up[e]] = up_code[e]
        for e in range(start[i], start[i + 1]):
            j, ij = up[e], up_code[e]
            for f in range(start[j], start[j + 1]):
                k, jk = up[f], up_code[f]
                ik = mark[k]
                if ik:
                    whole = classes[ij, jk, ik]
                    at_i, at_j, at_k = classes[ij, 0, ik], classes[ij, jk, 0], classes[0, jk, ik]
                    for node in (np.int64(i), np.int64(j), np.int64(k)):
                        found[node, whole] += 1
                        found[node, at_i] -= 1
                        found[node, at_j] -= 1
                        found[node, at_k] -= 1
        for e in range(start[i], start[i + 1]):
            mark[up[e]] = 0
    return found


@kernel
def weigh_triples(d: Dyads, classes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(N, 13) sums of intensity and of coherence of the connected triples that each node is in (Onnela et al. 2005).

    Every triple is visited, from its least node if it is a triangle: O(sum of squared degrees).
    """
    n = d.indptr.size - 1
    intensity, coherence = np.zeros((n, 13)), np.zeros((n, 13))
    mark = np.full(n, -1, np.int64)
    for i in range(n):
        for e in range(d.indptr[i], d.indptr[i + 1]):
            mark[d.neighbour[e]] = e
        for e in range(d.indptr[i], d.indptr[i + 1]):
            j = d.neighbour[e]
            for f in range(d.indptr[j], d.indptr[j + 1]):
                k = d.neighbour[f]
                if k <= i:
                    continue
                g = mark[k]
                if g >= 0 and not i < j < k:
                    continue
                n_edges, total, product = 0, 0.0, 1.0
                for pair in (e, f, g):
                    if pair >= 0:
                        if d.code[pair] & 1:
                            n_edges, total, product = n_edges + 1, total + d.out[pair], product * d.out[pair]
                        if d.code[pair] & 2:
                            n_edges, total, product = n_edges + 1, total + d.back[pair], product * d.back[pair]
                geometric = product ** (1 / n_edges)
                ratio = geometric / (total / n_edges) if total > 0 else 0.0
                where = classes[d.code[e], d.code[f], d.code[g] if g >= 0 else 0]
                for node in (np.int64(i), np.int64(j), np.int64(k)):
                    intensity[node, where] += geometric
                    coherence[node, where] += ratio
        for e in range(d.indptr[i], d.indptr[i + 1]):
            mark[d.neighbour[e]] = -1
    return intensity, coherence


@inner
def _turned(code: Index) -> Index:
    """The code of a pair seen from its other end."""
    return 3 - code if code < 3 else 3
