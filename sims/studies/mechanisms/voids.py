"""Voids on trial: which regions a developed network could do without in each task, told by silencing and by norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr

from connectome.analysis.intervals import mean_of
from connectome.development.configuration import Configuration
from connectome.development.stages import develop, perform
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.voids import Voids, find_voids, void_by_norm
from sims.studies.development import planned
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from connectome.graph.connectome import Connectome
    from connectome.learning.task import Task

__all__ = ["voids"]


class _Found(NamedTuple):
    """Of a task: its voids by silencing, and the share of a training batch's samples in which each region is one by
    norm."""

    task: Task
    silenced: Voids
    share: Mapping[str, float]


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _developed(seed: int, quick: bool) -> tuple[Connectome, tuple[_Found, ...]]:
    """The usual development's last network, and what is found of each of its tasks where all regions take part."""
    c = Configuration()
    tasks, stages = planned(c)
    if quick:
        stages = [replace(stage, updates=stage.updates // 20) for stage in stages]
    *_, last = develop(stages, c.anatomy, seed=seed, test_trials=1)
    connectome, trials = last.connectome, _trials(quick)
    whole = tuple(connectome.regions)
    return connectome, tuple(
        _Found(
            task, find_voids(connectome, task, recruits=whole, trials=trials, seed=(seed, 1)),
            _shares(connectome, task, seed),
        )
        for task in tasks.values()
    )  # fmt: skip


def _trials(quick: bool) -> int:
    return 100 if quick else 400


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    """Voids are found on other data than they are silenced on."""
    torch.set_num_threads(1)
    connectome, tasks = _developed(seed, quick)
    whole, change, saved, n, rank = tuple(connectome.regions), [], [], 0, []
    for task, found, share in tasks:
        rank.append(spearmanr([abs(found.effect[r]) for r in share], [-share[r] for r in share]).statistic)
        void = found.void if condition == "silencing" else [r for r in share if share[r] > 0.5]
        mask = {"mask": {name: torch.zeros(connectome.regions[name].size) for name in void}}
        before, after = (
            perform(connectome, task, "test", _trials(quick), (seed, 3), recruits=whole, inputs=inputs)
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
