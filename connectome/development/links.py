"""How the probabilities of a new region"s links evolve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.graph.connectome import Connectome
from connectome.parameters import Parameters, bounded
from connectome.rules import Link

__all__ = ["LinkEvolution", "evolve_probabilities", "observed"]


Array = NDArray[Any]


def evolve_probabilities(probability: Array, sampled: Array, outcome: Array, gamma: float) -> Array:
    """``p <- softmax(p + gamma (dp_plus - dp_minus))`` over K candidates, (K,) each (METHOD section 1; MdeNAS).

    ``dp_plus`` counts the other candidates that were sampled more and did worse, ``dp_minus`` those that were sampled
    less and did better.
    """
    more = sampled[:, None] - sampled[None]
    better = outcome[:, None] - outcome[None]
    step = ((more < 0) & (better > 0)).sum(1) - ((more > 0) & (better < 0)).sum(1)
    score = np.exp(probability + gamma * step - (probability + gamma * step).max())
    return np.asarray(score / score.sum())


def observed(connectome: Connectome, links: tuple[Link, ...]) -> tuple[Link, ...]:
    """The links with the edges that each has and how well these did in an epoch; where nothing was seen the outcome
    stays."""
    found = []
    for link in links:
        edges = connectome.edges.get(link.key)
        sampled = 0 if edges is None else len(edges)
        known = edges is not None and sampled > 0 and "importance" in edges.state
        outcome = float(edges.state["importance"].mean()) if edges is not None and known else link.outcome
        found.append(link._replace(sampled=sampled, outcome=outcome))
    return tuple(found)


@dataclass(frozen=True)
class LinkEvolution(Parameters):
    """How the probabilities of the new region's links follow from what was sampled and how well it did."""

    gamma: float = bounded(1.0, 0)

    def __call__(self, connectome: Connectome, links: tuple[Link, ...]) -> tuple[Link, ...]:
        """The links after an epoch."""
        if not links:
            return ()
        seen = observed(connectome, links)
        probability, sampled_, outcome_ = (
            np.array([getattr(link, name) for link in seen]) for name in ("probability", "sampled", "outcome")
        )
        p = evolve_probabilities(probability, sampled_, outcome_, self.gamma)
        return tuple(link._replace(probability=float(q)) for link, q in zip(seen, p, strict=True))
