"""A probe: what a rule may ask of a task and a network before it edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from connectome.graph.connectome import Connectome
from connectome.graph.flat import Engine
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Batch, Task

__all__ = ["Probe"]


@dataclass(frozen=True)
class Probe:
    """A batch of the task, of a seed of its own, so that asking changes nothing that comes.

    task : of the stage; size : samples of the batch; seed : of the run, the stage and the update; engine : to ask with
    """

    task: Task
    size: int
    seed: tuple[int, ...]
    engine: Engine = "numba"

    @cached_property
    def batch(self) -> Batch:
        """The batch."""
        return self.task.batch(np.random.default_rng([*self.seed, _STREAM]), self.size)

    def gradients(self, connectome: Connectome) -> dict[EdgeKey, NDArray[np.float32]]:
        """Edge set -> (E,) the loss's gradient for each edge of a connectome, 1/pA: of this one or of one with
        candidate edges of weight 0 besides. Sets that the task does not recruit are left out."""
        network = SpikingNetwork(connectome, recruit=self.task.recruits, engine=self.engine)
        spikes, target = self.batch
        loss = self.task.loss(network(spikes, record=self._recorded), target)
        found = torch.autograd.grad(loss, list(network.weight.values()))
        return {key: network.by_edge(key, g).numpy(force=True) for key, g in zip(network.weight, found, strict=True)}

    def spikes(self, connectome: Connectome, regions: Sequence[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Sensor or region -> (B, T, N) spikes of the batch, 0 or 1; by default of all that the task recruits."""
        network = SpikingNetwork(connectome, recruit=self.task.recruits, engine=self.engine)
        there = [name for name, r in network.selection.regions.items() if r.role == "neuron"]
        given, _ = self.batch
        with torch.no_grad():
            seen = network(given, record=there if regions is None else [n for n in there if n in regions]).spikes
        seen = {**{n: s for n, s in given.items() if regions is None or n in regions}, **seen}
        return {name: (s != 0).numpy(force=True).astype(np.float32) for name, s in seen.items()}

    @property
    def _recorded(self) -> tuple[str, ...]:
        return tuple(getattr(self.task, "record", ()))


_STREAM = 577215
