"""Bricks on trial: which half of a region's neurons a task needs, and whether a region can be averaged with a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from connectome.analysis import bricks as analysis
from connectome.analysis.intervals import paired
from connectome.datasets.tasks import Perception
from connectome.graph.region_edits import average_regions, copy_region, split_region
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import acting
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured_region
from sims.studies.mechanisms.retention import Shown
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["bricks"]

_UPDATES, _TASKS, _BRICKS, _SAMPLES = 300, 5, 8, 400
_RATE: Final = 0.04
_KEPT: Final = ("function", "bricks", "rate", "random")
_MERGED: Final = ("merged matched", "merged as they are")


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _grown(seed: int, quick: bool) -> Connectome:
    """A region of 128 neurons that names ten digits."""
    return matured_region(Perception(read_images("")), seed, _UPDATES // (10 if quick else 1), _RATE)


def _tasks() -> list[Shown]:
    """Two digits each."""
    return [Shown(read_images(""), 0.0, shown=(k, k + 1)) for k in range(0, 2 * _TASKS, 2)]


def _activity(connectome: Connectome, task: Perception, region: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """(S, N) spikes a sample of training images."""
    spikes, _ = task.batch(rng, _SAMPLES)
    network = SpikingNetwork(connectome, recruit=(task.recruits[0], region, task.recruits[-1]))
    with torch.no_grad():
        seen = network(spikes, record=(region,)).spikes[region]
    return np.asarray(seen.sum(1).numpy(), np.float64)


def kept(by: str, rates: NDArray[np.float64], activity: NDArray[np.float64], seed: int) -> NDArray[np.bool_]:
    """(Q, N) which half of the neurons each task keeps, of (Q, N) mean rates and (S, N) activity in all of them."""
    rng, score = np.random.default_rng([seed, 4]), rates
    if by == "random":
        score = rng.random(rates.shape)
    elif by != "rate":
        score = analysis.functional_scores(rates)
    if by == "bricks":  # whole ones
        brick = analysis.bricks(activity, _BRICKS, rng)
        score = np.stack([np.bincount(brick, of)[brick] + 1e-9 * brick for of in score])
    found = np.zeros(rates.shape, bool)
    np.put_along_axis(found, np.argsort(-score, axis=1, kind="stable")[:, : rates.shape[1] // 2], True, axis=1)
    return found


def _half(by: str, seed: int, quick: bool) -> dict[str, float]:
    """What is right of each task's digits with half of the neurons, and of the operations the share that is left."""
    connectome, tasks, rng = _grown(seed, quick), _tasks(), np.random.default_rng([seed, 2])
    region = tasks[0].name
    activity = [_activity(connectome, task, region, rng) for task in tasks]
    masks = kept(by, np.stack([a.mean(0) for a in activity]), np.concatenate(activity), seed)
    network = SpikingNetwork(connectome, recruit=tasks[0].recruits)
    change, saved = [], []
    for task, mask in zip(tasks, masks, strict=True):
        before, after = (
            task.score(acting(network, inputs), "test", 1000, np.random.default_rng([seed, 1]))
            for inputs in ({}, {"mask": {region: torch.from_numpy(mask.astype(np.float32))}})
        )
        change.append(after.value - before.value)
        saved.append(1 - after.operations / before.operations)
    return {"change": float(np.mean(change)), "operations saved": float(np.mean(saved))}


def _merge(matched: bool, seed: int, quick: bool) -> dict[str, float]:
    """The region averaged with a copy whose neurons are in another order, put in the first one's by their activity or
    not: how what is right changes."""
    connectome, task, rng = _grown(seed, quick), Perception(read_images(""), 0.0), np.random.default_rng([seed, 2])
    name, order = task.name, rng.permutation(connectome.regions[task.name].size)
    two = connectome.apply(copy_region(connectome, name, "copy"))
    two = two.apply(split_region(two, "copy", {"other": order}))
    if matched:
        mine, theirs = (_activity(two, task, region, np.random.default_rng([seed, 3])) for region in (name, "other"))
    else:  # excitatory neurons in the places of excitatory ones, and nothing else
        mine = theirs = np.zeros((1, len(order)))
    which = analysis.matching_neurons(mine, theirs, (two.regions[name].sign, two.regions["other"].sign))
    two = two.apply(split_region(two, "other", {"put": which}))
    one = two.apply(average_regions(two, [name, "put"], "one"))
    one = one.apply(split_region(one, "one", {name: np.arange(len(order))}))
    before, after = (
        task.score(
            acting(SpikingNetwork(c, recruit=task.recruits)), "test", 2000, np.random.default_rng([seed, 1])
        ).value
        for c in (connectome, one)
    )
    return {"change": after - before}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return _merge(condition == _MERGED[0], seed, quick) if condition in _MERGED else _half(condition, seed, quick)


def _check(v: Values) -> Sequence[Check]:
    change = {name: of["change"] for name, of in v.items()}
    found = []
    for name in ("function", "bricks"):
        for other in ("random", "rate"):
            less = paired(change[name], change[other] / 2)
            lost = f"{-100 * change[name].mean():.1f} against {-100 * change[other].mean():.1f} points"
            claim = f"half of the neurons by {name} lose at most half of what half by {other} do"
            found.append(Check(claim, lost, less.mean > less.half))
    exact, as_is = change[_MERGED[0]], change[_MERGED[1]]
    says = f"{100 * np.abs(exact).max():.1f} points at most; unmatched {paired(as_is, exact).text(100, 1, '')} more"
    holds = bool(np.abs(exact).max() <= 0.005 and as_is.mean() < -0.1)
    return [*found, Check("averaged with a copy that is matched, a region does as it did; unmatched not", says, holds)]


bricks = Trial(
    "Bricks", "Xiao et al. 2024, arXiv 2409.02877",
    "neurons are for tasks: each can be done with those alone that are for it, and regions can be merged",
    {"change": Measure(" points", 100, 1), "operations saved": Measure(" %", 100, 1)},
    (*_KEPT, *_MERGED), _run, _check, ("rate", "random"),
)  # fmt: skip
