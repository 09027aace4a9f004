"""Exact Poisson counts from a counter-based generator: each depends on the seed, the neuron and the step alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.jit import inner, kernel
from connectome.simulate.native_kernels import PHILOX_LANES, philox_lanes

__all__ = ["MEAN_MAX", "OCTET", "RUN", "TABLE", "UNSURE", "PoissonDrive", "draw", "draw_octet", "draw_room"]

#: The largest mean that one random number is turned into a count for; larger means are sums of several counts.
MEAN_MAX = 32.0
#: Steps that one call of the generator serves: its 128 bits are eight numbers of 16.
OCTET = 8
#: Entries of a run's table: it is looked up by the top 12 of 16 random bits.
TABLE = 4096
#: What a table says where 12 bits do not decide the count.
UNSURE = 255

_CHUNK = np.uint64(256)
_LANES = np.uint64(PHILOX_LANES)
_APART = np.uint64(OCTET) * _CHUNK  # in the scratch, where more bits of one neuron go
_LOW = np.uint64(0xFFFFFFFF)
_16, _32, _48 = np.uint64(16), np.uint64(32), np.uint64(48)
_SHIFT = np.uint16(4)
_ONE = np.uint64(1)
_EXTRA = np.uint64(2**16)  # of the fourth counter: the 48 bits that follow the first 16


#: Neurons that follow each other. One of a high mean is in several runs, each of which is a part of its count.
#:
#: start, stop : the places of the neurons; key : the first one's number for the random generator
#: draw : which of its neurons' runs this is
#: first : where its entries begin in ``weight`` and ``mean``; spread : 1 if it has one for each neuron, 0: one for all
#: owner : the thread; inhibitory : what to add to a place to find the current for a negative weight
RUN = np.dtype(
    [
        ("start", np.uint64), ("stop", np.uint64), ("key", np.uint64), ("draw", np.uint64), ("first", np.uint64),
        ("spread", np.uint64), ("owner", np.int64), ("inhibitory", np.uint64),
    ]
)  # fmt: skip


class PoissonDrive(NamedTuple):
    """Poisson drive of the neurons of some runs.

    run : (R,) of type ``RUN``
    weight : (W,) pA an event
    mean : (W,) which of the M means
    table : (M * TABLE,) the count by the top 12 of 16 random bits; or one table for all, which never knows
    stride : TABLE; or 0
    row : (M,) where a mean's thresholds begin in ``threshold``: they fall, and end with 0; how many of them are above a
        uniform 64-bit number is the count
    threshold : all the thresholds
    seed : (2,) low and high 32 bits
    """

    run: Any  # an array of records; a type checker knows no fields of it
    weight: NDArray[Any]
    mean: NDArray[np.uint64]
    table: NDArray[np.uint8]
    stride: np.uint64
    row: NDArray[np.uint64]
    threshold: NDArray[np.uint64]
    seed: NDArray[np.uint64]


@kernel
def draw_octet(
    r: int, octet: np.uint64, drive: PoissonDrive, bits: NDArray[np.uint16], unsure: NDArray[np.uint16],
    counts: NDArray[np.uint8],
) -> None:  # fmt: skip
    """:func:`draw`, for Python to call."""
    draw(r, octet, drive, bits, unsure, counts)


@inner
def draw(
    r: int, octet: np.uint64, drive: PoissonDrive, bits: NDArray[np.uint16], unsure: NDArray[np.uint16],
    counts: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Counts (OCTET, n) of run r in the steps ``8 octet .. 8 octet + 7``, by inversion of the distribution.

    A count is decided by 16 random bits, or by 64 where these are not enough. ``bits`` and ``unsure`` are scratch, from
    :func:`draw_room`.
    """
    run = drive.run[r]
    n, part, key, entry, spread = run.stop - run.start, run.draw, run.key, run.first, run.spread
    low, high = octet & _LOW, octet >> _32
    mean, table, stride, row, threshold, seed = (
        drive.mean,
        drive.table,
        drive.stride,
        drive.row,
        drive.threshold,
        drive.seed,
    )
    for first in range(np.uint64(0), n, _CHUNK):
        size = min(_CHUNK, n - first)
        for j in range(np.uint64(0), size, _LANES):
            philox_lanes(key + first + j, low, high, part, seed[0], seed[1], bits, j, _CHUNK)
        for s in range(np.uint64(OCTET)):
            at, pending = s * n + first, np.uint64(0)
            base = mean[entry] * stride
            for j in range(size):
                if spread:
                    base = mean[entry + first + j] * stride
                count = table[base + np.uint64(bits[s * _CHUNK + j] >> _SHIFT)]
                counts[at + j] = count
                if count == UNSURE:
                    unsure[pending] = j
                    pending += _ONE
            for k in range(pending):
                lane = np.uint64(unsure[k])
                uniform = _uniform(bits[s * _CHUNK + lane], key + first + lane, octet, s, part, seed, bits)
                below = row[mean[entry + spread * (first + lane)]]
                count = np.uint8(0)
                while uniform < threshold[below]:
                    count += np.uint8(1)
                    below += _ONE
                counts[at + lane] = count


@inner
def _uniform(
    top: np.uint16, key: Any, octet: Any, s: Any, draw: Any, seed: NDArray[np.uint64], bits: NDArray[np.uint16]
) -> np.uint64:
    """64 random bits that begin with the 16 of ``top``, which is the number of step s of the octet."""
    part = draw + _EXTRA * (s + _ONE)
    philox_lanes(key, octet & _LOW, octet >> _32, part, seed[0], seed[1], bits, _APART, _LANES)
    second, third, last = bits[_APART], bits[_APART + np.uint64(3) * _LANES], bits[_APART + np.uint64(2) * _LANES]
    return np.uint64(top) << _48 | np.uint64(second) << _32 | np.uint64(third) << _16 | np.uint64(last)


def draw_room() -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The scratch arrays that :func:`draw` needs: ``bits`` and ``unsure``."""
    return np.zeros(OCTET * (int(_CHUNK) + PHILOX_LANES), np.uint16), np.zeros(int(_CHUNK), np.uint16)
