"""Eight regions, each of which names the digit of a view of its own; a ninth hears them and is to name two of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from connectome.arrays import ReadOnly
from connectome.datasets.tasks import STEPS, encode_image, readout
from connectome.development.birth import Anatomy
from connectome.development.stage import Progress, Stage, StageOutcome, StageState
from connectome.development.stages import develop
from connectome.learning.task import Score
from sims.studies.development import read_images

if TYPE_CHECKING:
    from torch import Tensor

    from connectome.datasets.images import Images
    from connectome.learning.network import BatchActivity
    from connectome.learning.task import Act

__all__ = ["NEW", "REGIONS", "Names", "needed", "ninth_stage"]

REGIONS: Final = tuple(f"region{v}" for v in range(8))
NEW: Final = "both"


@dataclass(frozen=True, eq=False)
class Names(ReadOnly):
    """Name the digits in the ``views``, with regions that are there already and those views that they see.

    A view is a sensor of 64 units; each shows a digit of its own, drawn anew for every sample."""

    images: Images
    name: str
    views: tuple[int, ...]
    requires: tuple[str, ...] = ()
    sees: tuple[int, ...] = ()

    @property
    def sensors(self) -> Mapping[str, int]:
        """The views themselves, for a region that has no others to see for it."""
        return {} if self.requires else {f"view{v}": int(np.prod(self.images.shape)) for v in self.views}

    @property
    def effectors(self) -> Mapping[str, int]:
        """Ten units for each digit."""
        return {f"{self.name}_{v}": 10 for v in self.views}

    @property
    def recruits(self) -> tuple[str, ...]:
        """What takes part."""
        return (*(f"view{v}" for v in self.sees or self.views), *self.requires, self.name, *self.effectors)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Digits of the training images."""
        return self._shown("train", rng, size)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """Cross-entropy, the mean over the views."""
        each = [torch.nn.functional.cross_entropy(4 * x, y) for x, y in zip(self._read(activity), target, strict=True)]
        return torch.stack(each).mean()

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction of digits named."""
        spikes, label = self._shown(split, rng, trials)
        activity = act(spikes)
        pairs = zip(self._read(activity), label, strict=True)
        right = float(np.mean([(x.argmax(1) == y).float().mean() for x, y in pairs]))
        return Score(right, activity.operations / trials, activity.n_spikes / trials, right)

    def _shown(self, split: str, rng: np.random.Generator, size: int) -> tuple[dict[str, Tensor], list[Tensor]]:
        label = self.images.label[split]
        pick = rng.integers(0, len(label), (len(REGIONS), size))
        spikes = {
            f"view{v}": encode_image(self.images.look(split, pick[v]), STEPS, rng) for v in self.sees or self.views
        }
        return spikes, [torch.from_numpy(label[pick[v]]) for v in self.views]

    def _read(self, activity: BatchActivity) -> list[Tensor]:
        return [readout(activity, name) for name in self.effectors]


def needed(seed: int) -> tuple[int, ...]:
    """The two views that are to be named."""
    return tuple(sorted(np.random.default_rng([seed, 15]).permutation(len(REGIONS))[:2].tolist()))


def ninth_stage(
    change: Callable[[Stage], Stage], seed: int, quick: bool, trials: int = 1000
) -> tuple[StageOutcome, list[float]]:
    """The ninth region's stage, changed, upon eight that are the same whatever the change: its outcome, and the score
    of validation after each epoch, of which there are 20. Without a change no rule acts."""
    stages, anatomy = _plan(seed, quick)
    stages[-1] = change(stages[-1])
    scores: list[float] = []

    def on_progress(progress: Progress) -> None:
        scores.append(progress.score)

    resume = _matured(seed, quick)
    *_, last = develop(stages, anatomy, seed=seed, resume=resume, on_progress=on_progress, test_trials=trials)
    return last, scores


def _plan(seed: int, quick: bool) -> tuple[list[Stage], Anatomy]:
    images = read_images("")
    stages = [
        Stage(Names(images, name, (v,)), 20 if quick else 150, first_links=(), validation_trials=1)
        for v, name in enumerate(REGIONS)
    ]
    last = Stage(
        Names(images, NEW, needed(seed), REGIONS, tuple(range(len(REGIONS)))), 100 if quick else 400,
        epoch_updates=5 if quick else 20, first_links=tuple((name, NEW) for name in REGIONS), validate_every=1,
        validation_trials=200,
    )  # fmt: skip
    return [*stages, last], Anatomy(neurons=64, local_density=0.1, over_production=1.0, long_range_density=0.01)


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _matured(seed: int, quick: bool) -> StageState:
    """The end of the eight regions' stages: from there the ninth begins."""
    stages, anatomy = _plan(seed, quick)
    here: list[Callable[[], StageState]] = []
    for _ in develop(stages[:-1], anatomy, seed=seed, on_point=here.append, test_trials=1):
        del here[:-1]
    return here[-1]()
