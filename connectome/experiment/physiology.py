"""From a wiring diagram to a live network: signs, weights, delays and neurons for counts of synapses.

A measured connectome says how many synapses join two cells, and what each cell releases. A :class:`Physiology` says what
to make of that; :func:`animate` applies it, and gives an account of what was done, and to how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import MAX_DELAY_STEPS, EdgeKey, EdgeSet, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel
from connectome.neurons.shiu2024 import Shiu2024

__all__ = ["FLY", "MAMMAL", "PRESETS", "Account", "Physiology", "animate", "preset"]

#: Names of transmitters in FlyWire, hemibrain, MaleCNS and MANC -> sign. Glutamate inhibits in the fly's central nervous
#: system (Liu & Wilson 2013); histamine is the photoreceptors'. Amines count as excitatory, as in Shiu et al. (2024).
FLY: Final[Mapping[str, int]] = MappingProxyType({
    "acetylcholine": 1, "ach": 1, "cholinergic": 1,
    "gaba": -1, "gabaergic": -1, "glutamate": -1, "glut": -1, "glutamatergic": -1, "glu": -1, "histamine": -1, "his": -1,
    "dopamine": 1, "da": 1, "octopamine": 1, "oct": 1, "oa": 1, "serotonin": 1, "ser": 1, "5ht": 1, "tyramine": 1, "tyr": 1,
})  # fmt: skip
#: The same where glutamate excites, and classes of cells as the mouse's tables have them.
MAMMAL: Final[Mapping[str, int]] = MappingProxyType({
    **FLY, "glutamate": 1, "glut": 1, "glutamatergic": 1, "glu": 1, "glycine": -1, "gly": -1,
    "excitatory": 1, "exc": 1, "e": 1, "inhibitory": -1, "inh": -1, "i": -1,
})  # fmt: skip


@dataclass(frozen=True)
class Physiology(ReadOnly):
    """What to make of counts of synapses.

    Parameters
    ----------
    neuron : every neuron's model and parameters
    weight : of one synapse, in the unit of the neuron's model, > 0
    gain : times every weight; what :func:`connectome.experiment.calibration.calibrate` finds
    sign_by : the attribute that says what a neuron, or else an edge, releases; "" keeps the signs that weights have
    signs : text of that attribute, whatever its case -> 1 or -1
    unknown : what becomes of edges whose sign is not known: "refuse" all, keep them "excitatory" or "inhibitory", or
        "drop" them
    normalise : divide a weight by its target's number of edges ("in_degree") or synapses ("in_strength"), so that each
        neuron's input is ``weight`` on average or in all; "" does not
    count : "linear" in the number of synapses, or its logarithm ("log": log(1 + n))
    size_by : an attribute of neurons, such as an area: weights are divided by the target's over the mean
    delay_ms : of every edge; or None, to keep what they have
    velocity_um_per_ms : adds the distance between two neurons over this to the delay; None does not
    stimulus_weight : of an event that stimulates a cell, in the unit of the neuron's model
    stimulated : parameters of the neuron that cells have while they are stimulated
    """

    neuron: NeuronModel = field(default_factory=NeuronParameters)
    weight: float = 1.0
    gain: float = 1.0
    sign_by: str = ""
    signs: Mapping[str, int] = FLY
    unknown: Literal["refuse", "excitatory", "inhibitory", "drop"] = "refuse"
    normalise: Literal["", "in_degree", "in_strength"] = ""
    count: Literal["linear", "log"] = "linear"
    size_by: str = ""
    delay_ms: float | None = None
    velocity_um_per_ms: float | None = None
    stimulus_weight: float = 1000.0
    stimulated: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight", "gain", "stimulus_weight", "delay_ms", "velocity_um_per_ms"):
            value = getattr(self, name)
            optional = name in ("delay_ms", "velocity_um_per_ms")
            if optional and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < np.inf:
                raise ConnectomeError(f"physiology.{name}", "must be a finite number > 0", repr(value))
        for name, choices in (
            ("unknown", ("refuse", "excitatory", "inhibitory", "drop")), ("normalise", ("", "in_degree", "in_strength")),
            ("count", ("linear", "log")),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                rule = f"must be one of {', '.join(map(repr, choices))}"
                raise ConnectomeError(f"physiology.{name}", rule, repr(getattr(self, name)))
        for name, sign in self.signs.items():
            if type(sign) is not int or sign not in (-1, 1):
                raise ConnectomeError(f"physiology.signs[{name}]", "must be 1 or -1", repr(sign))
        object.__setattr__(self, "signs", MappingProxyType({_plain(k): v for k, v in self.signs.items()}))
        object.__setattr__(self, "stimulated", MappingProxyType(dict(self.stimulated)))
        replace_parameters(self.neuron, self.stimulated)


@dataclass(frozen=True)
class Account(ReadOnly):
    """What :func:`animate` did: how many edges excite and inhibit, how many had no known sign and what became of them,
    and by which texts; notes in words."""

    excitatory: int
    inhibitory: int
    unknown: int
    dropped: int
    unknown_texts: Mapping[str, int]
    notes: tuple[str, ...] = ()


def replace_parameters(neuron: NeuronModel, parameters: Mapping[str, Any]) -> NeuronModel:
    """The neuron with other parameters. Raises :class:`ConnectomeError` for one that its model has not."""
    for name in parameters:
        if name not in neuron.parameters():
            rule = f"must be parameters of {neuron.model}: {', '.join(neuron.parameters())}"
            raise ConnectomeError("physiology.stimulated", rule, repr(name))
    return replace(neuron, **parameters) if parameters else neuron


#: Name -> physiology. ``shiu2024`` is Shiu et al. (2024), Nature 634:210; weights stay counts, which its neuron knows
#: what to make of, and an event that stimulates a cell makes it fire.
PRESETS: Final[Mapping[str, Physiology]] = MappingProxyType({
    "shiu2024": Physiology(
        neuron=Shiu2024(), sign_by="transmitter", delay_ms=1.8, stimulus_weight=50_000.0, stimulated={"t_ref_ms": 0.0}
    ),
})  # fmt: skip


def preset(name: str) -> Physiology:
    """A physiology by name. Raises :class:`ConnectomeError`."""
    if name not in PRESETS:
        raise ConnectomeError("physiology", f"must be among {', '.join(PRESETS)}", repr(name))
    return PRESETS[name]


def animate(connectome: Connectome, physiology: Physiology) -> tuple[Connectome, Account]:
    """A connectome of counts as a live network: its neurons with a model, its edges with signed weights and delays.

    Sensors and effectors keep what they are. Raises :class:`ConnectomeError` for an attribute that is not there, counts
    that are not counts, unknown signs where they are refused, and a delay longer than edges can have.
    """
    p = physiology
    of_neuron, of_edge = _releases(connectome, p)
    scale = {name: _target_scale(connectome, name, p) for name in connectome.regions}
    edges, texts = [], {}
    totals = {"excitatory": 0, "inhibitory": 0, "unknown": 0, "dropped": 0}
    for key, given in connectome.edges.items():
        sign, count = _signed(key, given, of_neuron.get(key.source), of_edge.get(key), p)
        lost = sign == 0
        for text, n in _texts(given, lost, of_neuron.get(key.source), of_edge.get(key)).items():
            texts[text] = texts.get(text, 0) + n
        totals["unknown"] += int(lost.sum())
        if p.unknown == "drop":
            totals["dropped"] += int(lost.sum())
            given, sign, count = given.take(~lost), sign[~lost], count[~lost]
        else:
            sign = np.where(lost, -1 if p.unknown == "inhibitory" else 1, sign)
        totals["excitatory"] += int((sign > 0).sum())
        totals["inhibitory"] += int((sign < 0).sum())
        size = np.log1p(count) if p.count == "log" else count
        weight = sign * size * (p.weight * p.gain)
        if scale[key.target] is not None:
            weight = weight * scale[key.target][given.target]
        edges.append(replace(given, weight=weight.astype(np.float32), delay_steps=_delays(connectome, key, given, p)))
    if p.unknown == "refuse" and totals["unknown"]:
        shown = ", ".join(f"{t or 'missing'}: {n:,}" for t, n in sorted(texts.items(), key=lambda x: -x[1])[:8])
        raise ConnectomeError(
            f"physiology.sign_by = {p.sign_by!r}", f"must say a sign of every edge: one of {', '.join(sorted(p.signs))}",
            f"{totals['unknown']:,} of {connectome.n_edges:,} edges without ({shown})",
            'Say what they are in signs, or unknown = "excitatory", "inhibitory" or "drop".',
        )  # fmt: skip
    regions = {
        name: r if r.role != "neuron" else replace(r, neuron=p.neuron, sign=_dale(r, of_neuron.get(name), p))
        for name, r in connectome.regions.items()
    }
    made = replace(connectome, regions=regions, edges={e.key: e for e in edges})
    return made, Account(**totals, unknown_texts=MappingProxyType(texts), notes=_notes(connectome, p))


# Signs


def _plain(text: str) -> str:
    return text.strip().lower()


def _releases(
    connectome: Connectome, p: Physiology
) -> tuple[dict[str, tuple[NDArray[np.int8], Any]], dict[EdgeKey, tuple[NDArray[np.int8], Any]]]:
    """For each region, or else each edge set, that has the attribute: (n,) signs, 0 where not known, and the
    attribute."""
    if not p.sign_by:
        return {}, {}
    regions = {n: r.attributes[p.sign_by] for n, r in connectome.regions.items() if p.sign_by in r.attributes}
    sets = {k: e.attributes[p.sign_by] for k, e in connectome.edges.items() if p.sign_by in e.attributes}
    if not regions and not sets:
        there_is = sorted({
            name for part in (*connectome.regions.values(), *connectome.edges.values()) for name in part.attributes
        })  # fmt: skip
        raise ConnectomeError(
            "physiology.sign_by", f"must be an attribute of neurons or edges: {', '.join(there_is) or 'there is none'}",
            repr(p.sign_by), 'Or sign_by = "" to keep the signs of the weights.',
        )  # fmt: skip
    return (
        {name: (_signs(a, p), a) for name, a in regions.items()},
        {key: (_signs(a, p), a) for key, a in sets.items()} if not regions else {},
    )


def _signs(attribute: Any, p: Physiology) -> NDArray[np.int8]:
    if attribute.names is None:
        raise ConnectomeError("physiology.sign_by", "must be an attribute of texts", f"{p.sign_by}: {attribute.type}")
    table = np.array([p.signs.get(_plain(name), 0) for name in attribute.names], np.int8)
    found: NDArray[np.int8] = table[attribute.values]
    return found


def _signed(
    key: EdgeKey, edges: EdgeSet, of_neuron: Any, of_edge: Any, p: Physiology
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """(E,) signs, 0 where not known, and counts."""
    weight = edges.weight.astype(np.float64)
    if not p.sign_by:
        return np.where(weight < 0, -1, 1), np.abs(weight)
    if (weight < 0).any():
        at = int(np.argmax(weight < 0))
        raise ConnectomeError(
            f"edges[{key}].weight", "must be counts, 0 or more, where signs come from an attribute",
            f"{weight[at]:g} at edge {at}", 'Or sign_by = "" to keep the signs of the weights.',
        )  # fmt: skip
    if of_neuron is not None:
        return of_neuron[0][edges.source], weight
    return (of_edge[0] if of_edge is not None else np.zeros(len(edges), np.int8)), weight


def _texts(edges: EdgeSet, lost: NDArray[np.bool_], of_neuron: Any, of_edge: Any) -> dict[str, int]:
    """What was said of edges without a known sign, and of how many."""
    if not lost.any():
        return {}
    if of_neuron is None and of_edge is None:
        return {"": int(lost.sum())}
    attribute, code = (of_neuron[1], of_neuron[1].values[edges.source]) if of_neuron else (of_edge[1], of_edge[1].values)
    n = np.bincount(code[lost], minlength=len(attribute.names))
    return {attribute.names[i]: int(n[i]) for i in np.flatnonzero(n)}


def _dale(region: Region, of_neuron: Any, p: Physiology) -> NDArray[np.int8]:
    """Signs of a region's neurons; what its edges alone say is not held against them."""
    if of_neuron is None:
        return np.zeros(region.size, np.int8) if p.sign_by else region.sign
    sign: NDArray[np.int8] = of_neuron[0]
    other = {"excitatory": 1, "inhibitory": -1}.get(p.unknown, 0)
    return np.where(sign == 0, other, sign).astype(np.int8)


# Sizes and delays


def _target_scale(connectome: Connectome, name: str, p: Physiology) -> NDArray[np.float64] | None:
    """(N,) what the weights of a region's incoming edges are multiplied by; None for 1."""
    region, scale = connectome.regions[name], None
    if p.normalise:
        total = np.zeros(region.size)
        for key, e in connectome.edges.items():
            if key.target == name:
                counts = np.abs(e.weight) if p.normalise == "in_strength" else None
                total += np.bincount(e.target, counts, region.size)
        scale = np.divide(1.0, total, out=np.zeros(region.size), where=total > 0)
    if p.size_by and region.role == "neuron":
        if p.size_by not in region.attributes:
            there_is = ", ".join(region.attributes) or "there is none"
            raise ConnectomeError("physiology.size_by", f"must be an attribute of {name}: {there_is}", repr(p.size_by))
        size = np.asarray(region.attributes[p.size_by].values, np.float64)
        bad = ~(size > 0)
        if bad.any() or region.attributes[p.size_by].is_missing.any():
            at = int(np.argmax(bad | region.attributes[p.size_by].is_missing))
            rule = "must be numbers > 0, none missing"
            raise ConnectomeError(f"regions[{name}].attributes[{p.size_by}]", rule, f"{size[at]:g} of neuron {at}")
        scale = (1.0 if scale is None else scale) * size.mean() / size
    return scale


def _delays(connectome: Connectome, key: EdgeKey, edges: EdgeSet, p: Physiology) -> NDArray[Any]:
    if p.delay_ms is None and p.velocity_um_per_ms is None:
        return edges.delay_steps
    dt = connectome.dt_ms
    delay = edges.delay_steps * dt if p.delay_ms is None else np.full(len(edges), p.delay_ms)
    if p.velocity_um_per_ms is not None:
        ends = connectome.regions[key.source].position_um, connectome.regions[key.target].position_um
        length = np.linalg.norm(ends[0][edges.source] - ends[1][edges.target], axis=1)
        if np.isnan(length).any():
            raise ConnectomeError(
                "physiology.velocity_um_per_ms", "must have the position of every neuron",
                f"{int(np.isnan(length).sum()):,} edges of {key} without",
            )  # fmt: skip
        delay = delay + length / p.velocity_um_per_ms
    steps = np.maximum(np.rint(delay / dt), 1)
    if steps.size and steps.max() > MAX_DELAY_STEPS:
        raise ConnectomeError("physiology", f"must give delays of up to {MAX_DELAY_STEPS * dt:g} ms", f"{delay.max():g} ms")
    return steps.astype(np.uint16)


def _notes(connectome: Connectome, p: Physiology) -> tuple[str, ...]:
    weights = [e.weight for e in connectome.edges.values() if len(e)]
    whole = all(np.array_equal(w, np.rint(w)) for w in weights)
    if weights and not whole and p.count == "linear" and not p.normalise:
        return ("Weights are no whole numbers: they are taken as numbers of synapses as they are.",)
    return ()
