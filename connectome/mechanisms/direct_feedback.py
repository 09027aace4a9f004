"""Direct feedback alignment, to compare with: the error goes to each region through a matrix of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from connectome.learning.network import BatchActivity
from connectome.mechanisms.local_losses import Local, error_of

__all__ = ["DirectFeedback"]


@dataclass(frozen=True, eq=False)
class DirectFeedback(Local):
    """Direct feedback alignment (Nokland 2016, NeurIPS, arXiv 1609.01596): a fixed random matrix takes the error of the
    effectors to each region, in place of the gradient of its rates. The error of a unit is the gradient of the task's
    loss by its potential, over all steps."""

    seed: int = 0

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """The task's, and of each region the product of its rates and what it is sent."""
        loss, error = self.task.loss(activity, target), error_of(self.task, activity, target)
        rng = np.random.default_rng(self.seed)
        for level in self.levels:
            rates = self.rates(activity, level)
            sent = error @ torch.from_numpy(rng.standard_normal((error.shape[1], rates.shape[1]))).to(error)
            loss = loss + (rates * sent).sum()
        return loss
