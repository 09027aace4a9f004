"""Rates of learning under concept shift on trial: digits whose names are swapped while they are learnt."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from connectome.analysis.intervals import paired
from connectome.datasets.tasks import Perception, readout
from connectome.development.birth import Anatomy, birth
from connectome.learning.learner import Learner
from connectome.learning.optimisers import Sgd
from connectome.mechanisms.hypergradient import Hypergradient
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import unsigned
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from connectome.learning.learning_rule import LearningRule
    from connectome.learning.task import Batch

__all__ = ["concept_shift"]

_BATCH, _UPDATES = 10, 300
#: Two digits change names after so many batches; 0: never.
_EVERY: Final = (0, 100, 30, 10)
#: Batches that a controller scores rates on, the last ones.
_RECENT: Final = 2


@dataclass(frozen=True, eq=False)
class Renamed(Perception):
    """Digits that go by these names."""

    names: tuple[int, ...] = tuple(range(10))

    def swapped(self, rng: np.random.Generator) -> Renamed:
        """Two of them change their names."""
        names = list(self.names)
        i, j = rng.choice(len(names), 2, replace=False)
        names[i], names[j] = names[j], names[i]
        return replace(self, names=tuple(names))

    def _of(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pick, label = super()._of(split)
        return pick, np.array(self.names)[label]


class Way(NamedTuple):
    """The rate to begin with; who changes it: ``need`` (Man et al. 2022: by what is seen, if that does better on the
    last batches), ``chance``, or nobody; a rule behind the optimiser."""

    rate: float
    by: str = ""
    rule: LearningRule | None = None


def prequential(way: Way, every: int, seed: int, updates: int) -> dict[str, float]:
    """Share of the second half of the digits that is named right before it is learnt, and the mean rate there."""
    rng, swaps = (np.random.default_rng([seed, k]) for k in (0, 1))
    task = Renamed(read_images(""), 0.0)
    chain = (Sgd(), way.rule) if way.rule else (Sgd(),)
    learner = Learner(
        unsigned(birth(None, task, Anatomy(neurons=64), 1, (), rng), task.name), task, chain, seed=(seed,)
    )
    rate, right, rates = way.rate, [], []
    recent: deque[Batch] = deque(maxlen=_RECENT)
    for number in range(updates):
        if every and number and number % every == 0:
            task = task.swapped(swaps)
        spikes, label = task.batch(rng, _BATCH)
        recent.append((spikes, label))
        seen: list[Any] = []
        before = [weight.detach().clone() for weight in learner.network.weight.values()]
        learner.step(spikes, label, lambda key, rate=rate: rate, watch=seen.append)  # type: ignore[misc]
        named = readout(seen[0], task.effector).argmax(1)
        right.append(float((named == label).float().mean()))
        rates.append(rate)
        if way.by:
            rate = _controlled(way, rate, learner, before, recent, named, label, rng)
    return {"right": float(np.mean(right[updates // 2 :])), "rate": float(np.mean(rates[updates // 2 :]) / way.rate)}


def _controlled(
    way: Way, rate: float, learner: Learner, before: Sequence[Tensor], recent: Iterable[Batch], named: Tensor,
    label: Tensor, rng: np.random.Generator,
) -> float:  # fmt: skip
    """The rate after a batch. Another one, higher or lower by a tenth of the first as most of what was named is 5 and
    above or not, is tried on the same batch, and is taken if the last batches are named better with it; then it moves
    once more, by what the batch was."""
    step = way.rate / 10
    other = max(rate + step * _sign(named), way.rate * 1e-5)
    weights = list(learner.network.weight.values())
    ours = [weight.detach().clone() for weight in weights]
    tried = [w0 + (w1 - w0) * (other / rate) for w0, w1 in zip(before, ours, strict=True)]
    if way.by == "chance":
        better = rng.random() < 0.5
    else:
        scores = []
        for values in (ours, tried):
            _put(weights, values)
            scores.append(sum(_right(learner, spikes, answer) for spikes, answer in recent))
        better = scores[1] > scores[0]
    _put(weights, tried if better else ours)
    return max(other + step * _sign(label), way.rate * 1e-5) if better else rate


def _sign(classes: Tensor) -> float:
    return float(torch.sign((classes >= 5).float().mean() - 0.5))


def _right(learner: Learner, spikes: Mapping[str, Tensor], label: Tensor) -> float:
    with torch.no_grad():
        return float((readout(learner.network(spikes), Perception.effector).argmax(1) == label).float().mean())


def _put(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


#: The best of rates by factors of 2 on seeds 100 to 102, for each speed at which names change. Rates that change begin
#: there, or, ``low``, far below, as the published ones do.
_BEST: Final = {0: 5e4, 100: 1e5, 30: 1e5, 10: 2e5}
_NEED: Final = {0: 1e5, 100: 2e5, 30: 2e5, 10: 1e5}
_HYPER: Final = dict.fromkeys(_EVERY, 2e5)
_LOW: Final = 1e4


def _ways(every: int) -> dict[str, Way]:
    low = {"need low": Way(_LOW, "need"), "constant low": Way(_LOW)} if every == _EVERY[-1] else {}
    return {
        "need": Way(_NEED[every], "need"), "constant": Way(_BEST[every]), "chance": Way(_NEED[every], "chance"),
        "hypergradient": Way(_HYPER[every], rule=Hypergradient()), **low,
    }  # fmt: skip


_CONDITIONS: Final = {
    f"{name} ({every or 'never'})": (way, every) for every in _EVERY[::-1] for name, way in _ways(every).items()
}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return prequential(*_CONDITIONS[condition], seed, _UPDATES // (8 if quick else 1))


def _check(v: Values) -> Sequence[Check]:
    """Better at each of the three speeds at which names change; from a low rate at the fastest."""
    low = (v[f"{name} low ({_EVERY[-1]})"]["right"] for name in ("need", "constant"))
    found = [better("from a low rate: better than if it stays", *low)]
    for ours, other, claim in (
        ("need", "constant", "better than the best constant rate"),
        ("need", "chance", "better than if another rate is taken by chance"),
        ("hypergradient", "constant", "hypergradient descent: better than the best constant rate"),
    ):
        gains = [paired(*(v[f"{n} ({every})"]["right"] for n in (ours, other))) for every in _EVERY if every]
        says = ", ".join(gain.text(100, 1, "") for gain in gains)
        found.append(Check(claim, f"{says} points", all(gain.mean > gain.half for gain in gains)))
    return found


concept_shift = Trial(
    "Need is all you need", "Man et al. 2022, arXiv 2205.08645",
    "a learner whose own rate rises and falls by what it meets follows changes better, the fastest ones most",
    {"right": Measure(" %", 100, 1), "rate": Measure("", 1, 2)}, tuple(_CONDITIONS), _run, _check,
    ("constant (10)", "chance (10)", "hypergradient (10)"),
)  # fmt: skip
