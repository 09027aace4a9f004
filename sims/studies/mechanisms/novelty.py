"""Novelty on trial: hypervectors of a region's activity tell what is new, and who answers where no task is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from connectome.analysis.intervals import mean_of, paired
from sims.studies.mechanisms.own_regions import ROUTERS, detected, growth, nearest, routed, sequential
from sims.studies.published import Check, Measure, Trial, Values, better

__all__ = ["novelty"]

_STREAMS: Final = ("split", "rotated", "permuted")
#: The step of sequential learning: of 0.005, 0.02 and 0.08 the best at the end on validation images, seeds 100 to 102.
_SEQUENTIAL: Final = {"split": 0.08, "rotated": 0.005, "permuted": 0.005}
_DETECTORS: Final = ("hypervectors", "confidence")
_SHIFTS: Final = ("unseen", "turned", "noise")
_CONDITIONS: Final = (
    *(f"{name} ({kind})" for kind in _STREAMS for name in (*ROUTERS, "prototypes", "sequential", "growth")),
    *(f"novelty by {name}" for name in _DETECTORS),
)


def measured(condition: str, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """The measures of a condition."""
    if condition not in _BY_STREAM:
        return detected(condition.removeprefix("novelty by "), seed, quick, split)
    name, kind = _BY_STREAM[condition]
    if name == "sequential":
        return sequential(kind, seed, quick, split, _SEQUENTIAL[kind])
    if name in ROUTERS:
        return routed(name, kind, seed, quick, split)
    return (growth if name == "growth" else nearest)(kind, seed, quick, split)


_BY_STREAM: Final = {c: tuple(c[:-1].split(" (")) for c in _CONDITIONS if c.endswith(")")}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return measured(condition, seed, quick)


def _check(v: Values) -> Sequence[Check]:
    areas = {shift: mean_of(v["novelty by hypervectors"][shift]) for shift in _SHIFTS}
    both = [np.mean([v[f"novelty by {by}"][shift] for shift in _SHIFTS], 0) for by in _DETECTORS]
    found = [
        Check(
            "an area under the curve of 0.8 for three kinds of novelty",
            ", ".join(f"{name} {area.text(1, 2, '')}" for name, area in areas.items()),
            all(area.mean >= 0.8 for area in areas.values()),
        ),
        better("a larger area, on average, than by the confidence of what is said", *both),
    ]
    for other in ("chance", "sequential", "entropy", "energy", "pixels", "prototypes"):
        gains = [paired(*(v[f"{name} ({kind})"]["right"] for name in ("hypervectors", other))) for kind in _STREAMS]
        says = ", ".join(f"{kind} {gain.text(100, 1, '')}" for kind, gain in zip(_STREAMS, gains, strict=True))
        claim = f"in each stream more is right than by {other}"
        found.append(Check(claim, f"{says} points", all(gain.mean > gain.half for gain in gains)))
    noticed, vain = ([v[f"growth ({kind})"][m].mean() for kind in _STREAMS] for m in ("noticed", "in vain"))
    return [
        *found,
        Check(
            "of new tasks 80 % are noticed within three batches, in each stream",
            ", ".join(f"{100 * x:.0f} %" for x in noticed), bool(min(noticed) >= 0.8),
        ),
        Check(
            "at most one region in twenty batches grows in vain, in each stream",
            ", ".join(f"{x:.2f}" for x in vain), bool(max(vain) <= 1),
        ),
    ]  # fmt: skip


_PERCENT: Final = Measure(" %", 100, 1)

novelty = Trial(
    "Novelty and growth (EAR)", "Daniels et al. 2023, arXiv 2308.02084; Kanerva 2009",
    "hypervectors of a region's activity tell when a new region has to grow, and which one is to answer",
    {
        **dict.fromkeys(("right", "batches", "routed"), _PERCENT), **dict.fromkeys(_SHIFTS, Measure("", 1, 2)),
        "noticed": Measure(" %", 100, 0), "in vain": Measure("", 1, 2, falls=True),
    },
    _CONDITIONS, _run, _check, tuple(f"{name} (split)" for name in ("entropy", "energy", "outputs", "sequential")),
)  # fmt: skip
