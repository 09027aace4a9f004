"""Means of several runs, with 95 % intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Mean", "mean_of", "paired"]


class Mean(NamedTuple):
    """A mean, half the width of its 95 % confidence interval by Student's t (nan for fewer than two values), and the
    number of values."""

    mean: float
    half: float
    n: int

    def text(self, scale: float = 100.0, digits: int = 1, unit: str = " %") -> str:
        """The mean and its interval for a table; only the mean if there is no interval."""
        half = f" ± {self.half * scale:.{digits}f}" if self.half == self.half else ""
        return f"{self.mean * scale:.{digits}f}{half}{unit}"


def mean_of(values: Any) -> Mean:
    """Mean of the values that are not nan."""
    from scipy.stats import t

    x = np.asarray(values, float).ravel()
    x = x[~np.isnan(x)]
    if x.size < 2:
        return Mean(float(x.mean()) if x.size else float("nan"), float("nan"), x.size)
    return Mean(float(x.mean()), float(t.ppf(0.975, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size)), x.size)


def paired(one: Any, other: Any) -> Mean:
    """Mean of the differences seed by seed, over the pairs of which neither is nan."""
    return mean_of(np.asarray(one, float) - np.asarray(other, float))
