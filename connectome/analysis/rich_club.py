"""The rich club: are nodes of many edges joined to each other more than their degrees make them?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.degrees import degree
from connectome.analysis.nulls import normalised
from connectome.analysis.simple_graph import Metric, SimpleGraph

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["METRICS", "RichClub", "rich_club_binary", "rich_club_normalised", "rich_club_weighted"]

#: How many nulls a normalised coefficient is divided by the mean of.
N_NULLS: Final = 20
Values = NDArray[np.float64]


class RichClub(NamedTuple):
    """BCT's ``R, Nk, Ek``, (K,) each for k = 1 .. the largest degree: the coefficient, the nodes of degree > k, the
    edges among them."""

    coefficient: Values
    n_nodes: NDArray[np.int64]
    n_edges: NDArray[np.int64]


def rich_club_binary(graph: SimpleGraph) -> RichClub:
    """The share of the possible edges that there are among the nodes whose in- and out-degree together is above k; nan
    where fewer than two nodes are (BCT ``rich_club_bd``)."""
    k = degree(graph)
    levels = int(k.max(initial=0))
    nodes, edges = _above(k, levels), _above(_poorer_end(graph, k), levels)
    pairs = nodes * (nodes - 1)
    return RichClub(np.divide(edges, pairs, out=np.full(levels, np.nan), where=pairs > 0), nodes, edges)


def rich_club_weighted(graph: SimpleGraph) -> Values:
    """(K,) the |weight| among the nodes of degree k or more, over that of as many of the strongest edges of the graph,
    for k = 1 .. the largest degree; nan where no node has a lower degree, and where no edge is left (BCT
    ``rich_club_wd``, which counts from k where ``rich_club_bd`` counts from k + 1)."""
    k = degree(graph)
    levels = int(k.max(initial=0))
    size, poorer = np.abs(graph.weight), _poorer_end(graph, k)
    weight = np.bincount(poorer, size, levels + 1)[:0:-1].cumsum()[::-1]
    edges = np.bincount(poorer, minlength=levels + 1)[:0:-1].cumsum()[::-1]
    strongest = np.append(0, np.sort(size)[::-1].cumsum())[edges]
    there = (strongest > 0) & (np.arange(1, levels + 1) > k.min(initial=levels))
    return np.asarray(np.divide(weight, strongest, out=np.full(levels, np.nan), where=there))


def rich_club_normalised(graph: SimpleGraph, seed: int = 0) -> Values:
    """(K,) :func:`rich_club_binary` over its mean in graphs rewired with every degree kept, :data:`N_NULLS` of them;
    above 1 is a rich club. nan where it is not defined and where it is 0 in all, inf where it is 0 in the rewired."""
    curve = Metric("rich_club_binary", "graph", lambda g: rich_club_binary(g).coefficient, "1", "", "")
    return np.asarray(normalised(graph, curve, "degree", N_NULLS, seed).ratio)


def _above(values: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """(levels,) how many values are above 1, 2, .. levels."""
    return values.size - np.bincount(values, minlength=levels + 1).cumsum()[1:]


def _poorer_end(graph: SimpleGraph, k: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.minimum(k[graph.source], k[graph.target])


def _curve(values: Values) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(values, {"k": np.arange(1, values.size + 1)}, ["k"])


def _binary(graph: SimpleGraph) -> xr.DataArray:
    return _curve(rich_club_binary(graph).coefficient)


def _weighted(graph: SimpleGraph) -> xr.DataArray:
    return _curve(rich_club_weighted(graph))


def _normalised(graph: SimpleGraph, seed: int) -> xr.DataArray:
    return _curve(rich_club_normalised(graph, seed))


_SOURCE: Final = "Colizza et al. 2006, Nat Phys 2:110; van den Heuvel & Sporns 2011, J Neurosci 31:15775; BCT "

METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "rich_club_binary", "graph", _binary, "1",
        "edges over ordered pairs among the nodes of in- plus out-degree above k; nan with fewer than two",
        _SOURCE + "rich_club_bd",
    ),
    Metric(
        "rich_club_weighted", "graph", _weighted, "1",
        "|weight| among nodes of degree k or more over that of as many of the strongest edges; nan where every node "
        "has degree k or more, and without edges", "Opsahl et al. 2008, Phys Rev Lett 101:168702; BCT rich_club_wd",
    ),
    Metric(
        "rich_club_normalised", "graph", _normalised, "1",
        f"rich_club_binary over its mean in {N_NULLS} nulls 'degree'; nan where neither has such an edge, or one node",
        _SOURCE + "rich_club_bd", seeded=True,
    ),
)  # fmt: skip
