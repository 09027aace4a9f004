"""Pairing and unpairing of synaptic elements: which edges an update removes, and which it forms.

As in NEST's ``structural_plasticity``: for each kind of synapse, a neuron with more bound elements than it has elements
loses edges drawn at random, first at axonal, then at dendritic elements; the partners' elements become vacant at once.
Then vacant elements pair, at random or with a probability that falls with distance. At the end each neuron loses a
share of its elements that are still vacant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit, RuleRecord
from connectome.graph.flat import starts
from connectome.graph.parts import EdgeKey, EdgeSet, checked_key, delay_to_steps
from connectome.simulate.growth_curves import GrowthCurve
from connectome.simulate.run_rules import finite, whole_steps

__all__ = ["Elements", "StructuralPlasticity", "Synapse", "bound_elements", "checked_rule", "rewire", "sets_of"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Elements:
    """Synaptic elements of one kind in one region: boutons, spines.

    Parameters
    ----------
    curve : f of calcium, see :mod:`connectome.simulate.growth_curves`
    growth_per_ms : nu, growth in elements per millisecond where f = 1; > 0
    vacant_loss : the share of its vacant elements that a neuron loses at each update, 0 .. 1 (``tau_vacant``)
    """

    curve: GrowthCurve
    growth_per_ms: float
    vacant_loss: float = 0.1

    def __post_init__(self) -> None:
        finite("Elements.growth_per_ms", self.growth_per_ms, above_0=True)
        if not 0 <= finite("Elements.vacant_loss", self.vacant_loss) <= 1:
            raise ConnectomeError("Elements.vacant_loss", "must be in 0 .. 1", self.vacant_loss)


@dataclass(frozen=True)
class Synapse:
    """What an axonal and a dendritic element form.

    Parameters
    ----------
    axonal, dendritic : names of elements; those of all regions that have them pair with each other
    weight_pa, delay_ms : weight and delay of the edge
    length_um : sigma of a kernel ``exp(-d^2 / sigma^2)`` of the distance d between the neurons: an axonal element takes
        a vacant dendritic one with a probability in proportion to it. None: all with the same probability
    autapses : whether a neuron may join itself
    name : added to the kind in the keys of the edge sets: ``local-NAME`` and ``long_range-NAME``; "" for none. All
        edges of these sets are this synapse
    """

    axonal: str
    dendritic: str
    weight_pa: float
    delay_ms: float = 1.0
    length_um: float | None = None
    autapses: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        finite("Synapse.weight_pa", self.weight_pa)
        finite("Synapse.delay_ms", self.delay_ms, above_0=True)
        if self.length_um is not None:
            finite("Synapse.length_um", self.length_um, above_0=True)

    def key(self, source: str, target: str) -> EdgeKey:
        """The edge set between two regions."""
        kind = "local" if source == target else "long_range"
        return checked_key((source, f"{kind}-{self.name}" if self.name else kind, target))


@dataclass(frozen=True, eq=False)
class StructuralPlasticity(ReadOnly):
    """Homeostatic structural plasticity (Butz & van Ooyen 2013), for :func:`connectome.simulate.run_structural`.

    Parameters
    ----------
    elements : region -> name of a kind of elements -> :class:`Elements`. The name is that of the region's state that
        holds the number of elements of each neuron
    synapses : what they form
    interval_ms : time between two updates of the edges; a whole number of steps, at least twice the longest delay
    tau_ms, beta : constants of calcium: ``dCa/dt = -Ca / tau``, and Ca rises by beta at each spike; > 0

    Raises
    ------
    ConnectomeError : a parameter is invalid; the message names it
    """

    elements: Mapping[str, Mapping[str, Elements]]
    synapses: tuple[Synapse, ...]
    interval_ms: float = 10_000.0
    tau_ms: float = 10_000.0
    beta: float = 0.001

    def __post_init__(self) -> None:
        for name in ("interval_ms", "tau_ms", "beta"):
            finite(f"StructuralPlasticity.{name}", getattr(self, name), above_0=True)
        names = {name for of in self.elements.values() for name in of}
        if "calcium" in names:
            raise ConnectomeError("StructuralPlasticity.elements", "must have other names", repr("calcium"))
        for k, s in enumerate(self.synapses):
            for end in (s.axonal, s.dendritic):
                if end not in names:
                    rule = f"must pair elements among {', '.join(sorted(names)) or 'none'}"
                    raise ConnectomeError(f"StructuralPlasticity.synapses[{k}]", rule, repr(end))
        if len({s.name for s in self.synapses}) < len(self.synapses):
            made = [set(self._keys(s)) for s in self.synapses]
            if len(set().union(*made)) < sum(map(len, made)):
                found = [s.name for s in self.synapses]
                raise ConnectomeError(
                    "StructuralPlasticity.synapses", "must have edge sets of their own", found, "Name them."
                )

    def _keys(self, synapse: Synapse) -> list[EdgeKey]:
        a, b = ([r for r, of in self.elements.items() if end in of] for end in (synapse.axonal, synapse.dendritic))
        return [synapse.key(source, target) for source in a for target in b]


def sets_of(rule: StructuralPlasticity) -> dict[EdgeKey, Synapse]:
    """Edge set -> the synapse that its edges are."""
    return {key: s for s in rule.synapses for key in rule._keys(s)}


def checked_rule(connectome: Connectome, rule: StructuralPlasticity) -> int:
    """The number of steps in an interval. Raises :class:`ConnectomeError` if the rule does not fit the connectome."""
    for name in rule.elements:
        role = connectome.regions[name].role if name in connectome.regions else "missing"
        if role != "neuron":
            raise ConnectomeError("StructuralPlasticity.elements", "must name regions of neurons", f"{name!r}, {role}")
    steps = whole_steps("StructuralPlasticity.interval_ms", rule.interval_ms, connectome.dt_ms)
    for k, s in enumerate(rule.synapses):
        where = f"StructuralPlasticity.synapses[{k}]"
        if 2 * int(delay_to_steps(s.delay_ms, connectome.dt_ms, f"{where}.delay_ms")) > steps:
            raise ConnectomeError(f"{where}.delay_ms", f"must be at most half of {rule.interval_ms:g} ms", s.delay_ms)
    if any(s.length_um is not None for s in rule.synapses):
        for name in rule.elements:
            if np.isnan(connectome.regions[name].position_um).any():
                rule_text = "must be known to pair by distance"
                raise ConnectomeError(f"regions[{name}].position_um", rule_text, "nan")
    return steps


class _Ends:
    """The edges of one synapse, neurons numbered over all regions: (E,) source, target, and whether each is there."""

    def __init__(self, connectome: Connectome, keys: list[EdgeKey], first: Mapping[str, int]) -> None:
        sets = [connectome.edges[key] for key in keys]
        self.keys, self.size = keys, [len(e) for e in sets]
        none = np.zeros(0, np.int64)
        self.source = np.concatenate([none, *(e.source + np.int64(first[e.key.source]) for e in sets)])
        self.target = np.concatenate([none, *(e.target + np.int64(first[e.key.target]) for e in sets)])
        self.there = np.ones(self.source.size, bool)

    def removed(self) -> dict[EdgeKey, NDArray[np.bool_]]:
        found, start = {}, 0
        for key, size in zip(self.keys, self.size, strict=True):
            part, start = self.there[start : start + size], start + size
            if not part.all():
                found[key] = ~part
        return found


def bound_elements(connectome: Connectome, rule: StructuralPlasticity) -> dict[str, Ids]:
    """Name of a kind of elements -> (all neurons,) how many of them are bound: the number of edges at that end."""
    first, n = starts(connectome.regions.values()), connectome.n_neurons
    bound = {name: np.zeros(n, np.int64) for of in rule.elements.values() for name in of}
    for s in rule.synapses:
        ends = _Ends(connectome, [k for k in rule._keys(s) if k in connectome.edges], first)
        bound[s.axonal] += np.bincount(ends.source, minlength=n)
        bound[s.dendritic] += np.bincount(ends.target, minlength=n)
    return bound


def rewire(
    connectome: Connectome, rule: StructuralPlasticity, elements: Mapping[str, Mapping[str, NDArray[np.float64]]],
    update: int, rng: np.random.Generator,
) -> Edit:  # fmt: skip
    """The edit of one update, given region -> name -> (N,) elements. Its records have the number of the update as their
    step; the region states that it sets hold the remaining elements."""
    first, n = starts(connectome.regions.values()), connectome.n_neurons
    here = {name: slice(first[name], first[name] + connectome.regions[name].size) for name in rule.elements}
    z = {name: np.zeros(n) for of in rule.elements.values() for name in of}
    for region, of in elements.items():
        for name, value in of.items():
            z[name][here[region]] = value
    whole = {name: np.floor(value).astype(np.int64) for name, value in z.items()}
    bound = bound_elements(connectome, rule)
    remove: dict[EdgeKey, NDArray[np.bool_]] = {}
    add: list[EdgeSet] = []
    for s in rule.synapses:
        ends = _Ends(connectome, [k for k in rule._keys(s) if k in connectome.edges], first)
        for name, owner in ((s.axonal, ends.source), (s.dendritic, ends.target)):
            lost = _chosen(np.where(ends.there, owner, n), bound[name] - whole[name], rng)
            ends.there[lost] = False
            bound[s.axonal] -= np.bincount(ends.source[lost], minlength=n)
            bound[s.dendritic] -= np.bincount(ends.target[lost], minlength=n)
        remove |= ends.removed()
        vacant = [np.maximum(whole[name] - bound[name], 0) for name in (s.axonal, s.dendritic)]
        pre, post = _paired(connectome, s, vacant[0], vacant[1], rng)
        bound[s.axonal] += np.bincount(pre, minlength=n)
        bound[s.dendritic] += np.bincount(post, minlength=n)
        add += _formed(connectome, s, pre, post, here)
    left = {name: z[name] - _loss(rule, name, here, n) * np.maximum(whole[name] - bound[name], 0) for name in z}
    state = {r: {name: left[name][here[r]].astype(np.float32) for name in of} for r, of in rule.elements.items()}
    added, removed = {e.key: len(e) for e in add}, {key: int(mask.sum()) for key, mask in remove.items()}
    stage = connectome.provenance.stage
    records = tuple(
        RuleRecord(stage, update, "structural_plasticity", *key, added=added.get(key, 0), removed=removed.get(key, 0))
        for key in sorted({*added, *removed})
    )
    return Edit(remove=remove, add=tuple(add), region_state=state, records=records)


def _loss(rule: StructuralPlasticity, name: str, here: Mapping[str, slice], n: int) -> NDArray[np.float64]:
    found = np.zeros(n)
    for region, of in rule.elements.items():
        if name in of:
            found[here[region]] = of[name].vacant_loss
    return found


def _chosen(owner: Ids, excess: Ids, rng: np.random.Generator) -> Ids:
    """Edges drawn at random among those of each owner (E,), as many as it has in excess (N,); owner N has none."""
    edge = np.flatnonzero(np.append(excess, 0)[owner] > 0)
    edge = edge[rng.permutation(edge.size)]
    edge = edge[np.argsort(owner[edge], kind="stable")]
    mine = owner[edge]
    rank = np.arange(edge.size) - np.searchsorted(mine, mine)
    return edge[rank < excess[mine]]


def _paired(
    connectome: Connectome, synapse: Synapse, axonal: Ids, dendritic: Ids, rng: np.random.Generator
) -> tuple[Ids, Ids]:
    """Sources and targets of new edges, given how many elements of each neuron are vacant, (all neurons,) each."""
    pre, post = (np.repeat(np.arange(v.size), v) for v in (axonal, dendritic))
    pairs = min(pre.size, post.size)
    if synapse.length_um is not None:
        pre, post = _near(connectome, synapse, rng.permutation(pre), dendritic, rng)
    elif pre.size > post.size:
        pre = rng.permutation(pre)[:pairs]
    else:
        post = rng.permutation(post)[:pairs]
    other = (pre != post) | synapse.autapses
    return pre[other], post[other]


def _near(
    connectome: Connectome, synapse: Synapse, pre: Ids, dendritic: Ids, rng: np.random.Generator
) -> tuple[Ids, Ids]:
    """One vacant axonal element after the other takes a dendritic one; none if all that are left are too far."""
    position = np.concatenate([r.position_um for r in connectome.regions.values()])
    candidate = np.flatnonzero(dendritic)
    left, at = dendritic[candidate].astype(np.float64), position[candidate]
    found = np.full(pre.size, -1, np.int64)
    for k, (source, u) in enumerate(zip(pre.tolist(), rng.random(pre.size), strict=True)):
        nearness = left * np.exp(-((at - position[source]) ** 2).sum(1) / float(synapse.length_um or 0) ** 2)
        if not synapse.autapses:
            nearness[candidate == source] = 0
        total = np.cumsum(nearness)
        if total.size and total[-1] > 0:
            j = int(np.searchsorted(total, u * total[-1], "right"))
            left[j] -= 1
            found[k] = candidate[j]
    return pre[found >= 0], found[found >= 0]


def _formed(connectome: Connectome, synapse: Synapse, pre: Ids, post: Ids, here: Mapping[str, slice]) -> list[EdgeSet]:
    """The edges by the regions that they join."""
    found = []
    for source, a in here.items():
        for target, b in here.items():
            mine = (pre >= a.start) & (pre < a.stop) & (post >= b.start) & (post < b.stop)
            if mine.any():
                found.append(
                    EdgeSet.from_arrays(
                        synapse.key(source, target), pre[mine] - a.start, post[mine] - b.start, synapse.weight_pa,
                        n_source=a.stop - a.start, n_target=b.stop - b.start, dt_ms=connectome.dt_ms,
                        delay_ms=synapse.delay_ms, birth_stage=connectome.provenance.stage,
                    )
                )  # fmt: skip
    return found
