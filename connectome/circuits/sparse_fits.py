"""How the student of :mod:`connectome.circuits.sparse_recordings` learns: from its task, and from recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from connectome.circuits.sparse_recordings import DT_MS, HAND, REGION, SENSOR, TAU_MS
from connectome.graph.connectome import Connectome
from connectome.learning.learner import Learner, names_kept, without
from connectome.learning.network import BatchActivity
from connectome.learning.optimisers import Adam
from connectome.learning.recorded import Recorded, balance
from connectome.learning.task import Act, Score

__all__ = ["Fit", "Reach", "fit"]


class Fit(NamedTuple):
    """The student, and (updates,) its loss."""

    connectome: Connectome
    loss: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reach:
    """The task of moving the hand as the teacher does. See :class:`connectome.learning.task.Task`.

    spikes : (D, T, units) of the sensor for D directions; potential : (D, T, 2) mV, the teacher's hand. The target of a
    batch is this potential, with the numbers of the batch's directions.
    """

    spikes: Tensor
    potential: Tensor
    name: str = REGION
    requires: tuple[str, ...] = ()
    recruits: tuple[str, ...] = (SENSOR, REGION, HAND)

    @property
    def sensors(self) -> Mapping[str, int]:
        """The goal sensor."""
        return {SENSOR: self.spikes.shape[-1]}

    @property
    def effectors(self) -> Mapping[str, int]:
        """The hand."""
        return {HAND: 2}

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], tuple[Tensor, Tensor]]:
        """``size`` different directions."""
        which = torch.from_numpy(np.sort(rng.choice(len(self.spikes), size, replace=False)))
        return {SENSOR: self.spikes[which]}, (self.potential[which], which)

    def loss(self, activity: BatchActivity, target: tuple[Tensor, Tensor]) -> Tensor:
        """The squared error, relative to that of a hand that never moves."""
        found: Tensor = (activity.potential[HAND] - target[0]).square().mean() / target[0].square().mean()
        return found

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """1 less the loss, at least 0. The directions are those that the task was made with, so all splits are the
        same."""
        found = act({SENSOR: self.spikes})
        value = max(0.0, 1.0 - float(self.loss(found, (self.potential, torch.empty(0)))))
        n = len(self.spikes)
        return Score(value, found.operations / n, found.n_spikes / n, value)


def fit(
    start: Connectome, task: Reach, trains: Tensor, recorded: ArrayLike, updates: int, *, performs: bool = True,
    rate_pa: float = 0.2,
) -> Fit:  # fmt: skip
    """The student after ``updates`` updates by Adam, at a rate that falls along half a cosine. No gradient flows from a
    neuron to those that made it fire (through 600 ms of recurrence gradients explode): each takes the others' spikes as
    given.

    Parameters
    ----------
    trains : (D, T, N) spikes of the teacher; recorded : the recorded neurons; none: it learns from outputs alone
    performs : False to learn only from the recordings

    Raises :class:`ConnectomeError`.
    """
    who = np.asarray(recorded, np.int64)
    rng, tau, keys = np.random.default_rng(0), TAU_MS / DT_MS, [k for k in start.edges if k.source == k.target]

    def learner(of: Reach | Recorded) -> Learner:
        return Learner(start, of, (Adam(),), surrogate_width_mv=20.0, block=keys)

    one: Reach | Recorded = task
    size = len(task.spikes)
    if who.size:
        beside = Recorded(task, REGION, who, lambda spikes, target: trains[target[1]][..., who], 0.0, tau)
        network = learner(beside).network
        spikes, target = beside.batch(rng, size)
        both = beside.losses(network(spikes, record=beside.record), target)
        alpha = balance(network.parameters(), *both)
        one = Recorded(task, REGION, who, beside.recordings, alpha, tau, performs)
    learning, loss = learner(one), np.empty(updates)
    for k in range(updates):
        now = rate_pa * 0.5 * (1 + np.cos(np.pi * k / updates))
        loss[k] = learning.step(*one.batch(rng, size), lambda key, now=now: now)  # type: ignore[misc]
    return Fit(without(learning.connectome(), names_kept((Adam(),))), loss)
