"""CLASSP on trial: digits whose pixels change places, one head, no task told; beside AdaGrad, of which it is a kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from connectome.mechanisms.classp import Classp
from connectome.mechanisms.ewc import Ewc
from sims.studies.mechanisms.one_head import Way, go_through, summary
from sims.studies.published import Check, Measure, Trial, Values, better, no_worse

__all__ = ["classp"]


def _way(rate_pa: float, p: float, threshold: float = 0.0, eps: float = 1e-5) -> Way:
    return Way(rate_pa, optimiser=Classp(p, threshold, eps, scale_pa=100.0))


#: Rates by factors of 2, thresholds of 1e-9, 1e-8 ... 1e-4, AdaGrad's eps of 1e-12, 1e-8 and 1e-6: the best at the end
#: on validation images, seeds 100 to 102. The last two are those of the trial of Hebbian orthogonal projection.
_WAYS: Final[Mapping[str, Way]] = {
    "CLASSP": _way(60.0, 1.0, 1e-6),
    "without threshold": _way(60.0, 1.0),
    "AdaGrad": _way(32.0, 2.0, eps=1e-12),
    "elastic weights": Way(16.0, (Ewc(3e5),)),
    "sequential": Way(0.25),
}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return summary(go_through(_WAYS[condition], seed, quick)[0])


def _check(v: Values) -> Sequence[Check]:
    end = {name: of["accuracy"] for name, of in v.items()}
    found = [
        better(f"better at the end than {name}", end["CLASSP"], end[name])
        for name in ("sequential", "AdaGrad", "without threshold")
    ]
    claim = "no worse at the end than elastic weight consolidation"
    return [*found, no_worse(claim, end["CLASSP"], end["elastic weights"])]


classp = Trial(
    "CLASSP", "Ludwig 2024, arXiv 2405.09637",
    "weights that have learnt much move less: earlier tasks are kept better than by elastic weight consolidation",
    {"accuracy": Measure(" %", 100, 1), "change": Measure(" points", 100, 1), "new tasks": Measure(" %", 100, 1)},
    tuple(_WAYS), _run, _check, ("AdaGrad", "elastic weights", "sequential"),
)  # fmt: skip
