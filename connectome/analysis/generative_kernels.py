"""Growth of an undirected graph edge by edge, each with a probability that depends on the graph so far, on plain
arrays.

A pair of nodes u < v has a weight, ``cost[u, v] * f(K[u, v])``; the next edge joins a pair with a probability in
proportion to it. Weights are kept for all pairs, with the sums of each row and of every stretch of :data:`BLOCK`
weights within it: an edge is drawn by descending these sums. Then only the pairs whose K it changed are weighed again.
Sums are never updated by differences but added up again, so that no rounding error builds up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, inner, kernel

__all__ = ["BLOCK", "CLUSTERING", "DEGREE", "DISTANCE", "MATCHING", "NEIGHBOURS", "grow_pairs"]

#: What K is. From DEGREE and from CLUSTERING on, the five ways to join two nodes' values follow one another: mean,
#: product, difference, minimum, maximum.
DISTANCE, NEIGHBOURS, MATCHING, DEGREE, CLUSTERING = 0, 1, 2, 3, 8

BLOCK = 32
_BLOCK = np.uint64(BLOCK)
_U0, _U1, _U2, _U3, _U4 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@inner
def _sum_block(weight: Any, block: Any, u: Index, b: Index) -> None:
    """Four sums side by side: the next need not wait for the last."""
    s0 = s1 = s2 = s3 = 0.0
    i = b * _BLOCK
    while i < (b + _U1) * _BLOCK:
        s0 += weight[u, i]
        s1 += weight[u, i + _U1]
        s2 += weight[u, i + _U2]
        s3 += weight[u, i + _U3]
        i += _U4
    block[u, b] = (s0 + s1) + (s2 + s3)


@inner
def _sum_row(block: Any, row: Any, u: Index) -> None:
    s0 = s1 = s2 = s3 = 0.0
    b = u // (_U4 * _BLOCK) * _U4  # blocks before it are of pairs that belong to other rows
    while b < np.uint64(block.shape[1]):
        s0 += block[u, b]
        s1 += block[u, b + _U1]
        s2 += block[u, b + _U2]
        s3 += block[u, b + _U3]
        b += _U4
    row[u] = (s0 + s1) + (s2 + s3)


@inner
def _join(how: int, x: float, y: float) -> float:
    if how == 0:
        return (x + y) / 2
    if how == 1:
        return x * y
    if how == 2:
        return abs(x - y)
    return min(x, y) if how == 3 else max(x, y)


@inner
def _clustering(triangles: Any, degree: Any, u: Index) -> float:
    k = float(degree[u])
    return 2.0 * triangles[u] / (k * (k - 1.0)) if k > 1.0 else 0.0


@inner
def _value(rule: int, u: Index, v: Index, degree: Any, common: Any, triangles: Any) -> float:
    """K of two nodes that no edge joins."""
    if rule == NEIGHBOURS:
        return float(common[u, v])
    if rule == MATCHING:
        ends = float(degree[u]) + float(degree[v])
        return 2.0 * common[u, v] / ends if ends > 0.0 else 0.0
    if rule < CLUSTERING:
        return _join(rule - DEGREE, float(degree[u]), float(degree[v]))
    return _join(rule - CLUSTERING, _clustering(triangles, degree, u), _clustering(triangles, degree, v))


@inner
def _weigh(law: Any, cost: Any, u: Index, v: Index, degree: Any, common: Any, triangles: Any) -> float:
    rule, exponential, gamma, epsilon = law
    if rule == DISTANCE:
        return float(cost[u, v])
    k = _value(rule, u, v, degree, common, triangles)
    return float(cost[u, v] * (np.exp(gamma * k) if exponential else (k + epsilon) ** gamma))


@kernel
def grow_pairs(
    rule: int, exponential: bool, gamma: float, epsilon: float, cost: NDArray[np.float64], joined: NDArray[np.uint8],
    uniform: NDArray[np.float64], pairs: NDArray[np.int32],
) -> int:  # fmt: skip
    """Grow as many edges as there are numbers in ``uniform`` (M,), each in [0, 1); return how many were possible.

    ``cost`` (N, N) is symmetric; so is ``joined`` (N, N), 1 where there is an edge, to which the new ones are added.
    ``pairs`` (M, 2) takes the new edges, u < v, in the order of their growth. It ends early where no pair has a
    weight above 0, or the sum of the weights is not finite.
    """
    n = np.uint64(cost.shape[0])
    n_blocks = (n + _U4 * _BLOCK - _U1) // (_U4 * _BLOCK) * _U4
    weight = np.zeros((n, n_blocks * _BLOCK))
    block = np.zeros((n, n_blocks))
    row = np.zeros(n)
    degree = np.zeros(n, np.int64)
    triangles = np.zeros(n, np.int64)
    touched = np.zeros(n, np.uint64)
    neighbour = np.zeros(n, np.uint64)
    counted = rule in (NEIGHBOURS, MATCHING) or rule >= CLUSTERING
    common = np.zeros((n, n) if counted else (_U1, _U1), np.uint16)
    for u in range(n):
        for v in range(n):
            if joined[u, v]:
                neighbour[degree[u]] = v
                degree[u] += 1
        if counted:
            for i in range(degree[u]):
                for j in range(degree[u]):
                    if i != j:
                        common[neighbour[i], neighbour[j]] += 1
    if rule >= CLUSTERING:
        for u in range(n):
            for v in range(n):
                if joined[u, v]:
                    triangles[u] += common[u, v]
            triangles[u] //= 2
    law = (rule, exponential, gamma, epsilon)
    for u in range(n):
        _weigh_row(law, cost, u, u + _U1, False, joined, degree, common, triangles, weight, block, row)
    alike_only = rule in (NEIGHBOURS, MATCHING)
    for m in range(uniform.size):
        total = 0.0
        for u in range(n):
            total += row[u]
        if not (total > 0.0 and total < np.inf):
            return m
        u, v = _draw(uniform[m] * total, row, block, weight)
        pairs[m, 0], pairs[m, 1] = u, v
        joined[u, v] = joined[v, u] = 1
        degree[u] += 1
        degree[v] += 1
        weight[u, v] = 0.0
        _sum_block(weight, block, u, v // _BLOCK)
        _sum_row(block, row, u)
        if rule == DISTANCE:
            continue
        touched[0], touched[1] = u, v
        n_touched = 2
        if counted:
            n_touched = _count(rule, u, v, joined, common, triangles, touched)
        for i in range(n_touched):
            _weigh_row(law, cost, touched[i], _U0, alike_only, joined, degree, common, triangles, weight, block, row)
    return int(uniform.size)


@inner
def _draw(left: float, row: Any, block: Any, weight: Any) -> tuple[Any, Any]:
    """The pair at which the running sum of the weights exceeds ``left``; the last pair with a weight above 0 where
    rounding would lead beyond it."""
    n = np.uint64(row.size)
    u = last = _U0
    while u < n:
        if row[u] > 0.0:
            last = u
            if left < row[u]:
                break
        left -= row[u]
        u += _U1
    if u == n:
        u = last
        left = np.inf
    n_blocks = np.uint64(block.shape[1])
    b = last = u // _BLOCK
    while b < n_blocks:
        if block[u, b] > 0.0:
            last = b
            if left < block[u, b]:
                break
        left -= block[u, b]
        b += _U1
    if b == n_blocks:
        b = last
        left = np.inf
    v = last = b * _BLOCK
    while v < (b + _U1) * _BLOCK:
        if weight[u, v] > 0.0:
            last = v
            if left < weight[u, v]:
                break
        left -= weight[u, v]
        v += _U1
    return u, last


@inner
def _count(rule: int, u: Index, v: Index, joined: Any, common: Any, triangles: Any, touched: Any) -> int:
    """Count common neighbours and triangles with the new edge; with a rule of clustering, the common neighbours are
    touched too. Returns how many nodes are touched."""
    n_touched = 2
    if rule >= CLUSTERING:
        for w in range(np.uint64(joined.shape[0])):
            if joined[u, w] and joined[v, w]:
                triangles[u] += 1
                triangles[v] += 1
                triangles[w] += 1
                touched[n_touched] = w
                n_touched += 1
        return n_touched
    for w in range(np.uint64(joined.shape[0])):
        if joined[v, w] and w != u:
            common[u, w] += 1
            common[w, u] += 1
        if joined[u, w] and w != v:
            common[v, w] += 1
            common[w, v] += 1
    return n_touched


@inner
def _weigh_row(
    law: Any, cost: Any, x: Index, first: Index, alike_only: bool, joined: Any, degree: Any, common: Any,
    triangles: Any, weight: Any, block: Any, row: Any,
) -> None:  # fmt: skip
    """Weigh the pairs of a node with the nodes from ``first`` on. ``alike_only``: not those without a common neighbour,
    of which K was 0 and still is."""
    for w in range(first, np.uint64(joined.shape[0])):
        if w == x or joined[x, w] or (alike_only and common[x, w] == 0):
            continue
        found = _weigh(law, cost, x, w, degree, common, triangles)
        if w > x:
            weight[x, w] = found
        else:
            weight[w, x] = found
            _sum_block(weight, block, w, x // _BLOCK)
            _sum_row(block, row, w)
    for b in range(x // _BLOCK, np.uint64(block.shape[1])):
        _sum_block(weight, block, x, b)
    _sum_row(block, row, x)
