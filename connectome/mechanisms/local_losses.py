"""Credit without gradients that cross regions: each has a loss of its own, and edge sets between two are blocked.

Counter-current learning (Kao & Hariharan, NeurIPS 2024, arXiv 2409.19841); to compare with, direct feedback alignment
(:mod:`~connectome.mechanisms.direct_feedback`). Either is a task that wraps another, for one or several regions on the
way from its sensors to its effectors::

    task = CounterCurrent(task, ("low", "perception"), classes=10)
    connectome = connectome.grow(*mirrors(connectome, task, rng))
    Learner(connectome, task, block=crossing(connectome)).step(*task.batch(rng, 64), rate_pa)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from connectome.development.birth import weight_to_threshold_pa
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.learning.network import BatchActivity
from connectome.learning.task import Task, Wrapping
from connectome.wiring.edges import AllToAll, Normal, wire

__all__ = ["LABEL", "CounterCurrent", "Local", "code_loss", "crossing", "error_of", "in_a_chain", "mirrors"]

#: The sensor that shows the classes to the uppermost mirror: a unit each.
LABEL: Final = "label"
#: Steps from one spike of a class's unit to the next.
_EVERY: Final = 2


@dataclass(frozen=True, eq=False)
class Local(Wrapping):
    """A task of which each of some regions, from the lowest to the highest, has a loss of its own. A region's rates are
    means over the last ``readout_steps`` steps."""

    levels: tuple[str, ...]
    readout_steps: int = 10

    def __post_init__(self) -> None:
        for name in self.levels:
            if name not in self.task.recruits:
                raise ConnectomeError("levels", f"must be regions that {self.task.name} recruits", repr(name))

    @property
    def record(self) -> tuple[str, ...]:
        """See :class:`Task`."""
        return self.levels

    def rates(self, activity: BatchActivity, region: str) -> Tensor:
        """(B, N) spikes a step."""
        return activity.spikes[region][:, -self.readout_steps :].mean(1)


@dataclass(frozen=True, eq=False)
class CounterCurrent(Local):
    """Counter-current learning: a second network runs from the classes down, through a mirror of each region, and each
    region and its mirror come to say the same of a class.

    With rates a of a region, (B, N) for B samples, and b of its mirror, (C, N) for C classes, the loss of both is the
    mean square of ``cos(a, b) - Y``, Y being 1 where a class is the sample's and 0 elsewhere: see :func:`code_loss`.
    The task's own loss reaches the edges to its effectors alone. No weight is used in both directions. The paper's
    fully connected networks have a product of activities in place of the cosine, which its convolutional ones use;
    rates of spikes, recurrence inside a region, and Adam are our instantiation.

    One batch runs both networks: after its B samples come C more, of the classes, in which the sensors are silent.
    """

    classes: int = field(kw_only=True)

    @property
    def recruits(self) -> tuple[str, ...]:
        """The task's, and the mirrors."""
        return (*self.task.recruits, LABEL, *map(mirror_of, self.levels))

    @property
    def record(self) -> tuple[str, ...]:
        """See :class:`Task`."""
        return (*self.levels, *map(mirror_of, self.levels))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """The task's, with the classes behind it."""
        spikes, target = self.task.batch(rng, size)
        steps = next(iter(spikes.values())).shape[1]
        shown = {
            name: torch.cat([s, torch.zeros(self.classes, *s.shape[1:], dtype=s.dtype)]) for name, s in spikes.items()
        }
        label = torch.zeros(size + self.classes, steps, self.classes, dtype=torch.bool)
        label[size:, ::_EVERY] = torch.eye(self.classes, dtype=torch.bool)[:, None]
        return {**shown, LABEL: label}, target

    def loss(self, activity: BatchActivity, target: Tensor) -> Tensor:
        """The task's, and one of each region with its mirror."""
        potential = {name: u[: len(target)] for name, u in activity.potential.items()}
        loss = self.task.loss(activity._replace(potential=potential), target)
        for level in self.levels:
            own, mirrored = (self.rates(activity, name) for name in (level, mirror_of(level)))
            loss = loss + code_loss(own[: len(target)], mirrored[len(target) :], target)
        return loss


def error_of(task: Task, activity: BatchActivity, target: Any) -> Tensor:
    """(B, K) the gradient of a task's loss by the potentials of its effectors, over all steps; taken as given."""
    with torch.enable_grad():
        potential = {name: u.detach().requires_grad_() for name, u in activity.potential.items()}
        loss = task.loss(activity._replace(potential=potential), target)
        return torch.cat([g.sum(1) for g in torch.autograd.grad(loss, list(potential.values()))], 1)


def mirror_of(region: str) -> str:
    """The name of a region's mirror."""
    return f"{region}_mirror"


def code_loss(own: Tensor, mirrored: Tensor, label: Tensor) -> Tensor:
    """The mean of (cos(a, b) - Y)^2 over all pairs of (B, N) a and (C, N) b; Y is 1 where (B,) the label is the class.
    Silence has the cosine 0 with everything."""
    own, mirrored = (torch.nn.functional.normalize(r - r.mean(1, keepdim=True)) for r in (own, mirrored))
    wanted = torch.nn.functional.one_hot(label, len(mirrored)).to(own)
    return (own @ mirrored.T - wanted).square().mean()


def crossing(connectome: Connectome) -> list[EdgeKey]:
    """The edge sets between two regions, which are to be blocked."""
    return [key for key in connectome.edges if key.source != key.target]


def in_a_chain(parts: Sequence[Region], gain: float, dt_ms: float, rng: np.random.Generator) -> list[EdgeSet]:
    """All edges from each of these to the next. Weights are normal, with a standard deviation of ``gain`` times the
    weight that takes a neuron from rest to its threshold, over the square root of the sources."""
    found = []
    for source, target in itertools.pairwise(parts):
        scale = gain * weight_to_threshold_pa(target.neuron) / math.sqrt(source.size)
        found.append(wire(source, target, AllToAll(), weight_pa=Normal(0.0, scale), dt_ms=dt_ms, rng=rng))
    return found


def mirrors(
    connectome: Connectome, task: CounterCurrent, rng: np.random.Generator, gain: float = 1.0
) -> tuple[list[Region], list[EdgeSet]]:
    """The network of the opposite direction, for :meth:`Connectome.grow`: the classes' sensor, a mirror of each region,
    from the highest to the lowest, and their edges, whose sources may excite and inhibit."""
    levels = [connectome.regions[name] for name in task.levels]
    made = [replace(r, name=mirror_of(r.name), sign=np.zeros(r.size, np.int8), maps=None) for r in levels[::-1]]
    parts = [Region(LABEL, task.classes, "sensor"), *made]
    return parts, in_a_chain(parts, gain, connectome.dt_ms, rng)
