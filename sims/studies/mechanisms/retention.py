"""Ways to retain what was learnt, as cases of one objective, on trial: digits two by two, one head, no task told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from connectome.analysis.intervals import paired
from connectome.datasets.tasks import Perception
from connectome.mechanisms.bregman import (
    Divergence,
    Objective,
    confidence_penalty,
    dark_experience,
    experience_replay,
    without_forgetting,
)
from connectome.mechanisms.ewc import Ewc
from connectome.mechanisms.refresh import Refresh
from sims.studies.development import read_images
from sims.studies.mechanisms.one_head import Way, in_turn, summary
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["retention"]

_TASKS, _UPDATES = 5, 60


@dataclass(frozen=True, eq=False)
class Shown(Perception):
    """Digits of which only some are shown, to a head that has ten."""

    shown: tuple[int, ...] = ()

    def _of(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pick, label = super()._of(split)
        here = np.isin(label, self.shown)
        return pick[here], label[here]


def _way(rate_pa: float, *terms: Divergence, beta: float = 0.0, delta: float | None = None) -> Way:
    """``delta`` 0 is Adam with what :class:`Refresh` draws at the end of a task, so that both see the same batches."""
    way = Way(rate_pa, (Ewc(beta),) if beta else (), extra_loss=Objective(terms) if terms else None)
    if delta is None:
        return way
    return way._replace(optimiser=Refresh(delta=delta, unlearn=int(delta > 0), samples=50), reuse=2 if delta else 1)


#: Rates by factors of 2, strengths by half a decade, of unlearning by a decade: the best at the end on validation
#: images, seeds 100 to 102. Of unlearning that is the smallest tried: below it is what it is compared with.
_WAYS: Final[Mapping[str, Way]] = {
    "refresh (ER)": _way(4.0, experience_replay(1.0), delta=1e-5),
    "refresh (DER++)": _way(2.0, experience_replay(1.0), dark_experience(0.03), delta=1e-5),
    "ER": _way(4.0, experience_replay(1.0), delta=0),
    "DER": _way(8.0, dark_experience(0.03)),
    "DER++": _way(2.0, experience_replay(1.0), dark_experience(0.03), delta=0),
    "LwF": _way(0.5, without_forgetting(3.0)),
    "EWC": _way(0.5, beta=3000.0),
    "CPR": _way(1.0, confidence_penalty(0.3)),
    "sequential": _way(2.0),
    "joint": _way(2.0),
}


def scores_of(way: Way, seed: int, updates: int, split: str = "test", joint: bool = False) -> NDArray[np.float64]:
    """(task, task) scores after each task (rows) on each (columns). ``joint``: all digits are shown all the time."""
    images = read_images("")
    pairs = [Shown(images, 0.0, shown=(k, k + 1)) for k in range(0, 2 * _TASKS, 2)]
    learnt = [Shown(images, 0.0, shown=tuple(range(10)))] * _TASKS if joint else pairs
    return in_turn(way, learnt, seed, updates, split, pairs)[0]


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    joint = condition == "joint"
    found = summary(scores_of(_WAYS[condition], seed, 15 if quick else _UPDATES, joint=joint))
    return {"accuracy": found["accuracy"]} if joint else found


def _check(v: Values) -> Sequence[Check]:
    found = []
    for base in ("ER", "DER++"):
        ours, plain = v[f"refresh ({base})"]["accuracy"], v[base]["accuracy"]
        gain, claim = paired(ours, plain), f"with refresh {base} is no worse by more than half a point"
        found.append(Check(claim, gain.text(100, 1, " points"), gain.mean >= -0.005))
        found.append(better(f"with refresh {base} is better", ours, plain))
    for other in ("LwF", "EWC", "CPR", "sequential"):
        ours, than = (v[name]["accuracy"] for name in ("refresh (DER++)", other))
        found.append(better(f"with refresh DER++ is better than {other}", ours, than))
    return found


retention = Trial(
    "One objective, and refresh learning", "Wang et al. 2024, ICLR, arXiv 2403.13249",
    "EWC, ER, DER, DER++, LwF and CPR are cases of one objective; unlearning before learning adds 1 to 2 points",
    {"accuracy": Measure(" %", 100, 1), "change": Measure(" points", 100, 1), "new tasks": Measure(" %", 100, 1)},
    tuple(_WAYS), _run, _check, ("ER", "DER", "DER++", "LwF", "EWC", "CPR", "sequential"),
)  # fmt: skip
