"""Low-rank birth: the local weights of a new region begin with few directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from connectome.graph.connectome import Connectome, Edit
from connectome.graph.kernel_set import KernelSet
from connectome.parameters import Parameters, bounded
from connectome.rules import Context

__all__ = ["LowRankBirth"]


@dataclass(frozen=True)
class LowRankBirth(Parameters):
    """A rule that acts at birth: the new region's local weights are those of a Gaussian matrix of which ``rank``
    singular values are kept, at the edges that there are, with the Frobenius norm that the weights had (Liu et al.
    2024, ICLR, arXiv 2310.08513: low rank learns richly, full rank lazily).

    Ours: where edges are missing, or a weight takes the sign of its source, the rank is higher than ``rank``;
    :func:`~connectome.mechanisms.alignment.effective_rank` tells it."""

    rank: int = bounded(1, 1)

    paper: ClassVar = "Liu et al. 2024, ICLR, arXiv 2310.08513"
    when: ClassVar = frozenset({"birth"})

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        weights = {}
        for key, edges in connectome.edges.items():
            if key.base != "local" or key.source != context.region or isinstance(edges, KernelSet) or not len(edges):
                continue
            u, s, v = np.linalg.svd(rng.normal(size=(edges.n_source, edges.n_target)), full_matrices=False)
            kept = (u[:, : self.rank] * s[: self.rank]) @ v[: self.rank]
            drawn = kept[edges.source, edges.target]
            sign = edges.at_source(connectome.regions[key.source].sign)
            drawn = np.where(sign == 0, drawn, np.abs(drawn) * sign)
            drawn *= np.linalg.norm(edges.weight) / max(float(np.linalg.norm(drawn)), 1e-30)
            weights[key] = drawn.astype(np.float32)
        return Edit(reweight=weights)
