"""A fast learner upon slow ones on trial: a configuration, and what each of its parts is good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from connectome.analysis.intervals import paired
from connectome.development.configuration import read_configuration
from sims.studies.development import ORDER, go_through, planned
from sims.studies.published import Check, Measure, Trial, Values, better, no_worse

__all__ = ["CONFIGURATION", "fast_slow"]

#: For ``python -m sims.develop --config`` as well.
CONFIGURATION: Final = Path(__file__).with_suffix(".toml")
#: Condition -> changes of the configuration. Nothing was tuned, as nothing is published to tune towards.
_WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "whole": (),
    "all fast": ("learning_rates.mature_local=1.0", "learning_rates.mature_other=1.0"),
    "all slow": ("learning_rates.rate=0.004", "learning_rates.mature_local=1.0", "learning_rates.mature_other=1.0"),
    "not pruned": ("training.method='unpruned'",),
    "no sparse code": ("rules.homeostasis.rate=0.0",),
    "not Hebbian": ("learning.hlop.first=0.0", "learning.hlop.more=0.0"),
}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    short = tuple(f"training.{name}=10" for name in ORDER) if quick else ()
    c = read_configuration(CONFIGURATION, (*_WAYS[condition], *short))
    _, stages = planned(c)
    found = go_through(stages, c.anatomy, "development", seed, 20 if quick else 100)
    return {
        "average": float(found.average), "change": float(found.backward), "edges": float(found.end_edges),
        "operations": float(found.operations[-1].mean()),
    }  # fmt: skip


def _check(v: Values) -> Sequence[Check]:
    ours = v["whole"]

    def fewer(name: str, other: str, claim: str) -> Check:
        part = paired(ours[name] / v[other][name], 1)
        return Check(claim, part.text(100, 0, " %"), bool(part.mean < -part.half))

    return [
        *(
            better(f"better on average than {name}", ours["average"], v[name]["average"])
            for name in ("all fast", "all slow", "not Hebbian")
        ),
        fewer("edges", "not pruned", "with fewer edges than unpruned"),
        no_worse("and no worse on average", ours["average"], v["not pruned"]["average"]),
        fewer("operations", "no sparse code", "with fewer operations than without a sparse code"),
        no_worse("and no worse on average", ours["average"], v["no sparse code"]["average"]),
    ]


fast_slow = Trial(
    "A fast learner upon slow ones", "a proposal of 2025 for personalised agents, without figures; our configuration",
    "fast and slow plasticity, pruning, a sparse code and Hebbian learning: each is of use",
    {
        "average": Measure(" %", 100, 1), "change": Measure(" points", 100, 1),
        "edges": Measure("", 1, 0), "operations": Measure("", 1, 0),
    },
    tuple(_WAYS), _run, _check, tuple(name for name in _WAYS if name != "whole"),
)  # fmt: skip
