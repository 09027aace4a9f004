"""A learning rate that learns: it rises while steps go on as before, and falls when they turn back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from connectome.learning.learning_rule import State, Update, one_thread
from connectome.parameters import Parameters, bounded

__all__ = ["Hypergradient"]


@dataclass(frozen=True)
class Hypergradient(Parameters):
    """Hypergradient descent, multiplicative (Baydin et al. 2018, ICLR, arXiv 1703.04782): the step u of the optimiser
    becomes ``m u``, and m goes down the gradient of the loss with respect to it: ``m <- m exp(-beta cos(g, v))``, of
    the gradient g now and the step v that was made before.

    It stands after an optimiser; an edge set has an m of its own. State of an edge: ``hyper_step``, v; of a set:
    ``hyper_log``, the logarithm of m.

    Parameters
    ----------
    beta : how fast m changes at most
    most : bound of m, and of 1 / m
    """

    beta: float = bounded(0.02, 0, 1)
    most: float = bounded(100.0, 1, 1e6)

    paper: ClassVar = "Baydin et al. 2018, ICLR, arXiv 1703.04782"
    keeps: ClassVar = ("hyper_step", "hyper_log")
    one_each: ClassVar = ("hyper_log",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The longer or shorter step."""
        before, log = (state[name] for name in self.keeps)
        with one_thread():
            g, v = update.gradient.double(), before.double()
            size = float(g.norm() * v.norm())
            turn = float(g @ v) / size if size > 0 else 0.0
        bound = math.log(self.most)
        log.sub_(self.beta * turn).clamp_(-bound, bound)
        return before.copy_(change * log.exp()).clone()
