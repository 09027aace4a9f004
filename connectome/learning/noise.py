"""Numbers that are as good as drawn, of a seed and a pair of neurons alone.

They are of the moment (seed, stage, update), the edge set, a name and the pair. So nothing of them has to be kept, a
run that is resumed draws the same, and when an edge goes, no other's changes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["hashed", "normal", "uniform"]


def hashed(word: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A number in 0 .. 1 for each word, always the same (the finaliser of MurmurHash3)."""
    x = word.copy()
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x ^= x >> np.uint64(33)
        x *= np.uint64(factor)
    return np.asarray((x ^ (x >> np.uint64(33))) / 2**64)


def uniform(pair: NDArray[np.uint64], key: object, salt: str, moment: Sequence[int]) -> NDArray[np.float64]:
    """(P,) in 0 .. 1 for each pair of neurons."""
    seed = np.random.SeedSequence([*moment, zlib.crc32(f"{key}/{salt}".encode())])
    return hashed(pair ^ seed.generate_state(1, np.uint64)[0])


def normal(pair: NDArray[np.uint64], key: object, salt: str, moment: Sequence[int]) -> NDArray[np.float64]:
    """(P,) of the standard normal distribution for each pair of neurons (Box and Muller's transform)."""
    radius, angle = (uniform(pair, key, f"{salt}/{part}", moment) for part in ("radius", "angle"))
    normals: NDArray[np.float64] = np.sqrt(-2 * np.log(np.maximum(1 - radius, 2.0**-53))) * np.cos(2 * np.pi * angle)
    return normals
