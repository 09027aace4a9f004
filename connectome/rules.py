"""Developmental rules: pure functions from a connectome and what was seen of it to an edit.

A rule is any callable ``rule(connectome, evidence, rng) -> EdgeDelta``; those here are frozen dataclasses whose
fields are their parameters. A package adds its own, as a dataclass whose fields have defaults, through the entry
point group ``connectome.rules``. Pruning by feedback and the evolving link probabilities follow METHOD's public sources
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
    step of the source and the target neuron, with the target's running mean. ``pair`` (uint64) names the two."""

    weight: Array
    gradient: Array
    pre: Array
    post: Array
    post_mean: Array
    pair: Array


def _by_chance(pair: Array) -> Array:
    """A number in 0 .. 1 for each pair, as good as drawn, and always the same (the finaliser of MurmurHash3)."""
    x = pair.copy()
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x ^= x >> np.uint64(33)
        x *= np.uint64(factor)
    return np.asarray((x ^ (x >> np.uint64(33))) / 2**64)


#: How much an edge matters, from one update; the development averages it over an epoch. ``feedback`` is between the
#: weight and what the region that learns sends back to it, the gradient: in an earlier region, the higher region's
#: feedback. ``taylor`` is the loss's change to first order, were the edge gone (Molchanov et al. 2017).
IMPORTANCE: Final[Mapping[str, Callable[[Sample], Array]]] = MappingProxyType(
    {
        "feedback": lambda s: np.abs(s.weight) * np.sqrt(np.abs(s.gradient)),
        "taylor": lambda s: np.abs(s.weight * s.gradient),
        "gradient": lambda s: np.abs(s.gradient),
        "magnitude": lambda s: np.abs(s.weight),
        "activity": lambda s: s.pre * s.post,
        "bcm": lambda s: np.maximum(s.post * (s.post - s.post_mean) * s.pre, 0.0),
        "random": lambda s: _by_chance(s.pair),
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
    ever : edge set -> how many edges it has ever had: those that are there, and those that were removed
    done : how much of the stage is over, 0 .. 1
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
    ever: Mapping[EdgeKey, int] = field(default_factory=dict)
    done: float = 0.0
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
    """Inhibit, and then prune, the edges that feedback values least, down to a part of those that there ever were.

    What an edge is worth is remembered. In each epoch that its set took part in, ``recent`` moves by ``update`` towards
    the epoch's importance over the set's mean. When another stage begins, ``memory`` becomes ``sqrt(memory^2 +
    recent^2)`` and what is recent begins anew. So the edge's value, ``sqrt(memory^2 + recent^2)``, counts what it did
    for its own region's task and what higher regions send back to it later.

    Up for pruning are local edges of regions that are judged, long-range ones between them, and, as far as its own
    effectors' feedback goes, local edges and afferents of the region that matures. The room for them shrinks to ``keep
    + (1 - keep) (1 - x)^3`` while x goes from 0 to 1 (the schedule of Zhu & Gupta 2017, arXiv 1710.01878), so that the
    first are inhibited at ``start`` and the last are gone at ``end``. Those of the least value, as many as there will
    be no room for by the time that they could go, are inhibited: each epoch a weight loses the fraction ``inhibition``
    of what is left of it, down to ``floor`` of the whole. An edge that is no longer among them gets as much back, until
    it is whole. One that was inhibited to the floor and still is among them is pruned; from ``late`` on none is waited
    for, so that exactly as many are kept as were asked for. Until then an edge that was seen for fewer than ``grace``
    epochs is left alone.

    State of an edge: ``memory``, ``recent``, ``seen`` (epochs), and ``inhibition``, the fraction of its weight that is
    held back. An edge that another rule adds comes with 0 for each.

    Parameters
    ----------
    keep, keep_long_range, keep_afferent : what is kept of each kind, as a fraction of all that a set ever had
    keep_own : what is kept of a region's local edges in its own stage
    start, end, late : fractions of a stage
    """

    keep: float = bounded(0.2, 0, 1)
    keep_long_range: float = bounded(0.22, 0, 1)
    keep_afferent: float = bounded(0.4, 0, 1)
    keep_own: float = bounded(0.45, 0, 1)
    start: float = bounded(0.1, 0, 1)
    end: float = bounded(0.75, 0.01, 1)
    late: float = bounded(0.9, 0.01, 1)
    grace: float = bounded(5.0, 0)
    update: float = bounded(0.2, 0.001, 1)
    inhibition: float = bounded(0.1, 0.001, 0.9)
    floor: float = bounded(0.3, 0.01, 0.99)

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        state: dict[EdgeKey, dict[str, Array]] = {}
        weights: dict[EdgeKey, Array] = {}
        remove: dict[EdgeKey, Array] = {}
        records = []
        hurry = evidence.done >= self.late
        for key, edges in connectome.edges.items():
            if key.kind == "efferent" or not len(edges):
                continue
            state[key] = kept = self.remember(edges, first=evidence.epoch == 1)
            if not _up_for_pruning(key, evidence):
                continue
            value, held = np.hypot(kept["memory"], kept["recent"]), kept["inhibition"]
            judged = hurry | (kept["seen"] >= self.grace)
            no_room = max(len(edges) - self.room(key, evidence), 0)
            weakest = np.zeros(len(edges), bool)
            weakest[np.argsort(np.where(judged, value, np.inf), kind="stable")[:no_room]] = True
            weakest &= judged
            left = 1 - held
            gone = weakest & (hurry | (left <= self.floor * _ABOVE))
            now_left = np.where(weakest, left * (1 - self.inhibition), left / (1 - self.inhibition))
            now_left = np.clip(now_left, self.floor, 1.0)
            now_left = np.where(now_left * _ABOVE >= 1, 1.0, now_left)
            weights[key] = (edges.weight * now_left / left).astype(np.float32)
            kept["inhibition"] = (1 - now_left).astype(np.float32)
            remove[key] = gone
            records.append(
                evidence.record(
                    "feedback_pruning", key, inhibited=int((weakest & ~gone & (held == 0)).sum()),
                    restored=int(((held > 0) & (now_left == 1)).sum()), removed=int(gone.sum()),
                )
            )  # fmt: skip
        return EdgeDelta(reweight=weights, state=state, remove=remove, records=tuple(records))

    def remember(self, edges: EdgeSet, *, first: bool) -> dict[str, Array]:
        """The state of edges after an epoch, the ``first`` of a stage or a later one."""
        none = np.zeros(len(edges), np.float32)
        memory, recent, seen, held = (
            edges.state.get(name, none) for name in ("memory", "recent", "seen", "inhibition")
        )
        if first:
            memory, recent = np.hypot(memory, recent), none
        if "evidence" in edges.state:
            importance = edges.state["evidence"]
            share = importance / max(float(importance.mean()), _TINY)
            recent = np.where(recent == 0, share, recent + self.update * (share - recent)).astype(np.float32)
            seen = seen + np.float32(1)
        return {"memory": memory, "recent": recent, "seen": seen, "inhibition": held}

    def room(self, key: EdgeKey, evidence: Evidence) -> int:
        """For how many edges of a set there will be room when those that are inhibited now have come to the floor."""
        local = self.keep if key.source in evidence.judged else self.keep_own
        keep = {"local": local, "long_range": self.keep_long_range, "afferent": self.keep_afferent}[key.kind]
        lead = np.log(self.floor) / np.log(1 - self.inhibition) * evidence.done / evidence.epoch
        x = np.clip((evidence.done - self.start) / max(self.end - lead - self.start, _TINY), 0.0, 1.0)
        return int(np.ceil((keep + (1 - keep) * (1 - x) ** 3) * evidence.ever[key] * _BELOW))


def _up_for_pruning(key: EdgeKey, evidence: Evidence) -> bool:
    if key.kind == "local":
        return key.source == evidence.region or key.source in evidence.judged
    if key.kind == "afferent":
        return key.target == evidence.region
    return key.source in evidence.judged and key.target in evidence.judged


#: A weight that is this little below a bound has reached it: multiplying and dividing leaves rounding errors.
_ABOVE: Final = 1 + 1e-5
#: So that rounding up a product does not add an edge.
_BELOW: Final = 1 - 1e-12
_TINY: Final = 1e-37


@dataclass(frozen=True)
class Homeostasis(Parameters):
    """Neurons of the maturing region that fire above ``target`` spikes per step lose excitation: their incoming
    positive weights shrink by ``rate`` times the relative excess, ``rate`` at most (after synaptic scaling, Turrigiano
    2008, in one direction). Learning makes up for it, as it could not in regions that have matured.

    Parameters
    ----------
    target : of a region that has sensors; ``target_association`` : of one that has none, and hears other regions only
    """

    target: float = bounded(0.02, 1e-6)
    target_association: float = bounded(0.06, 1e-6)
    rate: float = bounded(0.06, 0, 0.5)

    def __call__(self, connectome: Connectome, evidence: Evidence, rng: np.random.Generator) -> EdgeDelta:
        """The edit."""
        region = evidence.region
        if region not in evidence.rate or not self.rate:
            return EdgeDelta()
        senses = any(key.kind == "afferent" and key.target == region for key in connectome.edges)
        target = self.target if senses else self.target_association
        left = (1 - self.rate * np.clip(evidence.rate[region] / target - 1, 0, 1)).astype(np.float32)
        weights, records = {}, []
        for key, edges in connectome.edges.items():
            if key.target != region or key.source not in evidence.rate:
                continue
            factor = left[edges.target]
            weights[key] = np.where(edges.weight > 0, edges.weight * factor, edges.weight)
            records.append(evidence.record("homeostasis", key, inhibited=int((weights[key] != edges.weight).sum())))
        return EdgeDelta(reweight=weights, records=tuple(records))
