"""Adaptive replay ratio: a batch is learnt from more often once a region's activity has settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.development.stage import REUSE
from connectome.graph.connectome import Connectome, Edit
from connectome.parameters import Parameters, bounded
from connectome.rules import Context

__all__ = ["ReplayRatio", "active_share"]

_SHARE: Final = "active_share"


@dataclass(frozen=True)
class ReplayRatio(Parameters):
    """A batch is used for as many updates as the stage says until, from one epoch to the next, the share of active
    units of the region that matures changes by no more than ``tolerance``; from then on for ``high`` (Ma et al. 2024,
    ICLR, arXiv 2310.07418).

    The share is that of pairs of a neuron and a sample, of a batch of the task, in which the neuron fires; it is state
    of the region, as is what was decided. Ours: a batch is used again at once, where the paper draws from a buffer.

    Parameters
    ----------
    high : updates
    tolerance : of the share
    """

    high: int = bounded(4, 1, 1000)
    tolerance: float = bounded(0.001, 0, 1)

    paper: ClassVar = "Ma et al. 2024, ICLR, arXiv 2310.07418"

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        assert context.probe is not None
        region = connectome.regions[context.region]
        share = active_share(context.probe.spikes(connectome, (region.name,))[region.name])
        before = region.state.get(_SHARE)
        state = {_SHARE: share}
        if before is not None and self.settled(float(share.mean()), float(before.mean())):
            state[REUSE] = np.full(region.size, self.high, np.float32)
        return Edit(region_state={region.name: state})

    def settled(self, share: float, before: float) -> bool:
        """Whether the share of active units has."""
        return abs(share - before) <= self.tolerance


def active_share(spikes: ArrayLike) -> NDArray[np.float32]:
    """(N,) the share of samples in which each neuron fires, of (B, T, N) spikes; its mean is that of active units."""
    return np.asarray((np.asarray(spikes) != 0).any(1).mean(0), np.float32)
