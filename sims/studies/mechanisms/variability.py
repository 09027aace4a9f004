"""Artificial neural variability on trial: training images of which 40 % have the label of the next class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch

from connectome.analysis.intervals import mean_of, paired
from connectome.datasets.tasks import Perception
from connectome.learning.learner import CHAIN
from connectome.learning.optimisers import Dale, FromTorch
from connectome.mechanisms.variability import Variability
from connectome.parameters import Parameters, bounded
from sims.studies.development import read_images
from sims.studies.mechanisms import one_head
from sims.studies.mechanisms.one_region import matured
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from connectome.datasets.images import Images
    from connectome.learning.learner import Chain
    from connectome.learning.learning_rule import State, Update

__all__ = ["variability"]

_WRONG, _UPDATES = 0.4, 1500


@dataclass(frozen=True)
class Walk(Parameters):
    """The control: noise of the same kind that is added to the weights and stays, in all as much as one update of
    ``Variability(spread)`` has."""

    spread: float = bounded(2.0, 0)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step, and one of the walk."""
        size = self.spread / _UPDATES**0.5 * update.weight.square().mean().sqrt()
        return torch.add(change, size * update.normal("walk"))


class Way(NamedTuple):
    """A way to learn: the learning rate; b / rms; for how long; its chain."""

    rate: float
    spread: float = 0.0
    updates: int = _UPDATES
    chain: Chain = CHAIN


def decaying(decay: float) -> Chain:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""
    return FromTorch(partial(torch.optim.AdamW, weight_decay=decay)), Dale()


#: Rates of 0.0025, 0.005 ... 0.08, b of 0.5, 1, 2 and 4, updates of 50, 100 ... 1500, decays of 1e-5 ... 0.1: the best
#: on validation images, seeds 100 to 102.
_WAYS: Final[Mapping[str, Way]] = {
    "variability": Way(0.02, 1.0),
    "b of 2": Way(0.01, 2.0),
    "b of 0.5": Way(0.01, 0.5),
    "none": Way(0.0025),
    "random walk": Way(0.02, chain=(CHAIN[0], Walk(1.0), Dale())),
    "fewer updates": Way(0.02, updates=100),
    "weight decay": Way(0.02, chain=decaying(0.001)),
}


#: Rates of 0.12, 0.25 ... 2 pA and b of 0.5, 1 and 2, chosen likewise by what is right at the end.
_STREAMS: Final = {
    "stream with noise": one_head.Way(0.5, view=Variability(0.5, keep_signs=False)),
    "stream without": one_head.Way(0.25),
}


def relabelled(images: Images, seed: int) -> tuple[Images, NDArray[np.int64]]:
    """The images, with the label of the next class on 40 % of those to train with; and which these are."""
    label = images.label["train"].copy()
    wrong = np.random.default_rng([seed, 3]).permutation(len(label))[: round(_WRONG * len(label))]
    label[wrong] = (label[wrong] + 1) % len(images.classes)
    return replace(images, label={**images.label, "train": label}), wrong


def learn(way: Way, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """What is right of a split, and of the wrong labels the share that is answered."""
    images, wrong = relabelled(read_images(""), seed)
    task = Perception(images, jitter=0.0)
    views = {kind: Variability(way.spread) for kind in ("local", "afferent", "efferent")} if way.spread else {}
    act = matured(task, seed, way.updates // (10 if quick else 1), way.rate, way.chain, views)
    image, label = ({**of, "test": of["train"][wrong]} for of in (images.image, images.label))
    lies = replace(task, images=replace(images, image=image, label=label))
    rng = np.random.default_rng([seed, 1])
    return {t: x.score(act, s, 2000, rng).value for t, x, s in (("right", task, split), ("memorised", lies, "test"))}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    if condition in _STREAMS:
        found = one_head.summary(one_head.go_through(_STREAMS[condition], seed, quick)[0])
        return {"change": found["change"], "at the end": found["accuracy"]}
    return learn(_WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    ours, none = v["variability"], v["none"]
    gain, less = paired(ours["right"], none["right"]), ours["memorised"] / none["memorised"]
    found = [
        Check(
            "5 points more of the test images are right than without noise", gain.text(100, 1, " points"),
            bool(gain.mean >= 0.05),
        ),
        Check(
            "at most half as many wrong labels are memorised", f"{mean_of(less).text(1, 2, '')} times as many",
            bool(mean_of(less).mean <= 0.5),
        ),
    ]  # fmt: skip
    for other in ("random walk", "fewer updates", "weight decay"):
        found.append(better(f"better than {other}", ours["right"], v[other]["right"]))
    kept = paired(v["stream with noise"]["change"], v["stream without"]["change"])
    end = paired(v["stream with noise"]["at the end"], v["stream without"]["at the end"])
    says = f"{kept.text(100, 1, '')} points; at the end {end.text(100, 1, '')}"
    less_lost = kept.mean > kept.half and end.mean >= -end.half
    found.append(Check("less is forgotten, and no less is right at the end", says, less_lost))
    return found


variability = Trial(
    "Artificial neural variability", "Xie et al. 2021, Neural Computation 33:2163, arXiv 2011.06220",
    "weights that differ in each update: wrong labels are memorised less, earlier tasks forgotten less",
    {
        "right": Measure(" %", 100, 1), "memorised": Measure(" %", 100, 1), "change": Measure(" points", 100, 1),
        "at the end": Measure(" %", 100, 1),
    },
    (*_WAYS, *_STREAMS), _run, _check, ("none", "fewer updates", "weight decay"),
)  # fmt: skip
