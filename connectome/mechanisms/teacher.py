"""A teacher: the running mean of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update
from connectome.parameters import Parameters, bounded

__all__ = ["Teacher"]


@dataclass(frozen=True)
class Teacher(Parameters):
    """An averaged teacher (Tarvainen & Valpola 2017, arXiv 1703.01780): ``w' <- m w' + (1 - m) w`` after each update,
    beginning with the weights as they are. It changes nothing, and belongs at the end of a chain; a loss may ask the
    teacher, ``network.remembered("teacher", recruits)``. Of a constant w the teacher has come the fraction
    ``1 - m^t`` of the way after t updates.

    State of an edge: ``teacher``, w', pA; ``teacher_known``, 1 where it is known.

    Parameters
    ----------
    m : what is kept of the mean in an update
    """

    m: float = bounded(0.999, 0, 1)

    paper: ClassVar = "Tarvainen & Valpola 2017, arXiv 1703.01780"
    stands: ClassVar = "end"
    keeps: ClassVar = ("teacher", "teacher_known")

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The change, as it came."""
        mean, known = (state[name] for name in self.keeps)
        mean.copy_(torch.where(known > 0, mean, update.weight)).lerp_(update.weight + change, 1 - self.m)
        known.fill_(1.0)
        return change
