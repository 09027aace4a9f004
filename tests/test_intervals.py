"""Means and their intervals, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from connectome.analysis.intervals import mean_of, paired


def test_means_and_pairs() -> None:
    x, y = np.array([1.0, 2.0, 4.0, 4.5]), np.array([0.5, 2.5, 3.0, np.nan])
    mean = mean_of(x)
    low, high = stats.t.interval(0.95, 3, x.mean(), stats.sem(x))
    assert (mean.mean, mean.n) == (x.mean(), 4)
    assert mean.mean - mean.half == pytest.approx(low)
    assert mean.mean + mean.half == pytest.approx(high)
    assert paired(x, y).n == 3
    assert paired(x, y).mean == pytest.approx((0.5 - 0.5 + 1.0) / 3)
    assert np.isnan(mean_of([3.0]).half)
    assert np.isnan(mean_of([]).mean)
    assert mean_of([0.5]).text() == "50.0 %"
    assert mean_of([0.5, 0.7]).text() == "60.0 ± 127.1 %"
