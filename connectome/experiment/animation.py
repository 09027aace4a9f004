"""A wiring diagram made live: signs, weights, delays and neuron models for synapse counts.

A measured connectome says how many synapses join two cells, and what each cell releases. A
:class:`~connectome.experiment.physiology.Physiology` says how to turn that into a network; :func:`animate` applies it,
and reports what was done and to how many edges.

>>> from connectome import Connectome, EdgeSet, Region
>>> from connectome.experiment.physiology import preset
>>> cells = Region("brain", 3, attributes={"nt_type": ["ACH", "GABA", "ACH"]})
>>> counts = EdgeSet.from_arrays(
...     ("brain", "local", "brain"), [0, 1], [1, 2], [30, 5], n_source=3, n_target=3, dt_ms=0.1
... )
>>> network, account = animate(Connectome.of([cells], [counts]), preset("shiu2024"))
>>> network.edges["brain", "local", "brain"].weight
array([30., -5.], dtype=float32)
>>> print(account)
shiu2024: 1 edge excites, 1 inhibits (signs by nt_type of neurons)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import ReadOnly, is_constant
from connectome.errors import ConnectomeError
from connectome.experiment.physiology import Physiology, plain, with_parameters
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet, Region, delay_to_steps
from connectome.graph.selection import NodeSet, node_set
from connectome.simulate.stimulus import Poisson, Stimulus
from connectome.texts import plural

__all__ = ["Account", "animate", "stimulate", "while_stimulated"]


@dataclass(frozen=True)
class Account(ReadOnly):
    """What :func:`animate` did: how many edges excite and inhibit, and which attribute says so; how many had no known
    sign, by the attribute's text, and how many of these were dropped. As text it is for people to read."""

    name: str
    excitatory: int
    inhibitory: int
    unknown: Mapping[str, int]
    dropped: int
    sign_by: str

    def __str__(self) -> str:
        verbs = "excites" if self.excitatory == 1 else "excite", "inhibits" if self.inhibitory == 1 else "inhibit"
        excited = f"{plural(self.excitatory, 'edge')} {verbs[0]}"
        first = f"{self.name}: {excited}, {self.inhibitory:,} {verbs[1]} (signs by {self.sign_by})"
        if not self.unknown:
            return first
        became = f"{self.dropped:,} of them dropped" if self.dropped else "kept all the same"
        return f"{first}\nSign not known of {plural(sum(self.unknown.values()), 'edge')}, {became}: {self.shown()}"

    def shown(self) -> str:
        """The attribute's texts for edges without a known sign, the most common first."""
        common = sorted(self.unknown.items(), key=lambda item: -item[1])
        more = [f"and {len(common) - 8} more"] if len(common) > 8 else []
        return ", ".join([f"{text or 'nothing said'} {n:,}" for text, n in common[:8]] + more)


class _Said(NamedTuple):
    """What an attribute says about neurons or edges: (n,) signs, 0 where unknown, and the attribute."""

    sign: NDArray[np.int8]
    attribute: Attribute


def animate(connectome: Connectome, physiology: Physiology) -> tuple[Connectome, Account]:
    """A connectome of counts as a live network: its neurons with a model, its edges with signed weights and delays.

    Sensors and effectors stay as they are; edges keep their state and attributes. If no attribute says what is
    released, the weights' own signs count, provided some are negative. Raises :class:`ConnectomeError` for missing
    attributes, weights that are not counts, unknown signs where they are refused, and delays longer than edges can
    have.
    """
    p = physiology
    by, of_neuron, of_edge = _releases(connectome, p)
    scale = {name: _target_scale(connectome, name, p) for name in connectome.regions}
    edges, unknown = [], dict[str, int]()
    excitatory = inhibitory = dropped = 0
    for key, given in connectome.edges.items():
        said, at = of_neuron.get(key.source), given.source
        if said is None:
            said, at = of_edge.get(key), np.arange(len(given)) if key in of_edge else at
        sign = _signs(key, given, said, at, bool(by))
        lost = sign == 0
        if lost.any():
            for text, n in _texts(said, at[lost]).items():
                unknown[text] = unknown.get(text, 0) + n
            if p.unknown == "drop":
                dropped += int(lost.sum())
                given, sign = given.take(~lost), sign[~lost]
            else:
                sign = np.where(lost, np.int8(-1 if p.unknown == "inhibitory" else 1), sign)
        excitatory += int(np.count_nonzero(sign > 0))
        inhibitory += int(np.count_nonzero(sign < 0))
        edges.append(_alive(connectome, key, given, sign, scale[key.target], p))
    account = Account(p.name, excitatory, inhibitory, MappingProxyType(unknown), dropped, by or "their weights")
    if p.unknown == "refuse" and unknown:
        raise ConnectomeError(
            f"physiology.signs by {by}", f"must give a sign to every edge: {', '.join(sorted(p.signs))}",
            f"{plural(sum(unknown.values()), 'edge')} of {connectome.n_edges:,} without ({account.shown()})",
            'Say what they are in signs, or unknown = "excitatory", "inhibitory" or "drop".',
        )  # fmt: skip
    regions = {
        name: r if r.role != "neuron" else replace(r, neuron=p.neuron, sign=_dale(r, of_neuron.get(name), bool(by), p))
        for name, r in connectome.regions.items()
    }
    return replace(connectome, regions=regions, edges={e.key: e for e in edges}), account


def stimulate(
    connectome: Connectome, physiology: Physiology, cells: NodeSet | Mapping[str, ArrayLike], rate_hz: float
) -> tuple[Connectome, Stimulus]:
    """The network with the parameters of stimulated cells set, and Poisson events at this rate for each of them.
    ``cells``: from ``connectome.select(...)``, or region -> numbers or a mask. Raises :class:`ConnectomeError`."""
    chosen = cells if isinstance(cells, NodeSet) else node_set(connectome, cells)
    regions, poisson = dict(connectome.regions), {}
    for name, mask in chosen.masks.items():
        if not mask.any():
            continue
        region = regions[name]
        if region.role == "effector":
            raise ConnectomeError("cells", "must be neurons or sensors", f"neurons of {name!r}, an effector")
        if region.role == "sensor":
            poisson[name] = Poisson(mask * rate_hz)
            continue
        regions[name] = while_stimulated(region, mask, physiology.stimulated)
        poisson[name] = Poisson(mask * rate_hz, physiology.stimulus_weight)
    return replace(connectome, regions=regions), Stimulus(poisson=poisson)


def while_stimulated(region: Region, mask: NDArray[np.bool_], parameters: Mapping[str, float]) -> Region:
    """The region with these parameters for the neurons where the (N,) mask is true. Raises :class:`ConnectomeError` for
    a parameter that their model does not have."""
    if not parameters:
        return region
    neuron = with_parameters(region.neuron, parameters, "physiology.stimulated")
    before = region.neuron.parameters()
    own = {name: np.where(mask, value, before[name]) for name, value in parameters.items()}
    return replace(region, neuron=replace(neuron, **own))


# Signs


def _releases(
    connectome: Connectome, p: Physiology
) -> tuple[str, dict[str, _Said], dict[EdgeKey, _Said]]:  # fmt: skip
    """The attribute that gives signs, and what it says about neurons or, if they do not have it, about edges."""
    parts: list[Region | EdgeSet] = [*connectome.regions.values(), *connectome.edges.values()]
    there_is = sorted({name for part in parts for name in part.attributes})
    name = next((name for name in p.sign_by if name in there_is), "")
    if not name:
        if not p.sign_by or any((e.weight < 0).any() for e in connectome.edges.values()):
            return "", {}, {}
        known = ", ".join(there_is) or "there is none"
        raise ConnectomeError(
            "physiology.sign_by", f"must name an attribute of neurons or edges ({known})",
            f"none of {', '.join(p.sign_by)}", 'Or set sign_by = "": then all edges excite.',
        )  # fmt: skip
    regions = {n: _said(r.attributes[name], p) for n, r in connectome.regions.items() if name in r.attributes}
    if regions:
        return f"{name} of neurons", regions, {}
    return f"{name} of edges", {}, {k: _said(e.attributes[name], p) for k, e in connectome.edges.items()}


def _said(attribute: Attribute, p: Physiology) -> _Said:
    if attribute.names is None:
        raise ConnectomeError("physiology.sign_by", "must name an attribute that is texts", attribute.type)
    table = np.array([p.signs.get(plain(name), 0) for name in attribute.names], np.int8)
    return _Said(table[attribute.values] if table.size else np.zeros(len(attribute), np.int8), attribute)


def _signs(key: EdgeKey, edges: EdgeSet, said: _Said | None, at: NDArray[Any], by_attribute: bool) -> NDArray[np.int8]:
    """(E,) signs, 0 where not known."""
    if not by_attribute:
        return np.where(edges.weight < 0, np.int8(-1), np.int8(1))
    if (edges.weight < 0).any():
        place = int(np.argmax(edges.weight < 0))
        raise ConnectomeError(
            f"edges[{key}].weight", "must be counts, 0 or more, where signs come from an attribute",
            f"{edges.weight[place]:g} at edge {place}", 'Or sign_by = "" to keep the signs of the weights.',
        )  # fmt: skip
    return said.sign[at] if said is not None else np.zeros(len(edges), np.int8)


def _texts(said: _Said | None, at: NDArray[Any]) -> dict[str, int]:
    """The attribute's texts for these neurons or edges, and how many have each."""
    if said is None:
        return {"": at.size}
    names = said.attribute.names or ()
    n = np.bincount(said.attribute.values[at], minlength=len(names))
    return {names[i]: int(n[i]) for i in np.flatnonzero(n)}


def _dale(region: Region, said: _Said | None, by_attribute: bool, p: Physiology) -> NDArray[np.int8]:
    """Signs of a region's neurons; what its edges alone say is not held against them."""
    if said is None:
        return np.zeros(region.size, np.int8) if by_attribute else region.sign
    other = {"excitatory": 1, "inhibitory": -1}.get(p.unknown, 0)
    return np.where(said.sign == 0, np.int8(other), said.sign)


# Sizes and delays


def _alive(
    connectome: Connectome, key: EdgeKey, given: EdgeSet, sign: NDArray[np.int8], scale: NDArray[np.float64] | None,
    p: Physiology,
) -> EdgeSet:  # fmt: skip
    count = np.abs(given.weight)
    weight = np.log1p(count) if p.count == "log" else count
    with np.errstate(over="ignore"):  # what is beyond bounds is refused as an edge's weight
        weight = weight * (sign * np.float32(p.weight * p.gain))
        if scale is not None:
            weight = (weight * scale[given.target]).astype(np.float32)
    delay = _delays(connectome, key, given, p)
    if is_constant(delay) and is_constant(given.delay_steps):
        return replace(given, weight=weight, delay_steps=delay)
    return EdgeSet.from_arrays(  # in another order
        key, given.source, given.target, weight, n_source=given.n_source, n_target=given.n_target, dt_ms=given.dt_ms,
        delay_ms=delay * given.dt_ms, birth_stage=given.birth_stage, state=given.state, attributes=given.attributes,
    )  # fmt: skip


def _target_scale(connectome: Connectome, name: str, p: Physiology) -> NDArray[np.float64] | None:
    """(N,) the factor for the weights of each neuron's incoming edges; None for 1."""
    region, scale = connectome.regions[name], None
    if p.normalise:
        total = np.zeros(region.size)
        for key, e in connectome.edges.items():
            if key.target == name:
                counts = np.abs(e.weight) if p.normalise == "in_strength" else None
                total += np.bincount(e.target, counts, region.size)
        scale = np.divide(1.0, total, out=np.zeros(region.size), where=total > 0)
    if p.size_by and region.role == "neuron":
        where, rule = f"regions[{name}].attributes[{p.size_by}]", "must be numbers > 0, none missing"
        if p.size_by not in region.attributes:
            there_is = ", ".join(region.attributes) or "there is none"
            raise ConnectomeError("physiology.size_by", f"must be an attribute of {name}: {there_is}", repr(p.size_by))
        attribute = region.attributes[p.size_by]
        if attribute.kind not in ("integer", "number"):
            raise ConnectomeError(where, rule, attribute.type)
        size = attribute.values.astype(np.float64)
        bad = ~(size > 0) | attribute.is_missing
        if bad.any():
            at = int(np.argmax(bad))
            raise ConnectomeError(where, rule, f"{'nothing' if attribute.is_missing[at] else size[at]} of neuron {at}")
        scale = (1.0 if scale is None else scale) * size.mean() / size
    return scale


def _delays(connectome: Connectome, key: EdgeKey, edges: EdgeSet, p: Physiology) -> NDArray[np.uint16]:
    """(E,) delays in steps."""
    dt_ms, where = connectome.dt_ms, f"physiology: edges[{key}].delay_ms"
    delay = edges.delay if p.delay_ms is None else np.broadcast_to(p.delay_ms, len(edges))
    if p.velocity_um_per_ms is not None:
        ends = (connectome.regions[name].position_um for name in (key.source, key.target))
        length = np.linalg.norm(next(ends)[edges.source] - next(ends)[edges.target], axis=1)
        if np.isnan(length).any():
            raise ConnectomeError(
                "physiology.velocity_um_per_ms", "must have the position of every neuron",
                f"{plural(int(np.isnan(length).sum()), 'edge')} of {key} without",
            )  # fmt: skip
        delay = np.maximum(delay + length / p.velocity_um_per_ms, dt_ms)
    return delay_to_steps(delay, dt_ms, where)
