"""Optimisers as learning rules, and Dale's principle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update
from connectome.parameters import Parameters, bounded

__all__ = ["Adam", "Dale", "FromTorch", "Sgd"]


@dataclass(frozen=True)
class Adam(Parameters):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1), operation for operation as torch has it.

    Parameters
    ----------
    beta1, beta2 : decay of the means of the gradient and of its square
    eps : added to the root of the second
    """

    beta1: float = bounded(0.9, 0, 0.999999)
    beta2: float = bounded(0.999, 0, 0.999999)
    eps: float = bounded(1e-8, 0)

    paper: ClassVar = "Kingma & Ba 2015, arXiv 1412.6980, algorithm 1"
    stands: ClassVar = "optimiser"
    keeps: ClassVar = ("adam_mean", "adam_square", "adam_step")
    one_each: ClassVar = ("adam_step",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step."""
        mean, square, count = (state[name] for name in self.keeps)
        mean.lerp_(change, 1 - self.beta1)
        square.mul_(self.beta2).addcmul_(change, change, value=1 - self.beta2)
        count += 1
        step = float(count)
        size = update.rate_pa / (1 - self.beta1**step)
        scale = (square.sqrt() / math.sqrt(1 - self.beta2**step)).add_(self.eps)
        return torch.div(mean * -size, scale)


@dataclass(frozen=True)
class Sgd(Parameters):
    """Gradient descent with momentum (Polyak 1964), or Nesterov's."""

    momentum: float = bounded(0.0, 0, 0.999999)
    nesterov: bool = False

    paper: ClassVar = "Polyak 1964"
    stands: ClassVar = "optimiser"
    keeps: ClassVar = ("sgd_velocity",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step."""
        velocity = state["sgd_velocity"].mul_(self.momentum).add_(change)
        return (change + self.momentum * velocity if self.nesterov else velocity) * -update.rate_pa


@dataclass(frozen=True)
class Dale:
    """A weight that would change its neuron's sign stops at 0 (Dale's principle). It belongs at the end of a chain."""

    stands: ClassVar = "end"

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The change, bounded."""
        return torch.where((update.weight + change) * update.sign < 0, -update.weight, change)


@dataclass(frozen=True)
class FromTorch:
    """Any optimiser of torch's that has a learning rate: ``FromTorch(torch.optim.RMSprop)``.

    ``make(parameters, lr=...)`` gives the optimiser. Its state, found by a trial step, is kept with the edges.
    """

    make: Callable[..., torch.optim.Optimizer]

    stands: ClassVar = "optimiser"

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step that the optimiser makes with this gradient."""
        weight = torch.nn.Parameter(update.weight.clone())
        optimiser = self.make([weight], lr=update.rate_pa)
        if update.number > 1:
            optimiser.state[weight].update({name: state[self._name(name)] for name in self._shapes})
        weight.grad = change
        optimiser.step()
        for name, value in optimiser.state[weight].items():
            if name in self._shapes:
                state[self._name(name)].copy_(value)
        return weight.detach() - update.weight

    @property
    def keeps(self) -> Iterable[str]:
        """Names of the optimiser's state."""
        return tuple(self._name(name) for name in self._shapes)

    @property
    def one_each(self) -> Iterable[str]:
        """Those of them that are one number for a set."""
        return tuple(self._name(name) for name, shape in self._shapes.items() if shape == ())

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        weight = torch.nn.Parameter(torch.zeros(2))
        optimiser = self.make([weight], lr=1.0)
        weight.grad = torch.ones(2)
        optimiser.step()
        return {k: tuple(v.shape) for k, v in optimiser.state[weight].items() if isinstance(v, Tensor)}

    def _name(self, name: str) -> str:
        return f"torch_{name}"
