"""Weights that change by a matrix of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from connectome.graph.parts import EdgeSet
from connectome.learning.noise import normal
from connectome.learning.views import Moment, Shared, shared, weights
from connectome.parameters import Parameters, bounded

__all__ = ["LowRank"]


@dataclass(frozen=True)
class LowRank(Parameters):
    """``w + sum over r of u_r[source] v_r[target]`` at the edges that there are (Hu et al. 2021, arXiv 2106.09685).

    At first v is 0 and u is drawn of the seed and the source neuron alone, with variance ``1 / rank``. With the weights
    frozen only u and v learn: R values a neuron, pA for v.

    Parameters
    ----------
    rank : R
    seed : of u
    keep_signs : where the sum has another sign than w, it is 0 (Dale's principle)
    """

    rank: int = bounded(2, 1, 256)
    seed: int = bounded(0, 0)
    keep_signs: bool = True

    paper: ClassVar = "Hu et al. 2021, arXiv 2106.09685"

    @property
    def keeps(self) -> tuple[str, ...]:
        """Names of its state."""
        return tuple(f"low_rank_{side}{r}" for r in range(self.rank) for side in "uv")

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """``weight``, pA; ``low_rank_u0`` ... of each source, ``low_rank_v0`` ..., pA, of each target."""
        found = {"weight": weights(edges)}
        source = edges.source.astype(np.uint64)
        for r in range(self.rank):
            u = normal(source, edges.key, f"low_rank_u{r}", (self.seed,)) / np.sqrt(self.rank)
            found[f"low_rank_u{r}"] = shared(edges, f"low_rank_u{r}", "source", u)
            found[f"low_rank_v{r}"] = shared(edges, f"low_rank_v{r}", "target", 0.0)._replace(in_pa=True)
        return found

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """The sum."""
        weight = values["weight"]
        for r in range(self.rank):
            weight = weight + values[f"low_rank_u{r}"] * values[f"low_rank_v{r}"]
        return weight.masked_fill(weight * values["weight"].detach().sign() <= 0, 0.0) if self.keep_signs else weight
