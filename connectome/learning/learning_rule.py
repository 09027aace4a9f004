"""What a learning rule is: a link of the chain that turns a gradient into a change of weights.

A chain begins with the gradient of the loss. Each rule is given what the ones before it made of it and gives what it
makes of that; an optimiser in the chain turns a gradient into a step, and what comes out at the end is added to the
weights. A rule that scales or projects a gradient belongs after the optimiser: Adam undoes it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.learning.noise import normal, uniform

__all__ = ["LearningRule", "State", "Update", "check_chain", "keeps_of", "one_thread", "remembers_of"]

State = dict[str, Tensor]


class Update(NamedTuple):
    """One update of one edge set of E edges with P weights of their own, for B samples of T steps.

    key, edges : the set, with its weights and state as they were when the network was made; None where what learns
        belongs to the neurons of a region
    name : ``"weight"``, or the parameter of a view, of a mode or of a region's neurons that learns: then P is how many
        it has, and weight, gradient and rate are in its unit: of a neuron's parameter with a bound, the logarithm of
        the distance from there
    weight : (P,) pA, before the update; gradient : (P,) of the loss, 1/pA
    sign : (P,) int8, Dale's sign of the source neuron, 0 where either is allowed; pair : (P,) names source and target
    rate_pa : the learning rate of the set in this update, pA
    number : of this update in its stage, from 1; seed : of the run and the stage
    pre, post : (B, T, n) spikes of the source and the target, for a chain with a rule that ``hears_spikes``; an
        effector has none
    """

    key: EdgeKey
    edges: EdgeSet | None
    weight: Tensor
    gradient: Tensor
    sign: Tensor
    pair: NDArray[np.uint64]
    rate_pa: float
    number: int
    seed: tuple[int, ...] = ()
    pre: Tensor | None = None
    post: Tensor | None = None
    name: str = "weight"

    def uniform(self, salt: str, number: int | None = None) -> Tensor:
        """(P,) float32 in 0 .. 1, of the seed, the update (or another's ``number``), the edge set and the pair alone:
        see :mod:`connectome.learning.noise`."""
        return self._drawn(uniform, salt, number)

    def normal(self, salt: str, number: int | None = None) -> Tensor:
        """(P,) float32 of the standard normal distribution, drawn likewise."""
        return self._drawn(normal, salt, number)

    def _drawn(self, draw: Callable[..., NDArray[np.float64]], salt: str, number: int | None) -> Tensor:
        moment = (*self.seed, self.number if number is None else number)
        drawn = draw(self.pair, self.key, salt, moment).astype(np.float32)
        return torch.from_numpy(drawn).to(self.weight.device)


@runtime_checkable
class LearningRule(Protocol):
    """A link of the chain, mostly a frozen dataclass of parameters. It draws from its update alone.

    What it keeps is state of the edges, so that it goes where they go: through pruning, growth, snapshots and a broken
    run. ``state`` holds it, by the names that the rule declares: (P,) for each weight, or () for the whole set, zeros
    at first and for edges that come later. The rule changes it in place.

    It may declare ``stands``, its place in a chain: ``"before"`` the optimiser, as the ``"optimiser"``, ``"after"`` it
    (if it says nothing) or at the ``"end"``; ``keeps``, names that last for a stage; ``remembers``, names that last for
    good; ``one_each``, those of them that are one number for a set; ``hears_spikes``; and ``learnt(connectome, task,
    rng) -> Edit``, called when a stage ends.
    """

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """(P,) what becomes of ``change``."""
        ...


@contextmanager
def one_thread() -> Iterator[None]:
    """For torch's sums over many weights, and its factorisations: on several threads their last bits depend on how
    many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


PLACES: Final = ("before", "optimiser", "after", "end")


def check_chain(chain: Sequence[LearningRule]) -> None:
    """Raises :class:`ConnectomeError` for a chain, unless it is empty, without one optimiser or in another order."""
    places = [getattr(rule, "stands", "after") for rule in chain]
    names = ", ".join(type(rule).__name__ for rule in chain)
    if chain and places.count("optimiser") != 1:
        raise ConnectomeError("learning", "must have one optimiser in a chain", names, "Such as adam or sgd.")
    if sorted(places, key=PLACES.index) != places:
        told = ", ".join(f"{type(r).__name__} {p}" for r, p in zip(chain, places, strict=True))
        raise ConnectomeError("learning", f"must be in the order {', '.join(PLACES)}", told)


def keeps_of(rule: Any) -> tuple[str, ...]:
    """The names of a rule's state that last for a stage."""
    return tuple(getattr(rule, "keeps", ()))


def remembers_of(rule: Any) -> tuple[str, ...]:
    """The names of a rule's state that last for good."""
    return tuple(getattr(rule, "remembers", ()))
