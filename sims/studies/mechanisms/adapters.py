"""Adapters on trial: a base that stays, a small change of it for each two digits, and none told which to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from scipy.special import softmax

from connectome.analysis.intervals import paired
from connectome.development.training import typical_weight
from connectome.learning.learner import CHAIN, Learner, names_kept, without
from connectome.learning.network import SpikingNetwork
from connectome.learning.optimisers import Adam
from connectome.mechanisms.low_rank import LowRank
from connectome.mechanisms.merging import Gaussians, Merging, retrieve
from sims.studies.development import read_images
from sims.studies.mechanisms.modes import turned
from sims.studies.mechanisms.one_region import matured_region
from sims.studies.mechanisms.retention import Shown
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome
    from connectome.learning.network import BatchActivity

__all__ = ["adapters"]

_TASKS, _BATCH = 5, 64
_UPDATES: Final = {"base": 200, "each": 60}
#: Of each class, in its turn: the (N,) mean activity and its (N, N) covariance.
_Kept = list[tuple[Any, Any]]
_TASK_OF: Final = np.repeat(np.arange(_TASKS), 2)


@dataclass(frozen=True, eq=False)
class Pair(Shown):
    """Two digits, told apart from each other alone."""

    def loss(self, activity: BatchActivity, target: Any) -> torch.Tensor:
        """Cross-entropy of their logits."""
        first = self.shown[0]
        return torch.nn.functional.cross_entropy(self.outputs(activity)[:, first : first + 2], target - first)


class Way(NamedTuple):
    """How adapters learn, and how one is taken: rate of u, and of v in pA; the share that is merged in an update;
    whether all tasks have one; rounds of retrieval, 0 for the base alone, and whether the task is told."""

    rate: float = 0.05
    rate_pa: float = 5.0
    share: float = 0.0
    shared: bool = False
    rounds: int = 4
    told: bool = False


#: Rates of 0.02 to 0.2 with 2 to 30 pA, from 0.001 on for one adapter of all tasks, shares of 0.03, 0.1 and 0.3: the
#: best on validation images, seeds 100 to 102.
_WAYS: Final[Mapping[str, Way]] = {
    "merged and retrieved": Way(share=0.1),
    "not merged": Way(0.2, 30.0),
    "one round": Way(share=0.1, rounds=1),
    "base alone": Way(rounds=0),
    "nearest class mean": Way(rounds=0),
    "one for all": Way(0.001, 0.1, shared=True),
    "told": Way(share=0.1, told=True),
}


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _base(seed: int, quick: bool) -> Connectome:
    """A region of 128 neurons that knows other images: digits that are turned by a right angle."""
    return matured_region(turned(90), seed, _UPDATES["base"] // (10 if quick else 1), 0.04)


def _rates(connectome: Connectome, task: Shown, spikes: Mapping[str, torch.Tensor]) -> NDArray[np.float64]:
    with torch.no_grad():
        seen = SpikingNetwork(connectome, recruit=task.recruits)(spikes, record=(task.name,)).spikes[task.name]
    return np.asarray(seen.sum(1).numpy(), np.float64)


def _kept(connectome: Connectome, task: Shown, spikes: Mapping[str, torch.Tensor], label: NDArray[np.int64]) -> _Kept:
    rates = _rates(connectome, task, spikes)
    return [(r.mean(0), np.cov(r.T)) for r in (rates[label == c] for c in task.shown)]


def _judge(kept: _Kept) -> Gaussians:
    return Gaussians([mean for mean, _ in kept], np.mean([covariance for _, covariance in kept], 0))


def _adapted(connectome: Connectome, task: Shown, way: Way, seed: int, number: int, quick: bool) -> Connectome:
    """The connectome with an adapter that has learnt the task: its own, or, with one for all, the one there is."""
    chain = (Adam(), *((Merging(way.share),) if way.share else ()))
    chains = {"afferent": (), "local": (), "efferent": CHAIN}
    views = {key: LowRank(2) for key in connectome.edges if key.base != "efferent"}
    learner = Learner(connectome, task, chain, chains=chains, seed=(seed, number), views=views)
    heads = {k: 0.04 * typical_weight(e.weight) for k, e in connectome.edges.items() if k.base == "efferent"}
    rng = np.random.default_rng([seed, 1, number])
    for _ in range(_UPDATES["each"] // (10 if quick else 1)):
        learner.step(*task.batch(rng, _BATCH), lambda key: heads.get(key, way.rate_pa), rate=lambda key: way.rate)
    found = without(learner.connectome(), names_kept(CHAIN))
    return found.apply(Merging(way.share).learnt(found, task, rng)) if way.share else found


def _afresh(adapted: Connectome, base: Connectome) -> Connectome:
    """The base, with what merging remembers."""
    edges = dict(base.edges)
    for key, e in adapted.edges.items():
        if key.base != "efferent":
            kept = {name: x for name, x in e.state.items() if name.endswith(Merging.remembers)}
            edges[key] = replace(edges[key], state={**edges[key].state, **kept})
    return replace(base, edges=edges)


@lru_cache(maxsize=3)
def _grown(way: Way, seed: int, quick: bool) -> tuple[list[Connectome], _Kept, _Kept]:
    """The connectome with each task's adapter, and what is kept of each class with its adapter and with the base."""
    images, base = read_images(""), _base(seed, quick)
    tasks = [Pair(images, 0.5, shown=(k, k + 1)) for k in range(0, 2 * _TASKS, 2)]
    found, own, plain, now = list["Connectome"](), _Kept(), _Kept(), base
    for number, task in enumerate(tasks):
        now = _adapted(now if way.shared else _afresh(now, base), task, way, seed, number, quick)
        found.append(now)
        spikes, label = task.batch(np.random.default_rng([seed, 2, number]), 500)
        own += _kept(now, task, spikes, label.numpy())
        plain += _kept(base, task, spikes, label.numpy())
    return (found[-1:] * _TASKS if way.shared else found), own, plain


def learn(name: str, way: Way, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """What is right of all digits, and of those of the first tasks and of the last; how often the task is."""
    found, own, plain = _grown(way._replace(rounds=4, told=False), seed, quick)
    every = Shown(read_images(""), 0.0, shown=tuple(range(10)))
    spikes, label = every.seen(split, 1000, np.random.default_rng([seed, 3]))
    rates, judge = _rates(_base(seed, quick), every, spikes), _judge(own)
    logits = _judge(plain)(rates)
    if name == "nearest class mean":
        logits = -np.square(rates[:, None] - np.array([mean for mean, _ in plain])).sum(2)

    def ask(which: NDArray[np.int64], task: int) -> NDArray[np.float64]:
        return judge(_rates(found[task], every, {n: s[torch.from_numpy(which)] for n, s in spikes.items()}))

    if way.told:
        for task in range(_TASKS):
            which = np.flatnonzero(_TASK_OF[label] == task)
            logits[which] = np.where(task == _TASK_OF, ask(which, task), -np.inf)
    elif way.rounds:  # the base has a say in the end, as is published
        logits = sum(softmax(x, 1) for x in (logits, retrieve(logits, _TASK_OF, ask, way.rounds)[2]))
    said, right = logits.argmax(1), logits.argmax(1) == label
    last = _TASK_OF[label] == _TASKS - 1
    return {
        "right": float(right.mean()), "earlier": float(right[~last].mean()), "last": float(right[last].mean()),
        "task": float((_TASK_OF[said] == _TASK_OF[label]).mean()),
    }  # fmt: skip


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return learn(condition, _WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    ours, plain = v["merged and retrieved"], v["not merged"]
    gain = paired(ours["right"], v["base alone"]["right"])
    last, earlier = (paired(ours[part], plain[part]) for part in ("last", "earlier"))
    return [
        Check(
            "2 points better than the base alone", gain.text(100, 1, " points"),
            bool(gain.mean >= 0.02 and gain.mean > gain.half),
        ),
        Check(
            "merging costs the last task a point at most", last.text(100, 1, " points"), bool(last.mean >= -0.01),
        ),
        Check(
            "and brings the earlier ones a point", earlier.text(100, 1, " points"),
            bool(earlier.mean >= 0.01 and earlier.mean > earlier.half),
        ),
        *(
            better(f"better than {name}", ours["right"], v[name]["right"])
            for name in ("one for all", "nearest class mean", "one round")
        ),
    ]  # fmt: skip


adapters = Trial(
    "Model surgery", "Sun et al. 2025, AAAI",
    "adapters merged as they learn, of which the network finds the right one itself, keep classes apart",
    {
        "right": Measure(" %", 100, 1), "earlier": Measure(" %", 100, 1), "last": Measure(" %", 100, 1),
        "task": Measure(" %", 100, 1),
    },
    tuple(_WAYS), _run, _check, ("base alone", "nearest class mean", "one for all"),
)  # fmt: skip
