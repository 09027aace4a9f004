"""Experience replay without a bound, a comparator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task, checked_loss
from connectome.parameters import Parameters, bounded

__all__ = ["Replay"]


@dataclass(frozen=True)
class Replay(Parameters):
    """Every update also sees a batch of an earlier task, drawn anew from all that the task has to learn from. So it
    sees twice as many samples as the others, and forgets nothing of the data. It keeps nothing: what was learnt before
    is what earlier stages are of.

    Parameters
    ----------
    batch : samples of an earlier task in an update
    """

    batch: int = bounded(64, 1, 2**16)

    def __call__(self, network: SpikingNetwork, earlier: Sequence[Task], rng: np.random.Generator) -> Tensor:
        """The loss of an earlier task, drawn at random; 0 where there is none."""
        if not earlier:
            return torch.zeros(())
        task = earlier[int(rng.integers(len(earlier)))]
        other = network.sharing(task.recruits)
        spikes, target = task.batch(rng, self.batch)
        return checked_loss(task.loss(other(spikes, record=getattr(task, "record", ())), target), task)
