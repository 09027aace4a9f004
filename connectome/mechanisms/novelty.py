"""What a region has met before, told by hypervectors of its activity: adapt or grow, and who is to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.learning.learning_rule import one_thread

__all__ = ["Encoder", "Familiarity", "auroc", "encoder", "familiarity", "known_to"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Encoder(ReadOnly):
    """Hypervectors ``h = sign(R f)`` of rates, standardised, with a Gaussian R (Kanerva 2009, Cognitive Computation
    1:139). Two of them differ in a part of their elements that is the angle between the f over pi; of unrelated ones
    the cosine is 0, with a standard deviation of ``1 / sqrt(dimensions)``.

    Parameters
    ----------
    mean, scale : (N,) of the rates that are known
    dimensions, seed : of R
    """

    mean: Array
    scale: Array
    dimensions: int = 4096
    seed: int = 0

    def __call__(self, rates: Array) -> Tensor:
        """(S, D) of -1 and 1, of (S, N) rates."""
        f = torch.from_numpy((rates - self.mean) / self.scale)
        with one_thread():
            return torch.where(f @ self._projection >= 0, 1.0, -1.0)

    @cached_property
    def _projection(self) -> Tensor:
        drawn = np.random.default_rng(self.seed).normal(size=(len(self.mean), self.dimensions))
        return torch.from_numpy(drawn)


def encoder(rates: Array, dimensions: int = 4096, seed: int = 0) -> Encoder:
    """The encoder of a region with these (S, N) rates; neurons that are always alike count as they are."""
    spread = rates.std(0)
    return Encoder(rates.mean(0), np.where(spread > 1e-9, spread, 1.0), dimensions, seed)


@dataclass(frozen=True, eq=False)
class Familiarity(ReadOnly):
    """What is known of a task: a prototype for each class, and how alike batches of it are at least.

    After EAR (Daniels et al. 2023, arXiv 2308.02084, of which the abstract was at hand): what is novel to all that is
    known is learnt by a new part; what is not is answered by the part to which it is most familiar.

    Parameters
    ----------
    encoder : of the region whose rates are heard
    prototypes : (C, D) of length 1
    threshold : a batch whose mean score is below is novel
    """

    encoder: Encoder
    prototypes: NDArray[np.float32]
    threshold: float

    def cosines(self, rates: Array) -> Array:
        """(S, C) of each sample with each prototype."""
        with one_thread():
            found = self.encoder(rates).float() @ torch.tensor(self.prototypes).T
        return np.asarray(found.numpy() / np.sqrt(self.encoder.dimensions), np.float64)

    def scores(self, rates: Array) -> Array:
        """(S,) the largest cosine of each sample: how familiar it is."""
        return np.asarray(self.cosines(rates).max(1))

    def is_novel(self, rates: Array) -> bool:
        """Whether a batch is."""
        return bool(self.scores(rates).mean() < self.threshold)


def familiarity(
    encoder: Encoder, rates: Array, label: NDArray[np.int64], others: Array, batch: int, quantile: float = 0.05
) -> Familiarity:
    """Of (S, N) rates and their classes 0, 1 ...: a class's prototype is the sum of its hypervectors. ``others``: rates
    of other samples of the task, of which so many batches in a hundred are to seem novel. Raises
    :class:`ConnectomeError` for fewer of them than a batch, and for a class without a sample.
    """
    if len(others) < batch:
        raise ConnectomeError("others", f"must be at least a batch of {batch} samples", len(others))
    counts = np.bincount(label)
    if not counts.all():
        raise ConnectomeError("label", "must have each class", f"none of {int(np.argmin(counts))}")
    h = encoder(rates)
    sums = torch.stack([h[torch.from_numpy(label == k)].sum(0) for k in range(len(counts))])
    known = Familiarity(encoder, torch.nn.functional.normalize(sums, dim=1).float().numpy(), 0.0)
    scores, rng = known.scores(others), np.random.default_rng(encoder.seed)
    means = [scores[rng.choice(len(scores), batch, replace=False)].mean() for _ in range(1000)]
    return Familiarity(encoder, known.prototypes, float(np.quantile(means, quantile)))


def known_to(tasks: Sequence[Familiarity], rates: Array) -> int | None:
    """The task to which a batch is the most familiar, or None if it is novel to all."""
    known = [k for k, task in enumerate(tasks) if not task.is_novel(rates)]
    return max(known, key=lambda k: float(tasks[k].scores(rates).mean()), default=None)


def auroc(known: Array, novel: Array) -> float:
    """The chance that a known sample has a higher score than a novel one (area under the receiver operating
    characteristic; Mann & Whitney 1947)."""
    order = np.sort(novel)
    below = np.searchsorted(order, known, "left") + np.searchsorted(order, known, "right")
    return float(below.mean() / (2 * len(novel)))
