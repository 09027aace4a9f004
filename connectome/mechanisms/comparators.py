"""What development is compared with: other ways to learn the same tasks one after the other, behind one interface.

None of this is used by development itself, which has no replay, no regularisation term and no frozen weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from connectome.development.birth import Anatomy
from connectome.development.stage import LearningRates, Stage, StageOutcome
from connectome.development.stages import develop
from connectome.errors import ConnectomeError
from connectome.mechanisms.ewc import Ewc
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.replay import Replay

__all__ = ["METHODS", "Method", "learn", "sparse_from_birth"]


@dataclass(frozen=True)
class Method:
    """A way to learn tasks one after the other.

    Parameters
    ----------
    about : what it is
    stage : what becomes of a development's stage
    """

    about: str
    stage: Callable[[Stage], Stage] = lambda stage: stage


def _plain(mature: float) -> Callable[[Stage], Stage]:
    """Without rules, the matured as plastic as this."""

    def change(stage: Stage) -> Stage:
        rates: LearningRates = replace(stage.learning_rates, mature_local=mature, mature_other=mature)
        return replace(stage, rules=(), learning_rates=rates)

    return change


def _unpruned(stage: Stage) -> Stage:
    return replace(stage, rules=tuple(r for r in stage.rules if not isinstance(r, FeedbackPruning)))


def _by(importance: str) -> Callable[[Stage], Stage]:
    return lambda stage: replace(stage, importance=importance)


def _ewc(stage: Stage) -> Stage:
    return replace(_plain(1.0)(stage), learning=(Ewc(_EWC_STRENGTH), *stage.learning))


def _replay(stage: Stage) -> Stage:
    return replace(_plain(1.0)(stage), extra_loss=Replay(stage.batch))


#: Every way there is, by name.
METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "development": Method("the stages as they are"),
        "blind": Method("pruned to the same numbers at random", _by("random")),
        "magnitude": Method("pruned to the same numbers by the weight's magnitude", _by("magnitude")),
        "unpruned": Method("development without pruning", _unpruned),
        "sequential": Method("no rule acts, every weight stays as plastic as a new one", _plain(1.0)),
        "frozen": Method("no rule acts, the weights of matured regions are frozen", _plain(0.0)),
        "ewc": Method("sequential, with elastic weight consolidation", _ewc),
        "replay": Method("sequential, with a batch of an earlier task in every update", _replay),
    }
)  # fmt: skip

#: Of 0, 1, 10, 100, 1e3 and 1e5 the best average on validation data, in the study ``claims``, seed 100.
_EWC_STRENGTH: Final = 100.0


def learn(
    method: str, stages: Sequence[Stage], anatomy: Anatomy, *, seed: int = 0, **rest: Any
) -> Iterator[StageOutcome]:
    """Go through the stages by this method, yielding the outcome of each as :func:`connectome.development.develop`
    does, which takes ``rest``. Raises :class:`ConnectomeError` for a method that is not among :data:`METHODS`."""
    if method not in METHODS:
        raise ConnectomeError("method", f"must be among {', '.join(METHODS)}", repr(method))
    yield from develop([METHODS[method].stage(stage) for stage in stages], anatomy, seed=seed, **rest)


def sparse_from_birth(anatomy: Anatomy, stages: Sequence[Stage]) -> Anatomy:
    """An anatomy that has from birth, on average, as many edges of each kind as a development through these stages with
    growth and pruning ends with: for comparators that neither grow nor prune."""
    growth = next((r for s in stages for r in s.rules if isinstance(r, LongRangeGrowth)), LongRangeGrowth(edges=0))
    pruning = next((r for s in stages for r in s.rules if isinstance(r, FeedbackPruning)), None)
    keep = (1.0, 1.0, 1.0) if pruning is None else (pruning.keep, pruning.keep_long_range, pruning.keep_afferent)
    links = sum(2 * earlier for earlier in range(len(stages)))
    grown = sum(
        growth.edges * min(growth.last_epoch, math.ceil(s.updates / s.epoch_updates)) for s in stages[1:]
    ) / max(links * anatomy.neurons**2, 1)  # fmt: skip
    return replace(
        anatomy, local_density=anatomy.local_density * anatomy.over_production * keep[0], over_production=1.0,
        long_range_density=min((anatomy.long_range_density + grown) * keep[1], 1.0),
        afferent_density=anatomy.afferent_density * keep[2],
    )  # fmt: skip
