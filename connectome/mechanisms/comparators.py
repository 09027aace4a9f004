"""What development is compared with: other ways to learn the same tasks one after the other.

A comparator is a function from a development's stage to its own, by name in the registry (``connectome.comparators``).
None of this is used by development itself, which has no replay, no regularisation term and no frozen weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from connectome import plugins
from connectome.development.birth import Anatomy
from connectome.development.stage import LearningRates, Stage, StageOutcome
from connectome.development.stages import develop
from connectome.learning.learner import Chain
from connectome.learning.optimisers import Adam, Dale
from connectome.mechanisms.bregman import (
    Divergence,
    Objective,
    confidence_penalty,
    dark_experience,
    experience_replay,
    without_forgetting,
)
from connectome.mechanisms.cotta import Cotta
from connectome.mechanisms.ewc import Ewc
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.refresh import Refresh
from connectome.mechanisms.restoration import Restoration
from connectome.mechanisms.self_distillation import SelfDistillation
from connectome.mechanisms.teacher import Teacher

__all__ = [
    "blind", "cotta", "cpr", "der", "derpp", "development", "ecotta", "er", "ewc", "frozen", "learn", "lwf",
    "magnitude", "refresh", "regularised", "replay", "sequential", "sparse_from_birth", "unpruned",
]  # fmt: skip


def development(stage: Stage) -> Stage:
    """The stages as they are."""
    return stage


def blind(stage: Stage) -> Stage:
    """Pruned to the same numbers at random."""
    return replace(stage, importance="random")


def magnitude(stage: Stage) -> Stage:
    """Pruned to the same numbers by the weight's magnitude."""
    return replace(stage, importance="magnitude")


def unpruned(stage: Stage) -> Stage:
    """Development without pruning."""
    return replace(stage, rules=tuple(r for r in stage.rules if not isinstance(r, FeedbackPruning)))


def sequential(stage: Stage) -> Stage:
    """No rule acts, every weight stays as plastic as a new one."""
    return _plain(stage, 1.0)


def frozen(stage: Stage) -> Stage:
    """No rule acts, the weights of matured regions are frozen."""
    return _plain(stage, 0.0)


def ewc(stage: Stage) -> Stage:
    """Sequential, with elastic weight consolidation."""
    return regularised(stage, beta=_EWC_STRENGTH)


def replay(stage: Stage) -> Stage:
    """Sequential, with a batch of an earlier task in every update, drawn anew from all that the task has to learn from:
    so it sees twice as many samples as the others, and forgets nothing of the data."""
    return regularised(stage, experience_replay(kept=0, batch=stage.batch))


def er(stage: Stage) -> Stage:
    """Sequential, with experience replay of 200 kept samples."""
    return regularised(stage, experience_replay())


def der(stage: Stage) -> Stage:
    """Sequential, with dark experience replay: outputs for 200 kept samples stay as they were."""
    return regularised(stage, dark_experience())


def derpp(stage: Stage) -> Stage:
    """Sequential, with dark experience replay and experience replay (DER++)."""
    return regularised(stage, dark_experience(), experience_replay())


def lwf(stage: Stage) -> Stage:
    """Sequential, with learning without forgetting: old outputs for new samples stay as they were."""
    return regularised(stage, without_forgetting())


def cpr(stage: Stage) -> Stage:
    """Sequential, with the confidence penalty: outputs for new samples keep their entropy."""
    return regularised(stage, confidence_penalty())


def refresh(stage: Stage) -> Stage:
    """Experience replay, with refresh learning: before each update one that unlearns, on the same batch."""
    stage = er(stage)

    def refreshed(chain: Chain) -> Chain:
        return tuple(Refresh(r.beta1, r.beta2, r.eps) if isinstance(r, Adam) else r for r in chain)

    n, chains = Refresh().unlearn + 1, {kind: refreshed(chain) for kind, chain in stage.chains.items()}
    return replace(
        stage, learning=refreshed(stage.learning), chains=chains, updates=n * stage.updates,
        epoch_updates=n * stage.epoch_updates, reuse=n * stage.reuse,
    )  # fmt: skip


def cotta(stage: Stage) -> Stage:
    """Of a stage whose task has no labels: earlier weights learn on, from an averaged teacher, and now and then go back
    (:class:`~connectome.mechanisms.cotta.Cotta`); the new region is joined with none. Scores are of the network
    that learns, not of the teacher. Other stages as they are."""
    if getattr(stage.task, "has_labels", True):
        return stage
    task: Any = stage.task
    return replace(
        sequential(stage), task=replace(task, strength=0.0), extra_loss=Cotta(), first_links=(),
        learning=(Adam(), Restoration(), Dale(), Teacher(0.99)),
    )  # fmt: skip


def ecotta(stage: Stage) -> Stage:
    """Of a stage whose task has no labels: the new region learns beside earlier ones that stay, with gains, and these
    are to fire as they do alone (:class:`~connectome.mechanisms.self_distillation.SelfDistillation`). Other stages as
    they are."""
    if getattr(stage.task, "has_labels", True):
        return stage
    return replace(frozen(stage), extra_loss=SelfDistillation(), mode=stage.mode or stage.task.name)


def regularised(stage: Stage, *terms: Divergence, beta: float = 0.0) -> Stage:
    """Sequential, with terms of outputs and that of weights: see :class:`connectome.mechanisms.bregman.Objective`. The
    strengths of terms above are the best on validation data in the trial ``retention``."""
    plain = sequential(stage)
    return replace(
        plain, extra_loss=Objective(terms) if terms else plain.extra_loss,
        learning=(Ewc(beta), *plain.learning) if beta else plain.learning,
    )  # fmt: skip


def _plain(stage: Stage, mature: float) -> Stage:
    """Without rules but those of birth alone, the matured as plastic as this."""
    rates: LearningRates = replace(stage.learning_rates, mature_local=mature, mature_other=mature)
    rules = tuple(rule for rule in stage.rules if getattr(rule, "when", ()) == {"birth"})
    return replace(stage, rules=rules, learning_rates=rates)


#: Of 0, 1, 10, 100, 1e3 and 1e5 the best average on validation data, in the study ``claims``, seed 100.
_EWC_STRENGTH: Final = 100.0


def learn(
    method: str, stages: Sequence[Stage], anatomy: Anatomy, *, seed: int = 0, **rest: Any
) -> Iterator[StageOutcome]:
    """Go through the stages by this method, yielding the outcome of each as :func:`connectome.development.develop`
    does, which takes ``rest``. Raises :class:`ConnectomeError` for a comparator that the registry does not have."""
    change = plugins.load("comparators", method, "method")
    yield from develop([change(stage) for stage in stages], anatomy, seed=seed, **rest)


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
