"""Motifs: the thirteen ways in which three nodes can be joined, counted and weighed (Sporns & Kötter 2004)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.motif_kernels import Dyads, count_triples, join_directions, weigh_triples
from connectome.analysis.simple_graph import Metric, SimpleGraph

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["METRICS", "MOTIFS", "MotifWeights", "Motifs", "motif3struct_binary", "motif3struct_weighted"]

#: The classes by BCT's number less 1: name in the triad census (Holland & Leinhardt 1970), and the edges of one triple.
MOTIFS: Final[tuple[tuple[str, tuple[tuple[int, int], ...]], ...]] = (
    ("021U", ((0, 2), (1, 2))),
    ("021C", ((0, 2), (1, 0))),
    ("021D", ((0, 1), (0, 2))),
    ("111D", ((0, 1), (1, 0), (2, 0))),
    ("030T", ((0, 1), (0, 2), (1, 2))),
    ("111U", ((0, 1), (1, 0), (0, 2))),
    ("030C", ((0, 1), (1, 2), (2, 0))),
    ("120D", ((0, 2), (2, 0), (1, 0), (1, 2))),
    ("201", ((0, 1), (1, 0), (0, 2), (2, 0))),
    ("120C", ((0, 2), (2, 0), (0, 1), (1, 2))),
    ("120U", ((0, 1), (1, 0), (0, 2), (1, 2))),
    ("210", ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2))),
    ("300", ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1))),
)


class Motifs(NamedTuple):
    """BCT's ``f, F``: (13,) triples of each class, and (13, N) those that each node is in."""

    total: NDArray[np.int64]
    of_node: NDArray[np.int64]


class MotifWeights(NamedTuple):
    """BCT's ``I, Q``, (13, N) each: over the triples that a node is in, the sums of intensity, the geometric mean of a
    triple's |weights| (pA), and of coherence, the intensity over their arithmetic mean."""

    intensity: NDArray[np.float64]
    coherence: NDArray[np.float64]


def motif3struct_binary(graph: SimpleGraph) -> Motifs:
    """The connected triples by class: each triple once, with every edge among its nodes."""
    of_node = count_triples(_dyads(graph), _CLASSES)
    return Motifs(of_node.sum(axis=0) // 3, of_node.T)


def motif3struct_weighted(graph: SimpleGraph) -> MotifWeights:
    """The intensity and coherence of the connected triples by class; 0 for a triple with an edge of weight 0. Weights
    need not be scaled to 0 .. 1: intensity is in their unit, and coherence does not depend on it."""
    intensity, coherence = weigh_triples(_dyads(graph), _CLASSES)
    return MotifWeights(intensity.T, coherence.T)


def _dyads(graph: SimpleGraph) -> Dyads:
    return join_directions(graph.indptr, graph.target, graph.weight, *graph.reverse)


def _classes() -> NDArray[np.int64]:
    """(4, 4, 4): the class of a triple by the codes of its pairs 0-1, 1-2, 0-2; 0 where it is not connected."""
    classes = np.zeros((4, 4, 4), np.int64)
    for number, (_, edges) in enumerate(MOTIFS):
        for nodes in itertools.permutations(range(3)):
            there = {(nodes[a], nodes[b]) for a, b in edges}
            code = [((i, j) in there) + 2 * ((j, i) in there) for i, j in ((0, 1), (1, 2), (0, 2))]
            classes[tuple(code)] = number
    return classes


_CLASSES: Final = _classes()


def _by_class(values: NDArray[np.generic]) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(values, {"motif": [f"{i} {name}" for i, (name, _) in enumerate(MOTIFS, 1)]}, ["motif"])


def _frequency(graph: SimpleGraph) -> xr.DataArray:
    return _by_class(motif3struct_binary(graph).total)


def _intensity(graph: SimpleGraph) -> xr.DataArray:
    return _by_class(_mean_over_triples(graph, motif3struct_weighted(graph).intensity))


def _coherence(graph: SimpleGraph) -> xr.DataArray:
    return _by_class(_mean_over_triples(graph, motif3struct_weighted(graph).coherence))


def _mean_over_triples(graph: SimpleGraph, of_node: NDArray[np.float64]) -> NDArray[np.float64]:
    total = motif3struct_binary(graph).total
    return np.asarray(np.divide(of_node.sum(axis=1) / 3, total, out=np.full(13, np.nan), where=total > 0))


_SOURCE: Final = "Sporns & Kötter 2004, PLoS Biol 2:e369; BCT "
_ONNELA: Final = "Onnela et al. 2005, Phys Rev E 71:065103; BCT "

METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "motif_frequency", "graph", _frequency, "1",
        "connected triples of nodes by class, BCT's number and the name in the triad census; 0 if there is none",
        _SOURCE + "motif3struct_bin",
    ),
    Metric(
        "motif_intensity", "graph", _intensity, "pA",
        "mean over the triples of a class of the geometric mean of their |weights|; nan if there is none",
        _ONNELA + "motif3struct_wei",
    ),
    Metric(
        "motif_coherence", "graph", _coherence, "1",
        "mean over the triples of a class of the geometric over the arithmetic mean of |weights|; nan if there is none",
        _ONNELA + "motif3struct_wei",
    ),
)  # fmt: skip
