"""A connectome of brain regions as a spiking network: a population of excitatory and inhibitory neurons for each node.

A tract connectome (The Virtual Brain's, the Human Connectome Project's) has a node for each brain region, weights of
tracts in arbitrary units, and perhaps the tracts' lengths. :func:`populate` turns each node into a region of spiking
neurons, randomly wired within as in Brunel (2000), J. Comput. Neurosci. 8:183, and each tract into excitatory edges
between two regions, with strengths in proportion to its weight and a delay set by its length.

>>> from connectome.wiring import from_matrix
>>> tracts = from_matrix([[0, 2], [1, 0]], node_labels=["V1", "V2"], tract_length_mm=[[0, 50], [50, 0]])
>>> network, account = populate(tracts, Populations(coupling=1.5))
>>> network
Connectome(V1[100], V2[100]; 4 edge sets, 4800 edges)
>>> print(account)  # doctest: +ELLIPSIS
2 nodes of 100 neurons each, 80 of them excitatory. 2 tracts, directed: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.simple_graph import TRACT_LENGTH, SimpleGraph, simple_graph, symmetric_share
from connectome.errors import ConnectomeError
from connectome.experiment.parts import number
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome, Provenance
from connectome.graph.parts import EdgeSet, Region, delay_to_steps
from connectome.graph.tables import region_names
from connectome.memory import refuse_memory
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.parameters import Parameters, bounded
from connectome.texts import plural, readable
from connectome.wiring.connection_rules import FixedInDegree

__all__ = ["NODE", "NODE_LABEL", "NODE_REGION", "PopulationAccount", "Populations", "populate"]

#: Attributes of the neurons: the number of their node in the tract connectome, what it is called, its region there.
NODE: Final = "node"
NODE_LABEL: Final = "node_label"
NODE_REGION: Final = "node_region"
#: The median of tract lengths that no one need ask about, mm: those of a brain from a marmoset's to a human's.
_MEDIAN_MM: Final = (1.0, 300.0)
_BYTES_AN_EDGE: Final = 45
_CHOICES: Final = {"normalise": ("in_strength", "mean_strength"), "negative": ("refuse", "drop")}


@dataclass(frozen=True)
class Populations(Parameters):
    """How nodes and tracts become populations and edges. Raises :class:`ConnectomeError` for invalid values.

    The defaults come from no paper: small populations, balanced by inhibition, to be calibrated to a low rate
    (:func:`connectome.experiment.resting.calibrate_background`).

    Parameters
    ----------
    size : number of neurons per node
    excitatory : the share of them that are excitatory; these come first
    coupling : global coupling G. At 1 the weights of all tracts into a neuron of an average node sum to as much as
        those of its local excitatory edges
    normalise : "in_strength": a tract has coupling x its weight / the sum of weights into its target, so that all nodes
        get the same input and fire alike; "mean_strength": / the mean of that sum over nodes, so that hubs get more
    negative : what to do with tracts of negative weight, such as logarithms of small weights: "refuse" all, or "drop"
        them
    tract_in_degree : edges that each neuron of the target gets from each tract, from random excitatory neurons of the
        source; their weight is divided by it
    to_inhibitory : weight of a tract's edges to inhibitory neurons over that to excitatory ones: 1 reaches both
        equally, 0 only excitatory ones (as in Deco et al. 2014, J. Neurosci. 34:7886)
    probability : share of a node's excitatory, and of its inhibitory, neurons from which each neuron of the node gets
        an edge; in-degrees are fixed
    weight_pa : weight of an excitatory edge within a node
    g : strength of inhibitory edges over that of excitatory ones
    local_delay_ms : delay within a node
    speed_m_s : conduction speed along tracts, m/s (= mm/ms)
    delay_ms : delay of a tract whose length is not known; None refuses such tracts
    length_scale : factor for tract lengths, or positions: 1000 where a file has millimetres and micrometres were
        expected, 0.001 the other way round, 1 if they are right. None takes them as they are, and refuses lengths that
        no brain has
    background_pa : weight of a background event, which each neuron gets at random
    dt_ms : step of the simulation
    neuron : model and parameters of all neurons
    """

    size: int = bounded(100, 2, 10**6)
    excitatory: float = bounded(0.8, 0, 1)
    coupling: float = bounded(2.5, 0)
    normalise: str = "in_strength"
    negative: str = "refuse"
    tract_in_degree: int = bounded(4, 1, 10**6)
    to_inhibitory: float = bounded(1.0, 0)
    probability: float = bounded(0.2, 0, 1)
    weight_pa: float = bounded(60.0, 0)
    g: float = bounded(8.0, 0)
    local_delay_ms: float = bounded(1.0, 0)
    speed_m_s: float = bounded(5.0, 5e-324)
    delay_ms: float | None = None
    length_scale: float | None = None
    background_pa: float = bounded(50.0, 0)
    dt_ms: float = bounded(1.0, 5e-324)
    neuron: NeuronParameters = field(default_factory=NeuronParameters)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("delay_ms", "length_scale"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number(f"Populations.{name}", getattr(self, name), 0.0, above=True))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                rule = f"must be {' or '.join(choices)}"
                raise ConnectomeError(f"Populations.{name}", rule, repr(getattr(self, name)))
        if not isinstance(self.neuron, NeuronParameters):
            raise ConnectomeError("Populations.neuron", "must be NeuronParameters", repr(self.neuron)[:80])
        if not 1 <= self.n_excitatory <= self.size:
            raise ConnectomeError("Populations.excitatory", "must leave an excitatory neuron", self.excitatory)
        if self.tract_in_degree > self.n_excitatory:
            rule = f"must be at most {self.n_excitatory}, the excitatory neurons of a node"
            raise ConnectomeError("Populations.tract_in_degree", rule, self.tract_in_degree)

    @property
    def n_excitatory(self) -> int:
        """Excitatory neurons of a node."""
        return round(self.size * self.excitatory)

    @property
    def local_in_degree(self) -> tuple[int, int]:
        """Excitatory and inhibitory edges that a neuron gets from its own node; from fewer where it has no others."""
        ne = self.n_excitatory
        return round(self.probability * ne), round(self.probability * (self.size - ne))


@dataclass(frozen=True)
class PopulationAccount:
    """What :func:`populate` did; as text it is for people to read.

    Parameters
    ----------
    nodes, neurons, excitatory : nodes; neurons of each; excitatory ones among them
    tracts : tracts that became edges
    symmetric : whether each tract has one back of the same weight
    lengths : "measured", "straight" (distances of positions) or "" where none is known
    length_mm : least, median and greatest length of those known
    lacking : tracts of unknown length, which got the delay given for them
    delay_ms : least, median and greatest delay
    self_weights, without_weight, negative : entries that were left out: from a node to itself; of weight 0; below 0
    parallel : edges that were summed with another between the same two nodes
    alone : nodes that no tract reaches
    strength : least, median and greatest weight of tracts into a neuron over that of its local excitatory edges
    """

    nodes: int
    neurons: int
    excitatory: int
    tracts: int
    symmetric: bool
    lengths: str
    length_mm: tuple[float, float, float]
    lacking: int
    delay_ms: tuple[float, float, float]
    self_weights: int
    without_weight: int
    negative: int
    parallel: int
    alone: int
    strength: tuple[float, float, float]

    def __str__(self) -> str:
        return " ".join(self.sentences())

    def sentences(self) -> Iterator[str]:
        """The account's sentences, one by one."""
        way = "in both directions alike" if self.symmetric else "directed: weights differ between the two directions"
        yield (
            f"{plural(self.nodes, 'node')} of {plural(self.neurons, 'neuron')} each, {self.excitatory:,} of them "
            f"excitatory. {plural(self.tracts, 'tract')}, {way}."
        )
        if self.tracts:
            yield f"Tracts into a node: {_span(self.strength)} times its local excitation."
            of = {"measured": "tract lengths", "straight": "straight lines between positions (tracts are longer)"}
            if self.lengths:
                yield f"Delays {_span(self.delay_ms)} ms, of {of[self.lengths]}, {_span(self.length_mm)} mm."
            if self.lacking:
                yield f"The length of {plural(self.lacking, 'tract')} is not known: the delay given is used."
        if self.self_weights:
            yield f"Left out: {plural(self.self_weights, 'weight')} from a node to itself; local edges stand in."
        if self.without_weight:
            yield f"Left out: {plural(self.without_weight, 'tract')} of weight 0."
        if self.negative:
            yield f"Left out: {plural(self.negative, 'tract')} of negative weight."
        if self.parallel:
            yield f"Summed: {plural(self.parallel, 'edge')} with another between the same two nodes."
        if self.alone:
            yield f"No tract reaches {plural(self.alone, 'node')}."


def _span(values: tuple[float, float, float]) -> str:
    low, middle, high = (readable(v, 3) for v in values)
    return low if low == high else f"{low} to {high} (median {middle})"


def populate(
    connectome: Connectome, populations: Populations = Populations(), seed: int = 0
) -> tuple[Connectome, PopulationAccount]:
    """The spiking network of a tract connectome (row = source), whose neurons are the nodes; and an account of how it
    was made.

    Each node becomes a region, in order, named by the node's label if all labels are valid and distinct names, else
    ``node_0``, ``node_1``, ... Its neurons have the node's position and attributes, and also :data:`NODE`,
    :data:`NODE_LABEL` and :data:`NODE_REGION`. Each tract becomes an edge set ``long_range``.

    Raises :class:`ConnectomeError` for negative weights, regions whose role is not neuron, unknown lengths unless
    ``delay_ms`` is given, and lengths that no brain has unless ``length_scale`` is given.
    """
    p = populations
    for r in connectome.regions.values():
        if r.role != "neuron":
            raise ConnectomeError(f"regions[{r.name}].role", "must be neuron: a node of the brain", r.role)
    graph = simple_graph(connectome)
    negative = int((graph.weight < 0).sum())
    if negative and p.negative == "refuse":
        at = int(np.argmin(graph.weight))
        raise ConnectomeError(
            "weights", "must be 0 or more: tracts excite",
            f"{graph.weight[at]:g} from node {graph.source[at]} to node {graph.target[at]}, {negative:,} below 0",
            "Logarithms, or correlations? negative=drop leaves them out.",
        )  # fmt: skip
    is_tract = graph.weight > 0
    source, target, weight = graph.source[is_tract], graph.target[is_tract], graph.weight[is_tract]
    delay, about = _delays(connectome, graph.length_um[is_tract], p)
    relative = _relative(graph.n, target, weight, p)
    rng = np.random.default_rng(seed)
    ne, (ke, _) = p.n_excitatory, p.local_in_degree
    reached = p.size if p.to_inhibitory else ne
    refuse_memory(
        f"{graph.n:,} nodes and {weight.size:,} tracts",
        _BYTES_AN_EDGE * (graph.n * p.size**2 * p.probability + weight.size * reached * p.tract_in_degree),
        "Take smaller populations, or a smaller tract_in_degree.",
    )  # fmt: skip
    regions = [*_regions(connectome, graph, p)]
    edges = [_local(r.name, p, rng) for r in regions]
    for s, t, w, d in zip(source.tolist(), target.tolist(), relative.tolist(), delay.tolist(), strict=True):
        edges.append(_tract(regions[s].name, regions[t].name, w * ke * p.weight_pa / p.tract_in_degree, d, p, rng))
    network = Connectome.of(
        regions, edges, dt_ms=p.dt_ms, provenance=Provenance(seed=seed, parents=(connectome.digest(),))
    )
    into = np.bincount(target, relative, graph.n).astype(np.float64)
    account = PopulationAccount(
        graph.n, p.size, ne, weight.size, symmetric_share(graph) == 1, **about, delay_ms=_three(delay),
        self_weights=graph.n_loops, without_weight=int((graph.weight == 0).sum()), negative=negative,
        parallel=graph.n_parallel, alone=int((into == 0).sum()), strength=_three(into),
    )  # fmt: skip
    return network, account


def _relative(n: int, target: NDArray[Any], weight: NDArray[np.float64], p: Populations) -> NDArray[np.float64]:
    """(T,) the summed weight of a tract into a neuron, relative to its local excitation."""
    into = np.bincount(target, weight, n)
    norm = into[target] if p.normalise == "in_strength" else np.full(weight.size, into.mean() if n else 1.0)
    found: NDArray[np.float64] = p.coupling * weight / norm
    return found


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    if not values.size:
        return (np.nan, np.nan, np.nan)
    return float(values.min()), float(np.median(values)), float(values.max())


# Lengths


def _delays(
    connectome: Connectome, length_um: NDArray[np.float64], p: Populations
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """(T,) delays in ms on the grid of steps, and the account's facts about lengths. A length of 0 between two nodes
    counts as unknown: files have it where nobody has measured."""
    length_mm = length_um / 1000 * (1.0 if p.length_scale is None else p.length_scale)
    known = length_mm > 0  # not true for nan
    measured = any(TRACT_LENGTH in e.state for e in connectome.edges.values())
    if not known.all() and p.delay_ms is None:
        lost = "none of them" if not known.any() else f"{(~known).sum():,} of {known.size:,} that are not (nan, or 0)"
        raise ConnectomeError(
            "tract lengths", "must be known, or the positions of nodes", lost,
            "Give delay_ms for tracts whose length is not known, such as delay_ms=10.",
        )  # fmt: skip
    if known.any() and p.length_scale is None:
        middle = float(np.median(length_mm[known]))
        if not _MEDIAN_MM[0] <= middle <= _MEDIAN_MM[1]:
            raise ConnectomeError(
                "tract lengths" if measured else "distances of nodes",
                f"must be {_MEDIAN_MM[0]:g} to {_MEDIAN_MM[1]:g} mm in the median, as in a brain", f"{middle:.3g} mm",
                "Millimetres or micrometres? Give length_scale: 1000 if the file has mm where um were expected, 0.001 "
                "if um where mm were, 1 if they are right.",
            )  # fmt: skip
    delay = np.full(length_mm.size, p.delay_ms or np.nan)
    delay[known] = length_mm[known] / p.speed_m_s
    if delay.size:
        delay = delay_to_steps(np.maximum(delay, p.dt_ms), p.dt_ms, "tract: delay_ms") * p.dt_ms
    about = {
        "lengths": "" if not known.any() else "measured" if measured else "straight",
        "length_mm": _three(length_mm[known]), "lacking": int((~known).sum()),
    }  # fmt: skip
    return delay, about


# Nodes and edges


def _regions(connectome: Connectome, graph: SimpleGraph, p: Populations) -> Iterator[Region]:
    sign = np.where(np.arange(p.size) < p.n_excitatory, 1, -1).astype(np.int8)
    names, labels = _region_names(graph), [""] * graph.n if graph.label is None else graph.label.tolist()
    node = 0
    for r in connectome.regions.values():
        for row in range(r.size):
            own = {k: a.take(np.full(p.size, row)) for k, a in r.attributes.items()}
            about = {NODE: np.int32(node), NODE_LABEL: labels[node], NODE_REGION: r.name}
            yield Region(
                names[node], p.size, "neuron", p.neuron, np.broadcast_to(r.position_um[row], (p.size, 3)), sign,
                attributes=own | {k: Attribute.of(k, value, p.size) for k, value in about.items()},
            )  # fmt: skip
            node += 1


def _region_names(graph: SimpleGraph) -> list[str]:
    """A name for each node: its label, preceded by its region if necessary; else its number."""
    if graph.label is not None:
        labels = graph.label.tolist()
        within = [f"{graph.regions[k]}_{label}" for k, label in zip(graph.region.tolist(), labels, strict=True)]
        for wanted in (labels, within):
            try:
                found = region_names("nodes", wanted)
            except ConnectomeError:
                continue
            if len(found) == graph.n:
                return found
    return [f"node_{node}" for node in range(graph.n)]


def _local(name: str, p: Populations, rng: np.random.Generator) -> EdgeSet:
    """Local edges of a node: every neuron gets its fixed in-degree from excitatory and from inhibitory neurons, none
    from itself."""
    ne, (ke, ki) = p.n_excitatory, p.local_in_degree
    e, i = (Region("e", ne), 0), (Region("i", p.size - ne), ne)
    source, target, weight = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0)]
    for (s, s_first), degree, pa in ((e, ke, p.weight_pa), (i, ki, -p.g * p.weight_pa)):
        for t, t_first in (e, i):
            most = max(s.size - (s is t), 0)
            one, other = FixedInDegree(min(degree, most)).pairs(s, t, rng)
            source.append(one + s_first)
            target.append(other + t_first)
            weight.append(np.full(one.size, pa))
    return EdgeSet.from_arrays(
        (name, "local", name), np.concatenate(source), np.concatenate(target), np.concatenate(weight),
        n_source=p.size, n_target=p.size, dt_ms=p.dt_ms, delay_ms=max(p.local_delay_ms, p.dt_ms),
    )  # fmt: skip


def _tract(
    source: str, target: str, weight_pa: float, delay_ms: float, p: Populations, rng: np.random.Generator
) -> EdgeSet:
    e, i = Region("from", p.n_excitatory), Region("i", p.size - p.n_excitatory)
    rule = FixedInDegree(p.tract_in_degree)
    s, t = rule.pairs(e, Region("e", p.n_excitatory), rng)
    weight: Any = weight_pa
    if p.to_inhibitory:
        more_s, more_t = rule.pairs(e, i, rng)
        if p.to_inhibitory != 1:
            weight = np.repeat([weight_pa, weight_pa * p.to_inhibitory], [s.size, more_s.size])
        s, t = np.concatenate([s, more_s]), np.concatenate([t, more_t + p.n_excitatory])
    return EdgeSet.from_arrays(
        (source, "long_range", target), s, t, weight, n_source=p.size, n_target=p.size, dt_ms=p.dt_ms,
        delay_ms=delay_ms,
    )  # fmt: skip
