"""Poisson numbers: the generator's known answers, the law, and that a count depends on neuron and step alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from connectome.jit import kernel
from connectome.simulate.event_engine import poisson_counts
from connectome.simulate.native_kernels import PHILOX_LANES, philox_lanes
from connectome.simulate.poisson_kernels import TABLE, UNSURE, PoissonDrive
from connectome.simulate.stimulus import poisson_drive, poisson_runs
from tests import reference


def drive(mean: NDArray[np.float64], seed: int = 0) -> PoissonDrive:
    return poisson_drive(list(poisson_runs(mean, np.ones(mean.size), 0)), seed, np.dtype(float))


def drawn(mean: NDArray[np.float64], n_steps: int, seed: int = 0, first: int = 0) -> NDArray[np.int64]:
    """Counts (n_steps, N) for a mean of each neuron."""
    return poisson_counts(drive(mean, seed), first, n_steps, mean.size)


@kernel
def philox(counter: NDArray[np.uint64], key: NDArray[np.uint64], bits: NDArray[np.uint16]) -> None:
    c0, c1, c2, c3 = counter
    philox_lanes(c0, c1, c2, c3, key[0], key[1], bits, np.uint64(0), np.uint64(PHILOX_LANES))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known answers that come with Random123
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)  # fmt: skip
def test_philox_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: tuple[int, int, int, int]
) -> None:
    assert reference.philox_4x32(counter, key) == words
    bits = np.zeros((8, PHILOX_LANES), np.uint16)
    philox(np.array(counter, np.uint64), np.array(key, np.uint64), bits.reshape(-1))
    assert tuple((bits[0::2, 0] + (bits[1::2, 0].astype(np.uint64) << np.uint64(16))).tolist()) == words
    for lane in range(PHILOX_LANES):
        wanted = reference.philox_4x32(((counter[0] + lane) % 2**32, *counter[1:]), key)
        assert bits[:, lane].tolist() == [half for w in wanted for half in (w & 0xFFFF, w >> 16)]


@pytest.mark.parametrize("mean", [1e-6, 1e-3, 0.5, 2.0, 31.9])
def test_thresholds_are_exact(mean: float) -> None:
    threshold = drive(np.array([mean])).threshold
    wanted = scipy.stats.poisson.sf(np.arange(threshold.size), mean)
    np.testing.assert_allclose(threshold / 2.0**64, wanted, rtol=1e-11, atol=2.0**-63)
    assert threshold[-1] == 0
    assert wanted[threshold.size - 1] < 2.0**-64


@pytest.mark.parametrize("mean", [1e-6, 1e-3, 0.5, 2.0, 31.9])
def test_a_table_says_a_count_only_where_twelve_bits_decide_it(mean: float) -> None:
    made = drive(np.array([mean]))
    falling = [int(t) for t in made.threshold]
    for top, count in enumerate(made.table.tolist()):
        least, most = ((sum(u < t for t in falling)) for u in ((top + 1 << 52) - 1, top << 52))
        assert count == (least if least == most else UNSURE)
    assert made.table.size == TABLE


@pytest.mark.parametrize("mean", [1e-6, 1e-4, 0.01, 0.3, 2.0, 20.0, 32.0, 50.0, 200.0])
def test_counts_follow_the_law(mean: float) -> None:
    n, n_steps = (100_000, 100) if mean < 0.01 else (20_000, 10)
    counts = drawn(np.full(n, mean), n_steps, seed=11)
    total = counts.size
    assert abs(counts.sum() - total * mean) < 5 * math.sqrt(total * mean)
    found = np.bincount(counts.ravel())
    edges = np.arange(found.size)
    edges = edges[total * scipy.stats.poisson.pmf(edges, mean) > 8]  # one run of counts, its ends made open
    cut = np.concatenate([[-1], edges[:-1], [np.inf]]) if edges[0] == 0 else np.concatenate([[-1], edges, [np.inf]])
    expected = total * np.diff(np.where(np.isinf(cut), 1.0, scipy.stats.poisson.cdf(cut, mean)))
    observed = np.diff([found[: int(min(c + 1, found.size))].sum() for c in cut])
    if expected.size > 1:
        assert scipy.stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4
    # The sums over time and over neurons disperse as Poisson numbers do, so neither depends on its neighbours.
    for axis in (0, 1):
        sums = counts.sum(axis)
        index = sums.var(ddof=1) / sums.mean() if sums.mean() > 0.02 else 1.0
        assert abs(index - 1) < 6 * math.sqrt((2 + 1 / max(sums.mean(), 0.02)) / sums.size)


def test_counts_are_uncorrelated() -> None:
    counts = drawn(np.full(20_000, 1.0), 40).astype(float)
    other = drawn(np.full(20_000, 1.0), 40, seed=1).astype(float)
    far = drawn(np.full(20_000, 1.0), 40, seed=1 << 32).astype(float)
    pairs = [(counts[:-k], counts[k:]) for k in (1, 2, 3, 8)] + [
        (counts[:, :-k], counts[:, k:]) for k in (1, 2, 8, 512)
    ]
    for a, b in [*pairs, (counts, other), (counts, far)]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / math.sqrt(a.size)


def test_counts_depend_on_neuron_and_step_alone() -> None:
    rng = np.random.default_rng(0)
    mean = rng.choice([0.0, 0.1, 3.0, 70.0], 300)
    counts = drawn(mean, 21, seed=5)
    assert (counts[:, mean == 0] == 0).all()
    assert (drawn(mean, 8, seed=5, first=13) == counts[13:]).all()
    for value in (0.1, 3.0, 70.0):  # alike, and so drawn in one run by one table
        assert (drawn(np.full(300, value), 21, seed=5)[:, mean == value] == counts[:, mean == value]).all()
    one = [[reference.poisson_count(5, i, t, mean[i]) for i in range(60)] for t in range(21)]
    assert (counts[:, :60] == one).all()


def test_many_means_need_no_tables() -> None:
    mean = np.linspace(0.01, 40.0, 1000)
    made = drive(mean)
    assert made.table.size == TABLE
    counts = drawn(mean, 4, seed=3)
    wanted = [[reference.poisson_count(3, i, t, mean[i]) for i in range(0, 1000, 50)] for t in range(4)]
    assert (counts[:, ::50] == wanted).all()
