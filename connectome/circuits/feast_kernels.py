"""FEAST on plain arrays: event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.jit import kernel

__all__ = ["follow"]

Array = NDArray[Any]


@kernel
def follow(
    time_ms: Array, row: Array, column: Array, brighter: Array, begin: Array, last: Array, tau_ms: float,
    feature: Array, threshold: Array, patch: Array, winner: Array, eta: float, rise: float, fall: float,
    thresholds: bool,
) -> None:  # fmt: skip
    """The winner of each event, -1 where it is missed; features and thresholds change in place where they learn.

    ``last`` (2, height + 2 r, width + 2 r): scratch, of the last event of each sign at each pixel; ``patch`` (w * w,)
    scratch; ``winner`` (M,).
    """
    n, size = feature.shape
    w = round(np.sqrt(size))
    for recording in range(begin.size - 1):
        last[:] = -np.inf
        for m in range(begin[recording], begin[recording + 1]):
            now, sign, y, x = time_ms[m], int(brighter[m]), row[m], column[m]
            r = w // 2
            last[sign, y + r, x + r] = now
            norm = 0.0
            for i in range(w):
                for j in range(w):
                    c = np.exp((last[sign, y + i, x + j] - now) / tau_ms)
                    patch[i * w + j] = c
                    norm += c * c
            norm = 1.0 / np.sqrt(norm)
            best, found = -np.inf, -1
            for f in range(n):
                like = 0.0
                for k in range(size):
                    like += feature[f, k] * patch[k]
                like *= norm
                if like > best and (not thresholds or like >= threshold[f]):
                    best, found = like, f
            winner[m] = found
            if found < 0:
                for f in range(n):
                    threshold[f] -= fall
                continue
            threshold[found] += rise
            if eta > 0:
                total = 0.0
                for k in range(size):
                    value = (1 - eta) * feature[found, k] + eta * norm * patch[k]
                    feature[found, k] = value
                    total += value * value
                total = 1.0 / np.sqrt(total)
                for k in range(size):
                    feature[found, k] *= total
