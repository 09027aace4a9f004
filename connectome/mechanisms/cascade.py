"""Cascade correlation (Fahlman & Lebiere, NIPS 1990): neurons that are added one group after the other.

A group of candidates hears the sensors and all neurons that are there, and nobody hears them yet. With V_p a
candidate's rate for sample p and E_p,o the error of effector unit o, they learn to raise

    S = sum_o | sum_p (V_p - mean V) (E_p,o - mean E_o) |

The best of them stay, their inputs never change again, and they are joined to the effectors, whose edges learn on.
Several are added at once here, and of a group none hears another; rates of spikes and Adam are our instantiation::

    connectome = connectome.grow(*candidates(connectome, "unit2", 16, ("image", "unit1"), rng))
    learner = Learner(connectome, Candidates(task, ("unit2",)), block=crossing(connectome))
    ...                                                 # steps whose rate is 0 for all other sets
    connectome = keep(learner.connectome(), "unit2", best, task.effectors)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.region_edits import remove_regions, split_region
from connectome.learning.network import BatchActivity
from connectome.mechanisms.local_losses import Local, error_of, in_a_chain
from connectome.neurons.model import NeuronModel
from connectome.wiring.edges import AllToAll, wire

__all__ = ["Candidates", "candidates", "covariance", "keep"]


@dataclass(frozen=True, eq=False)
class Candidates(Local):
    """A task in whose place the neurons of its ``levels`` learn to go with its error."""

    def score_of(self, activity: BatchActivity, target: Any) -> Tensor:
        """(N,) S of each candidate, over the samples of a batch, a mean."""
        error = error_of(self.task, activity, target) * len(next(iter(activity.potential.values())))
        return covariance(self.rates(activity, self.levels[0]), error)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """Minus the sum of S."""
        return -self.score_of(activity, target).sum()


def covariance(rates: Tensor, error: Tensor) -> Tensor:
    """(N,) of (B, N) rates with (B, K) errors: absolute values, summed over K."""
    return ((rates - rates.mean(0)).T @ (error - error.mean(0)) / len(rates)).abs().sum(1)


def candidates(
    connectome: Connectome, name: str, n: int, heard: Sequence[str], neuron: NeuronModel, rng: np.random.Generator,
    gain: float = 1.0,
) -> tuple[list[Region], list[EdgeSet]]:  # fmt: skip
    """A region of ``n`` candidates that may excite and inhibit, and all edges to them from those who are heard, for
    :meth:`Connectome.grow`; weights as in :func:`~connectome.mechanisms.local_losses.in_a_chain`."""
    region = Region(name, n, neuron=neuron)
    sets = [in_a_chain([connectome.regions[source], region], gain, connectome.dt_ms, rng) for source in heard]
    return [region], [edges for found in sets for edges in found]


def keep(connectome: Connectome, name: str, best: np.ndarray, effectors: Iterable[str]) -> Connectome:
    """With those candidates of a region that have these numbers, the others gone, and edges of weight 0 from them to
    all units of the effectors."""
    rest = np.setdiff1d(np.arange(connectome.regions[name].size), best)
    if rest.size:
        aside = f"{name}_aside"
        connectome = connectome.apply(split_region(connectome, name, {name: best, aside: rest}))
        connectome = connectome.apply(remove_regions(connectome, [aside]))
    region, rng = connectome.regions[name], np.random.default_rng(0)
    joined = [
        wire(region, connectome.regions[e], AllToAll(), weight_pa=0.0, dt_ms=connectome.dt_ms, rng=rng)
        for e in effectors
    ]
    return connectome.grow(edges=joined)
