"""Streams of tasks: how the classes of a set of images come one after the other, and how that is judged.

Scenarios are those of van de Ven, Tuytelaars & Tolias (2022, Nature Machine Intelligence 4, 1185): in
*task-incremental* scores it is known which task an image is of; :func:`one_choice` is *class-incremental* where each
task has classes of its own, and *domain-incremental* where all have the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from connectome.arrays import ReadOnly
from connectome.datasets.images import Images
from connectome.datasets.tasks import Perception, readout, stream
from connectome.learning.network import BatchActivity
from connectome.learning.task import Act, Score

__all__ = ["Joint", "one_choice", "rotated_tasks"]


def rotated_tasks(images: Images, tasks: int, **options: Any) -> list[Perception]:
    """All classes in each of this many tasks, whose images are turned by 0 to less than 180 degrees in equal steps
    (rotated MNIST: Lopez-Paz & Ranzato 2017). Otherwise as :func:`~connectome.datasets.tasks.split_tasks`."""
    return stream(images, [{"degrees": 180 / tasks * i} for i in range(tasks)], options)


def one_choice(act: Act, tasks: Sequence[Perception], split: str, trials: int, rng: np.random.Generator) -> float:
    """The fraction recognised where it is not known which task an image is of: ``trials`` images, as many of each task,
    are seen by all regions, and the highest of all effectors' mean potentials wins. Where all tasks have the same
    classes, those of a class are added."""
    same = all(task.classes == tasks[0].classes for task in tasks)
    right = shown = 0
    for number, task in enumerate(tasks):
        spikes, label = task.seen(split, max(trials // len(tasks), 1), rng)
        activity = act(spikes)
        each = [readout(activity, other.effector) for other in tasks]
        if same:
            found = torch.stack(each).sum(0)
        else:
            found, label = torch.cat(each, 1), label + sum(x.shape[1] for x in each[:number])
        right, shown = right + int((found.argmax(1).numpy() == label).sum()), shown + len(label)
    return right / shown


@dataclass(frozen=True, eq=False)
class Joint(ReadOnly):
    """All tasks at once, for the region of the last: a batch is of one of them, drawn at random. What learning one
    after the other is held against."""

    tasks: Sequence[Perception]

    @property
    def name(self) -> str:
        """The last task's."""
        return self.tasks[-1].name

    @property
    def requires(self) -> tuple[str, ...]:
        """The last task's."""
        return self.tasks[-1].requires

    @property
    def sensors(self) -> Mapping[str, int]:
        """The last task's."""
        return self.tasks[-1].sensors

    @property
    def effectors(self) -> Mapping[str, int]:
        """The last task's."""
        return self.tasks[-1].effectors

    @property
    def maps(self) -> Mapping[str, Any]:
        """The last task's."""
        return self.tasks[-1].maps

    @property
    def recruits(self) -> tuple[str, ...]:
        """Whom any of them recruits."""
        return tuple(dict.fromkeys(name for task in self.tasks for name in task.recruits))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """One of a task, and which one it is."""
        number = int(rng.integers(len(self.tasks)))
        spikes, label = self.tasks[number].batch(rng, size)
        return spikes, (number, label)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """That of the task."""
        number, label = target
        loss: Tensor = self.tasks[number].loss(activity, label)
        return loss

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The last task's."""
        return self.tasks[-1].score(act, split, trials, rng)
