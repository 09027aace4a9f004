"""Thalamic routing: which k of M regions take part is decided for each sample, and learnt by what they contribute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.parameters import Parameters, bounded

__all__ = ["Routing", "imbalance"]


@dataclass(frozen=True)
class Routing(Parameters):
    """The k regions with the highest drive are recruited, at a gain of 1; the others are silent (after TRC2, Khadangi
    2026, arXiv 2602.22479). A drive L (B, M) is what a router says of each region in each sample.

    ``dL/dg`` of a region's gain g, how the loss changes with what arrives there, teaches the router as if g were k
    times its share of the softmax among the recruited. So k = M is the network with all regions, to the last bit.
    Ours: the published weights are those of the softmax themselves; its modulation of logits, its places on a grid and
    its prediction are left out.

    Parameters
    ----------
    k : regions that are recruited
    balance : strength of the term that spreads recruitment over regions, see :func:`imbalance`
    noise : scale of the Gumbel noise on drives while the router learns, so that other regions are tried too
    """

    k: int = bounded(2, 1, 10_000)
    balance: float = bounded(0.01, 0)
    noise: float = bounded(1.0, 0)

    paper: ClassVar = "Khadangi 2026, arXiv 2602.22479"

    def recruited(self, drive: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """(B, M) bool, who is recruited. ``rng`` : of the noise; None: there is none."""
        drive = drive.detach()
        if rng is not None:
            drive = drive + self.noise * torch.from_numpy(rng.gumbel(size=drive.shape)).to(drive)
        best = drive.topk(min(self.k, drive.shape[1]), 1).indices
        return torch.zeros_like(drive, dtype=torch.bool).scatter_(1, best, True)

    def loss(self, drive: Tensor, recruited: Tensor, slope: Tensor) -> Tensor:
        """A scalar whose gradient for the drive is the task's, of (B, M) ``slope``, the loss's derivative for each
        region's gain, and that of the balance."""
        share = recruited.sum(1, keepdim=True) * drive.masked_fill(~recruited, -torch.inf).softmax(1)
        return (share * slope).sum() + self.balance * imbalance(drive)


def imbalance(drive: Tensor) -> Tensor:
    """``M sum_m p_m^2`` of the mean shares p of M regions in a batch: 1 if all are recruited alike, M if one is."""
    return drive.shape[1] * drive.softmax(1).mean(0).square().sum()
