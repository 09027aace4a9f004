"""Shortest paths: lengths, efficiency, eccentricity, betweenness and reachability.

A path goes along the edges' directions, and its length is the number of edges ("binary"), the sum of 1 / abs(weight)
("weighted") or the sum of the edges' lengths in micrometres ("wiring"). An edge of weight 0 counts as one step, but no
weighted path uses it. For ``graph.undirected`` these functions give the undirected values, with betweenness counting
each path in both directions, as the Brain Connectivity Toolbox does.

All are exact, computed in blocks of sources on all cores, with the same result for any number of cores. Nothing here is
N x N: a core needs about 130 bytes a node, and betweenness of edges 16 numbers an edge in all. Time is the limit: O(N E
/ 256) a step of distance for the binary searches, O(N E) for all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.simple_graph import Metric, SimpleGraph, once
from connectome.arrays import lock
from connectome.graph.flat import cores

if TYPE_CHECKING:
    from connectome.analysis.path_kernels import Graph

__all__ = [
    "METRICS", "betweenness", "characteristic_path_length", "diameter", "eccentricity", "edge_betweenness",
    "global_efficiency", "largest_component", "local_efficiency", "radius", "reachability",
]  # fmt: skip

Values = NDArray[np.float64]
Length = Literal["binary", "weighted", "wiring"]
T = TypeVar("T")

_BLOCKS: Final = 16  # always: a sum over blocks has the same order for any number of cores


class _Distances(NamedTuple):
    """Over the pairs of different nodes joined by a path: how many, the sums of their distances and of the inverses;
    (N,) the largest distance from each node, nan if it reaches none."""

    pairs: int
    total: float
    inverse: float
    furthest: Values


def characteristic_path_length(graph: SimpleGraph, length: Length = "binary") -> float:
    """The mean distance from one node to another, over the pairs joined by a path; nan without such a pair."""
    found = _distances(graph, length)
    return found.total / found.pairs if found.pairs else math.nan


def global_efficiency(graph: SimpleGraph, length: Length = "binary") -> float:
    """The mean of 1 / distance over all ordered pairs, 0 where there is no path; nan with fewer than two nodes.

    If weighted, weights are divided by the largest, so that it is in 0 .. 1.
    """
    if graph.n < 2:
        return math.nan
    inverse = _distances(graph, length).inverse / (graph.n * (graph.n - 1))
    return inverse / (_largest(graph) or 1) if length == "weighted" else inverse


def eccentricity(graph: SimpleGraph, length: Length = "binary") -> Values:
    """(N,) the largest distance from each node to one that it reaches; nan if it reaches none."""
    return _distances(graph, length).furthest


def radius(graph: SimpleGraph, length: Length = "binary") -> float:
    """The least eccentricity of the nodes that have one; nan without any."""
    return float(np.fmin.reduce(eccentricity(graph, length), initial=math.nan))


def diameter(graph: SimpleGraph, length: Length = "binary") -> float:
    """The largest distance between two nodes joined by a path; nan without any."""
    return float(np.fmax.reduce(eccentricity(graph, length), initial=math.nan))


def local_efficiency(graph: SimpleGraph, *, weighted: bool = False) -> Values:
    """(N,) the efficiency among a node's neighbours, of the paths that do not leave them; 0 for fewer than two.

    Directed as in Rubinov & Sporns 2010, weighted as in Wang et al. 2017 (BCT's ``efficiency_wei(W, 2)``), with weights
    divided by the largest.
    """
    from connectome.analysis.path_kernels import binary_local_efficiency
    from connectome.analysis.weighted_path_kernels import weighted_local_efficiency

    g = _graph(graph)
    if not weighted:
        return _joined(_blocks(graph.n, lambda first, last: binary_local_efficiency(g, first, last)))
    root = np.cbrt(np.abs(graph.weight) / (_largest(graph) or 1))
    with np.errstate(divide="ignore"):
        length = 1 / root
    back = root[graph.reverse.edge]
    return _joined(
        _blocks(graph.n, lambda first, last: weighted_local_efficiency(g, length, root, back, first, last))
    )  # fmt: skip


def betweenness(graph: SimpleGraph, *, weighted: bool = False) -> Values:
    """(N,) summed over the pairs of other nodes, the share of the shortest paths between them that go through a node.

    Divided by (N - 1) (N - 2) it is in 0 .. 1. Two paths are equally short if their lengths differ by at most a
    relative 1e-12, so that 1/2 + 1/12 is as long as 1/3 + 1/4, which it is not in floating point (BCT and networkx
    compare the floating-point sums; igraph takes 1e-10).
    """
    return _brandes(graph, weighted, by_edge=False)


def edge_betweenness(graph: SimpleGraph, *, weighted: bool = False) -> Values:
    """(E,) summed over all pairs of nodes, the share of the shortest paths between them that use an edge."""
    return _brandes(graph, weighted, by_edge=True)


def reachability(graph: SimpleGraph) -> float:
    """The share of ordered pairs of nodes joined by a path; nan with fewer than two nodes."""
    return _distances(graph, "binary").pairs / (graph.n * (graph.n - 1)) if graph.n > 1 else math.nan


def largest_component(graph: SimpleGraph, connection: Literal["weak", "strong"]) -> int:
    """Number of nodes in the largest component, connected by edges in either direction (weak) or by paths both ways
    (strong)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if not graph.n:
        return 0
    matrix = csr_array((np.ones(graph.n_edges, np.int8), graph.target, graph.indptr), (graph.n, graph.n))
    return int(np.bincount(connected_components(matrix, connection=connection)[1]).max())


def _distances(graph: SimpleGraph, length: Length) -> _Distances:
    return {"binary": _binary, "weighted": _weighted, "wiring": _wiring}[length](graph)


@once
def _binary(graph: SimpleGraph) -> _Distances:
    from connectome.analysis.path_kernels import binary_distances

    g = _graph(graph)
    pairs, furthest = np.zeros(graph.n + 1, np.int64), np.zeros(graph.n)
    for some, distances in _blocks(graph.n, lambda first, last: binary_distances(g, first, last)):
        pairs += some
        furthest += distances
    furthest[furthest == 0] = math.nan
    d = np.arange(1, pairs.size)
    return _Distances(int(pairs.sum()), float(pairs[1:] @ d), float((pairs[1:] / d).sum()), lock(furthest))


@once
def _weighted(graph: SimpleGraph) -> _Distances:
    return _by_length(graph, _inverse(graph))


@once
def _wiring(graph: SimpleGraph) -> _Distances:
    if np.isnan(graph.length_um).any():  # a path may be shorter than is known
        nothing = np.full(graph.n, math.nan)
        return _Distances(_binary(graph).pairs, math.nan, math.nan, lock(nothing))
    return _by_length(graph, graph.length_um)


def _by_length(graph: SimpleGraph, length: Values) -> _Distances:
    from connectome.analysis.weighted_path_kernels import weighted_distances

    g = _graph(graph)
    found = list(_blocks(graph.n, lambda first, last: weighted_distances(g, length, first, last)))
    furthest = _joined(f.furthest for f in map(_Distances._make, found))
    return _Distances(sum(f[0] for f in found), sum(f[1] for f in found), sum(f[2] for f in found), lock(furthest))


def _brandes(graph: SimpleGraph, weighted: bool, by_edge: bool) -> Values:
    from connectome.analysis.path_kernels import binary_betweenness
    from connectome.analysis.weighted_path_kernels import weighted_betweenness

    g, total = _graph(graph), np.zeros(graph.n_edges if by_edge else graph.n)
    length = _inverse(graph)

    def block(first: int, last: int) -> tuple[Values, Values]:
        if weighted:
            return weighted_betweenness(g, length, first, last, by_edge)
        return binary_betweenness(g, first, last, by_edge)

    for found in _blocks(graph.n, block):
        total += found[by_edge]
    return total


def _graph(graph: SimpleGraph) -> Graph:
    from connectome.analysis.path_kernels import Graph

    return Graph(graph.indptr, graph.target, graph.reverse.indptr, graph.reverse.source)


def _inverse(graph: SimpleGraph) -> Values:
    """(E,) 1 / abs(weight), infinite for 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return lock(1 / np.abs(graph.weight))


def _largest(graph: SimpleGraph) -> float:
    return float(np.abs(graph.weight).max(initial=0))


def _blocks(n: int, job: Callable[[int, int], T]) -> Iterator[T]:
    """The job's results for blocks of sources, in order, made on all cores."""
    bounds = np.linspace(0, n, min(n, _BLOCKS) + 1).astype(int).tolist()
    with ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(lambda bound: job(*bound), pairwise(bounds))


def _joined(parts: Iterator[Any]) -> Values:
    return np.concatenate([np.zeros(0), *parts])


_LENGTHS: Final[tuple[tuple[Length, str, str, str], ...]] = (
    ("binary", "1", "number of edges", "distance_bin"),
    ("weighted", "1/pA", "sum of 1/|weight|; no path over an edge of weight 0", "distance_wei"),
    ("wiring", "um", "sum of the edges' lengths", "distance_wei"),
)
_CONNECTIONS: Final[tuple[tuple[Literal["weak", "strong"], str], ...]] = (
    ("weak", "edges, directions left out"), ("strong", "paths both ways"),
)  # fmt: skip
_SOURCE: Final = "Rubinov & Sporns 2010, NeuroImage 52:1059; BCT "
_LATORA: Final = "Latora & Marchiori 2001, Phys Rev Lett 87:198701; BCT efficiency_"
_BRANDES: Final = "Brandes 2001, J Math Sociol 25:163; BCT "


def _length_metrics(length: Length, units: str, what: str, bct: str) -> Iterator[Metric]:
    """The metrics of one kind of length."""
    source = f"{_SOURCE}charpath of {bct}"
    rows: tuple[tuple[str, Literal["graph", "node"], Callable[..., Any], str], ...] = (
        ("characteristic_path_length", "graph", characteristic_path_length,
         "mean distance over the ordered pairs that a path joins; nan without one"),
        ("eccentricity", "node", eccentricity, "largest distance to a node that it reaches; nan if it reaches none"),
        ("radius", "graph", radius, "least eccentricity of the nodes that reach another; nan without one"),
        ("diameter", "graph", diameter, "largest distance of a pair that a path joins; nan without one"),
    )  # fmt: skip
    for name, of, function, definition in rows:
        yield Metric(
            f"{name}_{length}", of, partial(function, length=length), units, f"{definition}; distance: {what}", source
        )  # fmt: skip


METRICS: Final[tuple[Metric, ...]] = (
    *(metric for row in _LENGTHS for metric in _length_metrics(*row)),
    Metric(
        "efficiency_global_binary", "graph", global_efficiency, "1",
        "mean of 1 / distance over all ordered pairs, 0 without a path; nan with fewer than two nodes",
        f"{_LATORA}bin",
    ),
    Metric(
        "efficiency_global_weighted", "graph", partial(global_efficiency, length="weighted"), "1",
        "mean of 1 / distance over all ordered pairs, 0 without a path, distance the sum of 1/|weight|, weights over "
        "the largest; nan with fewer than two nodes", f"{_LATORA}wei",
    ),
    Metric(
        "efficiency_local_binary", "node", local_efficiency, "1",
        "efficiency among the neighbours of a node; 0 with fewer than two", f"{_LATORA}bin(A, 1)",
    ),
    Metric(
        "efficiency_local_weighted", "node", partial(local_efficiency, weighted=True), "1",
        "efficiency among the neighbours of a node, weights divided by the largest; 0 with fewer than two",
        "Wang et al. 2017, Neural Comput 29:313; BCT efficiency_wei(W, 2)",
    ),
    Metric(
        "betweenness_binary", "node", betweenness, "1",
        "sum over the ordered pairs of other nodes of the share of their shortest paths that go through a node; 0 "
        "where there are none", f"{_BRANDES}betweenness_bin",
    ),
    Metric(
        "betweenness_weighted", "node", partial(betweenness, weighted=True), "1",
        "sum over the ordered pairs of other nodes of the share of their shortest paths by 1/|weight| that go through "
        "a node; 0 where there are none", f"{_BRANDES}betweenness_wei",
    ),
    Metric(
        "edge_betweenness_binary", "edge", edge_betweenness, "1",
        "sum over the ordered pairs of nodes of the share of their shortest paths that use an edge",
        f"{_BRANDES}edge_betweenness_bin",
    ),
    Metric(
        "edge_betweenness_weighted", "edge", partial(edge_betweenness, weighted=True), "1",
        "sum over the ordered pairs of nodes of the share of their shortest paths by 1/|weight| that use an edge; 0 "
        "for weight 0", f"{_BRANDES}edge_betweenness_wei",
    ),
    Metric(
        "reachability", "graph", reachability, "1",
        "share of ordered pairs that a path joins; nan with fewer than two nodes", f"{_SOURCE}reachdist",
    ),
    *(
        Metric(
            f"largest_component_{name}", "graph", partial(largest_component, connection=name), "1",
            f"nodes of the largest component connected by {what}; 0 without nodes", f"{_SOURCE}get_components",
        )
        for name, what in _CONNECTIONS
    ),
)  # fmt: skip
