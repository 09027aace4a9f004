"""The rich club: are nodes of high degree joined to each other more than their degrees alone would explain?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.degrees import degree
from connectome.analysis.nulls import null_values, p_value
from connectome.analysis.simple_graph import Metric, SimpleGraph, once

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "METRICS", "N_NULLS", "SMALLEST_CLUB", "NormalisedRichClub", "Peak", "RichClub", "rich_club_binary",
    "rich_club_normalised", "rich_club_weighted",
]  # fmt: skip

#: Nulls that a normalised coefficient is divided by the mean of. A p-value is 0.01 or more.
N_NULLS: Final = 99
#: Nodes that a club has at least. Of two the coefficient is 0, 1/2 or 1, and its ratio to the nulls' mean is noise.
SMALLEST_CLUB: Final = 5
Values = NDArray[np.float64]


class RichClub(NamedTuple):
    """BCT's ``R, Nk, Ek``, (K,) each for k = 1 .. the largest degree: the coefficient, the nodes of degree > k, the
    edges among them."""

    coefficient: Values
    n_nodes: NDArray[np.int64]
    n_edges: NDArray[np.int64]


def rich_club_binary(graph: SimpleGraph) -> RichClub:
    """The density among the nodes whose in- plus out-degree is above k, for each k: edges over possible edges; nan
    where fewer than two nodes are (BCT ``rich_club_bd``)."""
    k = degree(graph)
    levels = int(k.max(initial=0))
    nodes, edges = _above(k, levels), _above(_poorer_end(graph, k), levels)
    pairs = nodes * (nodes - 1)
    return RichClub(np.divide(edges, pairs, out=np.full(levels, np.nan), where=pairs > 0), nodes, edges)


def rich_club_weighted(graph: SimpleGraph) -> Values:
    """(K,) the total |weight| of the edges among the nodes of degree k or more, over that of the same number of the
    graph's strongest edges, for k = 1 .. the largest degree; nan where no node has a lower degree, and where no edge is
    left (BCT ``rich_club_wd``, which counts from k where ``rich_club_bd`` counts from k + 1)."""
    k = degree(graph)
    levels = int(k.max(initial=0))
    size, poorer = np.abs(graph.weight), _poorer_end(graph, k)
    weight = np.bincount(poorer, size, levels + 1)[:0:-1].cumsum()[::-1]
    edges = np.bincount(poorer, minlength=levels + 1)[:0:-1].cumsum()[::-1]
    strongest = np.append(0, np.sort(size)[::-1].cumsum())[edges]
    there = (strongest > 0) & (np.arange(1, levels + 1) > k.min(initial=levels))
    return np.asarray(np.divide(weight, strongest, out=np.full(levels, np.nan), where=there))


class Peak(NamedTuple):
    """The club that stands out most from its nulls, in their standard deviations; all nan if there is none.

    The k that its nodes' degrees exceed, the number of nodes, its coefficient over the nulls' mean, the nulls' standard
    deviation over their mean, and the share of graphs (the nulls and this one) whose own peak is as high: a p-value
    that allows for the choice of k."""

    k: float
    n_nodes: float
    ratio: float
    null_sd: float
    p: float


class NormalisedRichClub(NamedTuple):
    """(K,) each for k = 1 .. the largest degree: :func:`rich_club_binary` over its mean in the nulls, the nodes of
    degree > k, the mean and the standard deviation in the nulls, the one-sided p-value of this k alone; and the peak
    over all k. nan where the club has too few nodes."""

    ratio: Values
    n_nodes: NDArray[np.int64]
    null_mean: Values
    null_sd: Values
    p: Values
    peak: Peak


def rich_club_normalised(
    graph: SimpleGraph, seed: int = 0, *, n_nulls: int = N_NULLS, smallest: int = SMALLEST_CLUB
) -> NormalisedRichClub:
    """:func:`rich_club_binary` beside graphs rewired with every degree kept (van den Heuvel & Sporns 2011); a ratio
    above 1 is a rich club. ``smallest`` is the least number of nodes in a club. A ratio is nan where the coefficient is
    0 in all graphs, inf where it is 0 in the rewired graphs only. Raises :class:`ConnectomeError`."""
    curve = Metric("rich_club_binary", "graph", lambda g: rich_club_binary(g).coefficient, "1", "", "")
    value, nulls = null_values(graph, curve, "degree", n_nulls, seed)
    n_nodes = rich_club_binary(graph).n_nodes
    value, nulls = (np.where(n_nodes >= smallest, of, np.nan) for of in (value, nulls))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, sd = nulls.mean(0), nulls.std(0, ddof=1)
        ratio = value / mean
        # Mean and deviation of nulls and graph together: without a club any of them may be the highest.
        everyone = np.concatenate([value[None], nulls])
        z = (everyone - everyone.mean(0)) / everyone.std(0, ddof=1)
    z = np.where(np.isnan(z), -np.inf, z)
    at = int(np.argmax(z[0])) if z.size else 0
    none = not z.size or z[0, at] == -np.inf
    peak = Peak(*[float("nan")] * 5) if none else Peak(
        at + 1.0, float(n_nodes[at]), float(ratio[at]), float(sd[at] / mean[at]) if mean[at] else float("inf"),
        float(p_value(z[0].max(), z[1:].max(1))),
    )  # fmt: skip
    return NormalisedRichClub(ratio, n_nodes, mean, sd, p_value(value, nulls), peak)


@once
def _found(graph: SimpleGraph) -> dict[int, NormalisedRichClub]:
    """Results by seed: several metrics ask for the same one."""
    return {}


def _normalised(graph: SimpleGraph, seed: int) -> NormalisedRichClub:
    found = _found(graph)
    if seed not in found:
        found[seed] = rich_club_normalised(graph, seed)
    return found[seed]


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


def _ratio(graph: SimpleGraph, seed: int) -> xr.DataArray:
    return _curve(_normalised(graph, seed).ratio)


def _p(graph: SimpleGraph, seed: int) -> xr.DataArray:
    return _curve(_normalised(graph, seed).p)


def _peak(graph: SimpleGraph, seed: int) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(list(_normalised(graph, seed).peak), {"quantity": list(Peak._fields)}, ["quantity"])


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
        "rich_club_normalised", "graph", _ratio, "1",
        f"rich_club_binary over its mean in {N_NULLS} nulls 'degree'; nan for fewer than {SMALLEST_CLUB} nodes, and "
        "where neither the graph nor its nulls have such an edge", _SOURCE + "rich_club_bd", seeded=True,
    ),
    Metric(
        "rich_club_p", "graph", _p, "1",
        f"share of {N_NULLS} nulls 'degree' and the graph together whose rich_club_binary is as high, for each k by "
        f"itself; nan for fewer than {SMALLEST_CLUB} nodes", _SOURCE + "rich_club_bd", seeded=True,
    ),
    Metric(
        "rich_club_peak", "graph", _peak, "1",
        f"at the k where rich_club_binary stands out most from {N_NULLS} nulls 'degree', in their standard deviations: "
        "k, nodes of degree above it, coefficient over the nulls' mean, their standard deviation over their mean, and "
        "the share of nulls and graph whose own peak is as high (p, which allows for the choice of k); nan if no club "
        f"has {SMALLEST_CLUB} nodes", _SOURCE + "rich_club_bd", seeded=True,
    ),
)  # fmt: skip
