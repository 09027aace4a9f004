"""Homeostasis: neurons of the maturing region that fire too much lose excitation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectome.graph.connectome import Connectome, Edit
from connectome.parameters import Parameters, bounded
from connectome.rules import Context

__all__ = ["Homeostasis"]


@dataclass(frozen=True)
class Homeostasis(Parameters):
    """Neurons of the maturing region that fire above ``target`` spikes per step lose excitation: their incoming
    positive weights shrink by ``rate`` times the relative excess, ``rate`` at most (after synaptic scaling, Turrigiano
    2008, in one direction). Learning makes up for it, as it could not in regions that have matured.

    Parameters
    ----------
    target : of a region that has sensors; ``target_association`` : of one that has none, and hears other regions only
    """

    target: float = bounded(0.02, 1e-6)
    target_association: float = bounded(0.06, 1e-6)
    rate: float = bounded(0.06, 0, 0.5)

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        area = {key: connectome.area_of(key.target) for key in connectome.edges}
        if context.region not in context.rate or not self.rate:
            return Edit()
        senses = any(key.base == "afferent" and of == context.region for key, of in area.items())
        target = self.target if senses else self.target_association
        weights, records = {}, []
        for key, edges in connectome.edges.items():
            if area[key] != context.region or key.source not in context.rate:
                continue
            excess = np.clip(context.rate[key.target] / target - 1, 0, 1)
            factor = edges.at_target((1 - self.rate * excess).astype(np.float32))
            weights[key] = np.where(edges.weight > 0, edges.weight * factor, edges.weight)
            records.append(context.record("homeostasis", key, inhibited=int((weights[key] != edges.weight).sum())))
        return Edit(reweight=weights, records=tuple(records))
