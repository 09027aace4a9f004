"""Edge sets from one region into several, as one for a run: a spike then has one stretch of edges for each delay to
visit, not one for each delay and target region. Delivery is paid by the visit.

That takes a copy. Edge sets of a file that is mapped into memory, which were saved so to take none, are never merged.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import index_type, is_constant, is_mapped
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.memory import fits
from connectome.simulate import table_kernels as tables
from connectome.simulate.costs import MERGED_EDGE_BYTES

__all__ = ["Rows", "grouped", "rows_of"]

_RATE_HZ: Final = 3.0  # that neurons are taken to fire at
_VISIT: Final = 20.0  # edges that are merged in the time of two visits: runs come in series, and only the first merges
_PART_OF_MEMORY: Final = 0.25  # of what is free


class Rows(NamedTuple):
    """Edges in CSR order, of one edge set or of several: ``indptr`` (n_source + 1,), targets, weights and delays (E,),
    of which the last two may be broadcast. ``delays``: those that occur, rising. ``key``: the first set's, for
    messages."""

    key: EdgeKey
    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    weight: NDArray[np.float32]
    delay_steps: NDArray[np.uint16]
    delays: NDArray[np.int64]


def grouped(
    edges: Sequence[EdgeSet], alike: Mapping[EdgeKey, Hashable], start: Mapping[str, int], duration_ms: float
) -> list[list[EdgeSet]]:  # fmt: skip
    """Edge sets to be merged, in groups: those from one region of which ``alike`` says the same, where that pays in a
    run of this duration. All others, and what ``alike`` does not know, are alone. For any target region, the sets into
    it stay in their order, and so do the sums of what arrives. ``start``: region -> its first place, which rises along
    a group."""
    groups: list[list[EdgeSet]] = []
    known: dict[Hashable, list[int]] = {}
    free: dict[str, int] = {}  # target region -> the first group that a further set into it may join
    for e in edges:
        constant = float(e.weight[0]) if is_constant(e.weight) else None
        same = known.setdefault((e.key.source, constant, alike.get(e.key, e.key)), [])
        place = next((k for k in same if k >= free.get(e.key.target, 0)), len(groups))
        if place == len(groups):
            same.append(place)
            groups.append([])
        groups[place].append(e)
        free[e.key.target] = place + 1
    for group in groups:
        group.sort(key=lambda e: start[e.key.target])
    return [part for group in groups for part in ([group] if _pays(group, duration_ms) else [[e] for e in group])]


def _pays(group: Sequence[EdgeSet], duration_ms: float) -> bool:
    """Whether a group is merged already; or visits that it saves take longer than to merge it, and there is room."""
    if len(group) == 1 or _known(group) is not None:
        return True
    if any(is_mapped(e.indices) for e in group):
        return False
    delays = [_delays(e) for e in group]
    together, n_edges = np.unique(np.concatenate(delays)).size, sum(map(len, group))
    spikes = _RATE_HZ * duration_ms / 1000  # of a source neuron
    saved = spikes * (sum(d.size for d in delays) - together) * _VISIT
    cost = n_edges / group[0].n_source + together * len(group)
    return saved > cost and n_edges < 2**32 and fits(n_edges * MERGED_EDGE_BYTES / _PART_OF_MEMORY)


def _delays(e: EdgeSet) -> NDArray[np.int64]:
    if is_constant(e.delay_steps):  # nothing to compile
        return e.delay_steps[:1].astype(np.int64)
    seen = np.zeros(2**16, np.bool_)
    tables.mark(e.delay_steps, seen)
    return np.flatnonzero(seen)


class _Merged(NamedTuple):
    sets: list[ref[EdgeSet]]
    plus: list[int]
    rows: Rows


#: What has been merged, for as long as the first set of the group is in use.
_MERGED: Final[WeakKeyDictionary[EdgeSet, _Merged]] = WeakKeyDictionary()


def _known(group: Sequence[EdgeSet]) -> _Merged | None:
    found = _MERGED.get(group[0])
    return found if found is not None and [one() for one in found.sets] == list(group) else None


def rows_of(group: Sequence[EdgeSet], start: Mapping[str, int]) -> Rows:
    """An edge set as it is, without a copy; or a group as one, by source, delay, target, with targets counted from the
    first place of the first."""
    e = group[0]
    if len(group) == 1:
        return Rows(e.key, e.indptr, e.indices, e.weight, e.delay_steps, _delays(e))
    plus = [start[e.key.target] - start[group[0].key.target] for e in group]
    found = _known(group)
    if found is None or found.plus != plus:
        found = _MERGED[e] = _Merged([ref(e) for e in group], plus, _merge(group, plus))
    return found.rows


def _merge(group: Sequence[EdgeSet], plus: Sequence[int]) -> Rows:
    indptr = np.sum([e.indptr for e in group], 0)
    n_edges, delays = int(indptr[-1]), np.unique(np.concatenate([_delays(e) for e in group]))
    indices = np.empty(n_edges, index_type(plus[-1] + group[-1].n_target))
    one_weight, one_delay = is_constant(group[0].weight), delays.size == 1
    weight, delay = np.empty(0 if one_weight else n_edges, np.float32), np.empty(0 if one_delay else n_edges, np.uint16)
    parts, kept = np.zeros(len(group), tables.PART), []
    for part, e, more in zip(parts, group, plus, strict=True):
        constant = is_constant(e.delay_steps)
        delays_of = e.delay_steps[:1] if constant else e.delay_steps
        arrays = [np.ascontiguousarray(x) for x in (e.indptr, e.indices, delays_of)]
        kept.append(arrays)  # as long as their addresses are in use
        part["indptr"], part["indices"], part["delays"] = (x.ctypes.data for x in arrays)
        part["wide"], part["plus"], part["each"] = e.indices.itemsize == 4, more, not constant
        part["weight"] = e.weight.ctypes.data
    tables.merge(parts, delays.astype(np.uint16), indptr, indices, weight, delay)
    if one_weight:
        weight = np.broadcast_to(group[0].weight[0], n_edges)
    if one_delay:
        delay = np.broadcast_to(group[0].delay_steps[0], n_edges)
    return Rows(group[0].key, indptr, indices, weight, delay, delays)
