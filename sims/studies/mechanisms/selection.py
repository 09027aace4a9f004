"""Samples chosen by clusters of their gradients on trial: digits half of which are rare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from connectome.analysis.intervals import mean_of, paired
from connectome.datasets.tasks import Perception
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import acting
from connectome.mechanisms.gradient_clusters import GradientClusters, sample_gradients
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured_region
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.development.stage import Select
    from connectome.learning.task import Batch, Task

__all__ = ["selection"]

#: Digits from this one on are rare: one in so many is kept of what there is to learn from.
_RARE, _EACH = 5, 20
_UPDATES, _POOL = 100, 8


@dataclass(frozen=True, eq=False)
class Uneven(Perception):
    """Digits of which some are rare in training; ``asked``: the only ones that are scored."""

    asked: tuple[int, ...] = tuple(range(10))

    def _of(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pick, label = super()._of(split)
        few = (label < _RARE) | (np.arange(len(label)) % _EACH == 0)
        kept = few if split == "train" else np.isin(label, self.asked)
        return pick[kept], label[kept]


@dataclass(frozen=True)
class Hardest:
    """The comparator: of as many samples those with the longest gradients."""

    def __call__(self, task: Task, network: SpikingNetwork, rng: np.random.Generator, size: int) -> Batch:
        """A batch."""
        spikes, target = task.batch(rng, _POOL * size)
        length = np.linalg.norm(sample_gradients(task, network, spikes, target, 64, rng), axis=1)
        pick = torch.from_numpy(np.argsort(-length, kind="stable")[:size].copy())
        return {name: s[pick] for name, s in spikes.items()}, target[pick]


class Way(NamedTuple):
    """A learning rate, and who chooses."""

    rate: float
    select: Select | None = None


#: Rates of 0.02, 0.04 ... 0.32: the best mean of rare and common digits on validation images, seeds 100 to 102.
_WAYS: Final[Mapping[str, Way]] = {
    "clusters": Way(0.16, GradientClusters(_POOL)), "random": Way(0.16), "hardest": Way(0.04, Hardest()),
}  # fmt: skip


def learn(way: Way, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """What is right of rare and of common digits; how often rare ones were learnt from, by how often they come."""
    task, labels = Uneven(read_images("")), list[Any]()

    def select(task: Task, network: SpikingNetwork, rng: np.random.Generator, size: int) -> Batch:
        batch = way.select(task, network, rng, size) if way.select else task.batch(rng, size)
        labels.append(batch[1])
        return batch

    grown = matured_region(task, seed, _UPDATES // (10 if quick else 1), way.rate, select=select)
    act = acting(SpikingNetwork(grown, recruit=task.recruits))
    asked = {"rare": tuple(range(_RARE, 10)), "common": tuple(range(_RARE))}
    found = {
        name: replace(task, asked=digits).score(act, split, 2000, np.random.default_rng([seed, 1])).value
        for name, digits in asked.items()
    }
    there = (task._of("train")[1] >= _RARE).mean()
    return found | {"share": float((torch.cat(labels) >= _RARE).double().mean() / there), "all": _all(found, there)}


def _all(right: Mapping[str, float], rare: float) -> float:
    """Of digits as they come in training."""
    return float(rare * right["rare"] + (1 - rare) * right["common"])


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return learn(_WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    ours, chance = v["clusters"], v["random"]
    rare, every = (paired(ours[name], chance[name]) for name in ("rare", "all"))
    share = mean_of(ours["share"])
    return [
        Check(
            "rare digits are learnt from three times as often as they come", share.text(1, 1, " times"),
            bool(share.mean >= 3),
        ),
        Check(
            "3 points more of the rare digits are right than with random samples", rare.text(100, 1, " points"),
            bool(rare.mean >= 0.03 and rare.mean > rare.half),
        ),
        Check(
            "of digits as they come not half a point less", every.text(100, 1, " points"), bool(every.mean >= -0.005)
        ),
        better("more of the rare digits than with the hardest samples", ours["rare"], v["hardest"]["rare"]),
    ]  # fmt: skip


selection = Trial(
    "Samples by clusters of gradients", "Maharana et al. 2024, arXiv 2410.10636",
    "as many samples of each cluster of gradients, easy and hard ones, teach more than random ones at an equal budget",
    {
        "rare": Measure(" %", 100, 1), "common": Measure(" %", 100, 1), "all": Measure(" %", 100, 1),
        "share": Measure(" times", 1, 1),
    },
    tuple(_WAYS), _run, _check, ("random", "hardest"),
)  # fmt: skip
