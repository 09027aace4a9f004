"""Edges laid out for a stream: where those of each delay begin in each row, and several edge sets as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import Index, Records, inner, kernel
from connectome.simulate.native_kernels import value_at

__all__ = ["PART", "bounds_in_groups", "mark", "merge"]

_U0, _U1 = np.uint64(0), np.uint64(1)

#: One of several edge sets from the same sources: the addresses of its rows (int64), targets, delays (uint16) and
#: weights (float32).
#:
#: wide : 1 if targets are int32, 0 if they are uint16; plus : what to add to them
#: each : 1 if there is a delay for each edge, 0 if one for all; next : the edge to take next
PART = np.dtype(
    [(name, np.uint64) for name in ("indptr", "indices", "wide", "plus", "delays", "each", "weight", "next")]
)


@kernel
def mark(values: NDArray[np.uint16], seen: NDArray[np.bool_]) -> None:
    """Which values occur: NumPy's ways to ask make a copy that is four times as large."""
    for i in range(np.uint64(values.size)):
        seen[values[i]] = True


@kernel
def bounds_in_groups(
    indptr: NDArray[np.int64], indices: NDArray[Any], delay: NDArray[np.uint16], group_of: NDArray[np.uint32],
    cuts: NDArray[np.uint64], table: NDArray[np.uint32],
) -> None:  # fmt: skip
    """Fill ``table`` (n_source, groups * (C + 1) + 1): where in each row each delay's edges begin, and among them those
    from each of the C cuts on. ``group_of[d]`` is the group of delay d; ``delay`` is (E,), or (1,) for all.
    """
    parts, width = np.uint64(cuts.size) + _U1, np.uint64(table.shape[1])
    for i in range(np.uint64(indptr.size - 1)):
        at, edge, end = _U0, np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        while edge < end:
            group = np.uint64(group_of[delay[edge if delay.size > 1 else _U0]])
            part = _U0
            while part < parts - _U1 and np.uint64(indices[edge]) >= cuts[part]:
                part += _U1
            place = group * parts + part
            while at <= place:
                table[i, at] = edge
                at += _U1
            edge += _U1
        while at < width:
            table[i, at] = end
            at += _U1


@kernel
def merge(
    parts: Records, delays: NDArray[np.uint16], indptr: NDArray[np.int64], indices: NDArray[Any],
    weight: NDArray[np.float32], delay: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Fill (E,) ``indices``, ``weight`` and ``delay`` with the edges of all parts: by source, delay, part, and within
    it in its own order. ``delays``: those that occur, rising; ``indptr`` (n_source + 1,): the rows that are made;
    ``weight`` and ``delay`` may be empty, and are then left out. The parts are used up."""
    at = _U0
    for i in range(np.uint64(indptr.size - 1)):
        for d in delays:
            for p in range(np.uint64(parts.size)):
                part, first = parts[p], parts[p].next
                last = np.uint64(value_at(part.indptr, np.int64(0), i + _U1))
                end = first
                while end < last and value_at(part.delays, np.uint16(0), end * part.each) == d:
                    end = end + _U1 if part.each else last
                if part.wide:
                    _copy(np.int32(0), first, end, at, part.plus, part.indices, part.weight, indices, weight)
                else:
                    _copy(np.uint16(0), first, end, at, part.plus, part.indices, part.weight, indices, weight)
                for j in range(end - first if delay.size else _U0):
                    delay[at + j] = d
                at, parts[p].next = at + (end - first), end


@inner
def _copy(
    like: Any, first: Index, last: Index, at: Index, plus: Index, targets: Index, weights: Index, indices: NDArray[Any],
    weight: NDArray[np.float32],
) -> None:  # fmt: skip
    """Copy edges first .. last - 1 of a part to the place ``at``; ``like`` is a number of the type of its targets."""
    none = np.float32(0)
    for j in range(last - first):
        indices[at + j] = np.uint64(value_at(targets, like, first + j)) + plus
    for j in range(last - first if weight.size else _U0):
        weight[at + j] = value_at(weights, none, first + j)
