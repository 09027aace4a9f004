"""Neurons by what they are for: scores of function, parts of a region that fire together, and which neuron of one
region is which of another.

After configurable foundation models (Xiao et al. 2024, arXiv 2409.02877), where neurons of one layer specialise and
fall into bricks that can be called for a task, merged, and added. Such edits of regions are in
:mod:`connectome.graph.region_edits`; bricks that are not called are silenced by ``Clamp``, or a ``mask`` of a network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError

__all__ = ["bricks", "functional_scores", "matching_neurons"]

_ROUNDS = 50


def functional_scores(rates: ArrayLike) -> NDArray[np.float64]:
    """(Q, N) of (Q, N) mean rates of N neurons in Q tasks: how far each fires more in a task than in the mean one, in
    units of its standard deviation over tasks; 0 for one that fires alike in all."""
    rate = _table("rates", rates)
    spread = rate.std(0)
    score: NDArray[np.float64] = np.divide(rate - rate.mean(0), spread, out=np.zeros_like(rate), where=spread > 0)
    return score


def bricks(activity: ArrayLike, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) the brick, 0 .. k - 1, of each neuron: N / k neurons that fire together in (S, N) activity of S samples.

    Balanced k-means of the neurons' activities, each less its mean and of length 1: Lloyd's algorithm, whose neurons
    are assigned to bricks of equal sizes (one more or less) at least total distance. Raises :class:`ConnectomeError`
    for fewer neurons than bricks.
    """
    from scipy.optimize import linear_sum_assignment

    profile = _profiles(activity)
    n = len(profile)
    if not 1 <= k <= n:
        raise ConnectomeError("k", f"must be 1 .. {n}, the number of neurons", k)
    seat = np.arange(n) % k
    centre = profile[rng.permutation(n)[:k]]
    found = np.full(n, -1)
    for _ in range(_ROUNDS):
        cost = np.square(profile[:, None] - centre[None]).sum(2)[:, seat]
        now = seat[linear_sum_assignment(cost)[1]]
        if (now == found).all():
            break
        found = now
        centre = np.stack([profile[found == i].mean(0) for i in range(k)])
    return found


def matching_neurons(
    activity: ArrayLike, other: ArrayLike, kinds: tuple[ArrayLike, ArrayLike] | None = None
) -> NDArray[np.int64]:
    """(N,) which neuron of another region is most like each neuron of one, every one once: at the greatest sum of
    correlations between (S, N) activities, or whatever else is known of both (Kuhn's assignment). With
    (N,) ``kinds`` of both, such as signs, only neurons of one kind are matched.

    ``split_region(connectome, "other", {"other2": matching_neurons(a, b)})`` puts the other in the order of the first,
    so that the two can be averaged. Raises :class:`ConnectomeError` for shapes that differ, and for kinds that are not
    as many in both.
    """
    from scipy.optimize import linear_sum_assignment

    first, second = _profiles(activity), _profiles(other)
    if first.shape != second.shape:
        raise ConnectomeError("other", f"must have the shape {first.T.shape} of the activity", second.T.shape)
    likeness = first @ second.T
    if kinds is not None:
        mine, theirs = map(np.asarray, kinds)
        if not np.array_equal(np.sort(mine), np.sort(theirs)):
            raise ConnectomeError("kinds", "must be as many of each in both", np.unique(mine, return_counts=True))
        likeness[mine[:, None] != theirs] = -2 * len(first)  # no correlations make up for one of these
    return np.asarray(linear_sum_assignment(-likeness)[1], np.int64)


def _profiles(activity: ArrayLike) -> NDArray[np.float64]:
    """(N, S), each neuron's less its mean and of length 1; 0 where it is always the same."""
    profile = _table("activity", activity).T
    profile = profile - profile.mean(1, keepdims=True)
    length = np.linalg.norm(profile, axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(profile, length, out=np.zeros_like(profile), where=length > 1e-12)
    return found


def _table(field: str, values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ConnectomeError(field, "must be a table of finite numbers, a column for each neuron", table.shape)
    return table
