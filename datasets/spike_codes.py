"""Numbers as spikes, by SpikingBrain's adaptive threshold (Pan et al. 2025, arXiv 2509.05276).

``V = mean |x| / k`` and ``s = round(x / V)``, half away from 0: so many spikes, of the sign of x. They come one after
the other (ternary), or as the bits of their number (bitwise; two's complement).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["adaptive_code", "from_bits", "spike_counts", "to_bits", "to_ternary"]


def spike_counts(values: ArrayLike, k: float = 3.0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(..., N) s, and the thresholds V, (..., 1): ``s V`` is x to half a threshold; 0 where all of a row is 0."""
    x = np.asarray(values, np.float64)
    threshold = np.abs(x).mean(-1, keepdims=True) / k
    size = np.floor(np.abs(x) / np.where(threshold > 0, threshold, 1) + 0.5)
    return (np.sign(x) * size).astype(np.int64), threshold


def to_ternary(counts: NDArray[np.int64], steps: int) -> NDArray[np.int8]:
    """(steps, ...) of -1, 0 and 1, whose sum over the steps are the counts, if none is larger than ``steps``: what a
    neuron that integrates x / steps a step without a leak fires, if it starts at half the threshold and a spike takes
    the threshold off its potential."""
    number = np.arange(1, steps + 1).reshape(-1, *[1] * counts.ndim)
    reached = (2 * number * np.abs(counts) + steps) // (2 * steps)
    fired = np.diff(reached, axis=0, prepend=0).clip(0, 1)
    return np.asarray(np.sign(counts) * fired, np.int8)


def to_bits(counts: NDArray[np.int64], *, complement: bool = False) -> NDArray[np.int8]:
    """(T, ...) bits, the lowest first: of the absolute values with the sign on each, -1, 0 or 1; or those of the two's
    complement, 0 or 1, of which there is one more."""
    bits = max(int(np.abs(counts).max(initial=0)).bit_length(), 1)
    place = np.arange(bits + complement).reshape(-1, *[1] * counts.ndim)
    if complement:
        return np.asarray(counts >> place & 1, np.int8)
    return np.asarray(np.sign(counts) * (np.abs(counts) >> place & 1), np.int8)


def from_bits(bits: NDArray[np.int8], *, complement: bool = False) -> NDArray[np.int64]:
    """The counts."""
    weight = 2 ** np.arange(len(bits), dtype=np.int64)
    if complement:
        weight[-1] *= -1
    return np.asarray(np.tensordot(weight, bits.astype(np.int64), 1))


def adaptive_code(activity: NDArray[Any], steps: int, k: float = 3.0) -> Tensor:
    """(B, N) activity, 0 or more, to (B, steps, N) spikes: the ternary code of each row, at most one spike a step."""
    counts, _ = spike_counts(np.maximum(activity, 0), k)
    return torch.from_numpy(np.moveaxis(to_ternary(np.minimum(counts, steps), steps), 0, 1) > 0)
