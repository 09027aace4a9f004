"""Clamping on trial: which region must have learnt before reaching where a digit says can be learnt?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import clamping as circuit
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from connectome.development.birth import Anatomy
    from connectome.development.stage import Stage
    from connectome.graph.connectome import Connectome

__all__ = ["clamping"]

_REGIONS: Final = ("perception", "motor", "interaction")
_CONTROL: Final = "perception of other samples"


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _learnt(seed: int, quick: bool) -> Connectome:
    """The network that has learnt: directly, every edge plastic."""
    from connectome.development.stages import develop

    stages, anatomy = _stages(quick)
    *_, last = develop(stages, anatomy, seed=seed, test_trials=1)
    return last.connectome


def _stages(quick: bool) -> tuple[list[Stage], Anatomy]:
    """Three regions of which the last stage alone learns: interaction, from birth, as *whole* of the study of
    transfer."""
    from sims.studies.transfer import plan

    stages, c = plan("interaction whole", 0, 60 if quick else 500, {"images": "", "training": {}})
    stages[-1] = replace(stages[-1], validate_every=1, validation_trials=16 if quick else 64)
    return stages, c.anatomy


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    if condition.startswith("three vectors"):
        return _vectors(condition, seed)
    from connectome.development.stage import Progress
    from connectome.development.stages import develop

    stages, anatomy = _stages(quick)
    held = [name for name in _REGIONS if condition.startswith(name)]
    if held:
        task = stages[-1].task
        inputs = circuit.playing(_learnt(seed, quick), task.recruits, held, shift=int(condition == _CONTROL))
        stages[-1] = replace(stages[-1], inputs=inputs)
    curve: list[tuple[int, float]] = []

    def on_progress(progress: Progress) -> None:
        if progress.stage == len(stages):
            curve.append((progress.update, progress.score))

    # The birth and the batches are other ones than the teacher's.
    for _ in develop(stages, anatomy, seed=seed + 1000, test_trials=1, on_progress=on_progress):
        pass
    update, score = (np.array(x) for x in zip(*curve, strict=True))
    smooth = np.convolve(np.pad(score, (2, 0), "edge"), np.ones(3) / 3, "valid")  # of 64 trials each
    final = float(smooth[-1])
    return {"updates": float(update[np.argmax(smooth >= 0.8 * final)]), "final": final, "area": float(score.mean())}


def _vectors(condition: str, seed: int) -> Mapping[str, float]:
    """Steps to 1 % of the first loss in the authors' model."""
    truth, start = np.random.default_rng(seed).standard_normal((2, 3, 20))
    held = {"three vectors (free)": (), "three vectors (c clamped)": (2,), "three vectors (b and c clamped)": (1, 2)}
    losses = circuit.descend(truth, start, held[condition], 1000)
    return {"updates": float(np.argmax(losses <= 0.01 * losses[0])) if losses.min() <= 0.01 * losses[0] else np.nan}


def _check(v: Values) -> Sequence[Check]:
    free, c, both = (v[f"three vectors ({x})"]["updates"] for x in ("free", "c clamped", "b and c clamped"))
    saved = {name: 1 - v[f"{name} clamped"]["updates"] / v["free"]["updates"] for name in _REGIONS}
    found = ", ".join(f"{name} {100 * s.mean():.0f} %" for name, s in saved.items())
    finals = [float(np.mean(v[name]["final"])) for name in (_CONTROL, "free")]
    steps = ", ".join(f"{np.nanmean(x):.0f}" for x in (free, c, both))
    return [
        Check(
            "in the model of three vectors the plateau goes as parts are clamped", f"{steps} steps to 1 %",
            bool((both < c).all() and (c < free).all()),
        ),
        Check(
            "with perception clamped, interaction is learnt in 20 % fewer updates, in every seed",
            f"fewer by: {found}", bool((saved["perception"] >= 0.2).all()),
        ),
        Check(
            "another sample's perception does not help", f"final scores {finals[0]:.2f} and, free, {finals[1]:.2f}",
            finals[0] < finals[1],
        ),
    ]  # fmt: skip


clamping = Trial(
    "Clamping through training", "Singh et al. 2024, ICML, arXiv 2404.07129",
    "clamping a part of a network to what it will have learnt shows which part the rest waits for",
    {"updates": Measure(" updates", digits=0, falls=True), "final": Measure(" %", 100), "area": Measure(" %", 100)},
    (
        "perception clamped", "motor clamped", "interaction clamped", "free", _CONTROL, "three vectors (free)",
        "three vectors (c clamped)", "three vectors (b and c clamped)",
    ),
    _run, _check, ("free",),
)  # fmt: skip
