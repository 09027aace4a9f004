"""Developmental rules: pure functions from a connectome and what was seen of it to an edit.

A rule is any callable ``rule(connectome, context, rng) -> Edit``; those here are frozen dataclasses whose
fields are their parameters. A package adds its own, as a dataclass whose fields have defaults, through the entry
point group ``connectome.rules``. Pruning by feedback and the evolving link probabilities follow METHOD's public sources
(Han et al., arXiv 2504.05621, and the same group's DPAP; Zheng et al. 2019, MdeNAS); how they are put together here
is our own instantiation, not the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.graph.connectome import Connectome, Edit, RuleRecord
from connectome.graph.parts import EdgeKey, EdgeSet

__all__ = ["Context", "Importance", "Link", "LinkRule", "Probe", "Rule", "Sample", "acts", "normalise"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Sample:
    """One update's view of an edge set: weights (pA) and the loss's gradient for them, (E,) each; and the spikes per
    step of source neurons (n_source,) and of target neurons (n_target,), with the latter's running mean.

    What it has for each edge besides is made when it is asked for.
    """

    edges: EdgeSet
    weight: Array
    gradient: Array
    source_rate: Array
    target_rate: Array
    target_mean_rate: Array

    @property
    def pre(self) -> Array:
        """(E,) spikes per step of the source neuron."""
        return self.edges.at_source(self.source_rate)

    @property
    def post(self) -> Array:
        """(E,) spikes per step of the target neuron."""
        return self.edges.at_target(self.target_rate)

    @property
    def post_mean(self) -> Array:
        """(E,) running mean of :attr:`post`."""
        return self.edges.at_target(self.target_mean_rate)

    @property
    def pair(self) -> NDArray[np.uint64]:
        """(E,) source and target in one number, which names the two."""
        return self.edges.pair


#: How much each edge matters, (E,), from one update; development averages it over an epoch.
Importance = Callable[[Sample], Array]


class Link(NamedTuple):
    """A directed pair of regions that long-range edges may join, with the fate of those already grown.

    probability : of being chosen for the next edges; sampled : edges so far; outcome : mean importance of its
    edges in the last epoch.
    """

    source: str
    target: str
    probability: float
    sampled: int = 0
    outcome: float = 0.0

    @property
    def key(self) -> EdgeKey:
        """The edge set that it grows."""
        return EdgeKey(self.source, "long_range", self.target)


#: The links after an epoch, with their probabilities in the next one.
LinkRule = Callable[[Connectome, tuple[Link, ...]], tuple[Link, ...]]


@dataclass(frozen=True, eq=False)
class Context(ReadOnly):
    """What was seen since the rules last ran.

    Parameters
    ----------
    stage, step, epoch : where development stands; epochs count the calls of the rules in this stage
    region : the region that matures in this stage
    prunable : regions whose local edges are up for pruning
    rate : region -> (N,) spikes per step of each neuron, recruited regions only
    ever : edge set -> how many edges it has ever had: those that are there, and those that were removed
    done : how much of the stage is over, 0 .. 1
    links : the long-range links of the new region
    probe : gradients and spikes of a batch, for rules that ask

    The mean importance of each edge over the epoch is the state ``"importance"`` of its edge set, so that it stays with
    its edge whatever earlier rules add or remove; edge sets that the task did not recruit lack it.
    """

    stage: int
    step: int
    epoch: int
    region: str
    prunable: tuple[str, ...] = ()
    rate: Mapping[str, Array] = field(default_factory=dict)
    ever: Mapping[EdgeKey, int] = field(default_factory=dict)
    done: float = 0.0
    links: tuple[Link, ...] = ()
    probe: Probe | None = None

    def record(
        self, rule: str, key: EdgeKey, *, added: int = 0, inhibited: int = 0, restored: int = 0, removed: int = 0,
        strengthened: int = 0,
    ) -> RuleRecord:  # fmt: skip
        """A line of the rule log."""
        counts = (added, inhibited, restored, removed, strengthened)
        return RuleRecord(self.stage, self.step, rule, *key, *counts)


class Probe(Protocol):
    """What a rule may ask of the task and the network: :class:`connectome.learning.probe.Probe`."""

    def gradients(self, connectome: Connectome) -> Mapping[EdgeKey, Array]:
        """Edge set -> (E,) the loss's gradient for each edge of a connectome, which may have candidates of weight 0."""
        ...

    def spikes(self, connectome: Connectome, regions: Sequence[str] | None = None) -> Mapping[str, Array]:
        """Sensor or region -> (B, T, N) spikes."""
        ...


class Rule(Protocol):
    """Anything that turns a connectome and what was seen of it into an edit. It may declare ``when`` it acts, a set of
    ``"birth"`` (of a stage's region), ``"epoch"`` and ``"end"`` (of a stage): at each epoch, if it says nothing."""

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        ...


def acts(rules: Sequence[Rule], when: Literal["birth", "epoch", "end"]) -> tuple[Rule, ...]:
    """Those rules that act then."""
    return tuple(rule for rule in rules if when in getattr(rule, "when", ("epoch",)))


def normalise(importance: Array) -> Array:
    """The minimum to 0, the 75th percentile to 1, clipped; all 0 if nothing stands out (METHOD, survival law)."""
    if not importance.size:
        return np.zeros(0, np.float32)
    low, high = importance.min(), np.quantile(importance, 0.75)
    with np.errstate(over="ignore"):  # what overflows, because next to nothing stands out, is clipped to 1
        return np.clip((importance - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(importance)
