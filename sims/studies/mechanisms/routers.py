"""Routers of the trial of thalamic routing: who chooses, for each image, which regions are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np
import torch

from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth
from connectome.development.training import typical_weight
from connectome.graph.connectome import Edit
from connectome.learning.learner import CHAIN, Learner
from connectome.mechanisms.one_shot import OneShot
from connectome.mechanisms.routing import Routing
from sims.studies.development import read_images

if TYPE_CHECKING:
    from torch import Tensor

    from connectome.graph.connectome import Connectome
    from connectome.graph.parts import EdgeKey
    from connectome.learning.network import BatchActivity
    from connectome.learning.task import Task

__all__ = ["TASKS", "Router", "Way"]

TASKS: Final = 5
#: Steps of an image that the router sees before the regions see it.
_GLANCE: Final = 10
_ANATOMY: Final = Anatomy(neurons=32, local_density=0.0, efferent_gain=0.5)


@dataclass(frozen=True, eq=False)
class Gates(Perception):
    """What the thalamus learns: how much each region is to be driven, of how the loss changes with each one's gain."""

    name: str = "thalamus"
    routing: Routing = field(default_factory=Routing)
    memory: bool = False
    effectors: ClassVar[Mapping[str, int]] = {"gate": TASKS}

    @property
    def recruits(self) -> tuple[str, ...]:
        """What takes part."""
        return ("image", "thalamus", *(("hippocampus",) if self.memory else ()), "gate")

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """See :class:`Routing`."""
        return self.routing.loss(_drive(activity), *target)


class Way(NamedTuple):
    """Who chooses regions, and how; rates of the new region and of the router; what remembers, if anything."""

    by: str
    rate: float
    routing: Routing = Routing()
    router_rate: float = 0.0
    memory: OneShot | None = None


def _drive(activity: BatchActivity) -> Tensor:
    """(B, M) of the gate's mean potentials over the last half of the glance."""
    return 4 * activity.potential["gate"][:, -_GLANCE // 2 :].mean(1) / 15.0


def _glance(spikes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: s[:, :_GLANCE] for name, s in spikes.items()}


class Router:
    """Chooses regions, and learns to."""

    def __init__(self, way: Way, seed: int) -> None:
        self.way, self.rng = way, np.random.default_rng([seed, 5])
        self.routing, self.memory = way.routing, way.memory
        self.known: tuple[float, float] | None = None  # running means of the loss and of its square
        self.scale: dict[EdgeKey, float] = {}
        if way.by == "linear":
            torch.manual_seed(seed)
            self.linear = torch.nn.Linear(64, TASKS)
            self.optimiser = torch.optim.Adam(self.linear.parameters(), way.router_rate)
        if way.by == "thalamus":
            task = Gates(read_images(""), routing=self.routing, memory=self.memory is not None)
            born = birth(None, task, _ANATOMY, 1, (), np.random.default_rng([seed, 6]))
            if self.memory is not None:
                born = born.apply(Edit(add_regions=(self.memory.region("hippocampus"),)))
            self._begin(born, task, 0)

    def _begin(self, connectome: Connectome, task: Task, number: int) -> None:
        self.learner = Learner(connectome, task, CHAIN, number=number)
        typical = {k: typical_weight(e.weight) for k, e in connectome.edges.items() if len(e)}
        self.scale = {**typical, **self.scale}  # as it was at first

    def choose(self, spikes: Mapping[str, Tensor], label: Tensor, learns: bool) -> tuple[Tensor, int]:
        """(B, M) who is recruited, and the operations of choosing."""
        drive, operations, rng = torch.zeros(len(label), TASKS), 0, self.rng if learns else None
        if self.way.by == "linear":
            seen = _glance(spikes)["image"].float().sum(1)
            drive, operations = self.linear(seen / 4), int(seen.sum()) * TASKS
        elif self.way.by == "thalamus":
            with torch.no_grad():
                activity = self.learner.network(_glance(spikes))
            drive, operations = _drive(activity), activity.operations
        elif self.way.by == "told":
            rows = torch.arange(len(label))
            drive[rows, label // 2], drive[rows, (label // 2 + 1) % TASKS] = 2.0, 1.0
            rng = None
        elif self.way.by == "random":
            drive = torch.from_numpy(self.rng.random((len(label), TASKS)))
        elif self.way.by == "same":
            drive[:, :2], rng = 1.0, None
        return self.routing.recruited(drive, rng), operations

    def learn(self, spikes: Mapping[str, Tensor], recruited: Tensor, slope: Tensor) -> None:
        """One update."""
        if self.way.by == "linear":
            loss = self.routing.loss(self.linear(_glance(spikes)["image"].float().sum(1) / 4), recruited, slope)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        elif self.way.by == "thalamus":
            self.learner.step(_glance(spikes), (recruited, slope), self._rate_pa)

    def _rate_pa(self, key: EdgeKey) -> float:
        return 0.0 if "hippocampus" in key else self.way.router_rate * self.scale.get(key, 0.0)

    def surprising(self, loss: Tensor) -> Tensor:
        """(B,) which samples are to be remembered."""
        assert self.memory is not None
        here = float(loss.mean()), float(loss.square().mean())
        mean, square = self.known or here
        self.known = mean + 0.1 * (here[0] - mean), square + 0.1 * (here[1] - square)
        return torch.from_numpy(self.memory.surprising(loss.numpy(), mean, float(np.sqrt(max(square - mean**2, 0)))))

    def remember(self, spikes: Mapping[str, Tensor], slope: Tensor) -> None:
        """Write which regions would have helped most."""
        assert self.memory is not None
        cue, content = _glance(spikes)["image"].sum(1).numpy(), self.routing.recruited(-slope).numpy()
        here = self.learner.connectome()
        edit = self.memory.write(here, "hippocampus", "image", "gate", cue, content)
        self._begin(here.apply(edit), self.learner.task, self.learner.number)
