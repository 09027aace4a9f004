"""Elastic weight consolidation, a comparator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task

__all__ = ["Ewc"]


class Ewc:
    """Elastic weight consolidation (Kirkpatrick et al. 2017, PNAS 114:3521, equation 3): ``strength / 2 sum_t F_t (w -
    w_t)^2``, with the weights w_t after each earlier task t and the diagonal F_t of its empirical Fisher information,
    the mean square gradient of ``samples`` single samples."""

    def __init__(self, strength: float, samples: int = 200) -> None:
        self.strength, self.samples = strength, samples
        # sum_t F_t (w - w_t)^2 = w^2 sum F_t - 2 w sum F_t w_t + a constant
        self._fisher: dict[EdgeKey, Tensor] = {}
        self._anchor: dict[EdgeKey, Tensor] = {}

    def __call__(self, network: SpikingNetwork, rng: np.random.Generator) -> Tensor:
        """The penalty, less its constant."""
        total = torch.zeros(())
        for key, weight in network.weight.items():
            if key in self._fisher:
                total = total + (self._fisher[key] * weight.square() / 2 - self._anchor[key] * weight).sum()
        return self.strength * total

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> None:
        """Take the Fisher information of a task that has been learnt. Edges must stay as they are from here on."""
        network = SpikingNetwork(connectome, recruit=task.recruits)
        square = {key: torch.zeros_like(weight) for key, weight in network.weight.items()}
        for _ in range(self.samples):
            spikes, target = task.batch(rng, 1)
            network.zero_grad()
            task.loss(network(spikes), target).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for key, weight in network.weight.items():
                if weight.grad is not None:
                    square[key] += weight.grad.square()
        for key, weight in network.weight.items():
            fisher = square[key] / self.samples
            self._fisher[key] = self._fisher.get(key, 0) + fisher
            self._anchor[key] = self._anchor.get(key, 0) + fisher * weight.detach()
