"""Clamping through training: which part of a network must learn first (Singh, Moskovitz, Hill, Chan & Saxe 2024, ICML,
"What needs to go right for an induction head?", arXiv 2404.07129).

Some neurons are held, in the forward pass of every training step, at the activity that they have in a network that has
learnt, and the rest learns as usual. If the rest then learns at once, the clamped part was what it was waiting for.

The effect has a closed form where the parts of a function are three vectors (the authors' model): the target is
``T = a* (x) b* (x) c*``, the loss ``1/2 mean over d^3 of (a (x) b (x) c - T)^2``, and gradient descent at a rate eta
goes through a plateau and a sudden drop, since each part learns only as well as the others are known. With b and c
clamped to the truth ``a - a*`` contracts by ``1 - eta |b|^2 |c|^2 / d^3`` in each step, and the loss by its square.

For networks :func:`playing` gives the clamp, to be passed to a ``Learner``, a ``Stage`` or ``perform`` as ``inputs``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import More

__all__ = ["contraction", "descend", "playing"]

Array = NDArray[np.float64]
Vectors = Sequence[Array]


def descend(truth: Vectors, start: Vectors, clamp: Collection[int], steps: int, rate: float = 1.0) -> Array:
    """(steps + 1,) the loss before each step of gradient descent and after the last. ``truth`` and ``start`` are three
    (d,) vectors each; those whose places are in ``clamp`` are held at the truth."""
    now = [np.array(t if k in clamp else s, float) for k, (t, s) in enumerate(zip(truth, start, strict=True))]
    size = float(np.prod([t.size for t in truth]))
    losses = np.empty(steps + 1)
    for step in range(steps + 1):
        own, cross = [float(v @ v) for v in now], [float(t @ v) for t, v in zip(truth, now, strict=True)]
        norm = float(np.prod([t @ t for t in truth]))
        losses[step] = max(0.0, float(np.prod(own) - 2 * np.prod(cross)) + norm) / (2 * size)
        change = [
            rate / size * (np.prod(np.delete(own, k)) * v - np.prod(np.delete(cross, k)) * t)
            for k, (t, v) in enumerate(zip(truth, now, strict=True))
        ]
        now = [v if k in clamp else v - by for k, (v, by) in enumerate(zip(now, change, strict=True))]
    return losses


def contraction(truth: Vectors, free: int, rate: float = 1.0) -> float:
    """The factor that a step multiplies the loss by when all but one vector are clamped to the truth."""
    others = float(np.prod([t @ t for k, t in enumerate(truth) if k != free]))
    return float((1 - rate * others / np.prod([t.size for t in truth])) ** 2)


def playing(
    teacher: Connectome, recruit: Collection[str], regions: Collection[str], shift: int = 0
) -> More:  # fmt: skip
    """Inputs that hold every neuron of these regions at the spikes that it fires in the teacher, given the same
    sensors' spikes, with the regions of ``recruit`` taking part. With a ``shift`` each sample is played the teacher's
    spikes for the sample that many places before it: a control with the same statistics but no useful information.

    Raises :class:`ConnectomeError` for regions that the teacher does not have or that are not recruited.
    """
    for name in regions:
        if name not in recruit or name not in teacher.regions:
            raise ConnectomeError("regions", "must be recruited regions of the teacher", repr(name))
    neurons = [name for name in recruit if teacher.regions[name].role == "neuron"]

    @cache
    def network(*sensors: str) -> SpikingNetwork:
        return SpikingNetwork(teacher, recruit=(*neurons, *sensors))

    def inputs(spikes: Mapping[str, Tensor]) -> Mapping[str, Any]:
        with torch.no_grad():
            played = network(*spikes)(spikes, record=tuple(regions)).spikes
        everyone = torch.ones((), dtype=torch.bool)
        return {"clamp": {name: (everyone, played[name].roll(shift, 0)) for name in regions}}

    return inputs
