"""Where the edges of each delay begin in each row of an edge set: the table of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import kernel

__all__ = ["bounds_in_groups", "mark"]

_U0, _U1 = np.uint64(0), np.uint64(1)


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
