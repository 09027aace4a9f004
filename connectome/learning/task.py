"""What a task is: the sensors and effectors of a region, how it learns, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.learning.network import BatchActivity, SpikingNetwork

__all__ = [
    "Act", "Batch", "More", "Score", "Task", "Wrapping", "acting", "checked_loss", "checked_score", "given",
    "outputs_of",
]  # fmt: skip

#: What a network does with a batch: sensor -> (B, T, N) spikes.
Act = Callable[[Mapping[str, Tensor]], BatchActivity]
#: What a task gives to learn from: sensor -> (B, T, N) spikes, and what its loss wants to know of them.
Batch = tuple[Mapping[str, Tensor], Any]
#: What forward passes are given besides spikes, by the names of their arguments; or what gives it, by the spikes.
More = Mapping[str, Any] | Callable[[Mapping[str, Tensor]], Mapping[str, Any]]


class Score(NamedTuple):
    """How well a task is done.

    value : in 0 .. 1; operations, spikes : synaptic operations and spikes per sample; at_end : the stricter score of
    tasks that go on for a while, whether it was done when time was up (otherwise the same as ``value``).
    """

    value: float
    operations: float
    spikes: float
    at_end: float


class Task(Protocol):
    """What a region learns, with the body parts that come with it.

    name : also the region's; requires : regions that must have matured before; sensors, effectors : name -> size, the
    body parts that this region is wired to; recruits : the regions, sensors and effectors that perform the task. A task
    may also have ``record``, a tuple of names of regions: the activity that its loss is given has their spikes; and
    ``outputs(activity) -> (B, K)``: see :func:`outputs_of`; and ``maps``, sensor -> Maps: how its units lie on a grid.
    """

    @property
    def name(self) -> str:
        """The region's."""
        ...

    @property
    def requires(self) -> tuple[str, ...]:
        """Regions that must have matured."""
        ...

    @property
    def sensors(self) -> Mapping[str, int]:
        """Name to size."""
        ...

    @property
    def effectors(self) -> Mapping[str, int]:
        """Name to size."""
        ...

    @property
    def recruits(self) -> tuple[str, ...]:
        """Who takes part."""
        ...

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Training input, sensor -> (size, T, N) spikes, and what :meth:`loss` wants to know of it."""
        ...

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """The loss of a training batch, a scalar."""
        ...

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """Perform the task with data of the split ``"validation"`` or ``"test"``, which no stage trains on."""
        ...


@dataclass(frozen=True, eq=False)
class Wrapping:
    """What a task that wraps another leaves as it is."""

    task: Task

    @property
    def name(self) -> str:
        """See :class:`Task`."""
        return self.task.name

    @property
    def requires(self) -> tuple[str, ...]:
        """See :class:`Task`."""
        return self.task.requires

    @property
    def sensors(self) -> Mapping[str, int]:
        """See :class:`Task`."""
        return self.task.sensors

    @property
    def effectors(self) -> Mapping[str, int]:
        """See :class:`Task`."""
        return self.task.effectors

    @property
    def recruits(self) -> tuple[str, ...]:
        """See :class:`Task`."""
        return self.task.recruits

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """The task's."""
        return self.task.batch(rng, size)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The task's."""
        return self.task.score(act, split, trials, rng)


def acting(network: SpikingNetwork, inputs: More = MappingProxyType({})) -> Act:
    """The network as tasks score it: without gradients, its activity on the CPU. ``inputs`` are what each forward pass
    is given besides: gains, masks, clamps."""

    def act(spikes: Mapping[str, Tensor]) -> BatchActivity:
        with torch.no_grad():
            found = cast(BatchActivity, network(spikes, **given(inputs, spikes)))
        potential, seen = ({k: v.cpu() for k, v in part.items()} for part in (found.potential, found.spikes))
        return found._replace(potential=potential, spikes=seen)

    return act


def given(inputs: More, spikes: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """What a forward pass with these spikes is given besides."""
    return inputs(spikes) if callable(inputs) else inputs


def outputs_of(task: Task, activity: BatchActivity) -> Tensor:
    """(B, K) what is said to a batch of a task: what its ``outputs`` makes of the activity, such as the logits of K
    classes; of a task that has none, the mean potentials of all effectors, mV."""
    own: Callable[[BatchActivity], Tensor] | None = getattr(task, "outputs", None)
    if own is not None:
        return own(activity)
    return torch.cat([potential.mean(1) for potential in activity.potential.values()], 1)


def checked_loss(loss: object, task: Task) -> Tensor:
    """A loss that can be learnt from. Raises :class:`ConnectomeError` for what is no scalar tensor of floats."""
    where = f"task {task.name}"
    if not isinstance(loss, Tensor):
        raise ConnectomeError(where, "must give a tensor as its loss", type(loss).__name__)
    if loss.ndim or not loss.is_floating_point():
        found = f"shape {tuple(loss.shape)}, {loss.dtype}"
        raise ConnectomeError(where, "must give a scalar loss of floats", found, "Take its mean.")
    return loss


def checked_score(score: object, task: Task) -> Score:
    """A score. Raises :class:`ConnectomeError` for what is none."""
    if not isinstance(score, Score):
        rule = "must give a connectome.learning.Score"
        raise ConnectomeError(f"task {task.name}", rule, f"{score!r:.80}, a {type(score).__name__}")
    return score
