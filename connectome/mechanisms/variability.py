"""Artificial neural variability: gradients are those of weights that differ in each update; weights move without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.graph.parts import EdgeSet
from connectome.learning.learning_rule import one_thread
from connectome.learning.noise import normal
from connectome.learning.views import Moment, Shared, weights
from connectome.parameters import Parameters, bounded

__all__ = ["Variability"]


@dataclass(frozen=True)
class Variability(Parameters):
    """Neural variable risk minimisation, NVRM (Xie et al. 2021, Neural Computation 33:2163, arXiv 2011.06220): the loss
    of update t and its gradient are those of ``w + e_t``, e_t of a normal distribution with variance b^2 and drawn
    anew, and w itself moves: ``w <- w - eta grad L(w + e_t)``. Whoever looks between updates sees w.

    Ours: b is ``spread`` times the root mean square of the set's weights, where the paper has one b for all; e_t is of
    the moment (seed, stage, update), the edge set and the pair of neurons alone, so that nothing of it is kept.

    Parameters
    ----------
    spread : b in units of the set's root mean square weight
    keep_signs : where w + e_t has another sign than w, it is 0 (Dale's principle)
    """

    spread: float = bounded(2.0, 0, 100)
    keep_signs: bool = True

    paper: ClassVar = "Xie et al. 2021, Neural Computation 33:2163, arXiv 2011.06220"
    keeps: ClassVar = ()
    pointwise: ClassVar = False

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """``weight``, pA, without noise."""
        return {"weight": weights(edges)}

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """The weights of this moment; their gradient is that of w."""
        weight = values["weight"]
        if moment is None or self.spread == 0 or not len(edges):
            return weight
        clean = weight.detach()
        drawn = torch.from_numpy(normal(edges.pair, edges.key, "variability", moment)).to(clean)
        with one_thread():
            unit = clean.square().mean().sqrt()
        noisy = clean + self.spread * unit * drawn
        if self.keep_signs:
            noisy = noisy.masked_fill(noisy * clean.sign() <= 0, 0.0)
        return weight + (noisy - clean)
