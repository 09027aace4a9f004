"""What a task is: the sensors and effectors of a region, how it learns, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from connectome.learning.network import BatchActivity

__all__ = ["Act", "Score", "Task"]

Act = Callable[[Mapping[str, Tensor]], BatchActivity]


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
    body parts that this region is wired to; recruits : the regions, sensors and effectors that perform the task.
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
