"""Developmental rules: pure functions from a connectome and what was seen of it to an edit.

A rule is any callable ``rule(connectome, evidence, rng) -> EdgeDelta``; those here are frozen dataclasses whose
fields are their parameters. A package adds its own, as a dataclass whose fields have defaults, through the entry
point group ``connectome.rules``. The survival law and the evolving link probabilities follow METHOD's public sources
(Han et al., arXiv 2504.05621, and the same group's DPAP; Zheng et al. 2019, MdeNAS); how they are put together here
is our own instantiation, not the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from connectome.graph import Connectome, EdgeDelta, RuleRecord
from connectome.parameters import Parameters, bounded
from connectome.parts import EdgeKey, EdgeSet, Region

__all__ = [
    "IMPORTANCE", "Evidence", "FeedbackPruning", "Homeostasis", "Link", "LinkEvolution", "LongRangeGrowth", "Rule",
    "Sample", "Strengthening", "evolve_probabilities", "normalise",
]  # fmt: skip

Array = NDArray[Any]


class Sample(NamedTuple):
    """One update's view of an edge set, (E,) each: the weight (pA), the loss's gradient for it, and the spikes per
    step of the source and the target neuron, with the target's running mean."""

    weight: Array
    gradient: Array
    pre: Array
    post: Array
    post_mean: Array


#: How much an edge matters, from one update; the development averages it over an epoch. ``feedback`` is what the region
#: that learns sends back to the edge, ``|weight x gradient|``: in an earlier region, the higher region's feedback.
IMPORTANCE: Final[Mapping[str, Callable[[Sample], Array]]] = MappingProxyType(
    {
        "feedback": lambda s: np.abs(s.weight * s.gradient),
        "gradient": lambda s: np.abs(s.gradient),
        "magnitude": lambda s: np.abs(s.weight),
        "activity": lambda s: s.pre * s.post,
        "bcm": lambda s: np.maximum(s.post * (s.post - s.post_mean) * s.pre, 0.0),
    }
)


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


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was seen since the rules last ran.

    Parameters
    ----------
    stage, step, epoch : where development stands; epochs count the calls of the rules in this stage
    region : the region that matures in this stage
    judged : regions whose local edges are up for pruning
    rate : region -> (N,) spikes per step of each neuron, recruited regions only
    born : local edge set -> edges at its region's birth
    links : the long-range links of the new region

    The mean importance of each edge over the epoch is the state ``"evidence"`` of its edge set, so that it stays with
    its edge whatever earlier rules add or remove; edge sets that the task did not recruit lack it.
    """

    stage: int
    step: int
    epoch: int
    region: str
    judged: tuple[str, ...] = ()
    rate: Mapping[str, Array] = field(default_factory=dict)
    born: Mapping[EdgeKey, int] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    def record(
        self, rule: str, key: EdgeKey, *, added: int = 0, inhibited: int = 0, restored: int = 0, removed: int = 0,
        strengthened: int = 0,
    ) -> RuleRecord:  # fmt: skip
        """A line of the rule log."""
        counts = (added, inhibited, restored, removed, strengthened)
        return RuleRecord(self.stage, self.step, rule, *key, *counts)


class Rule(Protocol):
    """Anything that turns evidence into an edit."""

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        ...


def normalise(importance: Array) -> Array:
    """The minimum to 0, the 75th percentile to 1, clipped; all 0 if nothing stands out (METHOD, survival law)."""
    if not importance.size:
        return np.zeros(0, np.float32)
    low, high = importance.min(), np.quantile(importance, 0.75)
    with np.errstate(over="ignore"):  # what overflows, because next to nothing stands out, is clipped to 1
        return np.clip((importance - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(importance)


def evolve_probabilities(probability: Array, sampled: Array, outcome: Array, gamma: float) -> Array:
    """``p <- softmax(p + gamma (dp_plus - dp_minus))`` over K candidates, (K,) each (METHOD section 1; MdeNAS).

    ``dp_plus`` counts the other candidates that were sampled more and did worse, ``dp_minus`` those that were sampled
    less and did better.
    """
    more = sampled[:, None] - sampled[None]
    better = outcome[:, None] - outcome[None]
    step = ((more < 0) & (better > 0)).sum(1) - ((more > 0) & (better < 0)).sum(1)
    score = np.exp(probability + gamma * step - (probability + gamma * step).max())
    return np.asarray(score / score.sum())


@dataclass(frozen=True)
class LinkEvolution(Parameters):
    """How the probabilities of the new region's links follow from what was sampled and how well it did."""

    gamma: float = bounded(1.0, 0)

    def __call__(self, connectome: Connectome, links: tuple[Link, ...]) -> tuple[Link, ...]:
        """The links after an epoch; a link of which nothing was seen keeps its outcome."""
        if not links:
            return ()
        seen = []
        for link in links:
            edges = connectome.edges.get(link.key)
            sampled = 0 if edges is None else len(edges)
            known = edges is not None and sampled > 0 and "evidence" in edges.state
            outcome = float(edges.state["evidence"].mean()) if edges is not None and known else link.outcome
            seen.append(link._replace(sampled=sampled, outcome=outcome))
        probability, sampled_, outcome_ = (
            np.array([getattr(link, name) for link in seen]) for name in ("probability", "sampled", "outcome")
        )
        p = evolve_probabilities(probability, sampled_, outcome_, self.gamma)
        return tuple(link._replace(probability=float(q)) for link, q in zip(seen, p, strict=True))


@dataclass(frozen=True)
class LongRangeGrowth(Parameters):
    """New long-range edges of the maturing region: links are drawn by probability, then free pairs at random.

    Parameters
    ----------
    edges : how many to grow in one epoch
    last_epoch : growth ends after this epoch
    amplitude_pa : mean magnitude of a new weight; it has its source neuron's sign, or a random one where both are
    allowed
    delay_ms : of the new edges
    """

    edges: int = bounded(1500, 0)
    last_epoch: int = bounded(15, 0)
    amplitude_pa: float = bounded(85.0, 0)
    delay_ms: float = bounded(1.0, 1, 1000)

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        if not evidence.links or self.edges == 0 or evidence.epoch > self.last_epoch:
            return EdgeDelta()
        share = rng.multinomial(self.edges, [link.probability for link in evidence.links])
        grown = [
            new_edges(connectome, link.key, int(n), self.amplitude_pa, self.delay_ms, evidence.stage, rng)
            for link, n in zip(evidence.links, share, strict=True)
        ]
        grown = [e for e in grown if len(e)]
        return EdgeDelta(add=tuple(grown), records=tuple(evidence.record("growth", e.key, added=len(e)) for e in grown))


def new_edges(
    connectome: Connectome, key: EdgeKey, count: int, amplitude_pa: float, delay_ms: float, stage: int,
    rng: np.random.Generator,
) -> EdgeSet:  # fmt: skip
    """``count`` edges, or as many as there are free pairs, between pairs that no edge of the set joins yet."""
    source, target = connectome.regions[key.source], connectome.regions[key.target]
    here = connectome.edges.get(key)
    taken = here.source.astype(np.int64) * target.size + here.target if here is not None else np.zeros(0, np.int64)
    pairs = source.size * target.size
    chosen = np.zeros(0, np.int64)
    free = pairs - np.unique(taken).size
    want = min(count, free)
    if 2 * want > free:  # nearly full: drawing at random would mostly hit what is taken
        chosen = rng.permutation(np.setdiff1d(np.arange(pairs), taken))[:want]
    while chosen.size < want:
        # Twice what is missing, less what is taken: few rounds until the set is nearly full.
        drawn = rng.integers(0, pairs, 2 * (want - chosen.size) + 16)
        chosen = np.concatenate([chosen, drawn[~np.isin(drawn, taken)]])
        chosen = chosen[np.sort(np.unique(chosen, return_index=True)[1])]
    src, tgt = np.divmod(chosen[:want], max(target.size, 1))
    return EdgeSet.from_arrays(
        key, src, tgt, signed(source, src, rng.exponential(amplitude_pa, want), rng), n_source=source.size,
        n_target=target.size, dt_ms=connectome.dt_ms, delay_ms=delay_ms, birth_stage=stage,
    )  # fmt: skip


def signed(source: Region, neuron: Array, magnitude: Array, rng: np.random.Generator) -> Array:
    """Magnitudes with their source neurons' signs, random ones where both are allowed."""
    sign = source.sign[neuron]
    return np.asarray(magnitude * np.where(sign == 0, rng.choice((-1, 1), neuron.size), sign))


@dataclass(frozen=True)
class Strengthening(Parameters):
    """Long-range edges that matter get stronger: ``w <- w (1 + rate norm(importance))``, up to ``limit_pa``."""

    rate: float = bounded(0.002, 0, 1)
    limit_pa: float = bounded(1700.0, 0)

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        weights, records = {}, []
        for key, edges in connectome.edges.items():
            if key.kind != "long_range" or "evidence" not in edges.state or not self.rate:
                continue
            old = edges.weight
            factor = 1 + self.rate * normalise(edges.state["evidence"])
            weights[key] = np.where(np.abs(old) * factor <= self.limit_pa, old * factor, old).astype(np.float32)
            records.append(evidence.record("strengthening", key, strengthened=int((weights[key] != old).sum())))
        return EdgeDelta(reweight=weights, records=tuple(records))


@dataclass(frozen=True)
class FeedbackPruning(Parameters):
    """Inhibit, and then prune, local edges by the survival law.

    Each local edge keeps a survival value R, ``initial`` at birth. An epoch in which its region took part adds
    ``delta = 2 norm(importance) - rho`` (``+ bonus`` where positive):
    ``R <- 0.999 R + delta exp(-floor((epoch - 1) / tau))``. Epochs are counted in each stage, so that what an edge did
    for its own region's task and what a higher region sends back to it later both count.

    In a region that is up for pruning, edges with R < 0 are inhibited, the lowest first and no more than could go: each
    epoch a weight loses the fraction ``inhibition`` of what is left of it, down to ``floor`` of the whole. An edge that
    is no longer among them gets as much back, until it is whole. One that was inhibited to the floor and still is among
    them is pruned, while its region keeps at least the fraction ``keep`` of the local edges that it was born with.

    State of an edge: ``survival``, R; ``inhibition``, the fraction of its weight that is held back. An edge that
    another rule added since comes with 0 for what it lacks of state, and R is hardly ever 0 by itself: so an R of 0
    means newly joined, and becomes ``initial``; the epoch that finds it so, which it did not see or not whole, does not
    count.
    """

    initial: float = bounded(5.0, 0)
    rho: float = bounded(1.4, 0, 2)
    bonus: float = bounded(0.0, 0)
    tau: float = bounded(12.0, 1)
    keep: float = bounded(0.22, 0, 1)
    inhibition: float = bounded(0.1, 0.001, 0.9)
    floor: float = bounded(0.3, 0.01, 0.99)

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        state: dict[EdgeKey, dict[str, Array]] = {}
        weights: dict[EdgeKey, Array] = {}
        remove: dict[EdgeKey, Array] = {}
        records = []
        for key, edges in connectome.edges.items():
            if key.kind != "local" or not len(edges):
                continue
            survival = edges.state.get("survival", np.full(len(edges), self.initial, np.float32))
            joined = survival == 0
            held = edges.state.get("inhibition", np.zeros(len(edges), np.float32))
            if "evidence" in edges.state:
                survival = self.survive(survival, edges.state["evidence"], evidence.epoch)
            survival = np.where(joined, np.float32(self.initial), survival)
            state[key] = {"survival": survival, "inhibition": held}
            if key.source not in evidence.judged:
                continue
            can_go = max(len(edges) - int(np.ceil(self.keep * evidence.born[key])), 0)
            weakest = np.zeros(len(edges), bool)
            weakest[np.argsort(survival, kind="stable")[:can_go]] = True
            weakest &= survival < 0
            left = 1 - held
            gone = weakest & (left <= self.floor * _ABOVE)
            now_left = np.where(weakest, left * (1 - self.inhibition), left / (1 - self.inhibition))
            now_left = np.clip(now_left, self.floor, 1.0)
            now_left = np.where(now_left * _ABOVE >= 1, 1.0, now_left)
            weights[key] = (edges.weight * now_left / left).astype(np.float32)
            state[key]["inhibition"] = (1 - now_left).astype(np.float32)
            remove[key] = gone
            records.append(
                evidence.record(
                    "feedback_pruning", key, inhibited=int((weakest & (held == 0)).sum()),
                    restored=int(((held > 0) & (now_left == 1)).sum()), removed=int(gone.sum()),
                )
            )  # fmt: skip
        return EdgeDelta(reweight=weights, state=state, remove=remove, records=tuple(records))

    def survive(self, survival: Array, importance: Array, epoch: int) -> Array:
        """The survival law for one epoch, (E,) float32."""
        delta = 2 * normalise(importance) - self.rho
        delta = np.where(delta > 0, delta + self.bonus, delta)
        return np.asarray(0.999 * survival + delta * np.exp(-np.floor((epoch - 1) / self.tau)), np.float32)


#: A weight that is this little below a bound has reached it: multiplying and dividing leaves rounding errors.
_ABOVE: Final = 1 + 1e-5


@dataclass(frozen=True)
class Homeostasis(Parameters):
    """Matured neurons that fire above ``target`` spikes per step lose excitation: their incoming positive weights
    shrink by ``rate`` times the relative excess, ``rate`` at most (after synaptic scaling, Turrigiano 2008, in one
    direction)."""

    target: float = bounded(0.06, 1e-6)
    rate: float = bounded(0.0035, 0, 0.5)

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        weights, records = {}, []
        for key, edges in connectome.edges.items():
            if key.target == evidence.region or key.target not in evidence.rate or not self.rate:
                continue
            if key.source not in evidence.rate:
                continue
            excess = np.clip(evidence.rate[key.target] / self.target - 1, 0, 1)
            factor = (1 - self.rate * excess).astype(np.float32)[edges.target]
            weights[key] = np.where(edges.weight > 0, edges.weight * factor, edges.weight)
            records.append(evidence.record("homeostasis", key, inhibited=int((weights[key] != edges.weight).sum())))
        return EdgeDelta(reweight=weights, records=tuple(records))
