"""Stochastic restoration: now and then a weight goes back to what it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update
from connectome.parameters import Parameters, bounded

__all__ = ["Restoration"]


@dataclass(frozen=True)
class Restoration(Parameters):
    """CoTTA's stochastic restoration (Wang, Fink, Van Gool & Dai 2022, arXiv 2203.13591, equation 8): after each update
    a weight goes back with probability ``p`` to its value at the beginning of the stage. It belongs behind the
    optimiser. Without a gradient the share of weights that were never restored is ``(1 - p)^t`` after t updates.

    State of an edge: ``restoration_source``, its weight at the beginning, pA (that of an edge which grew later: what it
    was when it was first updated); ``restoration_known``, 1 where that is known.

    Parameters
    ----------
    p : probability of going back, in each update
    """

    p: float = bounded(0.01, 0, 1)

    paper: ClassVar = "Wang et al. 2022, arXiv 2203.13591, equation 8"
    keeps: ClassVar = ("restoration_source", "restoration_known")

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The change, or what leads back."""
        source, known = (state[name] for name in self.keeps)
        source.copy_(torch.where(known > 0, source, update.weight))
        known.fill_(1.0)
        return torch.where(update.uniform("restoration") < self.p, source - update.weight, change)
