"""Inhibition before pruning on trial: does it save edges where feedback is early, or noisy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from connectome.analysis.intervals import paired
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from sims.studies.development import planned
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from connectome.development.birth import Anatomy
    from connectome.development.stage import Stage
    from connectome.rules import Rule

__all__ = ["inhibition"]

_EARLY: Final = {"start": 0.0, "end": 0.2, "late": 0.25, "grace": 0.0}
_NOISY: Final = {"update": 1.0, "grace": 0.0}  # what an edge is worth is what the last few samples say
#: Regime -> parameters of pruning, and updates in an epoch.
_REGIMES: Final[Mapping[str, tuple[Mapping[str, Any], int]]] = {
    "usual": ({}, 20), "early": (_EARLY, 5), "noisy": (_NOISY, 2), "early and noisy": (_EARLY | _NOISY, 2),
}  # fmt: skip
#: Next to nothing is held back, and what has been is pruned in the epoch after.
_AT_ONCE: Final[Mapping[str, Any]] = {"inhibition": 0.001, "floor": 0.99}
_UPDATES: Final = {"perception": 150, "motor": 200, "interaction": 300}


def _stages(regime: str, at_once: bool, quick: bool) -> tuple[list[Stage], Anatomy]:
    """The usual development with half of the neurons, a tenth of whose local edges are kept."""
    from connectome.development.configuration import Configuration

    told = Configuration()
    updates: dict[str, Any] = {name: n // (10 if quick else 1) for name, n in _UPDATES.items()}
    c = replace(told, anatomy=replace(told.anatomy, neurons=128), training=replace(told.training, **updates))
    parameters, epoch = _REGIMES[regime]

    def changed(rule: Rule) -> Rule:
        if isinstance(rule, FeedbackPruning):
            return replace(rule, keep=0.1, **parameters, **(_AT_ONCE if at_once else {}))
        if isinstance(rule, LongRangeGrowth):  # as many edges, in as many updates
            return replace(rule, edges=20 * epoch, last_epoch=200 // epoch)
        return rule

    _, stages = planned(c)
    rules = [tuple(changed(rule) for rule in stage.rules) for stage in stages]
    return [
        replace(stage, rules=r, epoch_updates=epoch, validate_every=10_000)
        for stage, r in zip(stages, rules, strict=True)
    ], c.anatomy


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    from connectome.development.stages import develop

    how, regime = condition.removesuffix(")").split(" (")
    stages, anatomy = _stages(regime, how == "at once", quick)
    own, last = {}, None
    for last in develop(stages, anatomy, seed=seed, test_trials=50 if quick else 400):
        own[last.connectome.provenance.stage_name] = last.scores[last.connectome.provenance.stage_name].value
    assert last is not None
    score = {name: s.value for name, s in last.scores.items()}
    records = [r for r in last.connectome.provenance.rule_log if r.rule == "feedback_pruning" and r.kind == "local"]
    return {
        "interaction": score["interaction"], "motor": score["motor"], "perception": score["perception"],
        "change": sum(score[name] - own[name] for name in ("perception", "motor")) / 2,
        "restored": sum(r.restored for r in records) / max(sum(r.removed for r in records), 1),
    }  # fmt: skip


def _check(v: Values) -> Sequence[Check]:
    def gains(regime: str) -> Check:
        found = [
            paired(v[f"inhibition ({regime})"][m], v[f"at once ({regime})"][m])
            for m in ("interaction", "motor", "perception")
        ]
        says = ", ".join(f.text(100, 1, "") for f in found)
        better, worse = (any(s * f.mean > f.half for f in found) for s in (1, -1))
        return Check(
            f"{regime} feedback: inhibited first, a task is done better and none worse", f"{says} points",
            better and not worse,
        )  # fmt: skip

    return [gains(regime) for regime in _REGIMES]


inhibition = Trial(
    "Inhibition before pruning", "Han et al. 2025, arXiv 2504.05621",
    "edges that are inhibited first and may come back are not lost to feedback that was wrong",
    {
        "interaction": Measure(" %", 100, 1), "motor": Measure(" %", 100, 1), "perception": Measure(" %", 100, 1),
        "change": Measure("", 100, 1), "restored": Measure("", 1, 2),
    },
    tuple(f"{how} ({regime})" for regime in _REGIMES for how in ("inhibition", "at once")),
    _run, _check, ("at once (usual)",),
)  # fmt: skip
