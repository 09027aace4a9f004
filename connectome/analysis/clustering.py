"""Clustering and transitivity: how many of a node's pairs of neighbours are themselves joined.

Four kinds: of the undirected graph (joined if there is an edge either way) or of the directed one (all eight triangles
of three nodes count), binary or weighted. A weight is |weight| over the largest of them, as the Brain Connectivity
Toolbox asks for; an edge of weight 0 joins its nodes and adds nothing to a weighted triangle. All triangles are listed
once for the binary measures and once for the weighted ones: O(E sqrt E), with at most 28 bytes for each joined pair of
nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.simple_graph import Metric, SimpleGraph, once, ratio

if TYPE_CHECKING:
    from connectome.analysis.clustering_kernels import Pairs

__all__ = [
    "METRICS", "clustering_binary_directed", "clustering_binary_undirected", "clustering_weighted_directed",
    "clustering_weighted_undirected", "mean_clustering", "transitivity_binary_directed",
    "transitivity_binary_undirected", "transitivity_weighted_directed", "transitivity_weighted_undirected",
]  # fmt: skip

Values = NDArray[np.float64]


class _Triangles(NamedTuple):
    """(N,) each: the triangles at a node, and how many there could be."""

    undirected: Values
    directed: Values
    possible_undirected: Values
    possible_directed: Values


@once
def _pairs(graph: SimpleGraph) -> Pairs:
    from connectome.analysis.clustering_kernels import join_pairs

    reverse = graph.reverse
    return join_pairs(graph.indptr, graph.target, reverse.indptr, reverse.source, reverse.edge)


@once
def _binary(graph: SimpleGraph) -> _Triangles:
    """With edges of 1: between two nodes there are one or two."""
    pairs = _pairs(graph)
    edges = np.ones((pairs.neighbour.size, 2), np.int8)
    edges[:, 1] += (pairs.out >= 0) & (pairs.back >= 0)
    return _triangles(pairs, edges)


@once
def _weighted(graph: SimpleGraph) -> _Triangles:
    """With weights over the largest. The scale of the product of three cube roots is that of one weight."""
    from connectome.analysis.clustering_kernels import weigh_pairs

    pairs = _pairs(graph)
    value = weigh_pairs(pairs, graph.weight)
    t = _triangles(pairs, value)
    largest = float(np.abs(graph.weight).max(initial=0)), float(value[:, 0].max(initial=0)) ** 3
    return t._replace(undirected=_over(t.undirected, largest[1]), directed=_over(t.directed, largest[0]))


def _triangles(pairs: Pairs, value: NDArray[Any]) -> _Triangles:
    from connectome.analysis.clustering_kernels import sum_triangles

    undirected, directed = sum_triangles(pairs, value).T
    k, total = pairs.neighbours.astype(float), (pairs.neighbours + pairs.mutual).astype(float)
    return _Triangles(undirected, directed, k * (k - 1) / 2, total * (total - 1) - 2 * pairs.mutual)


def clustering_binary_undirected(graph: SimpleGraph) -> Values:
    """(N,) the fraction of the pairs of a node's neighbours that are joined (Watts & Strogatz 1998)."""
    t = _binary(graph)
    return _over(t.undirected, t.possible_undirected)


def clustering_binary_directed(graph: SimpleGraph) -> Values:
    """(N,) directed triangles of a node over those that its edges could be part of (Fagiolo 2007)."""
    t = _binary(graph)
    return _over(t.directed, t.possible_directed)


def clustering_weighted_undirected(graph: SimpleGraph) -> Values:
    """(N,) mean over the pairs of neighbours of the geometric mean of a triangle's weights (Onnela et al. 2005)."""
    t = _weighted(graph)
    return _over(t.undirected, t.possible_undirected)


def clustering_weighted_directed(graph: SimpleGraph) -> Values:
    """(N,) :func:`clustering_binary_directed`, each triangle with the geometric mean of its weights (Fagiolo 2007)."""
    t = _weighted(graph)
    return _over(t.directed, t.possible_directed)


def transitivity_binary_undirected(graph: SimpleGraph) -> float:
    """Three times the triangles over the pairs of neighbours, in the whole graph (Newman 2003)."""
    t = _binary(graph)
    return ratio(t.undirected.sum(), t.possible_undirected.sum())


def transitivity_binary_directed(graph: SimpleGraph) -> float:
    """:func:`clustering_binary_directed`, the sum of its numerators over that of its denominators (Rubinov & Sporns
    2010)."""
    t = _binary(graph)
    return ratio(t.directed.sum(), t.possible_directed.sum())


def transitivity_weighted_undirected(graph: SimpleGraph) -> float:
    """:func:`clustering_weighted_undirected`, the sum of its numerators over that of its denominators (Rubinov & Sporns
    2010)."""
    t = _weighted(graph)
    return ratio(t.undirected.sum(), t.possible_undirected.sum())


def transitivity_weighted_directed(graph: SimpleGraph) -> float:
    """:func:`clustering_weighted_directed`, the sum of its numerators over that of its denominators (Rubinov & Sporns
    2010). BCT's code gives 0 as soon as one node is in no triangle, which the paper does not ask for; here it does
    not."""
    t = _weighted(graph)
    return ratio(t.directed.sum(), t.possible_directed.sum())


def mean_clustering(graph: SimpleGraph, of: Callable[[SimpleGraph], Values] = clustering_binary_undirected) -> float:
    """The mean over all nodes of one of the four clustering coefficients; nan without nodes."""
    return float(of(graph).mean()) if graph.n else math.nan


def _over(numerator: Values, denominator: Values | float) -> Values:
    """Their quotient, 0 where the numerator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(numerator.size), where=numerator > 0)


_SHARE: Final = "share of the pairs of a node's neighbours that are joined, directions left out"
_FAGIOLO: Final = "directed triangles of a node over those that its edges could be part of"
_GEOMETRIC: Final = ", each triangle with the geometric mean of its |weights| over the largest"
_KINDS: Final = (
    ("binary_undirected", "bu", clustering_binary_undirected, transitivity_binary_undirected, _SHARE,
     "Watts & Strogatz 1998, Nature 393:440"),
    ("binary_directed", "bd", clustering_binary_directed, transitivity_binary_directed, _FAGIOLO,
     "Fagiolo 2007, Phys Rev E 76:026107"),
    ("weighted_undirected", "wu", clustering_weighted_undirected, transitivity_weighted_undirected,
     _SHARE + _GEOMETRIC, "Onnela et al. 2005, Phys Rev E 71:065103"),
    ("weighted_directed", "wd", clustering_weighted_directed, transitivity_weighted_directed, _FAGIOLO + _GEOMETRIC,
     "Fagiolo 2007, Phys Rev E 76:026107"),
)  # fmt: skip

METRICS: Final[tuple[Metric, ...]] = tuple(
    metric
    for name, bct, clustering, transitivity, what, paper in _KINDS
    for metric in (
        Metric(
            f"clustering_{name}", "node", clustering, "1", f"{what}; 0 for a node in no triangle",
            f"{paper}; BCT clustering_coef_{bct}",
        ),
        Metric(
            f"clustering_{name}_mean", "graph", partial(mean_clustering, of=clustering), "1",
            f"mean over all nodes: {what}; 0 for a node in no triangle, nan without nodes",
            f"{paper}; BCT clustering_coef_{bct}",
        ),
        Metric(
            f"transitivity_{name}", "graph", transitivity, "1",
            f"sums over all nodes: {what}; nan if no node has two edges to different neighbours",
            f"Newman 2003, SIAM Rev 45:167; Rubinov & Sporns 2010, NeuroImage 52:1059; BCT transitivity_{bct}",
        ),
    )
)  # fmt: skip
