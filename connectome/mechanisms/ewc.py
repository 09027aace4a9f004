"""Elastic weight consolidation, a comparator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import State, Update
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task
from connectome.parameters import Parameters, bounded

__all__ = ["Ewc"]


@dataclass(frozen=True)
class Ewc(Parameters):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, PNAS 114:3521, equation 3): the loss has the term
    ``strength / 2 sum_t F_t (w - w_t)^2``, with the weights w_t after each earlier task t and the diagonal F_t of its
    empirical Fisher information, the mean square gradient of single samples. It belongs before the optimiser.

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
        network = SpikingNetwork(connectome, recruit=task.recruits)
        square = {key: torch.zeros_like(weight) for key, weight in network.weight.items()}
        for _ in range(self.samples):
            spikes, target = task.batch(rng, 1)
            network.zero_grad()
            loss = task.loss(network(spikes, record=getattr(task, "record", ())), target)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for key, weight in network.weight.items():
                if weight.grad is not None:
                    square[key] += weight.grad.square()
        state: dict[EdgeKey, dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = {}
        for key, weight in network.weight.items():
            fisher = square[key] / self.samples
            here = connectome.edges[key]
            old = [torch.tensor(here.state.get(name, np.zeros(len(here), np.float32))) for name in self.remembers]
            new = fisher, fisher * weight.detach()
            state[key] = {
                name: (before + network.by_edge(key, more)).numpy()
                for name, before, more in zip(self.remembers, old, new, strict=True)
            }
        return Edit(state=state)
