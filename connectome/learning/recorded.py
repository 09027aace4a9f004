"""A loss on the activity of neurons that were recorded, beside a task's own: a network that is to do what was done, and
in the way in which it was done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from connectome.arrays import finite_step, freeze
from connectome.errors import ConnectomeError
from connectome.learning.network import BatchActivity
from connectome.learning.task import Wrapping

__all__ = ["Recorded", "balance", "filtered", "recorded_loss"]

_BLOCK = 256


def filtered(trains: Tensor, tau_steps: float) -> Tensor:
    """(..., T, N) trains through an exponential that is 1 at a spike and falls to 1 / e in so many steps (van Rossum
    2001), differentiably. Raises :class:`ConnectomeError` for a time constant that is not finite and above 0."""
    keep = math.exp(-1 / finite_step("tau_steps", tau_steps))
    step = torch.arange(min(_BLOCK, trains.shape[-2]), dtype=trains.dtype, device=trains.device)
    lag = step[:, None] - step
    kernel = torch.where(lag >= 0, keep ** lag.clamp(min=0), 0.0)
    parts: list[Tensor] = []
    for at in range(0, trains.shape[-2], _BLOCK):
        block = trains[..., at : at + _BLOCK, :]
        size = block.shape[-2]
        part = kernel[:size, :size] @ block
        if parts:
            part = part + keep ** (step[:size, None] + 1) * parts[-1][..., -1:, :]
        parts.append(part)
    return torch.cat(parts, dim=-2) if parts else trains


def recorded_loss(spikes: Tensor, trains: Tensor, neurons: ArrayLike, tau_steps: float) -> Tensor:
    """() the mean over samples, steps and recorded neurons of ``(s_i * k - s*_i * k)^2``, with the kernel k of
    :func:`filtered`: ``spikes`` s (B, T, N) of a network, ``trains`` s* (B, T, n) of what was recorded, whose column i
    is of neuron ``neurons[i]`` of the network. Raises :class:`ConnectomeError`."""
    who = freeze("neurons", neurons, np.int64, (None,))
    n = spikes.shape[-1]
    if not who.size or who.min() < 0 or who.max() >= n or np.unique(who).size < who.size:
        raise ConnectomeError("neurons", f"must be one or more different ones of 0 .. {n - 1}", who[:5])
    if trains.shape != (*spikes.shape[:-1], who.size):
        wanted = (*spikes.shape[:-1], who.size)
        raise ConnectomeError("trains", f"must have shape {wanted}", tuple(trains.shape))
    own = spikes.index_select(-1, torch.from_numpy(who.copy()).to(spikes.device))
    return filtered(own - trains.to(own), tau_steps).square().mean()


def balance(parameters: Iterable[Tensor], of_task: Tensor, of_recorded: Tensor) -> float:
    """The weight of the second loss at which the gradients of both have the same norm: what to begin with. Both can
    still be learnt from. Raises :class:`ConnectomeError` where the second has no gradient."""
    to = list(parameters)
    size = [
        math.sqrt(sum(float(g.square().sum()) for g in torch.autograd.grad(
            loss, to, retain_graph=True, allow_unused=True
        ) if g is not None))
        for loss in (of_task, of_recorded)
    ]  # fmt: skip
    if not 0 < size[1] < math.inf:
        raise ConnectomeError("of_recorded", "must have a finite gradient that is not 0", f"a norm of {size[1]:g}")
    return size[0] / size[1]


@dataclass(frozen=True, eq=False)
class Recorded(Wrapping):
    """A task whose loss is also of what neurons of a region fired, ``task's loss + alpha * recorded_loss``: wherever a
    task is asked for.

    Parameters
    ----------
    task : what it is beside
    region : whose neurons were recorded
    neurons : (n,) which ones of the network are to do what was recorded
    recordings : (sensors' spikes, target) of a batch of the task -> (B, T, n) what they fired in it
    alpha : the weight of the second loss, 0 or more, see :func:`balance`
    tau_steps : of the filter
    performs : False: learn from what was recorded alone
    """

    region: str
    neurons: ArrayLike
    recordings: Callable[[Mapping[str, Tensor], Any], Tensor]
    alpha: float
    tau_steps: float
    performs: bool = True

    def __post_init__(self) -> None:
        if self.region not in self.task.recruits:
            raise ConnectomeError("region", f"must be one that {self.task.name} recruits", repr(self.region))
        if not 0 <= self.alpha < math.inf:
            raise ConnectomeError("alpha", "must be finite and 0 or more", self.alpha)

    @cached_property
    def record(self) -> tuple[str, ...]:
        """See :class:`Task`: the region's besides."""
        return tuple(dict.fromkeys((*getattr(self.task, "record", ()), self.region)))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """The task's, whose target is now a pair: the task's own, and what was recorded."""
        spikes, target = self.task.batch(rng, size)
        return spikes, (target, self.recordings(spikes, target))

    def losses(self, activity: BatchActivity, target: Any) -> tuple[Tensor, Tensor]:
        """The task's loss, and that of what was recorded."""
        own, trains = target
        of_recorded = recorded_loss(activity.spikes[self.region], trains, self.neurons, self.tau_steps)
        return self.task.loss(activity, own), of_recorded

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """See :class:`Task`."""
        of_task, of_recorded = self.losses(activity, target)
        return (of_task if self.performs else 0) + self.alpha * of_recorded
