"""Neurons that go on firing as they did: a matured region follows a change of what it hears, without an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.graph.connectome import Connectome, Edit
from connectome.learning.learning_rule import State, Update
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task
from connectome.parameters import Parameters, bounded

__all__ = ["RateMatching"]

_LEAST = 1e-6


@dataclass(frozen=True)
class RateMatching(Parameters):
    """Statistics-only adaptation, as synaptic scaling (Turrigiano et al. 1998, Nature 391:892) towards what each neuron
    fired when its region had matured: in each update ``w_ik <- w_ik (1 + rate (r_k - s_k))``, with k's spikes a step in
    the batch, s_k, and then, r_k. All that a neuron hears over matured sets changes alike: that is a gain. It is for
    spikes what renewed statistics of batch normalisation are for rates (Schneider et al. 2020, arXiv 2006.16971), upon
    which other methods of adaptation stand, and it stands in a chain with them, behind the optimiser.

    State of an edge: ``matched_rate``, r of its target, spikes a step, measured when the stage in which it was new
    ends; 0 until then, and where the target is an effector: there nothing happens.

    Parameters
    ----------
    rate : the part by which weights of a neuron grow that fires one spike a step less
    samples : of the batch that r is measured with
    """

    rate: float = bounded(1.0, 0, 100)
    samples: int = bounded(256, 1, 2**16)

    paper: ClassVar = "Turrigiano et al. 1998, Nature 391:892; Schneider et al. 2020, arXiv 2006.16971"
    remembers: ClassVar = ("matched_rate",)
    hears_spikes: ClassVar = True

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The change, and what scales."""
        rate = state["matched_rate"]
        if update.edges is None or update.post is None or update.name != "weight" or len(update.edges) != len(rate):
            return change
        seen = update.edges.at_target(update.post.double().mean((0, 1)).numpy(force=True))
        less = torch.where(rate > 0, rate - torch.from_numpy(seen).to(rate), 0.0)
        return change + update.weight * (self.rate * less).clamp(-0.5, 0.5)

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """Measure the rates that are not known yet."""
        spikes, _ = task.batch(rng, self.samples)
        network = SpikingNetwork(connectome, recruit=task.recruits)
        keys = [key for key in network.weight if connectome.regions[key.target].role == "neuron"]
        with torch.no_grad():
            seen = network(spikes, record=list(dict.fromkeys(key.target for key in keys))).spikes
        rate = {name: s.double().mean((0, 1)).numpy(force=True).clip(_LEAST) for name, s in seen.items()}
        state = {}
        for key in keys:
            edges, name = connectome.edges[key], self.remembers[0]
            known = edges.state.get(name, np.zeros(len(edges), np.float32))
            measured = edges.at_target(rate[key.target]).astype(np.float32)
            state[key] = {name: np.where(known > 0, known, measured)}
        return Edit(state=state)
