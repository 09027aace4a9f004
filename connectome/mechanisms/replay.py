"""Experience replay without a bound, a comparator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from connectome.graph.connectome import Connectome
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task

__all__ = ["Replay"]


class Replay:
    """Experience replay without a bound: every update also sees a batch of an earlier task, drawn anew from all that
    the task has to learn from. So it sees twice as many samples as the others, and forgets nothing of the data."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._tasks: list[Task] = []
        self._networks: tuple[SpikingNetwork | None, dict[str, SpikingNetwork]] = (None, {})

    def __call__(self, network: SpikingNetwork, rng: np.random.Generator) -> Tensor:
        """The loss of an earlier task, drawn at random."""
        if not self._tasks:
            return torch.zeros(())
        task = self._tasks[rng.integers(len(self._tasks))]
        if self._networks[0] is not network:
            self._networks = (network, {})
        known = self._networks[1]
        if task.name not in known:
            known[task.name] = SpikingNetwork(
                network.connectome, recruit=task.recruits, share=network, engine=network.engine
            )
        spikes, target = task.batch(rng, self.batch)
        return task.loss(known[task.name](spikes), target)

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> None:
        """Replay this task from now on."""
        self._tasks.append(task)
