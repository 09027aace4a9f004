"""Kernels over shortest paths by the number of edges: many breadth-first searches at once, Brandes' sums over paths.

Each takes the sources ``first .. last - 1``, so that blocks of sources can run in threads; the order of a sum within a
block does not depend on the thread. Work arrays have one row per node.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, inner, kernel

__all__ = [
    "Graph", "Hood", "binary_betweenness", "binary_distances", "binary_local_efficiency", "fill_hood", "hoods",
    "possible",
]  # fmt: skip

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

_WORDS = 4
_SOURCES = 64 * _WORDS
_ONE = np.uint64(1)


class Graph(NamedTuple):
    """Its rows and its columns."""

    indptr: Ints
    target: Ids
    back_indptr: Ints
    back_source: Ids


class _Searches(NamedTuple):
    """Work arrays for ``_SOURCES`` searches; a node's bits say which of them have seen it."""

    seen: Words
    now: Words
    new: Words
    active: Ids
    found: Ids
    is_found: Bytes
    masks: Words


@inner
def _searches(n: int) -> _Searches:
    shape = (n, _WORDS)
    return _Searches(
        np.zeros(shape, np.uint64), np.zeros(shape, np.uint64), np.zeros(shape, np.uint64), np.empty(n, np.int32),
        np.empty(n + 1, np.int32), np.zeros(n, np.uint8), np.zeros((3, _WORDS), np.uint64),
    )  # fmt: skip


@inner
def _ones(x: Index) -> Index:
    """The number of bits that are set."""
    x -= (x >> _ONE) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@inner
def _search(g: Graph, n: int, first: int, last: int, weight: Bytes, s: _Searches, pairs: Ints, furthest: Ids) -> int:
    """Breadth first from at most ``_SOURCES`` nodes at once. Adds to ``pairs[d]`` the products of the weights (1 or 2)
    of the pairs at distance d, sets the furthest distance of each source, returns the furthest of all.

    A step goes out from the nodes just found if they have few edges; else each node that some search has not seen looks
    back along its edges, until it is seen by all.
    """
    seen, now, new, active, found = s.seen, s.now, s.new, s.active, s.found
    full, twice, moved = s.masks[0], s.masks[1], s.masks[2]
    s.masks[:2] = 0
    seen[:n] = 0
    n_active: Index = np.uint64(0)
    for k in range(last - first):
        i, word, bit = np.uint64(first + k), np.uint64(k) >> np.uint64(6), _ONE << (np.uint64(k) & np.uint64(63))
        seen[i, word] |= bit
        now[i, word] |= bit
        full[word] |= bit
        if weight[i] == 2:
            twice[word] |= bit
        active[n_active] = i
        n_active += _ONE
    n_edges = g.indptr[n]
    distance = 0
    while n_active:
        distance += 1
        n_found: Index = np.uint64(0)
        out = 0
        for q in range(n_active):
            u = np.uint64(active[q])
            out += g.indptr[u + _ONE] - g.indptr[u]
        if 4 * out < n_edges:
            for q in range(n_active):
                u = np.uint64(active[q])
                for e in range(np.uint64(g.indptr[u]), np.uint64(g.indptr[u + _ONE])):
                    v = np.uint64(g.target[e])
                    for w in range(_WORDS):
                        new[v, w] |= now[u, w]
                    found[n_found] = v
                    n_found += np.uint64(1 - s.is_found[v])
                    s.is_found[v] = 1
            for q in range(n_found):
                s.is_found[np.uint64(found[q])] = 0
        else:
            for k in range(n):
                v = np.uint64(k)
                open_: Index = np.uint64(0)
                for w in range(_WORDS):
                    open_ |= full[w] & ~seen[v, w]
                if open_:
                    for e in range(np.uint64(g.back_indptr[v]), np.uint64(g.back_indptr[v + _ONE])):
                        u = np.uint64(g.back_source[e])
                        open_ = np.uint64(0)
                        for w in range(_WORDS):
                            new[v, w] |= now[u, w]
                            open_ |= full[w] & ~(seen[v, w] | new[v, w])
                        if not open_:
                            break
                    found[n_found] = v
                    n_found += _ONE
        for q in range(n_active):
            for w in range(_WORDS):
                now[np.uint64(active[q]), w] = 0
        n_active = np.uint64(0)
        moved[:] = 0
        total: Index = np.uint64(0)
        for q in range(n_found):
            v = np.uint64(found[q])
            any_: Index = np.uint64(0)
            here: Index = np.uint64(0)
            for w in range(_WORDS):
                bits = new[v, w] & ~seen[v, w]
                seen[v, w] |= bits
                new[v, w] = 0
                now[v, w] = bits
                moved[w] |= bits
                any_ |= bits
                here += _ones(bits) + _ones(bits & twice[w])
            if any_:
                active[n_active] = v
                n_active += _ONE
                total += here * np.uint64(weight[v])
        if n_active:
            pairs[distance] += np.int64(total)
            for k in range(last - first):
                if moved[np.uint64(k) >> np.uint64(6)] >> (np.uint64(k) & np.uint64(63)) & _ONE:
                    furthest[first + k] = distance
    return distance - 1


@kernel
def binary_distances(g: Graph, first: int, last: int) -> tuple[Ints, Ids]:
    """(N,) pairs of nodes at each distance; (N,) the largest distance from each source, 0 if it reaches no node."""
    n = g.indptr.size - 1
    pairs, furthest = np.zeros(n + 1, np.int64), np.zeros(n, np.int32)
    weight, searches = np.ones(n, np.uint8), _searches(n)
    for i in range(first, last, _SOURCES):
        _search(g, n, i, min(i + _SOURCES, last), weight, searches, pairs, furthest)
    return pairs, furthest


class Hood(NamedTuple):
    """The graph among the neighbours of a node, with ``edges`` 1 or 2 between each of them and it."""

    g: Graph
    edge: Ids
    edges: Bytes
    size: int


@inner
def _room(g: Graph) -> tuple[int, int]:
    """The most neighbours of a node, and the most edges that can be among them."""
    most, most_edges = 0, 0
    for i in range(g.indptr.size - 1):
        k = g.indptr[i + 1] - g.indptr[i] + g.back_indptr[i + 1] - g.back_indptr[i]
        out = 0
        for e in range(g.indptr[i], g.indptr[i + 1]):
            out += g.indptr[g.target[e] + 1] - g.indptr[g.target[e]]
        for b in range(g.back_indptr[i], g.back_indptr[i + 1]):
            out += g.indptr[g.back_source[b] + 1] - g.indptr[g.back_source[b]]
        most, most_edges = max(most, k), max(most_edges, min(out, k * k))
    return most, min(most_edges, g.target.size)


@inner
def hoods(g: Graph) -> Hood:
    """Room for the largest neighbourhood."""
    k, e = _room(g)
    inside = Graph(
        np.zeros(k + 1, np.int64), np.empty(e, np.int32), np.zeros(k + 2, np.int64), np.empty(e, np.int32)
    )  # fmt: skip
    return Hood(inside, np.empty(e, np.int32), np.zeros(k, np.uint8), 0)


@inner
def fill_hood(g: Graph, i: int, place: Ids, member: Ids, h: Hood) -> int:
    """Make the neighbourhood of i, and return its size. ``place``, 0 for all nodes before and after, is work space."""
    size = 0
    for e in range(np.uint64(g.indptr[i]), np.uint64(g.indptr[i + 1])):
        member[size] = g.target[e]
        h.edges[size] = 1
        size += 1
        place[np.uint64(g.target[e])] = size
    for b in range(np.uint64(g.back_indptr[i]), np.uint64(g.back_indptr[i + 1])):
        j = np.uint64(g.back_source[b])
        if place[j]:
            h.edges[np.uint64(place[j] - 1)] = 2
        else:
            member[size] = g.back_source[b]
            h.edges[size] = 1
            size += 1
            place[j] = size
    end: Index = np.uint64(0)
    h.g.back_indptr[: size + 2] = 0
    for a in range(size):
        j = np.uint64(member[a])
        for e in range(np.uint64(g.indptr[j]), np.uint64(g.indptr[j + _ONE])):
            b = place[np.uint64(g.target[e])]
            if b:
                h.g.target[end] = b - 1
                h.edge[end] = e
                h.g.back_indptr[np.uint64(b + 1)] += 1
                end += _ONE
        h.g.indptr[a + 1] = end
    for a in range(size):
        h.g.back_indptr[a + 1] += h.g.back_indptr[a]
    for a in range(size):
        for e in range(h.g.indptr[a], h.g.indptr[a + 1]):
            to = np.uint64(h.g.target[np.uint64(e)]) + _ONE
            h.g.back_source[np.uint64(h.g.back_indptr[to])] = a
            h.g.back_indptr[to] += 1
    for a in range(size):
        place[np.uint64(member[a])] = 0
    return size


@inner
def possible(edges: Bytes, size: int) -> float:
    """The sum over the paths among the neighbours if each path were an edge of weight 1."""
    total, squares = 0.0, 0.0
    for a in range(size):
        total += edges[a]
        squares += edges[a] * edges[a]
    return total * total - squares


@kernel
def binary_local_efficiency(g: Graph, first: int, last: int) -> Floats:
    """(last - first,) local efficiency of each node."""
    n = g.indptr.size - 1
    found = np.zeros(last - first)
    h = hoods(g)
    place, member = np.zeros(n, np.int32), np.empty(h.edges.size, np.int32)
    pairs, furthest = np.zeros(h.edges.size + 1, np.int64), np.zeros(h.edges.size, np.int32)
    searches = _searches(h.edges.size)
    for i in range(first, last):
        size = fill_hood(g, i, place, member, h)
        deepest = 0
        for a in range(0, size, _SOURCES):
            depth = _search(h.g, size, a, min(a + _SOURCES, size), h.edges, searches, pairs, furthest)
            deepest = max(deepest, depth)
        total = 0.0
        for d in range(1, deepest + 1):
            total += pairs[d] / d
            pairs[d] = 0
        if total > 0:
            found[i - first] = total / possible(h.edges, size)
    return found


@inner
def _gathered(value: Floats, at: Ids, first: Index, last: Index) -> float:
    """The sum of the values at these places, in four parts, so that an addition need not wait for the one before."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    k: Index = first
    while k + np.uint64(3) < last:
        a += value[np.uint64(at[k])]
        b += value[np.uint64(at[k + _ONE])]
        c += value[np.uint64(at[k + np.uint64(2)])]
        d += value[np.uint64(at[k + np.uint64(3)])]
        k += np.uint64(4)
    while k < last:
        a += value[np.uint64(at[k])]
        k += _ONE
    return (a + b) + (c + d)


@kernel
def binary_betweenness(g: Graph, first: int, last: int, by_edge: bool) -> tuple[Floats, Floats]:
    """(N,) and, if asked, (E,) sums over the sources of Brandes' dependency: the share of the shortest paths to each
    other node that go through a node or an edge.

    Both passes go through all edges of a level without asking where they lead: paths are added up in ``sums`` and taken
    from there for nodes that are new; going back, ``share`` is 0 but for the level below. The last level's edges are
    not read once every node that can be found is.
    """
    n = g.indptr.size - 1
    of_node, of_edge = np.zeros(n), np.zeros(g.target.size if by_edge else 0)
    paths, sums, share, below = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    seen = np.zeros(n, np.uint8)
    order, touched = np.empty(n, np.int32), np.empty(n + 1, np.int32)
    level = np.zeros(n + 2, np.int64)
    can_be_found = 0
    for i in range(n):
        can_be_found += g.back_indptr[i + 1] > g.back_indptr[i]
    for s in range(first, last):
        paths[s], seen[s], order[0] = 1.0, 1, s
        all_found = can_be_found + (g.back_indptr[s + 1] == g.back_indptr[s])
        depth = 0
        begin: Index = np.uint64(0)
        end: Index = _ONE
        level[1] = 1
        while begin < end and end < np.uint64(all_found):
            n_touched: Index = np.uint64(0)
            for k in range(begin, end):
                u = np.uint64(order[k])
                more = paths[u]
                for e in range(np.uint64(g.indptr[u]), np.uint64(g.indptr[u + _ONE])):
                    v = np.uint64(g.target[e])
                    before = sums[v]
                    sums[v] = before + more
                    touched[n_touched] = v
                    n_touched += np.uint64(before == 0.0)
            begin = end
            for k in range(n_touched):
                v = np.uint64(touched[k])
                if not seen[v]:
                    seen[v] = 1
                    paths[v] = sums[v]
                    order[end] = v
                    end += _ONE
                sums[v] = 0.0
            if begin < end:
                depth += 1
                level[depth + 1] = end
        for k in range(level[depth], level[depth + 1]):
            v = np.uint64(order[k])
            share[v] = 1 / paths[v]
        for d in range(depth - 1, -1, -1):
            for k in range(level[d], level[d + 1]):
                u = np.uint64(order[k])
                e_first, e_last = np.uint64(g.indptr[u]), np.uint64(g.indptr[u + _ONE])
                below[u] = _gathered(share, g.target, e_first, e_last)
                if by_edge:
                    for e in range(e_first, e_last):
                        of_edge[e] += paths[u] * share[np.uint64(g.target[e])]
            for k in range(level[d + 1], level[d + 2]):
                share[np.uint64(order[k])] = 0.0
            for k in range(level[d], level[d + 1]):
                u = np.uint64(order[k])
                share[u] = below[u] + 1 / paths[u]
                if d:
                    of_node[u] += paths[u] * below[u]
        for k in range(end):
            share[np.uint64(order[k])] = 0.0
            seen[np.uint64(order[k])] = 0
    return of_node, of_edge
