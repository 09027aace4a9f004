"""CLASSP on trial, always beside AdaGrad: digits whose pixels change places, one head for all tasks, no task told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from connectome.analysis.intervals import paired
from connectome.learning.optimisers import Adam, Sgd
from connectome.mechanisms.classp import Classp
from connectome.mechanisms.ewc import Ewc
from sims.studies.mechanisms.one_head import Way, go_through, summary
from sims.studies.published import Check, Measure, Trial, Values

__all__ = ["classp"]

_SCALE_PA: Final = 100.0
_WAYS: Final[Mapping[str, Way]] = {
    "CLASSP": Way(8.0, optimiser=Classp(1.0, 0.0, 1e-3, _SCALE_PA)),
    "AdaGrad": Way(8.0, optimiser=Classp(2.0, 0.0, 1e-8, _SCALE_PA)),
    "Adam": Way(0.25, optimiser=Adam()),
    "gradient descent": Way(8.0, optimiser=Sgd()),
    "elastic weights": Way(8.0, (Ewc(3000.0),)),
}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return summary(go_through(_WAYS[condition], seed, quick)[0])
