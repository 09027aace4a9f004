"""Refresh learning: an optimiser that unlearns a little before it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.graph.connectome import Connectome, Edit
from connectome.learning.learning_rule import State, Update, one_thread
from connectome.learning.optimisers import Adam
from connectome.learning.task import Task
from connectome.mechanisms.ewc import empirical_fisher
from connectome.parameters import bounded

__all__ = ["Refresh"]


@dataclass(frozen=True)
class Refresh(Adam):
    """Refresh learning (Wang, Li, Shen & Huang 2024, ICLR, arXiv 2403.13249), of Adam: J updates unlearn, with the
    gradient g where they begin, ``theta <- theta + gamma F^-1 g + N(0, 2 tau gamma F^-1)``, then one learns. With a
    ``reuse`` of J + 1 all have the same batch. To the first order in gamma, and exactly on a quadratic, a step then
    descends ``L + gamma / 2 g^T F^-1 g``: flat places are preferred.

    As in the published program, gamma makes the step before F a part ``delta`` of the norm of the set's weights, and F
    is 1 more than the diagonal of the empirical Fisher information of the tasks learnt, the latest counting most. Ours:
    that in units of its mean over the set, so that neither unit nor task scales it; the whole gradient is unlearnt.

    State of an edge: Adam's, and ``refresh_fisher``, which lasts over stages.

    Parameters
    ----------
    delta : of an unlearning step; unlearn : such steps before each that learns, J; temperature : tau, 1 in the paper
    decay : what is kept of the Fisher information when a stage ends; samples : that a task's is measured on
    """

    delta: float = bounded(1e-5, 0, 1)
    unlearn: int = bounded(1, 0)
    temperature: float = bounded(0.0, 0)
    decay: float = bounded(1e-5, 0, 1)
    samples: int = bounded(200, 1)

    paper: ClassVar = "Wang et al. 2024, ICLR, arXiv 2403.13249"
    remembers: ClassVar = ("refresh_fisher",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step."""
        if update.number % (self.unlearn + 1):
            return self.unlearning(update, change, state)
        return super().__call__(update, change, state)

    def unlearning(self, update: Update, gradient: Tensor, state: State) -> Tensor:
        """(P,) pA, up the loss."""
        with one_thread():
            length, size, metric = gradient.norm(), update.weight.norm(), self.metric(state)
        if not length > 0:
            return torch.zeros_like(gradient)
        shrinks = self.delta * size / length / metric
        step: Tensor = shrinks * gradient
        if self.temperature:
            step += (2 * self.temperature * shrinks).sqrt() * update.normal("refresh")
        return step

    def metric(self, state: State) -> Tensor:
        """(P,) F."""
        fisher = state["refresh_fisher"]
        mean = fisher.mean()
        return 1 + fisher / mean if mean > 0 else torch.ones_like(fisher)

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """Take the Fisher information of a task that has been learnt."""
        state = {}
        for key, fisher in empirical_fisher(connectome, task, self.samples, rng).items():
            old = connectome.edges[key].state.get("refresh_fisher", np.zeros_like(fisher))
            state[key] = {"refresh_fisher": np.float32(self.decay) * old + fisher}
        return Edit(state=state)
