"""Edits of whole regions: copy, merge, split, average, insert, route, remove. Each gives an edit with lines in the rule
log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import is_constant
from connectome.errors import ConnectomeError
from connectome.graph.attributes import joined_attributes
from connectome.graph.connectome import Connectome, Edit, RuleRecord
from connectome.graph.flat import starts
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.graph.tables import kind_between
from connectome.neurons.model import NeuronModel

__all__ = [
    "average_regions", "copy_region", "edges_between", "insert_region", "join_regions", "merge_regions",
    "remove_regions", "route_edges", "split_region",
]  # fmt: skip


def remove_regions(connectome: Connectome, names: Sequence[str]) -> Edit:
    """The edit that takes regions away, with every edge that they have. Raises :class:`ConnectomeError` for a region
    that does not exist."""
    for name in names:
        _region(connectome, name)
    gone = [e for key, e in connectome.edges.items() if {key.source, key.target} & {*names}]
    records = tuple(_record(connectome, "remove_regions", e.key, removed=len(e)) for e in gone)
    return Edit(remove_regions=tuple(names), records=records)


def copy_region(connectome: Connectome, name: str, new: str) -> Edit:
    """The edit that adds a region of another name with the same neurons, the same edges inside, from the same sources
    and to the same targets. Raises :class:`ConnectomeError` for a region that does not exist, or does already."""
    region = replace(_region(connectome, name), name=new)
    add = []
    for key, edges in connectome.edges.items():
        if name in (key.source, key.target):
            source, target = (new if end == name else end for end in (key.source, key.target))
            add.append(replace(edges, key=EdgeKey(source, key.kind, target)))
    records = tuple(_record(connectome, "copy_region", e.key, added=len(e)) for e in add)
    return Edit(add_regions=(region,), add=tuple(add), records=records)


def merge_regions(connectome: Connectome, names: Sequence[str], new: str) -> Edit:
    """The edit that makes one region of several: neurons one after the other, in the order of ``names``; edges as they
    were, those between the merged ones being local now. The network does what it did before.

    State that only some have is 0 for the others; an attribute is missing there. Parameters of neurons that differ
    become one for each neuron. Raises :class:`ConnectomeError` for fewer than two regions, for one that does not exist,
    and for roles or neuron models that differ.
    """
    parts = [_region(connectome, name) for name in names]
    if len({*names}) < 2 or len({*names}) != len(names):
        raise ConnectomeError("merge_regions", "must have two regions or more, each once", list(names))
    for part in parts[1:]:
        if (part.role, part.neuron.model) != (parts[0].role, parts[0].neuron.model):
            found = f"{part.role} {part.neuron} beside {parts[0].role} {parts[0].neuron}"
            raise ConnectomeError("merge_regions", "must have regions of one role and one kind of neuron", found)
    start = starts(parts)
    n = sum(p.size for p in parts)
    region = join_regions(parts, new)
    moved: dict[EdgeKey, EdgeSet] = {}
    for key, edges in connectome.edges.items():
        if not {key.source, key.target} & {*names}:
            continue
        source, target = (new if end in start else end for end in (key.source, key.target))
        now = EdgeKey(source, _kind(key, source == target), target)
        there = EdgeSet.from_arrays(
            now, edges.source + start.get(key.source, 0), edges.target + start.get(key.target, 0), edges.weight,
            n_source=n if source == new else edges.n_source, n_target=n if target == new else edges.n_target,
            dt_ms=edges.dt_ms, delay_ms=edges.delay, birth_stage=edges.birth_stage, state=edges.state,
            attributes=edges.attributes,
        )  # fmt: skip
        moved[now] = moved[now].join(there) if now in moved else there
    records = tuple(_record(connectome, "merge_regions", e.key, added=len(e)) for e in moved.values())
    return Edit(
        remove_regions=tuple(names), add_regions=(region,), add=tuple(moved.values()), records=records
    )  # fmt: skip


def split_region(connectome: Connectome, name: str, parts: Mapping[str, ArrayLike]) -> Edit:
    """The edit that makes several regions of one: part -> the numbers of its neurons, in the order that they are to
    have; so one part with all of them is the region in another order. Edges stay, those between two parts being
    long-range. The network does what it did before.

    Raises :class:`ConnectomeError` unless each neuron is in one part, and for kernel sets, which join whole maps.
    """
    region = _region(connectome, name)
    chosen = {part: np.asarray(which, np.int64) for part, which in parts.items()}
    number = np.concatenate([np.zeros(0, np.int64), *chosen.values()])
    if not np.array_equal(np.sort(number), np.arange(region.size)):
        raise ConnectomeError("split_region", f"must have each of {region.size} neurons in one part", number)
    made = [replace(region.take(which), name=part) for part, which in chosen.items()]
    add = []
    for key, e in connectome.edges.items():
        if name not in (key.source, key.target):
            continue
        ends = [
            list(zip(made, chosen.values(), strict=True)) if end == name
            else [(connectome.regions[end], np.arange(connectome.regions[end].size))]
            for end in (key.source, key.target)
        ]  # fmt: skip
        add += [_among(e, *source, *target) for source in ends[0] for target in ends[1]]
    add = [e for e in add if len(e)]
    records = tuple(_record(connectome, "split_region", e.key, added=len(e)) for e in add)
    return Edit(remove_regions=(name,), add_regions=tuple(made), add=tuple(add), records=records)


def insert_region(connectome: Connectome, key: EdgeKey, region: Region, weight_pa: float, delay_ms: float) -> Edit:
    """The edit that puts a new region between those that a set joins, neuron for neuron of the target: the edges of the
    set lead to it, and an edge of this weight from each of its neurons to the target's of the same number.

    Raises :class:`ConnectomeError` for a set that does not exist, and for a region that is no neurons, or not as many.
    """
    if key not in connectome.edges:
        raise ConnectomeError("insert_region", "must name an edge set that exists", str(key))
    source, target, old = connectome.regions[key.source], connectome.regions[key.target], connectome.edges[key]
    if (region.role, region.size) != ("neuron", target.size):
        found = f"{region.name}, a {region.role} of {region.size}"
        raise ConnectomeError("insert_region", f"must have a region of {target.size} neurons", found)
    now = EdgeKey(key.source, _named(key, source, region), region.name)
    each = np.arange(target.size)
    onward = EdgeSet.from_arrays(
        (region.name, kind_between(region, target), target.name), each, each, weight_pa, n_source=target.size,
        n_target=target.size, dt_ms=connectome.dt_ms, delay_ms=delay_ms, birth_stage=region.birth_stage,
    )  # fmt: skip
    add = replace(old, key=now), onward
    records = (
        _record(connectome, "insert_region", key, removed=len(old)),
        *(_record(connectome, "insert_region", e.key, added=len(e)) for e in add),
    )
    return Edit(remove={key: np.ones(len(old), bool)}, add_regions=(region,), add=add, records=records)


def join_regions(parts: Sequence[Region], name: str) -> Region:
    """One region with the neurons of several, one after the other: of one role and one model of neuron, whose
    parameters may differ. State that only some have is 0 for the others, an attribute is missing there. Raises
    :class:`ConnectomeError`."""
    first = parts[0]
    for part in parts[1:]:
        if (part.role, part.neuron.model) != (first.role, first.neuron.model):
            found = f"{part.role} {part.neuron.model} beside {first.role} {first.neuron.model}"
            raise ConnectomeError(f"regions[{name}]", "must have one role and one model of neuron", found)
    n = sum(p.size for p in parts)
    states = sorted({state for p in parts for state in p.state})
    labels = [t for p in parts for t in p.labels.tolist()]
    return replace(
        first, name=name, size=n, neuron=_neurons(parts, np.concatenate),
        position_um=np.concatenate([p.position_um for p in parts]), sign=np.concatenate([p.sign for p in parts]),
        birth_stage=min(p.birth_stage for p in parts), label=np.array(labels, object) if any(labels) else None,
        state={s: np.concatenate([p.state.get(s, np.zeros(p.size, np.float32)) for p in parts]) for s in states},
        attributes=joined_attributes(f"regions[{name}]", [(p.attributes, p.size) for p in parts]),
        maps=first.maps if len(parts) == 1 else None,
    )  # fmt: skip


def edges_between(
    e: EdgeSet, key: EdgeKey, which: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64],
    sizes: tuple[int, int],
) -> EdgeSet:  # fmt: skip
    """The n edges of a set that have these numbers as a set between other regions, (n,) neurons of which they join."""

    def column(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values[0], which.size) if is_constant(values) else values[which]

    return EdgeSet.from_arrays(
        key, source, target, column(e.weight), n_source=sizes[0], n_target=sizes[1], dt_ms=e.dt_ms,
        delay_ms=column(e.delay), birth_stage=column(e.birth_stage), state={k: column(v) for k, v in e.state.items()},
        attributes={k: a.take(which) for k, a in e.attributes.items()},
    )  # fmt: skip


def average_regions(connectome: Connectome, names: Sequence[str], new: str) -> Edit:
    """The edit that puts in the place of several regions one whose edges have the mean of their weights; an edge that
    one of them lacks counts as 0 there. What was wired to one of them is wired to it. Parameters of its neurons are
    means as well.

    Edges of one pair with one delay are one. Attributes of neurons and of edges stay where all that become one agree,
    and are missing elsewhere. Raises :class:`ConnectomeError` unless the regions have one size, role, neuron model and
    sign for each neuron.
    """
    parts = [_region(connectome, name) for name in names]
    first = parts[0] if parts else None
    alike = first is not None and all(
        (p.size, p.role, p.neuron.model) == (first.size, first.role, first.neuron.model)
        and (p.sign == first.sign).all()
        for p in parts
    )
    if first is None or len({*names}) < 2 or not alike:
        raise ConnectomeError(
            "average_regions", "must have two regions or more of one size, role and sign", list(names)
        )
    joined = joined_attributes(f"regions[{new}]", [(p.attributes, p.size) for p in parts])
    neuron = np.tile(np.arange(first.size), len(parts))
    region = replace(
        first, name=new, neuron=_neurons(parts, lambda values: np.mean(values, axis=0)),
        attributes={k: a.agreed(neuron, first.size) for k, a in joined.items()},
    )  # fmt: skip
    edges: dict[EdgeKey, list[EdgeSet]] = {}
    for key, e in connectome.edges.items():
        if {key.source, key.target} & {*names}:
            source, target = (new if end in names else end for end in (key.source, key.target))
            edges.setdefault(EdgeKey(source, _kind(key, source == target), target), []).append(e)
    add = tuple(_mean(key, sets, len(names)) for key, sets in edges.items())
    records = tuple(_record(connectome, "average_regions", e.key, added=len(e)) for e in add)
    return Edit(remove_regions=tuple(names), add_regions=(region,), add=add, records=records)


def route_edges(connectome: Connectome, key: EdgeKey, target: str) -> Edit:
    """The edit that leads the edges of a set to the neurons of the same number in another region. Raises
    :class:`ConnectomeError` for a set or region that does not exist, and for one of another size or role."""
    if key not in connectome.edges:
        raise ConnectomeError("route_edges", "must name an edge set that exists", str(key))
    old, new = _region(connectome, key.target), _region(connectome, target)
    if (new.size, new.role) != (old.size, old.role) or target == key.source:
        found = f"{target}, a {new.role} of {new.size}"
        rule = f"must lead to another {old.role} region of {old.size}, not to the source itself"
        raise ConnectomeError("route_edges", rule, found)
    kind = key.kind.replace("local", "long_range", 1) if key.base == "local" else key.kind
    edges = connectome.edges[key]
    led = replace(edges, key=EdgeKey(key.source, kind, target))
    records = (
        _record(connectome, "route_edges", key, removed=len(edges)),
        _record(connectome, "route_edges", led.key, added=len(edges)),
    )
    return Edit(remove={key: np.ones(len(edges), bool)}, add=(led,), records=records)


def _among(
    edges: EdgeSet, source: Region, sources: NDArray[np.int64], target: Region, targets: NDArray[np.int64]
) -> EdgeSet:
    """The edges from these neurons to those, which are all of two regions."""
    places = [np.full(n, -1) for n in (edges.n_source, edges.n_target)]
    for place, which in zip(places, (sources, targets), strict=True):
        place[which] = np.arange(which.size)
    from_, to = places[0][edges.source], places[1][edges.target]
    which = np.flatnonzero((from_ >= 0) & (to >= 0))
    key = EdgeKey(source.name, _named(edges.key, source, target), target.name)
    return edges_between(edges, key, which, from_[which], to[which], (source.size, target.size))


def _named(key: EdgeKey, source: Region, target: Region) -> str:
    """The kind of edges that now join these, with the name of its own that it had."""
    return key.kind.replace(key.base, kind_between(source, target), 1)


def _mean(key: EdgeKey, sets: Sequence[EdgeSet], parts: int) -> EdgeSet:
    """One edge for each pair and delay, with the sum of the weights over ``parts``."""

    def column(name: str) -> NDArray[np.int64]:
        return np.concatenate([np.asarray(getattr(e, name), np.int64) for e in sets])

    source, delay, target, birth = (column(name) for name in ("source", "delay_steps", "target", "birth_stage"))
    weight = np.concatenate([e.weight for e in sets]).astype(np.float64)
    pairs, which = np.unique(np.stack([source, delay, target]), axis=1, return_inverse=True)
    born = np.full(pairs.shape[1], np.iinfo(np.int16).max, np.int64)
    np.minimum.at(born, which, birth)
    attributes = joined_attributes(f"edges[{key}]", [(e.attributes, len(e)) for e in sets])
    return EdgeSet.from_arrays(
        key, pairs[0], pairs[2], np.bincount(which, weight, pairs.shape[1]) / parts, n_source=sets[0].n_source,
        n_target=sets[0].n_target, dt_ms=sets[0].dt_ms, delay_ms=pairs[1] * sets[0].dt_ms, birth_stage=born,
        attributes={k: a.agreed(which, pairs.shape[1]) for k, a in attributes.items()},
    )  # fmt: skip


def _neurons(parts: Sequence[Region], join: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]]) -> NeuronModel:
    """The neurons of several regions of one model as those of one: parameters that differ are joined."""
    values = {k: [p.neuron.parameters()[k] for p in parts] for k in parts[0].neuron.parameters()}
    differ = {k: v for k, v in values.items() if any(np.ndim(x) or x != v[0] for x in v)}
    joined = {k: join([np.broadcast_to(x, p.size) for x, p in zip(v, parts, strict=True)]) for k, v in differ.items()}
    return replace(parts[0].neuron, **joined)


def _region(connectome: Connectome, name: str) -> Region:
    if name not in connectome.regions:
        raise ConnectomeError("region", f"must be one of {list(connectome.regions)}", repr(name))
    return connectome.regions[name]


def _kind(key: EdgeKey, inside: bool) -> str:
    """The kind of edges that now are inside one region, or not; a name of its own stays."""
    return key.kind.replace("long_range", "local", 1) if inside and key.base == "long_range" else key.kind


def _record(connectome: Connectome, rule: str, key: EdgeKey, *, added: int = 0, removed: int = 0) -> RuleRecord:
    return RuleRecord(connectome.provenance.stage, 0, rule, *key, added=added, removed=removed)
