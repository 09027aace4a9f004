"""EcoTTA's regulariser: with what adapts beside it, a region fires as it does alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.development.stage import LossContext
from connectome.parameters import Parameters, bounded

__all__ = ["SelfDistillation"]


@dataclass(frozen=True)
class SelfDistillation(Parameters):
    """Self-distilled regularisation (EcoTTA: Song et al. 2023, arXiv 2303.01904, equation 4), a stage's extra loss for
    the task of a side region: ``lambda sum_k |y_k - part_k(x)|_1``, of the rates of the regions that the task records
    and of what these are without the side region and without gains; the mean over neurons and samples, spikes a step.

    The paper's parts of a network each have a small network beside them, of one convolution, and hear the adapted part
    before; here one region stands beside all that the task records, which is run alone from the sensors on.

    Parameters
    ----------
    strength : lambda
    """

    strength: float = bounded(1.0, 0)

    paper: ClassVar = "Song et al. 2023, arXiv 2303.01904, equation 4"

    def __call__(self, now: LossContext) -> Tensor:
        """The term's value in an update."""
        side, record = now.task.name, tuple(getattr(now.task, "record", ()))
        if not record or side in record or side not in now.network.selection.regions:
            return torch.zeros(())
        size = now.network.connectome.regions[side].size
        with torch.no_grad():
            alone = now.network(now.spikes, record=record, mask={side: torch.zeros(size)}).spikes
        parts = [(now.activity.spikes[name].mean(1) - alone[name].mean(1)).abs().mean() for name in record]
        return self.strength * torch.stack(parts).sum()
