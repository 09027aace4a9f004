"""Adaptive replay ratio on trial: a limited stream of digits, whose first quarter is named at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch

from connectome.analysis.intervals import mean_of, paired
from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth
from connectome.development.training import typical_weight
from connectome.learning.learner import CHAIN, Learner
from connectome.learning.task import acting
from connectome.mechanisms.replay_ratio import ReplayRatio, active_share
from sims.studies.development import read_images
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["plasticity_loss"]

#: Batches of fresh images, of which a quarter has wrong names; how many are between two looks at the activity.
_BATCHES, _BATCH, _LOOK = 125, 16, 5
_WRONG: Final = 0.25
_PROBE: Final = 256


class Way(NamedTuple):
    """The part of a typical weight that an update moves; updates of a batch at first, and then; what decides when, or
    from which part of the stream on."""

    rate: float
    first: int
    then: int
    when: ReplayRatio | float = 1.0


#: Rates of 0.01, 0.02 and 0.04 (0.08 for one update), 4, 8 and 16 updates and tolerances of 0.003 and 0.01 for what
#: switches: the best at the end on validation images, seeds 100 to 102.
_WAYS: Final[Mapping[str, Way]] = {
    "adaptive": Way(0.01, 1, 8, ReplayRatio(8, 0.01)),
    "1 update": Way(0.08, 1, 1),
    "2 updates": Way(0.02, 2, 2),
    "4 updates": Way(0.02, 4, 4),
    "8 updates": Way(0.02, 8, 8),
    "16 updates": Way(0.01, 16, 16),
    "told when": Way(0.01, 1, 16, _WRONG),
}


def learn(way: Way, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """What is right at the end; the share of active units, of neurons that never fire; when more updates began."""
    rng, task = np.random.default_rng([seed, 0]), Perception(read_images(""))
    learner = Learner(birth(None, task, Anatomy(neurons=128), 1, (), rng), task, CHAIN, seed=(seed, 0))
    scale = {k: typical_weight(e.weight) for k, e in learner.network.connectome.edges.items()}
    shown, _ = task.batch(np.random.default_rng([seed, 1]), _PROBE)
    batches, share, switched = _BATCHES // (10 if quick else 1), _active(learner, task, shown), 0.0
    for number in range(batches):
        spikes, label = task.batch(rng, _BATCH)
        if number < _WRONG * batches:
            label = torch.from_numpy(rng.integers(0, 10, len(label)))
        if isinstance(way.when, float) and number >= way.when * batches and not switched:
            switched = number / batches
        for _ in range(way.then if switched else way.first):
            learner.step(spikes, label, lambda key: way.rate * scale[key])
        if number % _LOOK == _LOOK - 1:
            before, share = share, _active(learner, task, shown)
            if isinstance(way.when, ReplayRatio) and way.when.settled(share.mean(), before.mean()) and not switched:
                switched = (number + 1) / batches
    share = _active(learner, task, shown)
    found = {
        "right": task.score(acting(learner.network), split, 1000, np.random.default_rng([seed, 2])).value,
        "active units": float(share.mean()), "never fire": float((share == 0).mean()),
        "updates": float(learner.number) / batches,
    }  # fmt: skip
    return found | ({"switched at": switched or 1.0} if way.first < way.then else {})


def _active(learner: Learner, task: Perception, shown: Mapping[str, Tensor]) -> np.ndarray:
    with torch.no_grad():
        return active_share(learner.network(shown, record=(task.name,)).spikes[task.name].numpy())


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return learn(_WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    fixed = [name for name in _WAYS if name.endswith(("update", "updates"))]
    best = max(fixed, key=lambda name: mean_of(v[name]["right"]).mean)
    right, ours = {name: of["right"] for name, of in v.items()}, v["adaptive"]
    gain, at = paired(right["adaptive"], right[best]), mean_of(ours["switched at"])
    return [
        Check(
            "no worse than the best fixed ratio by more than half a point", gain.text(100, 1, f" points ({best})"),
            bool(gain.mean >= -0.005),
        ),
        better("better than the low ratio throughout", right["adaptive"], right["1 update"]),
        better("better than the high ratio throughout", right["adaptive"], right["8 updates"]),
        Check(
            "the share of active units settles, in each run", at.text(100, 0, " % of the stream"),
            bool((ours["switched at"] < 1).all()),
        ),
        better(
            "at the end more units are active than with the high ratio", ours["active units"],
            v["8 updates"]["active units"],
        ),
    ]  # fmt: skip


plasticity_loss = Trial(
    "Adaptive replay ratio", "Ma et al. 2024, ICLR, arXiv 2310.07418",
    "few updates a batch until the share of active units has settled, then more: plastic, and learning fast",
    {
        "right": Measure(" %", 100, 1), "active units": Measure(" %", 100, 1), "never fire": Measure(" %", 100, 1),
        "switched at": Measure(" %", 100, 0), "updates": Measure(" a batch", 1, 1),
    },
    tuple(_WAYS), _run, _check, tuple(name for name in _WAYS if name != "adaptive"),
)  # fmt: skip
