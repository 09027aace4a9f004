"""Weights that do not change: a mask, for comparators and studies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update

__all__ = ["Frozen"]


@dataclass(frozen=True)
class Frozen:
    """Edges whose state ``frozen`` is above 0 keep their weights (PackNet, Mallya & Lazebnik 2018, arXiv 1711.05769).
    It belongs at the end of a chain."""

    paper: ClassVar = "Mallya & Lazebnik 2018, arXiv 1711.05769"
    stands: ClassVar = "end"
    remembers: ClassVar = ("frozen",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The change where the edge is free, 0 elsewhere."""
        return torch.where(state["frozen"] > 0, 0.0, change)
