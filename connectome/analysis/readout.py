"""What can be read out of a network's states: linear readouts, memory capacity, errors of a forecast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze
from connectome.errors import ConnectomeError

__all__ = ["memory_capacity", "nrmse", "predictions"]

Floats = NDArray[np.float64]


def predictions(
    states: ArrayLike, target: ArrayLike, train: slice, test: slice, trial: ArrayLike | None = None
) -> Floats:
    """(T_test, K) predictions by ridge regression from (T, N) states to (T, K) targets, trained on the steps ``train``
    and given for the steps ``test``; each target has the shrinkage that leave-one-out finds best in training. With
    ``trial``, (T,) trial numbers, whose states are much alike within a trial, a quarter of the trials is left out at a
    time, and all targets share one shrinkage. Raises :class:`ConnectomeError`."""
    from sklearn.linear_model import RidgeCV

    x, y = freeze("states", states, np.float64, (None, None)), np.asarray(target, float)
    for name, part in (("train", train), ("test", test)):
        if len(y) != len(x) or len(x[part]) < 2:
            raise ConnectomeError(name, "must leave at least 2 states, each with a target", f"{part} of {len(x)}")
    mean, sd = x[train].mean(0), x[train].std(0)
    z = (x - mean) / np.where(sd > 1e-12, sd, np.inf)
    shrinkage = np.logspace(-8, 4, 13)
    if trial is not None:
        shrinkage = _best(z[train], y[train], freeze("trial", trial, np.int64, (len(x),))[train], shrinkage)
    model = RidgeCV(shrinkage, alpha_per_target=y.ndim > 1 and trial is None).fit(z[train], y[train])
    found: Floats = np.asarray(model.predict(z[test])).reshape(y[test].shape)
    return found


def memory_capacity(states: ArrayLike, u: ArrayLike, train: slice, test: slice, lags: int = 60) -> Floats:
    """(lags,) squared correlation of the input u(t-k) with its prediction from the states at t, for k = 1, 2, ...; the
    memory capacity is their sum (Jaeger 2001, GMD report 152). ``train`` and ``test`` begin no earlier than ``lags``.
    Raises :class:`ConnectomeError`."""
    given = freeze("u", u, np.float64, (None,))
    for name, part in (("train", train), ("test", test)):
        if (part.start or 0) < lags:
            raise ConnectomeError(
                name, f"must begin at {lags} or later, when that many inputs have been given", str(part)
            )
    past = np.stack([np.roll(given, k) for k in range(1, lags + 1)], axis=1)
    y = predictions(states, past, train, test)
    a, b = y - y.mean(0), past[test] - past[test].mean(0)
    product = (a**2).sum(0) * (b**2).sum(0)
    found: Floats = np.divide((a * b).sum(0) ** 2, product, out=np.zeros(lags), where=(a**2).mean(0) > 1e-20)
    return found


def nrmse(y: Floats, target: Floats) -> float:
    """Root mean square error over the target's standard deviation; predicting the target's mean gives 1."""
    return float(np.sqrt(((y - target) ** 2).mean()) / target.std())


def _best(x: Floats, y: Floats, trial: NDArray[np.int64], shrinkage: Floats) -> Floats:
    """(1,) the shrinkage with the least error in trials that are left out, a quarter at a time; one SVD serves all."""
    from sklearn.model_selection import GroupKFold

    if np.unique(trial).size < 2:
        raise ConnectomeError("trial", "must be 2 or more in the stretch that is trained on", "one")
    error = np.zeros(len(shrinkage))
    for kept, left in GroupKFold(min(4, np.unique(trial).size)).split(x, groups=trial):
        mean, of = x[kept].mean(0), y[kept].mean(0)
        u, s, v = np.linalg.svd(x[kept] - mean, full_matrices=False)
        ahead, back = (x[left] - mean) @ v.T, u.T @ (y[kept] - of)
        for k, a in enumerate(shrinkage):
            error[k] += ((ahead @ ((s / (s**2 + a))[:, None] * back) + of - y[left]) ** 2).sum()
    return shrinkage[[error.argmin()]]
