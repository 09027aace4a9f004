"""The kernel of k-cores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectome.jit import kernel

__all__ = ["peel"]

Ints = NDArray[np.int64]


@kernel
def peel(indptr: Ints, target: NDArray[np.int32], back_indptr: Ints, back_source: NDArray[np.int32]) -> Ints:
    """(N,) core numbers: removes a node of the least degree again and again (Batagelj & Zaversnik 2003).

    ``order`` holds the nodes by what is left of their degree, and ``start[d]`` where those of degree d begin; a node
    that loses an edge changes places with the first of its own degree.
    """
    n = indptr.size - 1
    left = np.empty(n, np.int64)
    for i in range(n):
        left[i] = indptr[i + 1] - indptr[i] + back_indptr[i + 1] - back_indptr[i]
    start = np.zeros((left.max() if n else 0) + 2, np.int64)
    for i in range(n):
        start[left[i] + 1] += 1
    for d in range(start.size - 1):
        start[d + 1] += start[d]
    place, order = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        place[i] = start[left[i]]
        order[place[i]] = i
        start[left[i]] += 1
    for d in range(start.size - 1, 0, -1):
        start[d] = start[d - 1]
    start[0] = 0
    for at in range(n):
        i = order[at]
        for side in range(2):
            begin, end = (indptr[i], indptr[i + 1]) if side == 0 else (back_indptr[i], back_indptr[i + 1])
            for e in range(begin, end):
                j = np.int64(target[e]) if side == 0 else np.int64(back_source[e])
                if left[j] > left[i]:
                    d = left[j]
                    first = order[start[d]]
                    order[place[j]], place[first] = first, place[j]
                    order[start[d]], place[j] = j, start[d]
                    start[d] += 1
                    left[j] = d - 1
    return left
