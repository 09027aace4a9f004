"""A gate on each edge that learns whether the edge is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.graph.parts import EdgeSet
from connectome.learning.views import Moment, Shared, shared, weights
from connectome.parameters import Parameters, bounded

__all__ = ["Gate"]


@dataclass(frozen=True)
class Gate(Parameters):
    """A weight times ``sigmoid(gate)``; or, if the gate is hard, times 1 where ``gate > 0`` and else 0, with the
    sigmoid's gradient (the straight-through estimator: Bengio, Leonard & Courville 2013, arXiv 1308.3432).

    Parameters
    ----------
    initial : of every gate; 4 is open to 98 %
    hard : open or shut, nothing between
    """

    initial: float = bounded(4.0, -20, 20)
    hard: bool = False

    keeps: ClassVar = ("gate",)
    paper: ClassVar = "Bengio, Leonard & Courville 2013, arXiv 1308.3432"

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """``weight``, pA, and ``gate``."""
        return {"weight": weights(edges), "gate": shared(edges, "gate", "edge", self.initial)}

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """The weights that pass."""
        open_ = torch.sigmoid(values["gate"])
        if self.hard:
            open_ = (values["gate"] > 0).to(open_.dtype) + (open_ - open_.detach())
        return values["weight"] * open_
