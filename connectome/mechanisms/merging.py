"""Adapters of tasks that come one after the other: each is drawn to those before it; which one is right, they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import State, Update
from connectome.learning.task import Task
from connectome.learning.views import BASE
from connectome.parameters import Parameters, bounded

__all__ = ["Gaussians", "Merging", "retrieve"]


@dataclass(frozen=True)
class Merging(Parameters):
    """MOS's merging (Sun et al. 2025, AAAI): after each update what learns goes the part ``share`` of the way to the
    mean of what it was at the ends of earlier stages, ``a <- (1 - share) a + share mean(a_1 ...)``. Without a gradient
    its distance from there is ``(1 - share)^n`` of what it was after n updates. It belongs behind the optimiser, in the
    chain of an adapter: a view's parameters beside frozen weights. In the first stage, and of edges that are new, there
    is nothing to go to.

    State: ``merging_mean``, of what learns, in its unit, and ``merging_count``, of how many stages.
    """

    share: float = bounded(0.1, 0, 1)

    paper: ClassVar = "Sun et al. 2025, AAAI"
    remembers: ClassVar = ("merging_mean", "merging_count")

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The change, and the way towards the mean."""
        mean, count = (state[name] for name in self.remembers)
        return change + self.share * (count > 0) * (mean - update.weight - change)

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """The means with this stage's among them."""
        found: dict[EdgeKey, dict[str, NDArray[np.float32]]] = {}
        for key, edges in connectome.edges.items():
            for name in edges.state:
                of, _, kept = name.rpartition("merging_count")
                if name.endswith("merging_count") and not kept:
                    value = edges.state[of[:-1]] if of else edges.state.get(BASE, edges.weight)
                    mean, count = edges.state[f"{of}merging_mean"], edges.state[name] + 1
                    found.setdefault(key, {})
                    found[key] |= {f"{of}merging_mean": mean + (value - mean) / count, name: count}
        return Edit(state=found)


class Gaussians:
    """A classifier by what is kept of each class: the mean of its activities, and a covariance that all share, which is
    what a linear head that is trained on samples of these Gaussians comes to.

    Parameters
    ----------
    mean : (C, N); covariance : (N, N), the mean over the classes
    shrink : part of it that is the mean variance instead (Ledoit & Wolf 2004, with a weight that is chosen)
    """

    def __init__(self, mean: ArrayLike, covariance: ArrayLike, shrink: float = 0.1) -> None:
        self.mean, cov = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
        cov = (1 - shrink) * cov + shrink * np.trace(cov) / len(cov) * np.eye(len(cov))
        self._direction = np.linalg.solve(cov, self.mean.T)
        self._offset = -0.5 * np.sum(self.mean.T * self._direction, 0)

    def __call__(self, activity: ArrayLike) -> NDArray[np.float64]:
        """(B, C) log probabilities, up to what all classes have in common, of (B, N) activities."""
        return np.asarray(np.asarray(activity, np.float64) @ self._direction + self._offset)


def retrieve(
    first: ArrayLike, task_of: ArrayLike, ask: Callable[[NDArray[np.int64], int], ArrayLike], rounds: int = 4
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """MOS's self-refined retrieval: the class that the base names says which adapter to take, what is named with it
    says which to take next, until they agree or ``rounds`` are over.

    Parameters
    ----------
    first : (B, C) logits of the base; task_of : (C,) task of each class
    ask : (numbers (b,) of samples, task) -> (b, C) logits with the task's adapter

    Returns (B,) the task of each sample, (B,) how often adapters were asked, and (B, C) the last logits.
    """
    logits, tasks = np.array(first, np.float64), np.asarray(task_of, np.int64)
    chosen, asked = np.full(len(logits), -1), np.zeros(len(logits), np.int64)
    for _ in range(rounds):
        now = tasks[logits.argmax(1)]
        open_ = np.flatnonzero(now != chosen)
        chosen = now
        for task in np.unique(now[open_]):
            which = open_[now[open_] == task]
            logits[which], asked[which] = ask(which, int(task)), asked[which] + 1
    return chosen, asked, logits
