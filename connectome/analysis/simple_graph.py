"""The graph that metrics are defined on: directed, weighted, at most one edge from a node to another, no self-loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, Final, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import checked_ids, freeze, integer, lock, numbers_of
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.kernel_set import expanded
from connectome.graph.parts import ENDS, KINDS, MAX_SIZE, MAX_UM, Region, ReverseView
from connectome.memory import refuse_edges

__all__ = [
    "LABEL", "SYMMETRIC", "Metric", "SimpleGraph", "joined_labels", "once", "ratio", "simple_graph", "symmetric_share",
]  # fmt: skip

#: The per-edge state that holds a measured length, in micrometres.
TRACT_LENGTH: Final = "tract_length_um"

#: The units of a number that only tells nodes apart.
LABEL: Final = "number"
#: Weights there and back that differ by this share are the same: what a file's text, or float32, leaves of one number.
SYMMETRIC: Final = 1e-6

_EDGES_MAX: Final = 2**31 - 1

T = TypeVar("T")


class Metric(NamedTuple):
    """A number for a graph, for each node or for each edge, with what a reader must know to interpret it.

    ``function(graph)``, or ``function(graph, seed)`` if ``seeded``, gives a float, (N,) or (E,) numbers. ``definition``
    is one sentence that also says what the empty and the disconnected graph give; ``source`` the paper and the
    name in the Brain Connectivity Toolbox, if it is there.
    """

    name: str
    of: Literal["graph", "node", "edge"]
    function: Callable[..., Any]
    units: str
    definition: str
    source: str
    seeded: bool = False

    def value(self, graph: SimpleGraph, seed: int = 0) -> Any:
        """What the function gives; the seed counts only if it takes one."""
        return self.function(graph, seed) if self.seeded else self.function(graph)


def ratio(numerator: float, denominator: float) -> float:
    """Their quotient, nan where there is nothing to divide by."""
    return float(numerator / denominator) if denominator else math.nan


def once(function: Callable[[SimpleGraph], T]) -> Callable[[SimpleGraph], T]:
    """Cache a function's result for as long as the graph lives: several metrics are read from one search."""
    found: WeakKeyDictionary[SimpleGraph, T] = WeakKeyDictionary()

    @wraps(function)
    def kept(graph: SimpleGraph) -> T:
        if graph not in found:
            found[graph] = function(graph)
        return found[graph]

    return kept


@dataclass(frozen=True, eq=False)
class SimpleGraph:
    """A directed graph of N nodes and E edges in CSR order, by source, then target. Make one with :meth:`from_arrays`
    or :func:`simple_graph`.

    Parameters
    ----------
    indptr : (N + 1,) int64
    target : (E,) int32, ascending within a row
    weight : (E,) float64, signed; parallel edges of the connectome are summed. An edge of weight 0 is an edge.
    length_um : (E,) float64: measured tract length if there is one, else the distance between the nodes; nan where
        neither is known
    position_um : (N, 3) float64, nan where it is not known
    region : (N,) int32, the place of each node's region in ``regions``
    regions : names
    n_loops, n_parallel : self-loops and parallel edges that were left out, or merged
    label : (N,) names of the nodes, "" for one without a name; None if none has one
    has_signs : whether it is known which edges are inhibitory; False if no neuron has a sign and no weight is below 0
    """

    indptr: NDArray[np.int64]
    target: NDArray[np.int32]
    weight: NDArray[np.float64]
    length_um: NDArray[np.float64]
    position_um: NDArray[np.float64]
    region: NDArray[np.int32]
    regions: tuple[str, ...] = ("all",)
    n_loops: int = 0
    n_parallel: int = 0
    label: NDArray[np.str_] | None = None
    has_signs: bool = True

    @classmethod
    def from_arrays(
        cls, n: int, source: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, *,
        length_um: ArrayLike | None = None, position_um: ArrayLike | None = None, region: ArrayLike | None = None,
        regions: tuple[str, ...] = ("all",), label: ArrayLike | None = None, has_signs: bool = True,
    ) -> SimpleGraph:  # fmt: skip
        """A graph from edges in any order, with weights of 1 and unknown positions unless given. Raises
        :class:`ConnectomeError`.

        A self-loop is left out; weights of parallel edges are summed, their lengths averaged.
        """
        n = integer("n", n, 0, MAX_SIZE)
        src = checked_ids("source", source, n, "the number of nodes")
        tgt = checked_ids("target", target, n, "the number of nodes")
        if src.size != tgt.size:
            raise ConnectomeError("target", f"must be as long as source, {src.size}", tgt.size)
        if src.size > _EDGES_MAX:
            raise ConnectomeError("source", f"must have at most {_EDGES_MAX:,} edges", f"{src.size:,}")
        nowhere = np.full((n, 3), math.nan)
        position = freeze("position_um", nowhere if position_um is None else position_um, np.float64, (n, 3))
        far = np.abs(position) > MAX_UM
        if far.any():
            raise ConnectomeError("position_um", f"must be within {MAX_UM:g} um, or nan", position[far][0])
        w = lock(np.ones(src.size)) if weight is None else _column("weight", weight, src.size)
        length = lock(np.zeros(0)) if length_um is None else _column("length_um", length_um, src.size, may_lack=True)
        from connectome.analysis.simple_graph_kernels import distance, merge

        # All read-only: then there is one version of the kernel.
        indptr, kept, w, length, loops = merge(
            lock(np.array(src, np.int32)), lock(np.array(tgt, np.int32)), w, length, n
        )
        indptr, kept = lock(indptr), lock(kept)
        return cls(
            indptr=indptr, target=kept, weight=lock(w),
            length_um=lock(distance(indptr, kept, position) if length_um is None else length), position_um=position,
            region=freeze("region", np.zeros(n, np.int32) if region is None else region, np.int32, (n,)),
            regions=tuple(regions), n_loops=loops, n_parallel=src.size - loops - kept.size,
            label=None if label is None else _names(label, n), has_signs=has_signs,
        )  # fmt: skip

    @property
    def n(self) -> int:
        """The number of nodes."""
        return int(self.indptr.size - 1)

    @property
    def n_edges(self) -> int:
        """The number of edges."""
        return int(self.target.size)

    @property
    def source(self) -> NDArray[np.int32]:
        """(E,) int32, made from ``indptr``."""
        return np.repeat(np.arange(self.n, dtype=np.int32), np.diff(self.indptr))

    @property
    def is_placed(self) -> bool:
        """Whether the position of every node is known, and not all are the same."""
        return bool(self.n and np.isfinite(self.position_um).all() and np.ptp(self.position_um, axis=0).any())

    @cached_property
    def reverse(self) -> ReverseView:
        """The same edges by target, sources ascending; made at the first call and kept."""
        from connectome.analysis.simple_graph_kernels import argsort_nodes

        indptr, edge = argsort_nodes(self.target, self.n)
        return ReverseView(lock(indptr), lock(self.source[edge]), lock(edge.astype(np.int64)))

    @cached_property
    def partner(self) -> NDArray[np.int64]:
        """(E,) for each edge the number of the one in the other direction, -1 without one; made at the first call and
        kept."""
        from connectome.analysis.simple_graph_kernels import partners

        back = self.reverse
        return lock(partners(self.indptr, self.target, back.indptr, back.source, back.edge))

    @cached_property
    def undirected(self) -> SimpleGraph:
        """The symmetric graph: both directions wherever there is one, each with half the sum of the two weights and
        their mean length. Made at the first call and kept."""
        from connectome.analysis.simple_graph_kernels import join

        back = self.reverse
        indptr, target, weight, length = join(
            self.indptr, self.target, self.weight, self.length_um, back.indptr, back.source, back.edge
        )  # fmt: skip
        return replace(
            self, indptr=lock(indptr), target=lock(target), weight=lock(weight), length_um=lock(length)
        )  # fmt: skip

    def within(self, regions: Collection[str]) -> SimpleGraph:
        """The nodes of these regions and the edges among them. Raises :class:`ConnectomeError` for an unknown name."""
        for name in regions:
            if name not in self.regions:
                raise ConnectomeError("regions", f"must be among {', '.join(self.regions)}", repr(name))
        names = tuple(r for r in self.regions if r in regions)
        new_region = np.array([names.index(r) if r in names else -1 for r in self.regions], np.int32)[self.region]
        keep = new_region >= 0
        number = np.cumsum(keep) - 1
        source = self.source
        edge = keep[source] & keep[self.target]
        return SimpleGraph.from_arrays(
            int(keep.sum()), number[source[edge]], number[self.target[edge]], self.weight[edge],
            length_um=self.length_um[edge], position_um=self.position_um[keep], region=new_region[keep], regions=names,
            label=None if self.label is None else self.label[keep], has_signs=self.has_signs,
        )  # fmt: skip


def simple_graph(c: Connectome, *, kinds: Collection[str] = ("local", "long_range")) -> SimpleGraph:
    """The neurons of a connectome in its order of regions, joined by the edges of these kinds.

    Sensors and effectors are nodes only if "afferent" or "efferent" is among the kinds. Raises :class:`ConnectomeError`
    for an unknown kind, and for kernel sets with too many connections to expand.
    """
    regions = _joined_by(c, kinds)
    offset = starts(regions)
    refuse_edges("a graph for metrics", sum(len(e) for key, e in c.edges.items() if key.base in kinds), 65)
    chosen = [*expanded({key: e for key, e in c.edges.items() if key.base in kinds}).values()]
    position = np.concatenate([np.zeros((0, 3)), *(r.position_um for r in regions)])

    def joined(columns: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, dtype), *columns])

    source = joined([e.source.astype(np.int64) + offset[e.key.source] for e in chosen], np.int64)
    target = joined([e.target.astype(np.int64) + offset[e.key.target] for e in chosen], np.int64)
    length = None
    if any(TRACT_LENGTH in e.state for e in chosen):
        measured = joined([e.state.get(TRACT_LENGTH, np.full(len(e), np.nan)) for e in chosen], np.float64)
        distance = np.linalg.norm(position[source] - position[target], axis=1)
        length = np.where(np.isnan(measured), distance, measured)
    return SimpleGraph.from_arrays(
        len(position), source, target, joined([e.weight for e in chosen], np.float64), length_um=length,
        position_um=position, region=np.repeat(np.arange(len(regions)), [r.size for r in regions]),
        regions=tuple(r.name for r in regions), label=joined_labels(regions),
        has_signs=any(r.sign.any() for r in regions) or any((e.weight < 0).any() for e in chosen),
    )  # fmt: skip


def _names(label: ArrayLike, n: int) -> NDArray[np.str_]:
    names = np.array(label, np.str_)
    if names.shape != (n,):
        raise ConnectomeError("label", f"must have shape ({n},)", names.shape)
    return lock(names)


def _joined_by(c: Connectome, kinds: Collection[str]) -> list[Region]:
    """The regions of neurons, and sensors and effectors if edges of these kinds join them. Raises
    :class:`ConnectomeError` for an unknown kind."""
    for kind in kinds:
        if kind not in KINDS:
            raise ConnectomeError("kinds", f"must be among {', '.join(KINDS)}", repr(kind))
    roles = {role for kind in kinds for role in ENDS[kind]} | {"neuron"}
    return [r for r in c.regions.values() if r.role in roles]


def region_graph(c: Connectome, *, kinds: Collection[str] = ("local", "long_range")) -> SimpleGraph:
    """One node for each region whose neurons are in :func:`simple_graph`, at the mean of their known positions, joined
    by the sums of weights. No kernel set is expanded. Raises :class:`ConnectomeError` for an unknown kind."""
    regions = _joined_by(c, kinds)
    number = {r.name: i for i, r in enumerate(regions)}
    chosen = [e for e in c.edges.values() if e.key.base in kinds and e.n_connections]
    sums = [float(e.weight @ e.connections.astype(np.float64)) for e in chosen]
    known = [r.position_um[~np.isnan(r.position_um).any(axis=1)] for r in regions]
    middle = [p.mean(axis=0) if len(p) else np.full(3, np.nan) for p in known]
    source, target = ([number[getattr(e.key, end)] for e in chosen] for end in ("source", "target"))
    return SimpleGraph.from_arrays(
        len(regions), np.array(source, np.int64), np.array(target, np.int64), np.array(sums),
        position_um=np.reshape(middle, (len(regions), 3)), label=np.array([*number], str),
        has_signs=any(s < 0 for s in sums),
    )  # fmt: skip


def joined_labels(regions: Sequence[Region]) -> NDArray[np.str_] | None:
    """Names of the regions' neurons, "" for one without a name; None if none of the regions has names."""
    return None if all(r.label is None for r in regions) else np.concatenate([r.labels for r in regions])


def symmetric_share(graph: SimpleGraph, tolerance: float = SYMMETRIC) -> float:
    """The share of edges that have one back of the same weight, up to a relative ``tolerance``; 1 for a symmetric
    graph, and without edges."""
    if not graph.n_edges:
        return 1.0
    edge = np.flatnonzero(graph.partner >= 0)
    there, back = graph.weight[edge], graph.weight[graph.partner[edge]]
    same = np.abs(there - back) <= tolerance * np.maximum(np.abs(there), np.abs(back))
    return float(same.sum() / graph.n_edges)


def _column(name: str, given: ArrayLike, size: int, *, may_lack: bool = False) -> NDArray[np.float64]:
    """(E,) finite numbers, or nan, read-only, not copied if they need not be. Raises :class:`ConnectomeError`."""
    array = np.asarray(numbers_of(name, given), np.float64)
    if array.shape != (size,):
        raise ConnectomeError(name, f"must have shape ({size},)", array.shape)
    if np.isinf(array).any() or (np.isnan(array).any() and not may_lack):
        raise ConnectomeError(name, "must be finite", array[~np.isfinite(array)][0])
    return lock(np.ascontiguousarray(array).view())
