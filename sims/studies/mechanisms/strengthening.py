"""Strengthening on trial: links whose weights gradients do not change, or change as slowly as those of the matured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.graph.connectome import Edit
from connectome.learning.learner import CHAIN
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.strengthening import Strengthening
from connectome.rules import Rule, normalise
from sims.studies.mechanisms.eight_regions import NEW, ninth_stage
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from torch import Tensor

    from connectome.development.stage import Stage
    from connectome.graph.connectome import Connectome
    from connectome.learning.learning_rule import State, Update
    from connectome.rules import Context

__all__ = ["strengthening"]

#: Regime -> what gradients are to the links, as a part of what they are to a new region's.
_REACH: Final = {"not learnt": 0.0, "slow": 0.004, "learnt": 1.0}
#: Regime -> the best rates of 0.02, 0.05, 0.1 and 0.2 on seeds 100 and 101, of strengthening and of scaling.
_RATE: Final = {"not learnt": (0.05, 0.1), "slow": (0.02, 0.05), "learnt": (0.05, 0.02)}


@dataclass(frozen=True)
class Scaling:
    """The control: all edges of a link get stronger alike, by what :class:`Strengthening` gives them on average."""

    rate: float

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        weight = {
            key: (edges.weight * (1 + self.rate * normalise(edges.state["importance"]).mean())).astype(np.float32)
            for key, edges in connectome.edges.items()
            if key.base == "long_range" and "importance" in edges.state
        }
        return Edit(reweight=weight)


@dataclass(frozen=True)
class Part:
    """A learning rule after the optimiser: a part of its step."""

    factor: float

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        return change * self.factor


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    how, regime = condition.removesuffix(")").split(" (")
    strengthening, scaling = _RATE[regime]
    rules: Mapping[str, tuple[Rule, ...]] = {
        "strengthening": (Strengthening(rate=strengthening),), "scaling": (Scaling(scaling),), "neither": (),
    }  # fmt: skip

    def change(stage: Stage) -> Stage:
        chain = (*CHAIN[:1], Part(_REACH[regime]), *CHAIN[1:])
        acting = (LongRangeGrowth(edges=60, last_epoch=10), *rules[how])
        return replace(stage, rules=acting, chains={"long_range": chain})

    last, scores = ninth_stage(change, seed, quick)
    return {"score": last.scores[NEW].value, "on the way": float(np.mean(scores))}


def _check(v: Values) -> Sequence[Check]:
    found = []
    for regime in _REACH:
        for other in ("neither", "scaling"):
            ours, than = (v[f"{how} ({regime})"]["score"] for how in ("strengthening", other))
            found.append(better(f"links that are {regime}: better than {other}", ours, than))
    return found


strengthening = Trial(
    "Strengthening", "Han et al. 2025, arXiv 2504.05621",
    "long-range edges that matter get stronger, so that later functions make more of earlier ones",
    {"score": Measure(" %", 100, 1), "on the way": Measure(" %", 100, 1)},
    tuple(f"{how} ({regime})" for regime in _REACH for how in ("strengthening", "scaling", "neither")),
    _run, _check, tuple(f"{how} (not learnt)" for how in ("scaling", "neither")),
)  # fmt: skip
