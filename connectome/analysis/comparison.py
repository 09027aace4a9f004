"""How alike two graphs are: distances between the distributions of properties of their nodes and edges, and whether the
same nodes are the hubs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.clustering import clustering_binary_directed, clustering_binary_undirected
from connectome.analysis.paths import betweenness
from connectome.analysis.simple_graph import SimpleGraph, joined_labels
from connectome.arrays import checked_ids
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import ENDS, Region

__all__ = [
    "Correlation", "Distances", "correlate", "degree_correlation", "distances", "energy", "ks", "node_labels",
    "shared_nodes", "subgraph",
]  # fmt: skip

Array = NDArray[Any]


class Distances(NamedTuple):
    """Kolmogorov-Smirnov distances, each 0 (the same distribution) to 1; nan where there is nothing to compare."""

    degree: float
    clustering: float
    betweenness: float
    edge_length: float

    @property
    def energy(self) -> float:
        """The largest distance that is not nan (Betzel et al. 2016, eq. 2)."""
        return float(np.nanmax(self))


class Correlation(NamedTuple):
    """Correlation over n pairs of nodes; nan for fewer than three, or if one side is constant."""

    pearson: float
    spearman: float
    n: int


def ks(a: ArrayLike, b: ArrayLike) -> float:
    """The two-sample Kolmogorov-Smirnov distance ``max_x |F_a(x) - F_b(x)|``; 0 if both samples are empty, 1 if only
    one is."""
    x, y = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    if not x.size or not y.size:
        return float(x.size != y.size)
    at = np.concatenate([x, y])
    gap = np.searchsorted(x, at, "right") / x.size - np.searchsorted(y, at, "right") / y.size
    return float(np.abs(gap).max())


def distances(a: SimpleGraph, b: SimpleGraph, *, directed: bool = False) -> Distances:
    """How far apart two graphs are in degree, clustering, betweenness and edge length (Betzel et al. 2016).

    As published, on the undirected graph (both directions wherever there is one), with weights ignored. ``directed``
    keeps directions: then the degree distance is the larger of those of in- and out-degree, clustering is Fagiolo's,
    and each directed edge has its length. Betweenness is divided by the number of ordered pairs of other nodes,
    ``(N - 1) (N - 2)``, which changes nothing between graphs of one size and makes graphs of different sizes
    comparable; degrees are not normalised.

    A graph without edges has degree, clustering and betweenness of 0, and no edge lengths: its distance from a graph
    with edges is 1. Where either graph has no extent (every position and every length 0), edge_length is nan.
    """
    if not directed:
        a, b = a.undirected, b.undirected
    degree = ks(np.diff(a.indptr), np.diff(b.indptr))
    if directed:
        degree = max(degree, ks(np.diff(a.reverse.indptr), np.diff(b.reverse.indptr)))
    lengths = ks(a.length_um, b.length_um) if _has_extent(a) and _has_extent(b) else float("nan")
    clustering = clustering_binary_directed if directed else clustering_binary_undirected
    triangles, paths = (ks(_rounded(of(a)), _rounded(of(b))) for of in (clustering, _betweenness))
    return Distances(degree, triangles, paths, lengths)


def energy(a: SimpleGraph, b: SimpleGraph, *, directed: bool = False) -> float:
    """The largest of the four :func:`distances`. A low one does not mean that the hubs are the right nodes: see
    :func:`degree_correlation`."""
    return distances(a, b, directed=directed).energy


def degree_correlation(a: SimpleGraph, b: SimpleGraph, pairs: ArrayLike | None = None) -> Correlation:
    """Whether the same nodes have the high degrees in both: the spatial correlation of degree, on undirected graphs.

    ``pairs`` (P, 2) says which node of a is which node of b: see :func:`shared_nodes`. Without it node i is node i, and
    the sizes must be equal. Nodes are never paired by their positions: coordinates of two measurements seldom agree,
    and the nearest node need not be the same node. Raises :class:`ConnectomeError`.
    """
    if pairs is None:
        if a.n != b.n:
            raise ConnectomeError("pairs", "must be given for graphs of different sizes", f"{a.n} and {b.n} nodes")
        one, two = np.arange(a.n), np.arange(a.n)
    else:
        array = np.asarray(pairs)
        if array.ndim != 2 or array.shape[1] != 2:
            raise ConnectomeError("pairs", "must have shape (P, 2)", array.shape)
        one, two = (checked_ids("pairs", array[:, i], g.n, "the nodes") for i, g in ((0, a), (1, b)))
    return correlate(np.diff(a.undirected.indptr)[one], np.diff(b.undirected.indptr)[two])


def correlate(x: Array, y: Array) -> Correlation:
    """Pearson's r, and Spearman's (ties take their mean rank)."""
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(float("nan"), float("nan"), int(x.size))
    from scipy.stats import rankdata

    pearson, spearman = (float(np.corrcoef(p, q)[0, 1]) for p, q in ((x, y), (rankdata(x), rankdata(y))))
    return Correlation(pearson, spearman, int(x.size))


def shared_nodes(
    connectomes: Sequence[Connectome], *, kinds: Collection[str] = ("local", "long_range")
) -> NDArray[np.int64]:
    """(P, len(connectomes)) a row for each shared node: its number in the :func:`simple_graph` of each connectome, in
    the order of the first.

    Nodes are matched by label if every connectome has labels; a label that a connectome has twice, and "", match
    nothing. Otherwise they are matched by region and number within it, if all have the same regions of the same sizes;
    if not, no nodes match.
    """
    labels = [node_labels(c, kinds=kinds) for c in connectomes]
    if all(names is not None for names in labels):
        places = [_places_of_unique(names or []) for names in labels]
        shared = [name for name in places[0] if all(name in p for p in places)]
        return np.array([[p[name] for p in places] for name in shared], np.int64).reshape(-1, len(connectomes))
    shapes = [[(r.name, r.size) for r in _regions(c, kinds)] for c in connectomes]
    size = sum(n for _, n in shapes[0]) if all(shape == shapes[0] for shape in shapes) else 0
    return np.repeat(np.arange(size)[:, None], len(connectomes), axis=1)


def node_labels(c: Connectome, *, kinds: Collection[str] = ("local", "long_range")) -> list[str] | None:
    """Labels of the nodes of its :func:`simple_graph`, "" for one without a name; None if none has one."""
    labels = joined_labels(_regions(c, kinds))
    return None if labels is None else labels.tolist()


def subgraph(graph: SimpleGraph, nodes: ArrayLike, *, position_um: ArrayLike | None = None) -> SimpleGraph:
    """These nodes, in this order, and the edges among them. With positions ``position_um`` (P, 3) the nodes are moved
    there and lengths are computed from there. Raises :class:`ConnectomeError` for a node given twice."""
    kept = checked_ids("nodes", nodes, graph.n, "the nodes").astype(np.int64)
    if np.unique(kept).size != kept.size:
        raise ConnectomeError("nodes", "must be different", "one of them twice")
    number = np.full(graph.n, -1)
    number[kept] = np.arange(kept.size)
    source, target = number[graph.source], number[graph.target]
    edge = (source >= 0) & (target >= 0)
    return SimpleGraph.from_arrays(
        kept.size, source[edge], target[edge], graph.weight[edge],
        length_um=graph.length_um[edge] if position_um is None else None,
        position_um=graph.position_um[kept] if position_um is None else position_um,
        region=graph.region[kept], regions=graph.regions, label=None if graph.label is None else graph.label[kept],
        has_signs=graph.has_signs,
    )  # fmt: skip


def _regions(c: Connectome, kinds: Collection[str]) -> list[Region]:
    """Those whose neurons are nodes, as in :func:`simple_graph`."""
    roles = {role for kind in kinds for role in ENDS[kind]} | {"neuron"}
    return [r for r in c.regions.values() if r.role in roles]


def _places_of_unique(names: list[str]) -> dict[str, int]:
    count = Counter(names)
    return {name: i for i, name in enumerate(names) if name and count[name] == 1}


def _has_extent(graph: SimpleGraph) -> bool:
    return graph.is_placed or bool(np.isfinite(graph.length_um).all() and graph.length_um.any())


def _betweenness(graph: SimpleGraph) -> Array:
    return np.asarray(betweenness(graph) / max((graph.n - 1) * (graph.n - 2), 1))


def _rounded(values: Array) -> Array:
    """What differs by rounding alone must count as equal: KS goes by the order of values."""
    return np.asarray(values, np.float32)
