"""CoTTA: a network that goes on adapting, without labels, to what an averaged teacher says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.development.stage import LossContext
from connectome.errors import ConnectomeError
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import outputs_of
from connectome.mechanisms.restoration import Restoration
from connectome.mechanisms.teacher import Teacher
from connectome.parameters import Parameters, bounded

__all__ = ["Cotta"]


@dataclass(frozen=True)
class Cotta(Parameters):
    """Continual test-time adaptation (Wang, Fink, Van Gool & Dai 2022, arXiv 2203.13591): a stage's extra loss,
    ``-sum_k y'_k log y_k`` of the network's answer y and the teacher's y', equation 2. Where the source, the network as
    it was when the stage began, is less sure than ``sure`` (its mean confidence in the batch), y' is the mean over
    ``copies`` of the batch that differ (equations 3 and 4). y' is also what to go by: :meth:`answer`.

    It needs :class:`~connectome.mechanisms.teacher.Teacher` and
    :class:`~connectome.mechanisms.restoration.Restoration` in the chain, whose states are the teacher and the source;
    there weights are restored before the teacher takes part of them, where the published code does it after. Its copies
    are images in other colours and places; ours are spike trains of which each spike is missing with probability
    ``drop``.

    Parameters
    ----------
    sure : mean confidence of the source above which the teacher is asked once
    copies, drop : of the batch otherwise
    """

    sure: float = bounded(0.92, 0, 1)
    copies: int = bounded(4, 1, 1000)
    drop: float = bounded(0.1, 0, 1)

    paper: ClassVar = "Wang et al. 2022, arXiv 2203.13591, equations 2 to 4"

    def __call__(self, now: LossContext) -> Tensor:
        """The loss of an update."""
        return self.towards(self.answer(now), now)

    def towards(self, answer: Tensor, now: LossContext) -> Tensor:
        """The cross-entropy with an answer (B, K)."""
        return -(answer * outputs_of(now.task, now.activity).log_softmax(1)).sum(1).mean()

    def answer(self, now: LossContext) -> Tensor:
        """(B, K) probabilities, the teacher's. Before the first update teacher and source are the network."""
        kept = now.network.kept.values()
        if any(name not in state for state in kept for name in (*Teacher.keeps, *Restoration.keeps)):
            rule = "must have restoration and teacher in each chain, for CoTTA"
            raise ConnectomeError("learning", rule, "a chain without")
        known = any(bool(state[Teacher.keeps[1]].any()) for state in kept)
        teacher, source = (
            now.network.remembered(state, now.task.recruits) if known else now.network
            for state in (Teacher.keeps[0], Restoration.keeps[0])
        )
        with torch.no_grad():
            if float(self._said(source, now, 0.0).amax(1).mean()) >= self.sure:
                return self._said(teacher, now, 0.0)
            return sum(self._said(teacher, now, self.drop) for _ in range(self.copies)) / torch.tensor(self.copies)

    def _said(self, network: SpikingNetwork, now: LossContext, drop: float) -> Tensor:
        spikes = dict(now.spikes)
        if drop:
            stay = {name: now.rng.random(tuple(s.shape)) >= drop for name, s in spikes.items()}
            spikes = {name: s * torch.from_numpy(stay[name]).to(s) for name, s in spikes.items()}
        activity = network(spikes, record=getattr(now.task, "record", ()))
        return outputs_of(now.task, activity).softmax(1)
