"""Kernels over shortest paths by the sum of the edges' lengths: Dijkstra's search, and Brandes' sums over paths.

Sources and work arrays are as in :mod:`connectome.analysis.path_kernels`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.path_kernels import Graph, fill_hood, hoods, possible
from connectome.jit import Index, inner, kernel

__all__ = ["weighted_betweenness", "weighted_distances", "weighted_local_efficiency"]

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Floats = NDArray[np.float64]

_ONE = np.uint64(1)
#: Lengths that differ by this share are the same: a sum of a thousand numbers is off by a tenth of it. (igraph: 1e-10.)
_TIE = 1e-12


class _Queue(NamedTuple):
    """Dijkstra's search: distances, nodes in the order in which they are settled, and a heap with four children."""

    distance: Floats
    order: Ids
    heap: Ids
    place: Ids  # in the heap, from 1; 0 not seen, -1 settled


@inner
def _queue(n: int) -> _Queue:
    return _Queue(np.empty(n), np.empty(n, np.int32), np.empty(n + 1, np.int32), np.zeros(n, np.int32))


@inner
def _rise(q: _Queue, at: Index, v: Index) -> None:
    """Move v, which belongs at ``at`` or above, to its place."""
    key = q.distance[v]
    while at:
        above = (at - _ONE) >> np.uint64(2)
        u = np.uint64(q.heap[above])
        if q.distance[u] <= key:
            break
        q.heap[at] = u
        q.place[u] = at + _ONE
        at = above
    q.heap[at] = v
    q.place[v] = at + _ONE


@inner
def _pop(q: _Queue, size: Index) -> Index:
    """Remove and return the nearest node of a heap of this size."""
    top = np.uint64(q.heap[0])
    q.place[top] = -1
    size -= _ONE
    if size:
        v = np.uint64(q.heap[size])
        key = q.distance[v]
        at: Index = np.uint64(0)
        while True:
            child = (at << np.uint64(2)) + _ONE
            if child >= size:
                break
            least = child
            for c in range(child + _ONE, min(child + np.uint64(4), size)):
                if q.distance[np.uint64(q.heap[c])] < q.distance[np.uint64(q.heap[least])]:
                    least = c
            u = np.uint64(q.heap[least])
            if q.distance[u] >= key:
                break
            q.heap[at] = u
            q.place[u] = at + _ONE
            at = least
        q.heap[at] = v
        q.place[v] = at + _ONE
    return top


@inner
def _settle(indptr: Ints, target: Ids, length: Floats, s: int, q: _Queue) -> int:
    """Dijkstra's search from s; returns how many nodes it settled. An edge of infinite length is not used."""
    q.distance[s] = 0.0
    q.heap[0] = s
    q.place[s] = 1
    size: Index = _ONE
    settled = 0
    while size:
        u = _pop(q, size)
        size -= _ONE
        q.order[settled] = u
        settled += 1
        for e in range(np.uint64(indptr[u]), np.uint64(indptr[u + _ONE])):
            v = np.uint64(target[e])
            if q.place[v] < 0:
                continue
            there = q.distance[u] + length[e]
            if q.place[v] == 0:
                if there < np.inf:
                    q.distance[v] = there
                    _rise(q, size, v)
                    size += _ONE
            elif there < q.distance[v]:
                q.distance[v] = there
                _rise(q, np.uint64(q.place[v] - 1), v)
    return settled


@inner
def _forget(q: _Queue, settled: int) -> None:
    for k in range(settled):
        q.place[np.uint64(q.order[k])] = 0


@kernel
def weighted_distances(g: Graph, length: Floats, first: int, last: int) -> tuple[int, float, float, Floats]:
    """How many pairs of different nodes are joined by a path, the sums of their distances and of the inverses; (last -
    first,) the largest distance from each source, nan if it reaches no node."""
    q = _queue(g.indptr.size - 1)
    furthest = np.full(last - first, np.nan)
    pairs, total, inverse = 0, 0.0, 0.0
    for i in range(first, last):
        settled = _settle(g.indptr, g.target, length, i, q)
        for k in range(1, settled):
            d = q.distance[np.uint64(q.order[k])]
            total += d
            inverse += 1 / d
            furthest[i - first] = d
        pairs += settled - 1
        _forget(q, settled)
    return pairs, total, inverse, furthest


@kernel
def weighted_local_efficiency(
    g: Graph, length: Floats, root: Floats, back_root: Floats, first: int, last: int
) -> Floats:
    """(last - first,) local efficiency of each node. ``length`` and ``root``, the cube root of the weight, are by edge,
    ``back_root`` by edge of the columns."""
    n = g.indptr.size - 1
    found = np.zeros(last - first)
    h = hoods(g)
    place, member = np.zeros(n, np.int32), np.empty(h.edges.size, np.int32)
    q = _queue(h.edges.size)
    inside, weight, at_node = np.empty(h.edge.size), np.empty(h.edges.size), np.zeros(n)
    for i in range(first, last):
        size = fill_hood(g, i, place, member, h)
        for e in range(g.indptr[i], g.indptr[i + 1]):
            at_node[g.target[e]] += root[e]
        for b in range(g.back_indptr[i], g.back_indptr[i + 1]):
            at_node[g.back_source[b]] += back_root[b]
        for a in range(size):
            weight[a] = at_node[member[a]]
            at_node[member[a]] = 0.0
        for e in range(h.g.indptr[size]):
            inside[e] = length[h.edge[e]]
        total = 0.0
        for a in range(size):
            settled = _settle(h.g.indptr, h.g.target, inside, a, q)
            part = 0.0
            for k in range(1, settled):
                v = np.uint64(q.order[k])
                part += weight[v] / q.distance[v]
            total += weight[a] * part
            _forget(q, settled)
        if total > 0:
            found[i - first] = total / possible(h.edges, size)
    return found


@kernel
def weighted_betweenness(g: Graph, length: Floats, first: int, last: int, by_edge: bool) -> tuple[Floats, Floats]:
    """As ``binary_betweenness``, of the paths that are shortest by length, those within ``_TIE`` of the shortest among
    them. Lengths are above 0.

    Which edges are on a shortest path is decided after the distances are known, and only once for both passes over
    them."""
    n = g.indptr.size - 1
    of_node, of_edge = np.zeros(n), np.zeros(g.target.size if by_edge else 0)
    q, paths, share, rank = _queue(n), np.zeros(n), np.zeros(n), np.zeros(n, np.int32)
    on_path, begin = np.empty(g.target.size, np.int32), np.zeros(n + 1, np.int64)
    for s in range(first, last):
        settled = _settle(g.indptr, g.target, length, s, q)
        for k in range(settled):
            u = np.uint64(q.order[k])
            rank[u], paths[u] = k + 1, 0.0
        paths[s] = 1.0
        end: Index = np.uint64(0)
        for k in range(settled):
            u = np.uint64(q.order[k])
            for e in range(np.uint64(g.indptr[u]), np.uint64(g.indptr[u + _ONE])):
                v = np.uint64(g.target[e])
                if rank[v] > rank[u] and q.distance[u] + length[e] <= q.distance[v] * (1 + _TIE):
                    paths[v] += paths[u]
                    on_path[end] = e
                    end += _ONE
            begin[k + 1] = end
        for k in range(settled - 1, -1, -1):
            u = np.uint64(q.order[k])
            below = 0.0
            for i in range(np.uint64(begin[k]), np.uint64(begin[k + 1])):
                edge = np.uint64(on_path[i])
                onward = share[np.uint64(g.target[edge])]
                below += onward
                if by_edge:
                    of_edge[edge] += paths[u] * onward
            share[u] = below + 1 / paths[u]
            if k:
                of_node[u] += paths[u] * below
        for k in range(settled):
            rank[np.uint64(q.order[k])] = 0
        _forget(q, settled)
    return of_node, of_edge
