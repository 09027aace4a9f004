"""Evolution strategies: a few numbers climb by what random steps from them score, without a gradient (Salimans and
others 2017, "Evolution strategies as a scalable alternative to reinforcement learning", arXiv 1703.03864)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze
from connectome.errors import ConnectomeError

__all__ = ["evolve"]

Floats = NDArray[np.float64]


def evolve(
    score: Callable[[Floats, int], float], start: ArrayLike, rng: np.random.Generator, *, pairs: int = 4,
    sigma: float = 0.1, rate: float = 0.05, decay: float = 0.0,
) -> Iterator[Floats]:  # fmt: skip
    """The numbers (P,) after each update, without end; an update is ``2 pairs`` trials.

    ``g = sum_k u_k e_k / (2 pairs sigma)`` over steps e of standard normals and their mirror images, u the ranks of
    ``score(numbers + sigma e, seed)`` spread over -1/2 .. 1/2; then ``numbers <- (1 - rate decay) numbers + rate m``, m
    the step of Adam. Both of a pair have the seed.

    Raises
    ------
    ConnectomeError : an argument that does not fit, by name
    """
    numbers = freeze("start", start, np.float64, (None,)).copy()
    for name, value, low in (("pairs", pairs, 1), ("sigma", sigma, 1e-300), ("rate", rate, 0), ("decay", decay, 0)):
        if not value >= low:
            raise ConnectomeError(name, f"must be {low} or more" if low != 1e-300 else "must be > 0", value)
    first, second, k = np.zeros_like(numbers), np.zeros_like(numbers), 0
    while True:
        step = rng.standard_normal((pairs, numbers.size))
        step = np.concatenate([step, -step])
        seeds = np.tile(rng.integers(2**31, size=pairs), 2)
        found = np.array([score(numbers + sigma * e, int(s)) for e, s in zip(step, seeds, strict=True)])
        shaped = found.argsort(kind="stable").argsort(kind="stable") / (found.size - 1) - 0.5
        gradient = shaped @ step / (found.size * sigma)
        k += 1
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        adam = (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
        numbers = (1 - rate * decay) * numbers + rate * adam
        yield numbers.copy()
