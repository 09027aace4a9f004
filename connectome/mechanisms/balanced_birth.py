"""Balanced birth: each layer of a new area begins at the same rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from connectome.graph.connectome import Connectome, Edit
from connectome.parameters import Parameters, bounded
from connectome.rules import Context

__all__ = ["BalancedBirth"]

#: Weights are doubled or halved so many times at most; trials, each of which halves the range of that number.
_MOST: Final = 6.0
_TRIALS: Final = 7


@dataclass(frozen=True)
class BalancedBirth(Parameters):
    """A newborn area's layers fire alike: from the sensors on, what each layer hears from those below it is multiplied
    by one number, so that its neurons fire ``rate`` spikes per step on average, in answer to a batch of the task (after
    LSUV, Mishkin & Matas 2016, arXiv 1511.06422, which scales to unit variance). A region without layers is one layer.
    The number is found within 1/64 .. 64, to 7 %; edges within a layer and long-range ones stay as they are, but for
    those from another area's first layer, where it is shared.

    Parameters
    ----------
    rate : spikes per step and neuron
    """

    rate: float = bounded(0.05, 1e-4, 0.5)

    paper: ClassVar = "Mishkin & Matas 2016, arXiv 1511.06422"
    when: ClassVar = frozenset({"birth"})

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        probe, new = context.probe, connectome
        assert probe is not None
        layers = [r.name for r in connectome.regions.values() if (r.area or r.name) == context.region]
        for layer in layers:
            keys = [
                key
                for key in connectome.edges
                if key.target == layer
                and key.source != layer
                and (key.base != "long_range" or connectome.regions[key.source].maps is not None)
            ]
            low, high = -_MOST, _MOST
            before = {key: new.edges[key].weight for key in keys}
            for _ in range(_TRIALS if keys else 0):
                middle = (low + high) / 2
                new = new.apply(Edit(reweight={k: w * np.float32(2.0**middle) for k, w in before.items()}))
                fires = probe.spikes(new, [layer])[layer].mean() > self.rate
                low, high = (low, middle) if fires else (middle, high)
        weights = {key: e.weight for key, e in new.edges.items() if e.weight is not connectome.edges[key].weight}
        return Edit(reweight=weights)
