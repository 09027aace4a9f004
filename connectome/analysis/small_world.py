"""Is a graph a small world: more clustered than a random one, with paths nearly as short?

Each number is of the undirected graph of |weight|; :data:`METRICS` says which nulls it is compared with. Clustering is
the mean over nodes, and path length the mean over the pairs of nodes joined by a path, so that a part that is cut off
does not make it infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.clustering import (
    clustering_binary_undirected,
    clustering_weighted_undirected,
    mean_clustering,
)
from connectome.analysis.nulls import NullKind, null, ring_pairs
from connectome.analysis.paths import characteristic_path_length
from connectome.analysis.simple_graph import Metric, SimpleGraph, ratio
from connectome.arrays import integer, lock

__all__ = ["METRICS", "N_NULLS", "Propensity", "small_world_omega", "small_world_propensity", "small_world_sigma"]

#: Nulls of a kind, whose clustering and path length are averaged.
N_NULLS: Final = 20


class Propensity(NamedTuple):
    """Small-world propensity, and the two deviations it is made of (clustering's and path length's), each in 0 .. 1."""

    phi: float
    delta_clustering: float
    delta_path_length: float


class _Shape(NamedTuple):
    clustering: float
    path_length: float


def small_world_sigma(graph: SimpleGraph, seed: int = 0) -> float:
    """Humphries & Gurney's (2008) S, ``(C / C_random) / (L / L_random)``: clustering C and path length L, each relative
    to Erdos-Renyi graphs with the same numbers of nodes and edges; above 1 in a small world. Binary. nan without edges,
    or if the random graphs have no triangle. Raises :class:`ConnectomeError`."""
    g, seeds = _undirected(graph), _seeds(seed, 1)
    of_graph, of_random = _shape(g), _mean(g, "erdos_renyi", seeds[0])
    return ratio(ratio(of_graph.clustering, of_random.clustering), ratio(of_graph.path_length, of_random.path_length))


def small_world_omega(graph: SimpleGraph, seed: int = 0) -> float:
    """Telesford et al.'s (2011) omega, ``L_random / L - C / C_lattice``: path length L relative to graphs rewired with
    every degree kept, and clustering C relative to lattices with the same degrees; -1 a lattice, 0 a small world, 1
    random. Binary. nan without edges, or if the lattices have no triangle. Raises :class:`ConnectomeError`."""
    g, seeds = _undirected(graph), _seeds(seed, 2)
    of_graph, of_random, of_lattice = _shape(g), _mean(g, "degree", seeds[0]), _mean(g, "lattice", seeds[1])
    return ratio(of_random.path_length, of_graph.path_length) - ratio(of_graph.clustering, of_lattice.clustering)


def small_world_propensity(graph: SimpleGraph, seed: int = 0, *, weighted: bool = True) -> Propensity:
    """Muldoon, Bridgeford & Bassett's (2016) phi: 1 if clustering is that of a ring and path length that of a random
    graph, 0 if neither. nan without edges, or where ring and random graph are alike. Raises :class:`ConnectomeError`.

    The ring joins each node to its nearest neighbours until there are as many edges, the heaviest weights at the
    shortest distances, in random order among pairs at one distance; the random graph has the weights at random pairs.
    The published program takes one graph of each kind, where here the means of 20 are taken; and for a disconnected
    graph it sets the deviation of path length to 1, which is not done here. Length is 1 / |weight| and clustering that
    of Onnela et al. (2005); without ``weighted`` both are binary.
    """
    g, seeds = _undirected(graph), _seeds(seed, 2)
    of_graph, of_random = _shape(g, weighted), _mean(g, "erdos_renyi", seeds[0], weighted)
    of_ring = _average([_shape(_ring(g, s), weighted) for s in seeds[1]])
    clustering = ratio(max(of_ring.clustering - of_graph.clustering, 0), of_ring.clustering - of_random.clustering)
    length = ratio(max(of_graph.path_length - of_random.path_length, 0), of_ring.path_length - of_random.path_length)
    clustering, length = (float(np.clip(abs(x), 0, 1)) for x in (clustering, length))
    return Propensity(1 - math.sqrt((clustering**2 + length**2) / 2), clustering, length)


def _undirected(graph: SimpleGraph) -> SimpleGraph:
    return replace(graph, weight=lock(np.abs(graph.weight))).undirected


def _seeds(seed: int, kinds: int) -> NDArray[np.uint64]:
    """(kinds, N_NULLS) seeds."""
    state = np.random.SeedSequence(integer("seed", seed, 0, 2**64 - 1)).generate_state(kinds * N_NULLS, np.uint64)
    return state.astype(np.uint64).reshape(kinds, N_NULLS)


def _shape(graph: SimpleGraph, weighted: bool = False) -> _Shape:
    if weighted:
        return _Shape(
            mean_clustering(graph, clustering_weighted_undirected), characteristic_path_length(graph, "weighted")
        )
    return _Shape(mean_clustering(graph, clustering_binary_undirected), characteristic_path_length(graph))


def _mean(graph: SimpleGraph, kind: NullKind, seeds: NDArray[np.uint64], weighted: bool = False) -> _Shape:
    return _average([_shape(null(graph, kind, int(s)), weighted) for s in seeds])


def _average(shapes: list[_Shape]) -> _Shape:
    return _Shape(*(float(x) for x in np.mean(shapes, axis=0)))


def _ring(graph: SimpleGraph, seed: int) -> SimpleGraph:
    """The weights of an undirected graph around a ring: the n heaviest between neighbours, the next n at distance two,
    and so on."""
    n = graph.n
    weight = -np.sort(-graph.weight[graph.source < graph.target])
    number = np.arange(weight.size)
    chance = np.random.default_rng(seed).random(weight.size)
    weight = weight[np.lexsort((chance, number // max(n, 1)))]
    source, target = ring_pairs(number, max(n, 1))
    return SimpleGraph.from_arrays(
        n, np.concatenate([source, target]), np.concatenate([target, source]), np.concatenate([weight, weight])
    )


def _phi(graph: SimpleGraph, seed: int, *, weighted: bool) -> float:
    return small_world_propensity(graph, seed, weighted=weighted).phi


def _metric(name: str, function: Callable[..., float], definition: str, source: str) -> Metric:
    what = f"{definition}, in the undirected graph; paths over joined pairs; nan without edges or what it is divided by"
    return Metric(name, "graph", function, "1", what, source, seeded=True)


_PHI: Final = (
    "1 - sqrt((dC^2 + dL^2) / 2), how far clustering is from a ring's and path length from a random graph's, of "
    f"{N_NULLS} rings and {N_NULLS} nulls 'erdos_renyi'"
)
_MULDOON: Final = "Muldoon, Bridgeford & Bassett 2016, Sci Rep 6:22057"

METRICS: Final[tuple[Metric, ...]] = (
    _metric(
        "small_world_sigma", small_world_sigma,
        f"(C / C_random) / (L / L_random), binary, means of {N_NULLS} nulls 'erdos_renyi'",
        "Humphries & Gurney 2008, PLoS ONE 3:e0002051",
    ),
    _metric(
        "small_world_omega", small_world_omega,
        f"L_random / L - C / C_lattice, binary, means of {N_NULLS} nulls 'degree' and {N_NULLS} 'lattice'",
        "Telesford et al. 2011, Brain Connect 1:367",
    ),
    _metric("small_world_propensity_binary", partial(_phi, weighted=False), f"{_PHI}, binary", _MULDOON),
    _metric(
        "small_world_propensity_weighted", partial(_phi, weighted=True), f"{_PHI}, weighted, length 1 / |weight|",
        _MULDOON,
    ),
)  # fmt: skip
