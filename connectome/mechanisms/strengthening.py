"""Strengthening: long-range edges that matter get stronger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectome.graph.connectome import Connectome, Edit
from connectome.parameters import Parameters, bounded
from connectome.rules import Context, normalise

__all__ = ["Strengthening"]


@dataclass(frozen=True)
class Strengthening(Parameters):
    """Long-range edges that matter get stronger: ``w <- w (1 + rate norm(importance))``, up to ``limit_pa``."""

    rate: float = bounded(0.002, 0, 1)
    limit_pa: float = bounded(1700.0, 0)

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        weights, records = {}, []
        for key, edges in connectome.edges.items():
            if key.base != "long_range" or "importance" not in edges.state or not self.rate:
                continue
            old = edges.weight
            factor = 1 + self.rate * normalise(edges.state["importance"])
            weights[key] = np.where(np.abs(old) * factor <= self.limit_pa, old * factor, old).astype(np.float32)
            records.append(context.record("strengthening", key, strengthened=int((weights[key] != old).sum())))
        return Edit(reweight=weights, records=tuple(records))
