"""Running means of rates that remember longer, on trial where a development prunes by BCM, whose threshold they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sims.studies.development import go_through, planned
from sims.studies.published import Check, Measure, Trial, Values, better, no_worse

__all__ = ["running_mean"]

#: Condition -> what pruning goes by, and how long its running means remember.
_WAYS: Final[Mapping[str, tuple[str, float]]] = {
    "0.4": ("bcm", 0.4), "0": ("bcm", 0.0), "0.1": ("bcm", 0.1), "0.7": ("bcm", 0.7), "1": ("bcm", 1.0),
    "by chance": ("random", 1.0), "feedback": ("feedback", 1.0),
}  # fmt: skip
_TASKS: Final = ("perception", "motor")
_UPDATES = 300


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    """Two stages of the usual development with half of the neurons, and less of their local edges kept, so that it
    matters which."""
    from connectome.development.configuration import read_configuration

    told = read_configuration(None, ["rules.pruning.keep=0.1"])
    importance, kappa = _WAYS[condition]
    updates: dict[str, Any] = dict.fromkeys(_TASKS, _UPDATES // (10 if quick else 1))
    training = replace(told.training, **updates, importance=importance, kappa=kappa, validate_every=10_000)
    c = replace(told, anatomy=replace(told.anatomy, neurons=128), training=training)
    _, stages = planned(c, order=_TASKS)
    score = go_through(stages, c.anatomy, "development", seed, 50 if quick else 400).score.values
    change = score[-1, 0] - score[0, 0]
    return {"average": float(score[-1].mean()), "change": float(change)} | dict(zip(_TASKS, score[-1], strict=True))


def _check(v: Values) -> Sequence[Check]:
    ours, usual = v["0.4"], v["1"]
    return [
        no_worse("no worse on average than kappa = 1, an exponential mean", ours["average"], usual["average"]),
        better("better on average than kappa = 1", ours["average"], usual["average"]),
        better("earlier tasks are kept better than with kappa = 1", ours["change"], usual["change"]),
        better("better than pruning by chance", ours["average"], v["by chance"]["average"]),
    ]


running_mean = Trial(
    "Balanced running means (after Lyu et al. 2023)", "Lyu et al. 2023, AdaB2N, NeurIPS",
    "averages that remember more of the past than exponential ones favour the present less",
    {"average": Measure(" %", 100, 1), "change": Measure("", 100, 1)} | {n: Measure(" %", 100, 1) for n in _TASKS},
    tuple(_WAYS), _run, _check, ("0", "0.1", "0.7", "1", "feedback"),
)  # fmt: skip
