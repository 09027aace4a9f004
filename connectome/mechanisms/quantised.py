"""Weights of a few values, on a grid or from a codebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.graph.parts import EdgeSet
from connectome.learning.views import Moment, Shared, shared, weights
from connectome.parameters import Parameters, bounded

__all__ = ["Quantised"]

_ROUNDS = 16  # of Lloyd's algorithm, from quantiles: most of what many would give


@dataclass(frozen=True)
class Quantised(Parameters):
    """Weights whose magnitude is one of ``levels`` values: 0, 1, ... times a step that is learnt too (Esser et al.
    2020, arXiv 1902.08153). The gradient goes straight through to the weights behind them (Bengio, Leonard & Courville
    2013, arXiv 1308.3432). The sign is the source neuron's and needs no bit.

    Parameters
    ----------
    levels : how many values
    codebook : no even grid, but values that fit the weights as they are, by Lloyd's algorithm (1982)
    """

    levels: int = bounded(8, 2, 65536)
    codebook: bool = False

    paper: ClassVar = "Esser et al. 2020, arXiv 1902.08153; Lloyd 1982"

    @property
    def keeps(self) -> tuple[str, ...]:
        """Names of its state."""
        return () if self.codebook else ("quantum",)

    @property
    def pointwise(self) -> bool:
        """Whether an edge's weight depends on no other's."""
        return not self.codebook

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """``weight``, pA, before it is rounded, and the step of the grid, ``quantum``, pA."""
        if self.codebook:
            return {"weight": weights(edges)}
        step = float(np.abs(edges.weight).max(initial=0)) / (self.levels - 1)
        quantum = shared(edges, "quantum", "set", step or 1.0)
        return {"weight": weights(edges), "quantum": quantum._replace(in_pa=True, pace=1 / (self.levels - 1))}

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """The rounded weights."""
        weight = values["weight"]
        if not self.codebook:
            steps = (weight / values["quantum"]).clamp(1 - self.levels, self.levels - 1)
            return _straight_through(steps.round(), steps) * values["quantum"]
        size = weight.detach().abs()
        if not size.any():
            return weight
        return _straight_through(self._nearest_code(size) * weight.detach().sign(), weight)

    def _nearest_code(self, size: Tensor) -> Tensor:
        ordered = size.sort().values
        zeros = int((ordered == 0).sum())  # a weight of 0 has no sign that a code could take: one value is theirs
        ordered, levels = ordered[zeros:], self.levels - (zeros > 0)
        share = (torch.arange(levels, device=size.device) + 0.5) / levels
        code = ordered[(share * len(ordered)).long()]
        total = torch.cat([ordered.new_zeros(1, dtype=torch.float64), ordered.double().cumsum(0)])
        for _ in range(_ROUNDS):
            # In order, the weights nearest to a code follow each other.
            cut = torch.searchsorted(ordered, ((code[1:] + code[:-1]) / 2).contiguous())
            end = torch.cat([cut.new_zeros(1), cut, cut.new_full((1,), len(ordered))])
            count = end[1:] - end[:-1]
            mean = ((total[end[1:]] - total[end[:-1]]) / count.clamp_min(1)).to(code.dtype)
            code = torch.where(count > 0, mean, code).sort().values
        return code[torch.searchsorted(((code[1:] + code[:-1]) / 2).contiguous(), size)]


def _straight_through(value: Tensor, given: Tensor) -> Tensor:
    """The value, to the last bit, with the gradient of what was given."""
    return value.detach() + (given - given.detach())
