"""Test-time adaptation on trial: digits that come corrupted, one kind after the other, without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np
import torch

from connectome.analysis.intervals import paired
from connectome.datasets.corruptions import CORRUPTIONS, Adaptation
from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth, new_links
from connectome.development.stage import LossContext
from connectome.graph.connectome import Edit
from connectome.learning.learner import Learner
from connectome.learning.optimisers import Adam, Dale
from connectome.learning.task import acting
from connectome.mechanisms.cotta import Cotta
from connectome.mechanisms.rate_matching import RateMatching
from connectome.mechanisms.restoration import Restoration
from connectome.mechanisms.self_distillation import SelfDistillation
from connectome.mechanisms.soft_hebb import SoftHebb
from connectome.mechanisms.teacher import Teacher
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured_region
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from torch import Tensor

    from connectome.analysis.intervals import Mean
    from connectome.graph.connectome import Connectome
    from connectome.graph.parts import EdgeKey
    from connectome.learning.learner import Chain
    from connectome.learning.network import BatchActivity

__all__ = ["adaptation"]

_BATCH, _ROUNDS = 50, 4
#: Of the side region, which has less than a tenth of the edges.
_SIDE: Final = Anatomy(neurons=12, long_range_density=0.1)


class Way(NamedTuple):
    """How a network adapts: which weights learn (all, afferent ones by Hebb's rule, those of a side region), and their
    step relative to a typical one; the step of gains; how fast rates are led back; how far the teacher follows, if
    there is one, and the chance of going back; self-distillation; the entropy that counts; Hebb's tau."""

    who: str = ""
    rate: float = 0.0
    gain: float = 0.0
    matching: float = 0.0
    teacher: float = 0.0
    restored: float = 0.0
    distilled: float = 0.0
    below: float = 1.0
    tau: float = 1.0
    cotta: Cotta = Cotta()

    def chain(self) -> Chain:
        """That of all weights, whatever their step."""
        after = (RateMatching(self.matching), *((Restoration(self.restored),) if self.teacher else ()), Dale())
        return (Adam(), *after, *((Teacher(1 - self.teacher),) if self.teacher else ()))


#: The best on validation images, four rounds, seeds 100 to 102: of steps of weights and gains from 1e-4 to 1e-2, of
#: Hebb's rule from 0.1 to 10, rates led back at 0.1 to 3, the teacher at 0.01 to 0.5, distillation at 1 and 10.
_WAYS: Final[Mapping[str, Way]] = {
    "CoTTA": Way("all", 1e-4, teacher=0.1, restored=0.01, cotta=Cotta(sure=0.0)),
    "CoTTA nothing restored": Way("all", 1e-4, teacher=0.1, cotta=Cotta(sure=0.0)),
    "CoTTA copies": Way("all", 1e-3, teacher=0.01, restored=0.01),
    "CoTTA matched": Way("all", 1e-4, matching=0.3, teacher=0.1, restored=0.01, cotta=Cotta(sure=0.0)),
    "EcoTTA": Way("side", 1e-3, 1e-3, matching=3.0, distilled=1.0, below=0.4),
    "EcoTTA nothing distilled": Way("side", 1e-3, 1e-3, matching=3.0, below=0.4),
    "EcoTTA alone": Way("side", 1e-2, 1e-4, distilled=10.0, below=0.4),
    "NHL": Way("afferent", 0.3, 1e-4),
    "Hebb": Way("afferent", 0.3),
    "entropy of gains": Way(gain=1e-4),
    "entropy of gains matched": Way(gain=1e-3, matching=3.0),
    "entropy of weights": Way("all", 1e-4),
    "entropy of weights matched": Way("all", 1e-4, matching=3.0),
    "statistics": Way(matching=3.0),
    "source": Way(),
}


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _source(seed: int, quick: bool) -> Connectome:
    """A region that has learnt the digits as they are, with what its neurons fire."""
    task = Perception(read_images(""))
    grown = matured_region(task, seed, 60 if quick else 300, 0.08)
    return grown.apply(RateMatching().learnt(grown, task, np.random.default_rng([seed, 0])))


def _learner(way: Way, seed: int, quick: bool, rng: np.random.Generator) -> tuple[Learner, dict[EdgeKey, float]]:
    """The source, with a side region that is silent at first where there is one; and the steps of all sets, pA."""
    born, images = _source(seed, quick), read_images("")
    task = Adaptation(images, below=way.below, strength=float(not way.teacher))
    if way.who == "side":
        born = birth(born, task, _SIDE, 2, new_links(born, task.name), rng)
    else:
        task = replace(task, name="perception", earlier=())
    own = [k for k in born.edges if way.who in ("all", k.base) or (way.who and "adaptation" in (k.source, k.target))]
    rate = {k: way.rate * float(np.sqrt(np.square(born.edges[k].weight).mean())) for k in own}
    silent = {k: 0 * e.weight for k, e in born.edges.items() if (k.base, k.source) == ("long_range", "adaptation")}
    chains = {"afferent": (SoftHebb(way.tau), *way.chain()[1:])} if way.who == "afferent" else {}
    born, mode = born.apply(Edit(reweight=silent)), "adapted" if way.gain else ""
    return Learner(born, task, way.chain(), chains=chains, seed=(seed, 1), mode=mode), rate


def adapt(way: Way, seed: int, quick: bool, split: str = "test", rounds: int = _ROUNDS) -> dict[str, float]:
    """What is right of a stream of all kinds of corruption, several rounds, each batch before it is learnt from; of the
    first and the last round, of each kind, and of digits as they are when all is over; and the numbers that learn, as a
    share of the source's edges."""
    rng, order = (np.random.default_rng([seed, k]) for k in (1, 2))
    learner, rate = _learner(way, seed, quick, rng)
    task, kinds = cast(Adaptation, learner.task), list(CORRUPTIONS)
    right = np.zeros((1 if quick else rounds, len(kinds)))
    for turn, number in np.ndindex(right.shape):
        spikes, label = replace(task, corruption=kinds[number]).seen(split, 100 if quick else 1000, order)
        for part in np.split(np.arange(len(label)), range(_BATCH, len(label), _BATCH)):
            told = _adapted(learner, way, {name: s[part] for name, s in spikes.items()}, rate, rng)
            right[turn, number] += (told.argmax(1).numpy() == label[part]).sum() / len(label)
    network = learner.network.remembered("teacher", task.recruits) if way.teacher else learner.network
    clean, act = Perception(read_images("")), acting(network, learner.inputs)
    kept = clean.score(act, split, 1000, np.random.default_rng([seed, 3]))
    learns = sum(len(learner.network.weight[key]) for key in rate) + 2 * 128 * (way.gain > 0)
    return {
        "right": right.mean(), "first": right[0].mean(), "last": right[-1].mean(), "clean": kept.value,
        "learns": learns / _source(seed, quick).n_edges, **dict(zip(kinds, right.mean(0), strict=True)),
    }  # fmt: skip


def _adapted(
    learner: Learner, way: Way, spikes: Mapping[str, Tensor], rate: Mapping[EdgeKey, float], rng: np.random.Generator
) -> Tensor:
    """(B, K) what is said to a batch; then it is learnt from."""
    task, told = cast(Adaptation, learner.task), list["Tensor"]()

    def more(activity: BatchActivity) -> Tensor:
        now = LossContext(learner.network, task, spikes, activity, (), rng, 0)
        if way.teacher:
            told.append(way.cotta.answer(now))
            return way.cotta.towards(told[0], now)
        told.append(task.outputs(activity).detach())
        return SelfDistillation(way.distilled)(now)

    learner.step(spikes, None, lambda key: rate.get(key, 0.0), rate=lambda key: way.gain, extra_loss=more)
    return told[0]


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return adapt(_WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    right, clean = ({name: of[m] for name, of in v.items()} for m in ("right", "clean"))
    gain, kept = paired(right["CoTTA"], right["source"]), paired(v["CoTTA"]["last"], v["CoTTA"]["first"])
    behind = paired(right["EcoTTA"], right["CoTTA"])
    own, nhl = (paired(clean[name], clean["source"]) for name in ("EcoTTA", "NHL"))
    part = float((v["EcoTTA"]["learns"] / v["CoTTA"]["learns"]).max())

    def at_least(claim: str, found: Mean, least: float, holds: bool = True) -> Check:
        return Check(claim, found.text(100, 1, " points"), bool(found.mean >= least and holds))

    found = [
        at_least("CoTTA: a point better than the source", gain, 0.01, gain.mean > gain.half),
        better("CoTTA: better than statistics", right["CoTTA"], right["statistics"]),
        better("CoTTA: better than entropy of weights matched", right["CoTTA"], right["entropy of weights matched"]),
        at_least("CoTTA: the last round no more than a point worse than the first", kept, -0.01),
        better("CoTTA: what is restored keeps the source", clean["CoTTA"], clean["CoTTA nothing restored"]),
        at_least("EcoTTA: within a point of CoTTA, with a fifth of what learns", behind, -0.01, part <= 0.2),
        at_least("EcoTTA: not a point of the source is lost", own, -0.01),
        better("EcoTTA: distillation keeps the source", clean["EcoTTA"], clean["EcoTTA nothing distilled"]),
        at_least("NHL: not half a point of the source is lost", nhl, -0.005),
    ]  # fmt: skip
    for other in ("source", "entropy of gains", "Hebb"):
        gains = {kind: paired(v["NHL"][kind], v[other][kind]) for kind in CORRUPTIONS}
        where = [kind for kind, x in gains.items() if x.mean > x.half]
        found.append(Check(f"NHL: better than {other} for three kinds", ", ".join(where) or "none", len(where) >= 3))
    return found


adaptation = Trial(
    "Test-time adaptation", "Wang et al. 2022, arXiv 2203.13591; Song et al. 2023, arXiv 2303.01904; Tang et al. 2023, "
    "arXiv 2303.00914",
    "without labels a network follows corruptions that change, and keeps what it knew: by an averaged teacher and "
    "restoration (CoTTA), a small network beside a frozen one (EcoTTA), Hebb's rule and gains (NHL)",
    dict.fromkeys(("right", "first", "last", "clean", *CORRUPTIONS), Measure(" %", 100, 1))
    | {"learns": Measure(" %", 100, 0)},
    tuple(_WAYS), _run, _check,
    ("entropy of gains", "entropy of weights", "entropy of weights matched", "statistics", "source"),
)  # fmt: skip
