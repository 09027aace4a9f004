"""Weights that are a little different at each update of training, and themselves in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.graph.parts import EdgeSet
from connectome.learning.noise import normal
from connectome.learning.views import Moment, Shared, weights
from connectome.parameters import Parameters, bounded

__all__ = ["Noisy"]


@dataclass(frozen=True)
class Noisy(Parameters):
    """A weight times ``exp(s z - s^2 / 2)``, z of a normal distribution: its mean is 1, and no sign changes.

    z is of the moment (seed, stage, update), the edge set and the pair of neurons alone, so nothing of it is kept.
    Without a moment there is no noise.

    Parameters
    ----------
    spread : s
    """

    spread: float = bounded(0.1, 0, 2)

    keeps: ClassVar = ()

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """``weight``, pA, without noise."""
        return {"weight": weights(edges)}

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """The weights of this moment."""
        weight = values["weight"]
        if moment is None or self.spread == 0:
            return weight
        z = normal(edges.pair, edges.key, "noisy", moment)
        return weight * torch.from_numpy(np.exp(self.spread * (z - self.spread / 2))).to(weight)
