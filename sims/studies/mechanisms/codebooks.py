"""Codebook weights on trial: eight or four values a set, learnt with or rounded to afterwards, beside an even grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch

from connectome.analysis.intervals import paired
from connectome.datasets.tasks import Perception
from connectome.io.weight_codes import codebook
from connectome.learning.learner import without
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import acting
from connectome.learning.views import BASE
from connectome.mechanisms.quantised import Quantised
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured_region
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from connectome.graph.connectome import Connectome

__all__ = ["codebooks"]

_UPDATES: Final = 300


class Way(NamedTuple):
    """A learning rate; few values that weights have while they learn; few that they have afterwards."""

    rate: float
    learning: Quantised | None = None
    after: Quantised | None = None


def _few(bits: int, codebook: bool) -> Quantised:
    return Quantised(2**bits, codebook)


#: Rates of 0.04 and 0.08: the better on validation images, seeds 100 to 102.
_WAYS: Final[Mapping[str, Way]] = {
    "3 bits": Way(0.08, _few(3, True)),
    "float": Way(0.08),
    "3 bits rounded": Way(0.08, after=_few(3, True)),
    "3 bits grid": Way(0.08, _few(3, False)),
    "3 bits grid rounded": Way(0.08, after=_few(3, False)),
    "2 bits": Way(0.08, _few(2, True)),
}


def learn(way: Way, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """What is right of a split, and the bits that a weight takes in a file, codebooks and all."""
    task = Perception(read_images(""))
    views = dict.fromkeys(("local", "afferent", "efferent"), way.learning) if way.learning else {}
    grown = matured_region(task, seed, _UPDATES // (10 if quick else 1), way.rate, views=views)
    rounded = dict.fromkeys(grown.edges, way.after) if way.after else None
    network = SpikingNetwork(grown, recruit=task.recruits, views=rounded)
    right = task.score(acting(network), split, 2000, np.random.default_rng([seed, 1])).value
    return {"right": right, "bits": bits_of(without(network.to_connectome(), (BASE,)))}


def bits_of(connectome: Connectome) -> float:
    """Bits of a weight in a snapshot with codebooks."""
    n_bytes = 0
    for edges in connectome.edges.values():
        found = codebook(edges, connectome.regions[edges.key.source])
        n_bytes += found.n_bytes if found else edges.weight.nbytes
    return 8 * n_bytes / connectome.n_edges


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return learn(_WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    right = {name: of["right"] for name, of in v.items()}
    found = []
    for name, points in (("3 bits", 1), ("2 bits", 3)):
        behind = paired(right[name], right["float"])
        claim = f"{name}: within {points} point{'s' * (points > 1)} of float"
        found.append(Check(claim, behind.text(100, 1, " points"), bool(behind.mean >= -points / 100)))
    gain = paired(right["3 bits"], right["3 bits grid rounded"])
    found.append(Check("a point better than rounded to a grid", gain.text(100, 1, " points"), bool(gain.mean >= 0.01)))
    found += [better(f"better than {n}", right["3 bits"], right[n]) for n in ("3 bits grid", "3 bits rounded")]
    bits = v["3 bits"]["bits"]
    found.append(
        Check("a weight takes 3.5 bits of a file, with codebooks, and signs where they are free", f"{bits.max():.2f}",
              bool((bits <= 3.5).all()))
    )  # fmt: skip
    return found


codebooks = Trial(
    "Codebook weights", "van den Oord et al. 2017, arXiv 1711.00937; Lloyd 1982",
    "weights of eight values, 3 bits each, do as well as float",
    {"right": Measure(" %", 100, 1), "bits": Measure("", 1, 2, falls=True)}, tuple(_WAYS), _run, _check,
    ("3 bits grid", "3 bits rounded", "3 bits grid rounded"),
)  # fmt: skip
