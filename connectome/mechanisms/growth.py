"""Growth: new long-range edges of the region that matures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectome.graph.connectome import Connectome, Edit
from connectome.parameters import Parameters, bounded
from connectome.rules import Context
from connectome.wiring.free_pairs import new_edges

__all__ = ["LongRangeGrowth"]


@dataclass(frozen=True)
class LongRangeGrowth(Parameters):
    """New long-range edges of the maturing region: links are drawn by probability, then free pairs at random.

    Parameters
    ----------
    edges : how many to grow in one epoch
    last_epoch : growth ends after this epoch
    amplitude_pa : mean magnitude of a new weight; it has its source neuron's sign, or a random one where both are
    allowed
    delay_ms : of the new edges
    """

    edges: int = bounded(1500, 0)
    last_epoch: int = bounded(15, 0)
    amplitude_pa: float = bounded(85.0, 0)
    delay_ms: float = bounded(1.0, 1, 1000)

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        if not context.links or self.edges == 0 or context.epoch > self.last_epoch:
            return Edit()
        share = rng.multinomial(self.edges, [link.probability for link in context.links])
        grown = [
            new_edges(connectome, link.key, int(n), self.amplitude_pa, self.delay_ms, context.stage, rng)
            for link, n in zip(context.links, share, strict=True)
        ]
        grown = [e for e in grown if len(e)]
        return Edit(add=tuple(grown), records=tuple(context.record("growth", e.key, added=len(e)) for e in grown))
