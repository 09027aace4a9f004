"""Elastic weight consolidation, a comparator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import State, Update
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task
from connectome.parameters import Parameters, bounded

__all__ = ["Ewc", "empirical_fisher"]


@dataclass(frozen=True)
class Ewc(Parameters):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, PNAS 114:3521, equation 3): the loss has the term
    ``strength / 2 sum_t F_t (w - w_t)^2``, with the weights w_t after each earlier task t and the diagonal F_t of its
    empirical Fisher information. It belongs before the optimiser. In the objective of
    :mod:`~connectome.mechanisms.bregman` it is ``beta D_Psi(theta, theta_old)``, ``Psi_t(w) = 1/2 F_t w^2``, whose
    gradient is that of Psi at theta less that at theta_old.

    State of an edge: ``ewc_fisher``, sum_t F_t, and ``ewc_anchor``, sum_t F_t w_t.

    Parameters
    ----------
    strength : of the term; samples : of each task that its Fisher information is measured on
    """

    strength: float = bounded(100.0, 0)
    samples: int = bounded(200, 1)

    paper: ClassVar = "Kirkpatrick et al. 2017, PNAS 114:3521, equation 3"
    stands: ClassVar = "before"
    remembers: ClassVar = ("ewc_fisher", "ewc_anchor")

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The gradient, with that of the term."""
        fisher, anchor = (state[name] for name in self.remembers)
        return (self.strength * fisher * update.weight - self.strength * anchor) + change

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """Take the Fisher information of a task that has been learnt."""
        state = {}
        for key, fisher in empirical_fisher(connectome, task, self.samples, rng).items():
            edges = connectome.edges[key]
            old = [edges.state.get(name, np.zeros_like(fisher)) for name in self.remembers]
            new = fisher, fisher * edges.weight
            state[key] = {n: before + more for n, before, more in zip(self.remembers, old, new, strict=True)}
        return Edit(state=state)


def empirical_fisher(
    connectome: Connectome, task: Task, samples: int, rng: np.random.Generator
) -> dict[EdgeKey, NDArray[np.float32]]:
    """Edge set -> (E,) 1/pA^2, the mean square gradient of so many single samples of a task: the diagonal of the
    empirical Fisher information."""
    network = SpikingNetwork(connectome, recruit=task.recruits)
    square = {key: torch.zeros_like(weight) for key, weight in network.weight.items()}
    for _ in range(samples):
        spikes, target = task.batch(rng, 1)
        network.zero_grad()
        loss = task.loss(network(spikes, record=getattr(task, "record", ())), target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for key, weight in network.weight.items():
            if weight.grad is not None:
                square[key] += weight.grad.square()
    return {key: network.by_edge(key, total / samples).numpy() for key, total in square.items()}
