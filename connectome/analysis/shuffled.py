"""A connectome with shuffled wiring: the control for whatever depends on which neuron is joined to which.

Within each edge set, targets are swapped between edges (:data:`connectome.analysis.nulls.DEFINITIONS`, ``degree``).
Each neuron keeps its out- and in-degree in every set; signs, weights, delays and every other attribute of an edge stay
with its source, so each neuron's out-strength is kept. No edge is moved to a pair that another edge joins already.
Edges from a neuron to itself stay as they are.

:func:`shuffled_tracts` is for connectomes whose neurons are brain regions and whose edges are tracts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.nulls import ATTEMPTS, SWAPS, NullKind, null
from connectome.analysis.simple_graph import TRACT_LENGTH, simple_graph, symmetric_share
from connectome.arrays import csr_order, integer, is_constant, lock
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.flat import starts
from connectome.graph.parts import EdgeSet
from connectome.graph.tables import STATE, Header, connect
from connectome.parameters import Parameters
from connectome.rules import Context

__all__ = ["TRACT_NULLS", "Shuffled", "TractNull", "shuffled_tracts", "shuffled_wiring"]

#: A null model of :data:`connectome.analysis.nulls.DEFINITIONS`, or the same tracts with their weights dealt out anew.
TractNull = NullKind | Literal["weights"]
TRACT_NULLS: Final = (*get_args(NullKind), "weights")


@dataclass(frozen=True)
class Shuffled(Parameters):
    """The control as a developmental rule: when a region is born, its local edges and its long-range ones get other
    targets, as :func:`shuffled_wiring` gives them. It writes no line to the rule log, as nothing is added or
    removed."""

    when: ClassVar = frozenset({"birth"})

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        mine = [
            e for key, e in connectome.edges.items()
            if key.base in ("local", "long_range") and context.region in (key.source, key.target)
        ]  # fmt: skip
        made = [_shuffled(e, r) for e, r in zip(mine, rng.spawn(len(mine)), strict=True)]
        return Edit(remove={e.key: np.ones(len(e), bool) for e in mine}, add=tuple(made))


def shuffled_wiring(connectome: Connectome, seed: int = 0) -> Connectome:
    """The same neurons and edges with other targets: see the head of this module. Raises :class:`ConnectomeError`."""
    seeds = np.random.SeedSequence(integer("seed", seed, 0, 2**63 - 1)).spawn(len(connectome.edges))
    edges = {
        key: _shuffled(e, np.random.default_rng(s)) for (key, e), s in zip(connectome.edges.items(), seeds, strict=True)
    }
    return replace(connectome, edges=edges)


def _shuffled(e: EdgeSet, rng: np.random.Generator) -> EdgeSet:
    from connectome.analysis.null_kernels import DEGREE, Slots, rewire

    source, target = e.source, e.target.copy()
    local = e.key.source == e.key.target
    moves = np.flatnonzero(source != target) if local else np.arange(len(e))
    if moves.size < 2:
        return e
    shift = 0 if local else e.n_source  # then sources and targets are other neurons
    indptr = np.searchsorted(source[moves], np.arange(shift + e.n_target + 1)).astype(np.int64)
    # Read-only where the null models of a graph are: then there is one version of the kernel.
    slots = Slots(
        lock(indptr), source[moves], target[moves] + np.int32(shift), np.zeros(moves.size), np.zeros(0, np.int64)
    )
    none, state = np.zeros(0, np.int32), rng.integers(2**64, size=1, dtype=np.uint64)
    rewire(
        slots, DEGREE, none, none, lock(np.zeros((0, 3))), np.zeros(0), SWAPS * moves.size // 2, ATTEMPTS * moves.size,
        state,
    )  # fmt: skip
    target[moves] = slots.target - np.int32(shift)
    return _with_targets(e, target)


def _with_targets(e: EdgeSet, target: NDArray[np.int32]) -> EdgeSet:
    """The edge set with other targets, sorted as edge sets are."""
    indices = target.astype(e.indices.dtype)
    order = csr_order(e.source, indices, e.delay_steps, e.indptr, e.n_target)
    if order is None:
        return replace(e, indices=lock(indices))

    def ordered(column: NDArray[Any]) -> NDArray[Any]:
        return column if is_constant(column) else lock(column[order])

    return replace(
        e, indices=lock(indices[order]), weight=ordered(e.weight), delay_steps=ordered(e.delay_steps),
        birth_stage=ordered(e.birth_stage), state={k: ordered(v) for k, v in e.state.items()},
        attributes={k: a.take(order) for k, a in e.attributes.items()},
    )  # fmt: skip


def shuffled_tracts(connectome: Connectome, kind: TractNull = "degree", seed: int = 0) -> Connectome:
    """The same nodes joined by null tracts, with one edge set for each pair of regions, without self-connections and
    with parallel edges summed. Measured lengths move with the weights. Symmetric tracts stay symmetric. Raises
    :class:`ConnectomeError`."""
    if kind not in TRACT_NULLS:
        raise ConnectomeError("null", f"must be among {', '.join(TRACT_NULLS)}", repr(kind))
    graph = simple_graph(connectome)
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    found = graph if kind == "weights" else null(graph, kind, seed)
    both_ways = symmetric_share(graph) == 1
    before, after = (np.flatnonzero(g.source < g.target) if both_ways else np.arange(g.n_edges) for g in (graph, found))
    if kind == "weights":
        weight, rank = graph.weight.copy(), rng.permutation(before)
        weight[after] = graph.weight[rank]
    else:  # the weights are those that there were: each brings its length
        weight, rank = found.weight.copy(), np.empty(before.size, np.int64)
        rank[np.argsort(weight[after], kind="stable")] = before[np.argsort(graph.weight[before], kind="stable")]
    length = np.full(found.n_edges, np.nan)
    length[after] = graph.length_um[rank]
    if both_ways:
        for values in (weight, length):
            values[found.partner[after]] = values[after]
    regions = list(connectome.regions.values())
    first = np.array([*starts(regions).values()], np.int64)

    def end(node: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        place = np.searchsorted(first, node, "right") - 1
        return place, node - first[place]

    columns = {"weight": weight}
    if any(TRACT_LENGTH in e.state for e in connectome.edges.values()):
        columns[STATE + TRACT_LENGTH] = length
    return connect("tracts", regions, end(found.source), end(found.target), columns, Header(connectome.dt_ms))
