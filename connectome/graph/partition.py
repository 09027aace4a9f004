"""Other partitions of the same graph: regions made from an attribute of neurons, edge sets from one of edges; and
parallel edges as one, with what was merged said.

Each gives a new connectome with the same neurons. What a region or a kind was called before stays as an attribute.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute, joined_attributes
from connectome.graph.connectome import Connectome, RuleRecord
from connectome.graph.flat import starts
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import TIED, EdgeKey, EdgeSet, Region
from connectome.graph.region_edits import edges_between, join_regions
from connectome.graph.tables import DEFAULT_REGION, kind_between, region_names

__all__ = ["FORMER_KIND", "FORMER_REGION", "Merged", "merge_edges", "regions_from", "split_edges"]

FORMER_REGION: Final = "former_region"
FORMER_KIND: Final = "former_kind"
#: A summary has a number for each pair of regions.
MAX_REGIONS: Final = 1000
MAX_KINDS: Final = 200


class Merged(NamedTuple):
    """What became of parallel edges: how many edges there were, and how many are left; in how many of these, attributes
    did not agree and are missing now, by name."""

    before: int
    after: int
    lost: dict[str, int]

    def __str__(self) -> str:
        lost = [f"{name} of {n:,}" for name, n in self.lost.items()]
        also = f"; differed, and is missing now: {', '.join(lost)}" if lost else ""
        return f"{self.before:,} edges became {self.after:,}, one for each pair and delay, weights summed{also}"


def regions_from(connectome: Connectome, name: str, *, missing: str = "unknown") -> Connectome:
    """The same neurons and edges, with a region for each value of an attribute of neurons, in order of the values.

    Neurons without a value are in a region ``missing``. Regions of sensors and effectors stay as they are. If there
    were several regions of neurons, the attribute :data:`FORMER_REGION` says in which one each was. Raises
    :class:`ConnectomeError` for an attribute that is not there, for values that would be more than
    :data:`MAX_REGIONS` regions or names that a region cannot have, and where neurons of one region are not of one
    model.
    """
    inner = [r for r in connectome.regions.values() if r.role == "neuron"]
    values = _attribute("regions_from", inner, name)
    groups = _groups("regions_from", name, values, missing, MAX_REGIONS)
    groups = _Groups(groups.code, region_names("regions_from", groups.names))
    taken = {r.name for r in connectome.regions.values() if r.role != "neuron"} & {*groups.names}
    if taken:
        raise ConnectomeError("regions_from", "must not be the names of sensors or effectors", sorted(taken)[0])
    if len(inner) > 1 or (inner and inner[0].name != DEFAULT_REGION):
        inner = [
            replace(r, attributes={**r.attributes, FORMER_REGION: Attribute.of(FORMER_REGION, r.name, r.size)})
            for r in inner
        ]
    start = starts(inner)
    index = np.empty(len(values), np.int64)
    made = []
    for number, group in enumerate(groups.names):
        chosen = np.flatnonzero(groups.code == number)
        index[chosen] = np.arange(chosen.size)
        parts = [
            (r, chosen[(chosen >= start[r.name]) & (chosen < start[r.name] + r.size)] - start[r.name]) for r in inner
        ]
        made.append(join_regions([r.take(which) for r, which in parts if which.size], group))
    regions = [*made, *(r for r in connectome.regions.values() if r.role != "neuron")]
    place = {r.name: i for i, r in enumerate(regions)}

    def moved(region: str, neuron: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if region not in start:
            return np.full(neuron.size, place[region]), neuron.astype(np.int64)
        at = neuron.astype(np.int64) + start[region]
        return groups.code[at], index[at]

    edges: dict[EdgeKey, EdgeSet] = {}
    for e in connectome.edges.values():
        source, target = moved(e.key.source, e.source), moved(e.key.target, e.target)
        _, _, own = e.key.kind.partition("-")
        pair = source[0] * len(regions) + target[0]
        order = np.argsort(pair, kind="stable")
        found, first = np.unique(pair[order], return_index=True)
        for code, part in zip(found.tolist(), np.split(order, first[1:]), strict=False):
            s, t = (regions[i] for i in divmod(code, len(regions)))
            kind = kind_between(s, t) + (f"-{own}" if own else "")
            there = edges_between(
                e, EdgeKey(s.name, kind, t.name), part, source[1][part], target[1][part], (s.size, t.size)
            )
            edges[there.key] = edges[there.key].join(there) if there.key in edges else there
    return Connectome.of(regions, edges.values(), dt_ms=connectome.dt_ms, provenance=connectome.provenance)


def split_edges(connectome: Connectome, name: str) -> Connectome:
    """The same edges, with an edge set of its own for each value of an attribute of edges: of kind ``local-chemical``,
    say. Edges without a value keep the plain kind.

    Kinds that had names of their own are in the attribute :data:`FORMER_KIND`. Raises :class:`ConnectomeError` as
    :func:`regions_from` does.
    """
    sets = list(connectome.edges.values())
    groups = _groups("kinds_from", name, _attribute("kinds_from", sets, name), "", MAX_KINDS)
    words = [re.sub(r"[^A-Za-z0-9_]", "_", group) for group in groups.names]
    if len({*words}) < len(words):
        raise ConnectomeError("kinds_from", "must have values that differ in letters, digits and '_'", groups.names)
    edges: dict[EdgeKey, EdgeSet] = {}
    end = 0
    for e in sets:
        code, end = groups.code[end : end + len(e)], end + len(e)
        if e.key.kind != e.key.base:
            e = replace(e, attributes={**e.attributes, FORMER_KIND: Attribute.of(FORMER_KIND, e.key.kind, len(e))})
        for number in np.unique(code).tolist():
            kind = f"{e.key.base}-{words[number]}" if words[number] else e.key.base
            there = replace(e.take(code == number), key=EdgeKey(e.key.source, kind, e.key.target))
            edges[there.key] = edges[there.key].join(there) if there.key in edges else there
    return replace(connectome, edges={key: edges[key] for key in sorted(edges)})


def merge_edges(connectome: Connectome, *, kinds: bool = False) -> tuple[Connectome, Merged]:
    """One edge for each pair of neurons and delay, with the sum of the weights; and what was merged.

    ``kinds``: edge sets between two regions become one besides, of the plain kind. The earliest stage of birth stays;
    state is the mean; an attribute stays where all edges that become one agree in it, and is missing elsewhere. The
    rule log says how many edges went.
    """
    sets: dict[EdgeKey, EdgeSet] = {}
    for key, e in connectome.edges.items():
        now = key._replace(kind=key.base) if kinds else key
        sets[now] = sets[now].join(replace(e, key=now)) if now in sets else replace(e, key=now)
    edges: dict[EdgeKey, EdgeSet] = {}
    records, lost = [], dict[str, int]()
    for key, e in sets.items():
        if isinstance(e, KernelSet):  # has each weight once
            edges[key] = e
            continue
        delay = e.delay_steps.astype(np.int64)
        first = np.ones(len(e), bool)  # of each pair and delay: they lie side by side
        source = e.source
        first[1:] = (source[1:] != source[:-1]) | (delay[1:] != delay[:-1]) | (e.indices[1:] != e.indices[:-1])
        if first.all():
            edges[key] = e
            continue
        if TIED in e.state:
            raise ConnectomeError(f"edges[{key}]", "must share no weights to be merged", f"the state {TIED!r}")
        member = np.cumsum(first) - 1
        n = int(member[-1]) + 1
        attributes = {k: a.agreed(member, n) for k, a in e.attributes.items()}
        for k, a in attributes.items():
            gone = int((a.is_missing & ~e.attributes[k].take(first).is_missing).sum())
            lost |= {k: lost.get(k, 0) + gone} if gone else {}
        birth = np.full(n, np.iinfo(np.int16).max, np.int16)
        np.minimum.at(birth, member, e.birth_stage)
        count = np.bincount(member)
        plain = replace(e, attributes={}).take(first)
        edges[key] = replace(
            plain, weight=np.bincount(member, e.weight).astype(np.float32), birth_stage=birth, attributes=attributes,
            state={k: (np.bincount(member, v) / count).astype(np.float32) for k, v in e.state.items()},
        )  # fmt: skip
        records.append(RuleRecord(connectome.provenance.stage, 0, "merge_edges", *key, removed=len(e) - n))
    provenance = replace(connectome.provenance, rule_log=connectome.provenance.rule_log + tuple(records))
    made = Connectome.of(connectome.regions.values(), edges.values(), dt_ms=connectome.dt_ms, provenance=provenance)
    return made, Merged(connectome.n_edges, made.n_edges, lost)


class _Groups(NamedTuple):
    """(n,) places in a list of names."""

    code: NDArray[np.int64]
    names: list[str]


def _attribute(option: str, parts: list[Any], name: str) -> Attribute:
    """One column over all regions or edge sets."""
    known = sorted({k for part in parts for k in part.attributes})
    if name not in known:
        there = f"There are {', '.join(known)}." if known else "There are no attributes."
        raise ConnectomeError(option, "must name an attribute", repr(name), there)
    sizes = [part.size if isinstance(part, Region) else len(part) for part in parts]
    columns = [{name: part.attributes[name]} if name in part.attributes else {} for part in parts]
    return joined_attributes(option, list(zip(columns, sizes, strict=True)))[name]


def _groups(option: str, name: str, values: Attribute, missing: str, most: int) -> _Groups:
    """The neurons or edges by their value: texts, flags or whole numbers."""
    if values.kind == "number":
        raise ConnectomeError(option, "must name an attribute of texts, flags or integers", f"{name!r}, numbers")
    if values.names is not None:
        code, texts = values.values.astype(np.int64), [*values.names]
    else:
        distinct, code = np.unique(values.values, return_inverse=True)
        known = Attribute(distinct, None, values.is_flag).tolist()
        texts = ["" if v is None else str(v).lower() for v in known]
    if missing in texts and "" in texts:  # one that is called so
        code = np.where(code == texts.index(""), texts.index(missing), code)
    texts = [text or missing for text in texts]
    used = sorted(np.unique(code).tolist(), key=lambda i: texts[i] == missing)  # those without a value come last
    place = np.zeros(len(texts), np.int64)
    place[used] = np.arange(len(used))
    code, texts = place[code], [texts[i] for i in used]
    if len(texts) > most:
        raise ConnectomeError(option, f"must name an attribute of at most {most} values", f"{name!r}, {len(texts):,}")
    return _Groups(code, texts)
