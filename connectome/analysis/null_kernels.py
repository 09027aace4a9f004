"""Rewiring in place on rows of targets, and the random numbers for it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, inner, kernel

__all__ = [
    "DEGREE", "LATTICE", "SIGNED", "SPATIAL", "Slots", "below", "match_strengths", "rewire", "shuffled",
    "uniform",
]  # fmt: skip

_ONE = np.uint64(1)
_NONE = np.uint64(0)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_11, _27, _30, _31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)

#: What a swap must keep besides degrees: nothing; the sign of each edge; the lengths of edges, by bins; or the edges
#: must not become longer on a ring of the nodes.
DEGREE: Final = 0
SIGNED: Final = 1
SPATIAL: Final = 2
LATTICE: Final = 3


class Slots(NamedTuple):
    """A graph that is rewired: an edge has a slot in the row of its source; its target and its weight may change.

    indptr : (N + 1,); source, target, weight : (E,)
    pair : (E,) the slot of the same edge the other way, if the graph is undirected; else (0,)
    """

    indptr: NDArray[np.int64]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: NDArray[np.float64]
    pair: NDArray[np.int64]


@inner
def uniform(state: NDArray[np.uint64]) -> float:
    """A number in [0, 1), by SplitMix64 (Steele, Lea & Flood 2014). ``state`` (1,) is changed."""
    state[0] += _STEP
    z = state[0]
    z = (z ^ (z >> _30)) * _MIX[0]
    z = (z ^ (z >> _27)) * _MIX[1]
    return float((z ^ (z >> _31)) >> _11) * 2.0**-53


@inner
def below(n: Any, state: NDArray[np.uint64]) -> Index:
    """An integer in 0 .. n - 1."""
    return np.uint64(uniform(state) * n)


@inner
def shuffled(n: Any, state: NDArray[np.uint64]) -> NDArray[np.int32]:
    """0 .. n - 1 in random order."""
    order = np.empty(n, np.int32)
    for k in range(n):
        order[k] = k
    for k in range(n):
        last, j = n - k - _ONE, below(n - k, state)
        order[last], order[j] = order[j], order[last]
    return order


@inner
def _has(slots: Slots, row: Index, node: Any) -> bool:
    found = False  # no early exit: this way several are compared at once
    for i in range(np.uint64(slots.indptr[row]), np.uint64(slots.indptr[row + _ONE])):
        found |= slots.target[i] == node
    return found


@inner
def _swap(slots: Slots, e: Index, f: Index) -> None:
    """a -> b and c -> d become a -> d and c -> b; a weight stays with its source."""
    target, weight, pair = slots.target, slots.weight, slots.pair
    target[e], target[f] = target[f], target[e]
    if pair.size:
        back_e, back_f = np.uint64(pair[e]), np.uint64(pair[f])
        target[back_e], target[back_f] = target[back_f], target[back_e]
        weight[back_e], weight[back_f] = weight[f], weight[e]
        pair[e], pair[back_f] = back_f, e
        pair[f], pair[back_e] = back_e, f


@inner
def _bin(position: NDArray[np.float64], limit: NDArray[np.float64], a: Index, b: Index) -> int:
    """The length bin of two nodes: how many of the limits, squares of lengths, their squared distance exceeds."""
    square = 0.0
    for k in range(np.uint64(3)):
        square += (position[a, k] - position[b, k]) ** 2
    above = 0
    for k in range(np.uint64(limit.size)):
        above += square > limit[k]
    return above


@inner
def _on_ring(rank: NDArray[np.int32], a: Index, b: Index) -> float:
    apart = abs(rank[a] - rank[b])
    return float(min(apart, rank.size - apart))


@kernel
def rewire(
    slots: Slots, kind: int, order: NDArray[np.int32], rank: NDArray[np.int32], position: NDArray[np.float64],
    limit: NDArray[np.float64], half_swaps: int, most_attempts: int, state: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Swap the targets of two edges, again and again, where this makes no self-loop and no parallel edge and ``kind``
    allows it; returns the number of swaps, about twice ``half_swaps``. ``order`` lists the nodes so that neighbours in
    it are near in space (SPATIAL) or on the ring (LATTICE), ``rank`` is its inverse; ``limit`` holds the squared
    lengths between bins."""
    indptr, source, target, weight, _ = slots
    n, n_slots = np.uint64(indptr.size - 1), np.uint64(target.size)
    swaps, log_n = 0, np.log(indptr.size - 1)
    bins = np.zeros(n_slots if kind == SPATIAL else _NONE, np.uint8)
    for e in range(np.uint64(bins.size)):
        bins[e] = _bin(position, limit, np.uint64(source[e]), np.uint64(target[e]))
    attempt, last = 0, most_attempts
    while attempt < last:
        attempt += 1
        e = below(n_slots, state)
        a, b = np.uint64(source[e]), np.uint64(target[e])
        if kind < SPATIAL:
            f = below(n_slots, state)
        else:
            # A source near a, or near b, at all scales. The chance to propose a swap is that to propose its reverse
            # if nearness is that of sources, for a swap changes neither them nor their degrees.
            apart = np.uint64(np.exp(uniform(state) * uniform(state) * log_n))
            if uniform(state) < 0.5:
                apart = n - apart
            c = np.uint64(order[(np.uint64(rank[a if kind == SPATIAL else b]) + apart) % n])
            degree = indptr[c + _ONE] - indptr[c]
            if degree == 0:
                continue
            f = np.uint64(indptr[c]) + below(degree, state)
        c, d = np.uint64(source[f]), np.uint64(target[f])
        if a in (c, d) or b in (c, d):
            continue
        same_sign, crossed, ad, cb = (weight[e] < 0.0) == (weight[f] < 0.0), False, 0, 0
        if kind == SIGNED and not same_sign:
            continue
        if kind == SPATIAL:
            ab, cd, ad = np.int64(bins[e]), np.int64(bins[f]), _bin(position, limit, a, d)
            if ad != ab and ad != cd:
                continue
            cb = _bin(position, limit, c, b)
            parallel = ab == ad and cd == cb
            crossed = not parallel and ab == cb and cd == ad
            if not parallel and not (crossed and same_sign):
                continue
        if kind == LATTICE:
            w_e, w_f = abs(weight[e]), abs(weight[f])
            now = _on_ring(rank, a, b) * w_e + _on_ring(rank, c, d) * w_f
            if _on_ring(rank, a, d) * w_e + _on_ring(rank, c, b) * w_f > now:
                continue
        if _has(slots, a, d) or _has(slots, c, b):
            continue
        if crossed:  # a weight stays with its length
            weight[e], weight[f] = weight[f], weight[e]
        _swap(slots, e, f)
        if kind == SPATIAL:
            bins[e], bins[f] = ad, cb
            if slots.pair.size:
                bins[slots.pair[e]], bins[slots.pair[f]] = ad, cb
        swaps += 1
        if swaps == half_swaps:  # then as many attempts again: to stop at a swap would prefer what swaps lead to
            last = min(last, 2 * attempt)
    return swaps


@kernel
def match_strengths(slots: Slots, error: NDArray[np.float64], attempts: int, state: NDArray[np.uint64]) -> None:
    """Exchange the weights of two edges of one sign, again and again, where the sum of squares of ``error`` does not
    rise. ``error`` is how far each node's strength is above its target value, in the order (out, in) x (node) x
    (positive, negative).
    """
    _, source, target, weight, pair = slots
    n_slots, half = np.uint64(weight.size), error.size // 2
    place = np.empty(4, np.int64)
    change = np.empty(4)
    for _ in range(attempts):
        e, f = below(n_slots, state), below(n_slots, state)
        negative = weight[e] < 0.0
        if weight[e] == weight[f] or negative != (weight[f] < 0.0):
            continue
        more = abs(weight[f]) - abs(weight[e])
        into = np.int64(negative) + (0 if pair.size else half)
        place[0], place[1] = 2 * source[e] + np.int64(negative), 2 * target[e] + into
        place[2], place[3] = 2 * source[f] + np.int64(negative), 2 * target[f] + into
        change[0], change[1], change[2], change[3] = more, more, -more, -more
        rise = 0.0
        for k in range(4):
            rise += change[k] * (2.0 * error[place[k]] + change[k])
            error[place[k]] += change[k]
        if rise > 0.0:
            for k in range(4):
                error[place[k]] -= change[k]
            continue
        weight[e], weight[f] = weight[f], weight[e]
        if pair.size:
            weight[pair[e]], weight[pair[f]] = weight[e], weight[f]
