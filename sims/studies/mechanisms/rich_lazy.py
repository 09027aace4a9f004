"""Rich or lazy learning on trial: does a region whose weights begin with few directions change more of itself?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from connectome.analysis.intervals import mean_of, paired
from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth
from connectome.graph.parts import EdgeKey
from connectome.learning.learner import Learner
from connectome.learning.optimisers import Sgd
from connectome.mechanisms.alignment import effective_rank, kernel_alignment, representation_alignment
from connectome.mechanisms.low_rank_birth import LowRankBirth
from connectome.rules import Context
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import unsigned
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from connectome.graph.connectome import Connectome

__all__ = ["rich_lazy"]

_NEURONS, _BATCH, _MOST = 100, 32, 2000
_KEY: Final = EdgeKey("perception", "local", "perception")
_RANKS: Final = {"rank 1": 1, "rank 10": 10, "rank 30": 30, "full rank": _NEURONS}
#: All learn until the mean loss of 20 updates is as low as that, so that they are compared at one loss.
_LOSS: Final = 0.8
_RATE_PA: Final = 3e5  # of 3e3, 3e4 ... 1e6 one that comes to that loss, seed 100


def _born(rank: int, seed: int) -> tuple[Connectome, Perception]:
    """A region of which every neuron is joined to nearly every other, with free signs."""
    rng, task = np.random.default_rng([seed, 0]), Perception(read_images(""))
    anatomy = Anatomy(neurons=_NEURONS, local_density=0.98, over_production=1.0, local_length_um=1e9)
    born = unsigned(birth(None, task, anatomy, 1, (), rng), task.name)
    return born.apply(LowRankBirth(rank)(born, Context(1, 0, 0, task.name), rng)), task


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    before, task = _born(_RANKS[condition], seed)
    frozen = {"afferent": (), "efferent": ()}  # what is learnt is learnt in the region
    learner = Learner(before, task, (Sgd(0.9),), chains=frozen, seed=(seed, 1))
    rng = np.random.default_rng([seed, 2])
    losses: list[float] = []
    while len(losses) < (60 if quick else _MOST) and (len(losses) < 20 or np.mean(losses[-20:]) > _LOSS):
        spikes, label = task.batch(rng, _BATCH)
        losses.append(learner.step(spikes, label, lambda key: _RATE_PA))
    after = learner.connectome()
    first, last = (c.edges[_KEY].weight.astype(np.float64) for c in (before, after))
    matrix = np.zeros((_NEURONS, _NEURONS))
    matrix[before.edges[_KEY].source, before.edges[_KEY].target] = first
    return {
        "kernel": kernel_alignment(before, after, task, _KEY, np.random.default_rng([seed, 3]), samples=16),
        "representation": representation_alignment(before, after, task, task.name, np.random.default_rng([seed, 3])),
        "change": float(np.linalg.norm(last - first) / np.linalg.norm(first)),
        "effective rank": effective_rank(matrix), "loss": float(np.mean(losses[-20:])), "updates": float(len(losses)),
    }  # fmt: skip


def _check(v: Values) -> Sequence[Check]:
    lazy, rich = v["full rank"], v["rank 1"]
    kernel, seen = (paired(lazy[m], rich[m]) for m in ("kernel", "representation"))
    means = [mean_of(v[c]["kernel"]).mean for c in _RANKS]
    loss = [mean_of(v[c]["loss"]).mean for c in _RANKS]
    return [
        Check(
            "the tangent kernel stays more alike at full rank than at rank 1, by 0.2", kernel.text(1, 2, ""),
            bool(kernel.mean >= 0.2),
        ),
        Check("and the representation by 0.1", seen.text(1, 3, ""), bool(seen.mean >= 0.1)),
        Check(
            "the kernel's alignment rises with the rank", ", ".join(f"{x:.2f}" for x in means),
            bool(np.all(np.diff(means) > 0)),
        ),
        Check(
            "at losses within 20 % of each other", f"{min(loss):.2f} to {max(loss):.2f}",
            bool(max(loss) <= 1.2 * min(loss)),
        ),
    ]  # fmt: skip


rich_lazy = Trial(
    "Rich and lazy learning", "Liu et al. 2024, ICLR, arXiv 2310.08513",
    "recurrent weights of low rank learn richly, changing what they represent; of full rank lazily",
    {
        "kernel": Measure(falls=True), "representation": Measure("", 1, 3), "change": Measure(),
        "effective rank": Measure("", 1, 1), "loss": Measure(), "updates": Measure("", 1, 0),
    },
    tuple(_RANKS), _run, _check, ("full rank",),
)  # fmt: skip
