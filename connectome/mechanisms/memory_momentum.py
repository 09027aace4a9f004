"""Adam whose momentum is chosen anew in each update, by how well gradient and memory describe the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update, one_thread
from connectome.parameters import Parameters, bounded

__all__ = ["MemoryMomentum"]


@dataclass(frozen=True)
class MemoryMomentum(Parameters):
    """Adaptive memory momentum (Topollai & Choromanska 2026, AISTATS, arXiv 2510.04988), for Adam's step:
    ``d <- ((beta + lam) d + (1 - beta) g) / (1 + lam);  w <- w - eta d / (sqrt(v) + eps)``, d = g at first.

    Beta is such that the step minimises a model of the loss: the higher of two planes, that of the gradient g at w and
    that of the memory d at the last weights, ``max(f + <g, y>, m + <d, y>) + |y|^2 / (2 eta) + lam |y + eta d|^2 / (2
    eta)``. Its formula was not at hand, so it is derived, with the last loss estimated along the gradient, ``(m - f) /
    eta = <g, d> - |d|^2``: ``beta = clip_[0, 1] ([|g|^2 - |d|^2 + 2 lam (<g, d> - |d|^2)] / |d - g|^2)``.

    Ours besides: products are those of Adam's scale, ``<a, b> = sum a b / (sqrt(v) + eps)``, and an edge set has a beta
    of its own, where the paper has one for all weights.

    State of an edge: ``memory_direction``, d; ``memory_square``, v before its bias is corrected; of a set:
    ``memory_step``, how many, and ``memory_beta``, the last beta.

    Parameters
    ----------
    lam : how much the last direction is held to
    beta2, eps : as in Adam
    """

    lam: float = bounded(0.1, 0, 1e6)
    beta2: float = bounded(0.999, 0, 0.999999)
    eps: float = bounded(1e-8, 0)

    paper: ClassVar = "Topollai & Choromanska 2026, AISTATS, arXiv 2510.04988"
    stands: ClassVar = "optimiser"
    keeps: ClassVar = ("memory_direction", "memory_square", "memory_step", "memory_beta")
    one_each: ClassVar = ("memory_step", "memory_beta")

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step."""
        direction, square, count, beta = (state[name] for name in self.keeps)
        square.mul_(self.beta2).addcmul_(change, change, value=1 - self.beta2)
        count += 1
        scale = (square.sqrt() / math.sqrt(1 - self.beta2 ** float(count))).add_(self.eps)
        if count == 1:
            direction.copy_(change)
        else:
            beta.fill_(momentum(direction, change, 1 / scale, self.lam))
            direction.mul_(beta + self.lam).add_(change * (1 - beta)).div_(1 + self.lam)
        return torch.div(direction * -update.rate_pa, scale)


def momentum(direction: Tensor, gradient: Tensor, unit: Tensor, lam: float) -> float:
    """Beta of a direction d and a gradient g; 1 where they are the same. ``unit`` weighs their products."""
    d, g, u = (x.to(torch.float64) for x in (direction, gradient, unit))
    with one_thread():
        gap = float((u * (d - g).square()).sum())
        memory, both = float((u * d * d).sum()), float((u * g * d).sum())
        now = float((u * g * g).sum())
    if not gap > 0:
        return 1.0
    return min(max((now - memory + 2 * lam * (both - memory)) / gap, 0.0), 1.0)
