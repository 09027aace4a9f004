"""Which samples to learn from: as many of each kind of gradient, easy and hard ones alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Batch, Task
from connectome.parameters import Parameters, bounded

__all__ = ["GradientClusters", "sample_gradients", "shares"]


@dataclass(frozen=True)
class GradientClusters(Parameters):
    """Adapt-infinity's selection (Maharana et al. 2024, arXiv 2410.10636), for a stage's ``select``: of ``pool`` times
    as many samples as are wanted, those whose gradients point the same way are a cluster; each cluster gives as many,
    as far as it has them, and within it so does each of ``bins`` equal intervals of the score, by chance.

    The gradient is that of the weights to the effectors, projected at random to ``dimensions`` and of length 1; the
    score is its length, the only one of the published several; and there is no permanent pruning, as samples are drawn
    anew in each update.

    Parameters
    ----------
    pool : samples that are looked at for each that is chosen
    clusters, bins, dimensions : how many
    """

    pool: int = bounded(8, 2, 1000)
    clusters: int = bounded(10, 1, 1000)
    bins: int = bounded(10, 1, 1000)
    dimensions: int = bounded(64, 1, 4096)

    paper: ClassVar = "Maharana et al. 2024, arXiv 2410.10636"

    def __call__(self, task: Task, network: SpikingNetwork, rng: np.random.Generator, size: int) -> Batch:
        """A batch of ``size`` samples."""
        from scipy.cluster.vq import kmeans2

        spikes, target = task.batch(rng, self.pool * size)
        gradient = sample_gradients(task, network, spikes, target, self.dimensions, rng)
        score = np.linalg.norm(gradient, axis=1)
        unit = gradient / np.maximum(score, 1e-30)[:, None]
        _, cluster = kmeans2(unit, min(self.clusters, len(unit)), minit="++", seed=rng)
        chosen = []
        for number, n in enumerate(shares(np.bincount(cluster, minlength=self.clusters), size)):
            here = np.flatnonzero(cluster == number)
            chosen.append(here[_stratified(score[here], int(n), self.bins, rng)])
        pick = torch.from_numpy(np.concatenate(chosen))
        return {name: s[pick] for name, s in spikes.items()}, _picked(target, pick)


def sample_gradients(
    task: Task, network: SpikingNetwork, spikes: Mapping[str, torch.Tensor], target: Any, dimensions: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    """(B, dimensions) of each sample, the gradient of its loss with respect to the weights from regions to effectors:
    errors times mean rates, projected at random, so that scalar products stay what they are on average."""
    connectome = network.connectome
    regions = [name for name in task.recruits if connectome.regions[name].role == "neuron"]
    with torch.no_grad():
        activity = network(spikes, record=regions)
    potential = {name: v.detach().requires_grad_() for name, v in activity.potential.items()}
    with torch.enable_grad():
        loss = task.loss(activity._replace(potential=potential), target)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    error = np.concatenate(
        [v.grad.sum(1).double().numpy(force=True) for v in potential.values() if v.grad is not None], 1
    )
    rate = np.concatenate([activity.spikes[n].double().mean(1).numpy(force=True) for n in regions], 1)
    # Without BLAS, whose last bits depend on how many threads it has.
    parts = [np.einsum("bn,nd->bd", x, rng.normal(size=(x.shape[1], dimensions))) for x in (error, rate)]
    return np.asarray(len(error) * parts[0] * parts[1] / np.sqrt(dimensions))


def shares(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many each part gives of n, of the ``counts`` that it has: as many each, the first ones more where they do not
    divide, and those that have fewer all of theirs. n in all, if there are as many."""
    given = np.zeros_like(counts)
    left = min(n, int(counts.sum()))
    while left:
        able = np.flatnonzero(counts > given)
        more = np.minimum(counts[able] - given[able], max(left // len(able), 1))[: max(left, 1)]
        given[able[: len(more)]] += more
        left -= int(more.sum())
    return given


def _stratified(score: NDArray[np.float64], n: int, bins: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n places, as many from each of so many equal intervals of the score."""
    if not n:
        return np.zeros(0, np.int64)
    low, high = score.min(), score.max()
    place = np.minimum((bins * (score - low) / (high - low)).astype(np.int64), bins - 1) if high > low else score * 0
    place = place.astype(np.int64)
    found = shares(np.bincount(place, minlength=bins), n)
    return np.concatenate([rng.choice(np.flatnonzero(place == i), k, replace=False) for i, k in enumerate(found) if k])


def _picked(target: Any, pick: torch.Tensor) -> Any:
    """Those samples' part of what a loss wants to know."""
    if isinstance(target, torch.Tensor):
        return target[pick]
    if isinstance(target, Mapping):
        return {name: _picked(value, pick) for name, value in target.items()}
    return type(target)(_picked(value, pick) for value in target) if isinstance(target, (tuple, list)) else target
