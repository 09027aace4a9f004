"""CLASSP: an optimiser that moves a weight the less, the more it has learnt already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update
from connectome.parameters import Parameters, bounded

__all__ = ["Classp"]


@dataclass(frozen=True)
class Classp(Parameters):
    """Continual learning through adjustment suppression and sparsity promotion (Ludwig 2024, arXiv 2405.09637), by the
    paper's formula: where ``(s g)^2 > threshold``, ``S <- S + |s g|^p`` and ``w <- w - alpha s g / (eps + S)^(1/p)``;
    elsewhere nothing moves. The published program does otherwise (its threshold is a truth value, its power acts on
    nothing). With p = 2 and threshold 0 it is AdaGrad. It stands where an optimiser does.

    The gradient g is per pA; s = ``scale_pa`` makes it one per that much of weight, so that a threshold has a meaning;
    alpha is the learning rate of the update, pA. State of an edge: ``classp_sum``, S, which lasts over stages.

    Parameters
    ----------
    p : the power; threshold : of the squared gradient; eps : keeps the first step finite
    scale_pa : the unit of weight that gradients are taken for
    """

    p: float = bounded(1.0, 0.1, 10)
    threshold: float = bounded(0.0, 0)
    eps: float = bounded(1e-5, 0)
    scale_pa: float = bounded(1.0, 1e-6)

    paper: ClassVar = "Ludwig 2024, arXiv 2405.09637"
    stands: ClassVar = "optimiser"
    remembers: ClassVar = ("classp_sum",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step."""
        gradient = change * self.scale_pa
        moves = gradient.square() > self.threshold
        total = state["classp_sum"].add_(torch.where(moves, gradient.abs().pow(self.p), 0.0))
        step = -update.rate_pa * gradient / (self.eps + total).pow(1 / self.p)
        return torch.where(moves, step, 0.0)
