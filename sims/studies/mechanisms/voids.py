"""Voids on trial: which regions a developed network could do without in each task, told by silencing and by norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.stats import spearmanr

from connectome.analysis.intervals import mean_of
from connectome.datasets.tasks import Interaction, Motor, Perception
from connectome.development.configuration import Configuration, plan_stages
from connectome.development.stages import develop, perform
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.voids import find_voids, void_by_norm
from sims.studies.development import read_images
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from connectome.graph.connectome import Connectome
    from connectome.learning.task import Task

__all__ = ["voids"]

_TRIALS: Final = 400


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _developed(seed: int, quick: bool) -> tuple[Connectome, tuple[Task, ...]]:
    """The usual development's last network."""
    images, c = read_images(""), Configuration()
    tasks: dict[str, Task] = {"perception": Perception(images), "motor": Motor(), "interaction": Interaction(images)}
    stages = plan_stages(list(tasks), tasks, c)
    if quick:
        stages = [replace(stage, updates=stage.updates // 20) for stage in stages]
    *_, last = develop(stages, c.anatomy, seed=seed, test_trials=1)
    return last.connectome, tuple(tasks.values())


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    """All regions take part in every task; voids are found on other data than they are silenced on."""
    torch.set_num_threads(1)
    connectome, tasks = _developed(seed, quick)
    everyone, trials = tuple(connectome.regions), 100 if quick else _TRIALS
    change, saved, n, rank = [], [], 0, []
    for task in tasks:
        found = find_voids(connectome, task, recruits=everyone, trials=trials, seed=(seed, 1))
        share = _shares(connectome, task, seed)
        rank.append(spearmanr([abs(found.effect[r]) for r in share], [-share[r] for r in share]).statistic)
        void = found.void if condition == "silencing" else [r for r in share if share[r] > 0.5]
        mask = {"mask": {name: torch.zeros(connectome.regions[name].size) for name in void}}
        before, after = (
            perform(connectome, task, "test", trials, (seed, 3), recruits=everyone, inputs=inputs)
            for inputs in ({}, mask)
        )
        change.append(after.value - before.value)
        saved.append(1 - after.operations / before.operations)
        n += len(void)
    return {
        "worst change": max(change, key=abs), "operations saved": float(np.mean(saved)), "voids": float(n),
        "rank correlation": float(np.nanmean(rank)) if np.isfinite(rank).any() else np.nan,
    }  # fmt: skip


def _shares(connectome: Connectome, task: Task, seed: int) -> dict[str, float]:
    """Region -> share of validation samples in which it is a void by norm."""
    given, _ = task.batch(np.random.default_rng((seed, 2)), 256)
    regions = [name for name, region in connectome.regions.items() if region.role == "neuron"]
    with torch.no_grad():
        seen = SpikingNetwork(connectome)(given, record=regions).spikes
    spikes = {name: s.numpy().astype(np.float32) for name, s in {**given, **seen}.items()}
    return {name: float(void.mean()) for name, void in void_by_norm(connectome, spikes).items()}


def _check(v: Values) -> Sequence[Check]:
    ours, norm = v["silencing"], v["norm"]
    worst = {name: 100 * np.abs(of["worst change"]).max() for name, of in (("ours", ours), ("norm", norm))}
    rank = mean_of(ours["rank correlation"])
    return [
        Check(
            "all voids of a task silenced together: its score changes by at most 1 point, in every seed",
            f"{worst['ours']:.1f} points", bool(worst["ours"] <= 1),
        ),
        Check("the same of voids by their norm", f"{worst['norm']:.1f} points", bool(worst["norm"] <= 1)),
        Check(
            "the norm ranks regions as silencing does", f"rank correlation {rank.text(1, 2, '')}",
            bool(rank.mean > rank.half),
        ),
    ]  # fmt: skip


voids = Trial(
    "Voids", "Shemiranifar 2025, arXiv 2505.14467",
    "regions that a norm tells are not needed in a sample can be left out",
    {
        "worst change": Measure(" points", 100, 1), "operations saved": Measure(" %", 100, 1),
        "voids": Measure("", 1, 1), "rank correlation": Measure(),
    },
    ("silencing", "norm"), _run, _check, ("norm",),
)  # fmt: skip
