"""Consolidation: an edge that a finished stage has needed changes less from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from connectome.graph.connectome import Connectome, Edit
from connectome.learning.learning_rule import State, Update
from connectome.learning.task import Task
from connectome.mechanisms.ewc import empirical_fisher
from connectome.parameters import Parameters, bounded

__all__ = ["Consolidation"]


@dataclass(frozen=True)
class Consolidation(Parameters):
    """Each edge's plasticity is its own: its step is divided by ``1 + strength sum_t F_t / mean F_t``, with the
    diagonal F_t of the empirical Fisher information of each earlier task t, and the mean of all edges that take part.
    Nothing is added to the loss, no weight is pulled back to where it was, none stands still, and of an earlier task
    nothing is kept but how much it needs each edge.

    It is our own reading of Bayesian learning, in which a weight moves in proportion to its variance, to whose inverse
    each task adds its information (Zeno et al. 2018, arXiv 1803.10123, who learn the variance as well), and of
    metaplasticity (Abraham & Bear 1996, Trends Neurosci 19:126). It belongs after the optimiser.

    State of an edge: ``need``, sum_t F_t / mean F_t.

    Parameters
    ----------
    strength : by how much the step of an edge of mean need is divided, less 1, after one task
    samples : of each task that its Fisher information is measured on
    """

    strength: float = bounded(100.0, 0)
    samples: int = bounded(200, 1)

    paper: ClassVar = "after Zeno et al. 2018, arXiv 1803.10123"
    stands: ClassVar = "after"
    remembers: ClassVar = ("need",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step, less for an edge that is needed."""
        return change / (1 + self.strength * state["need"])

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """Take the Fisher information of a task that has been learnt."""
        found = empirical_fisher(connectome, task, self.samples, rng)
        mean = sum(float(f.sum(dtype=np.float64)) for f in found.values()) / max(sum(f.size for f in found.values()), 1)
        state = {}
        for key, fisher in found.items():
            before = connectome.edges[key].state.get("need", np.zeros_like(fisher))
            state[key] = {"need": before + fisher / np.float32(mean or 1.0)}
        return Edit(state=state)
