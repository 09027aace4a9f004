"""The steps of the Leiden algorithm, and sums of weight by community, on rows of neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.null_kernels import shuffled, uniform
from connectome.jit import Index, kernel

__all__ = ["Level", "aggregate", "both_ends", "by_community", "move_nodes", "refine"]

_ONE: Index = np.uint64(1)
_NONE: Index = np.uint64(0)
#: A move must gain more than this share of a node's strength: sums of floating point numbers must not go in circles.
_LEAST = 1e-10


class Level(NamedTuple):
    """A graph whose nodes are nodes or aggregated nodes, by neighbour, each edge in the rows of both its ends.

    indptr : (n + 1,); neighbour : (M,) never the node itself; weight : (M,) > 0: of both directions together
    k_out, k_in : (n,) strengths of the directed graph
    scale : gamma / total weight
    """

    indptr: NDArray[np.int64]
    neighbour: NDArray[np.int32]
    weight: NDArray[np.float64]
    k_out: NDArray[np.float64]
    k_in: NDArray[np.float64]
    scale: float


@kernel
def both_ends(
    indptr: NDArray[np.int64], target: NDArray[np.int32], weight: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Rows in which each edge is twice, by its source and by its target, with |weight|; edges of 0 are left out."""
    n: Index = np.uint64(indptr.size - 1)
    start = np.zeros(n + np.uint64(2), np.int64)
    for v in range(n):
        for i in range(np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])):
            if weight[i] != 0.0:
                start[v + np.uint64(2)] += 1
                start[target[i] + 2] += 1
    for v in range(n):  # start[v + 1]: where row v begins; once it is filled, where it ends
        start[v + np.uint64(2)] += start[v + _ONE]
    neighbour, size = np.empty(start[n + _ONE], np.int32), np.empty(start[n + _ONE])
    for v in range(n):
        for i in range(np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])):
            if weight[i] != 0.0:
                u: Index = np.uint64(target[i])
                out, into = start[v + _ONE], start[u + _ONE]
                neighbour[out], size[out] = u, abs(weight[i])
                neighbour[into], size[into] = v, abs(weight[i])
                start[v + _ONE] += 1
                start[u + _ONE] += 1
    return start[:-1], neighbour, size


@kernel
def move_nodes(level: Level, label: NDArray[np.int32], state: NDArray[np.uint64]) -> float:
    """Fast local moving: each node of a queue goes to the community, or to an empty one, where modularity is highest,
    and its neighbours outside join the queue. ``label`` is changed; returns what was gained, in units of weight."""
    indptr, neighbour, weight, k_out, k_in, scale = level
    n: Index = np.uint64(indptr.size - 1)
    v: Index
    total, members = np.zeros((n, np.uint64(2))), np.zeros(n, np.int32)  # of communities: strengths out and in
    for v in range(n):
        total[label[v], 0] += k_out[v]
        total[label[v], 1] += k_in[v]
        members[label[v]] += 1
    empty, n_empty = np.empty(n, np.int32), _NONE
    for v in range(n):
        if members[v] == 0:
            empty[n_empty] = v
            n_empty += _ONE
    to, touched = np.zeros(n), np.empty(n + _ONE, np.int32)
    queue, waits = shuffled(n, state), np.ones(n, np.bool_)
    head, waiting, gained = _NONE, n, 0.0
    while waiting > _NONE:
        v = np.uint64(queue[head])
        head = head + _ONE if head + _ONE < n else _NONE
        waiting -= _ONE
        waits[v] = False
        first, stop = np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])
        n_touched = _NONE
        for i in range(first, stop):
            c = np.uint64(label[neighbour[i]])
            touched[n_touched] = c  # for good if it is the first of its community: no branch to foresee
            n_touched += np.uint64(to[c] == 0.0)
            to[c] += weight[i]
        here = np.uint64(label[v])
        total[here, 0] -= k_out[v]
        total[here, 1] -= k_in[v]
        a, b = scale * k_in[v], scale * k_out[v]
        stay = to[here] - a * total[here, 0] - b * total[here, 1]
        best, gain = here, stay + _LEAST * (k_out[v] + k_in[v])
        for j in range(n_touched):
            c = np.uint64(touched[j])
            other = to[c] - a * total[c, 0] - b * total[c, 1]
            if other > gain:
                best, gain = c, other
            to[c] = 0.0
        if gain < 0.0 and members[here] > 1:  # alone is better
            n_empty -= _ONE
            best, gain = np.uint64(empty[n_empty]), 0.0
        total[best, 0] += k_out[v]
        total[best, 1] += k_in[v]
        if best == here:
            continue
        gained += gain - stay
        label[v] = best
        members[best] += 1
        members[here] -= 1
        if members[here] == 0:
            empty[n_empty] = here
            n_empty += _ONE
        for i in range(first, stop):
            u = np.uint64(neighbour[i])
            if not waits[u] and label[u] != best:
                tail = head + waiting
                queue[tail if tail < n else tail - n] = u
                waits[u] = True
                waiting += _ONE
    return gained


@kernel
def refine(level: Level, label: NDArray[np.int32], state: NDArray[np.uint64], temperature: float) -> NDArray[np.int32]:
    """Parts of the communities, each connected: nodes that are alone join a part that is well connected within their
    community, by a draw in which a gain's weight is ``exp(gain / temperature)``. Returns each node's part, named by one
    of its nodes."""
    indptr, neighbour, weight, k_out, k_in, scale = level
    n: Index = np.uint64(indptr.size - 1)
    v: Index
    community_out, community_in = np.zeros(n), np.zeros(n)
    for v in range(n):
        community_out[label[v]] += k_out[v]
        community_in[label[v]] += k_in[v]
    part, alone = np.empty(n, np.int32), np.ones(n, np.bool_)
    part_out, part_in, outer = k_out.copy(), k_in.copy(), np.zeros(n)  # outer: weight to the rest of the community
    for v in range(n):
        part[v] = v
        for i in range(np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])):
            if label[neighbour[i]] == label[v]:
                outer[v] += weight[i]
    to, touched, chance = np.zeros(n), np.empty(n, np.int32), np.empty(n)
    order = shuffled(n, state)
    for k in range(n):
        v = np.uint64(order[k])
        c = np.uint64(label[v])
        rest_out, rest_in = community_out[c] - k_out[v], community_in[c] - k_in[v]
        if not alone[v] or outer[v] < scale * (k_out[v] * rest_in + k_in[v] * rest_out):
            continue
        n_touched = _NONE
        for i in range(np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])):
            u = np.uint64(neighbour[i])
            if label[u] == c:
                p = np.uint64(part[u])
                if to[p] == 0.0:
                    touched[n_touched] = p
                    n_touched += _ONE
                to[p] += weight[i]
        best, n_good = 0.0, _NONE
        for j in range(n_touched):
            p = np.uint64(touched[j])
            well = part_out[p] * (community_in[c] - part_in[p]) + part_in[p] * (community_out[c] - part_out[p])
            gain = to[p] - scale * (k_out[v] * part_in[p] + k_in[v] * part_out[p])
            if gain >= 0.0 and outer[p] >= scale * well:
                best = max(best, gain)
                touched[n_good], chance[n_good] = p, gain  # in place: n_good <= j
                n_good += _ONE
            else:
                to[p] = 0.0
        total = np.exp(-best / temperature)  # of staying alone
        for j in range(n_good):
            chance[j] = np.exp((chance[j] - best) / temperature)
            total += chance[j]
        draw = uniform(state) * total
        chosen = n_good
        for j in range(n_good):
            draw -= chance[j]
            if draw < 0.0:
                chosen = j
                break
        if chosen < n_good:
            p = np.uint64(touched[chosen])
            part[v] = p
            alone[v] = alone[p] = False
            outer[p] += outer[v] - 2.0 * to[p]
            part_out[p] += k_out[v]
            part_in[p] += k_in[v]
        for j in range(n_good):
            to[touched[j]] = 0.0
    return part


@kernel
def aggregate(
    level: Level, part: NDArray[np.int32], n_parts: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The graph whose nodes are the parts 0 .. n_parts - 1: all of its :class:`Level` but the scale."""
    indptr, neighbour, weight, k_out, k_in, _ = level
    n, m = np.uint64(indptr.size - 1), np.uint64(n_parts)
    v: Index
    p: Index
    start = np.zeros(m + _ONE, np.int64)
    for v in range(n):
        start[part[v] + 1] += 1
    for p in range(m):
        start[p + _ONE] += start[p]
    members, at = np.empty(n, np.int32), start[:-1].copy()
    new_out, new_in = np.zeros(m), np.zeros(m)
    for v in range(n):
        p = np.uint64(part[v])
        members[at[p]] = v
        at[p] += 1
        new_out[p] += k_out[v]
        new_in[p] += k_in[v]
    new_indptr = np.zeros(m + _ONE, np.int64)
    new_neighbour, new_weight = np.empty(neighbour.size, np.int32), np.empty(neighbour.size)
    to, touched, size = np.zeros(m), np.empty(m, np.int32), _NONE
    for p in range(m):
        n_touched = _NONE
        for k in range(np.uint64(start[p]), np.uint64(start[p + _ONE])):
            v = np.uint64(members[k])
            for i in range(np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])):
                q = np.uint64(part[neighbour[i]])
                if q != p:
                    if to[q] == 0.0:
                        touched[n_touched] = q
                        n_touched += _ONE
                    to[q] += weight[i]
        for j in range(n_touched):
            q = np.uint64(touched[j])
            new_neighbour[size], new_weight[size] = q, to[q]
            size += _ONE
            to[q] = 0.0
        new_indptr[p + _ONE] = size
    return new_indptr, new_neighbour[:size].copy(), new_weight[:size].copy(), new_out, new_in


@kernel
def by_community(
    indptr: NDArray[np.int64], neighbour: NDArray[np.int32], weight: NDArray[np.float64], label: NDArray[np.int32],
    n_communities: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """For each node the sum of |weight|, the sum to its own community, and the sum of squares over communities."""
    n: Index = np.uint64(indptr.size - 1)
    total, own, squares, to = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n_communities)
    for v in range(n):
        first, stop = np.uint64(indptr[v]), np.uint64(indptr[v + _ONE])
        for i in range(first, stop):
            to[label[neighbour[i]]] += abs(weight[i])
            total[v] += abs(weight[i])
        own[v] = to[label[v]]
        for i in range(first, stop):
            c = label[neighbour[i]]
            squares[v] += to[c] * to[c]
            to[c] = 0.0
        to[label[v]] = 0.0
    return total, own, squares
