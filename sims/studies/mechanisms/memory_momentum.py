"""Adaptive memory momentum on trial: beside momenta that stay, at three learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from connectome.analysis.intervals import mean_of, paired
from connectome.datasets.tasks import Perception
from connectome.learning.optimisers import Adam, Dale
from connectome.mechanisms.memory_momentum import MemoryMomentum
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.learning.learning_rule import LearningRule

__all__ = ["memory_momentum"]

_UPDATES = 300
_RATES: Final = (0.005, 0.02, 0.08)
_OPTIMISERS: Final[Mapping[str, LearningRule]] = {
    "adaptive": MemoryMomentum(), "0": Adam(beta1=0.0), "0.5": Adam(beta1=0.5), "0.9": Adam(beta1=0.9),
}  # fmt: skip
_ADAMS: Final = tuple(name for name in _OPTIMISERS if name != "adaptive")


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    name, rate = condition.split(" at ")
    task = Perception(read_images(""))
    act = matured(task, seed, _UPDATES // (10 if quick else 1), float(rate), (_OPTIMISERS[name], Dale()))
    return {"right": task.score(act, "test", 2000, np.random.default_rng([seed, 1])).value}


def _check(v: Values) -> Sequence[Check]:
    found = []
    for rate in _RATES:
        best = max(_ADAMS, key=lambda name: mean_of(v[f"{name} at {rate}"]["right"]).mean)  # called at once
        gain = paired(v[f"adaptive at {rate}"]["right"], v[f"{best} at {rate}"]["right"])
        found.append(
            Check(
                f"at a rate of {rate}: at most 0.5 points behind the best of 0, 0.5 and 0.9",
                f"{gain.text(100, 1, ' points')} against {best}", bool(gain.mean >= -0.005),
            )
        )  # fmt: skip
    over = {name: paired(*(_over_rates(v, n) for n in ("adaptive", name))) for name in _ADAMS}
    says = ", ".join(f"{g.text(100, 1, '')} against {name}" for name, g in over.items())
    found.append(
        Check("better than each over the rates", f"{says}, points", all(g.mean > g.half for g in over.values()))
    )
    return found


def _over_rates(v: Values, name: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.array([v[f"{name} at {rate}"]["right"] for rate in _RATES]).mean(0)
    return found


memory_momentum = Trial(
    "Adaptive memory momentum", "Topollai & Choromanska 2026, AISTATS, arXiv 2510.04988",
    "a momentum chosen in each update does as well as the best that stays, at any rate",
    {"right": Measure(" %", 100, 1)},
    tuple(f"{name} at {rate}" for rate in (0.02, *_RATES[::2]) for name in _OPTIMISERS),
    _run, _check, tuple(f"{name} at {rate}" for rate in _RATES for name in _ADAMS),
)  # fmt: skip
