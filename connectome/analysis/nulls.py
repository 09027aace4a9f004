"""Null models of a graph, and metrics beside their values in null graphs."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from connectome.analysis import null_kernels
from connectome.analysis.null_kernels import Slots, match_strengths, rewire
from connectome.analysis.simple_graph import Metric, SimpleGraph, symmetric_share
from connectome.arrays import integer
from connectome.errors import ConnectomeError

__all__ = [
    "DEFINITIONS", "Normalised", "NullKind", "nearly_symmetric", "normalised", "null", "null_values", "p_value",
    "ring_pairs",
]  # fmt: skip

NullKind = Literal["degree", "strength", "spatial", "erdos_renyi", "lattice"]

#: Swaps an edge (of the Brain Connectivity Toolbox's randmio_dir: its ``iter``), and attempts an edge at most: in a
#: dense graph few swaps are possible.
SWAPS: Final = 10
ATTEMPTS: Final = 200
#: Exchanges of weights that are tried, an edge.
EXCHANGES: Final = 100
#: A graph is nearly symmetric if all but a few edges have one back, with a weight that is nearly the same.
_FEW: Final = 0.1
_NEAR: Final = 0.01
#: Each of the bins of length has this share of the edges.
BINS: Final = 10

#: What each null keeps, in one sentence.
DEFINITIONS: Final[dict[NullKind, str]] = {
    "degree": (
        "Each node's in- and out-degree; weights stay with their source, so out-strengths too. The targets of two "
        f"edges are swapped, {SWAPS} swaps for each edge, in at most {ATTEMPTS} attempts (Maslov & Sneppen 2002; BCT "
        "randmio_dir, _und)."
    ),
    "strength": (
        "Each node's in- and out-degree of negative and of other edges, and the weights as a set; each node's "
        "positive and negative strengths nearly: swaps as for 'degree' among edges of one sign, weights dealt out at "
        f"random, then {EXCHANGES} exchanges of two weights tried an edge, kept if the strengths come no further from "
        "their values (after Rubinov & Sporns 2011, BCT null_model_dir_sign, and Milisav et al. 2025)."
    ),
    "spatial": (
        "Each node's in- and out-degree, the sign of its weights, and how many edges, with which weights, have a "
        f"length in each of {BINS} bins that hold equally many edges: swaps as for 'degree', among sources at all "
        "distances (Betzel & Bassett 2018). Length is the distance of positions."
    ),
    "erdos_renyi": "The numbers of nodes and edges; weights are dealt out at random (BCT makerandCIJ_dir, _und).",
    "lattice": (
        "Each node's in- and out-degree and out-strength: swaps as for 'degree' by which the sum of |weight| times "
        "distance on a ring of the nodes, in random order, does not rise (Sporns & Zwi 2004; BCT latmio_dir, _und)."
    ),
}


class Normalised(NamedTuple):
    """A metric beside its values in null graphs: one number for the graph, or (N,) for its nodes.

    ``sd`` has n - 1 in the denominator; ``z`` is (value - mean) / sd and ``ratio`` value / mean, nan where that is 0/0
    (for ``z`` up to rounding); ``percentile`` is the percentage of nulls below the value, ties counting half. ``p`` is
    two-sided, by permutation (:func:`p_value`): at least 2 / (n + 1), and 1 where every null has the value.
    """

    metric: str
    null: NullKind
    n: int
    seed: int
    value: Any
    mean: Any
    sd: Any
    z: Any
    ratio: Any
    percentile: Any
    p: Any


def normalised(
    graph: SimpleGraph, metric: Metric, null: NullKind = "degree", n: int = 100, seed: int = 0
) -> Normalised:
    """The metric of a graph beside that of n nulls, whose seeds are drawn from this one. Raises
    :class:`ConnectomeError`, also for a metric of edges: a null graph has other edges."""
    value, nulls = null_values(graph, metric, null, n, seed)
    mean, sd = nulls.mean(0), nulls.std(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z, ratio = (value - mean) / sd, value / mean
    rounding = 1e-12 * np.maximum(np.abs(mean), np.abs(value))
    z = np.where((sd <= rounding) & (np.abs(value - mean) <= rounding), np.nan, z)  # what every null keeps
    share = (np.mean(nulls < value, 0) + np.mean(nulls <= value, 0)) / 2
    percentile = np.where(np.isnan(value) | np.isnan(nulls).any(0), np.nan, 100 * share)
    p = np.minimum(1, 2 * np.minimum(p_value(value, nulls), p_value(-value, -nulls)))
    return Normalised(metric.name, null, n, seed, *(_plain(a) for a in (value, mean, sd, z, ratio, percentile, p)))


def null_values(
    graph: SimpleGraph, metric: Metric, kind: NullKind, n: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A metric of the graph or of its nodes, ``(...)``, and its values in n nulls, ``(n, ...)``. Raises as
    :func:`normalised`."""
    n = integer("n", n, 2, 10**6)
    if metric.of == "edge":
        raise ConnectomeError("metric", "must be of the graph or of its nodes", repr(metric.name))
    seeds = np.random.SeedSequence(_checked_seed(seed)).generate_state(n).tolist()

    def of(g: SimpleGraph) -> NDArray[np.float64]:
        return np.asarray(metric.value(g, seed), np.float64)

    return of(graph), np.stack([of(_null(graph, kind, s)) for s in seeds])


def p_value(value: NDArray[np.float64], nulls: NDArray[np.float64]) -> NDArray[np.float64]:
    """(...) The one-sided p-value: of ``value`` (...) and ``nulls`` (n, ...) together, the share that is at least as
    high as the value, up to rounding; never 0 (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39). nan where any of
    them is."""
    rounding = 1e-12 * np.maximum(np.abs(value), np.abs(nulls))
    share = (1 + (nulls >= value - rounding).sum(0)) / (len(nulls) + 1)
    return np.where(np.isnan(value) | np.isnan(nulls).any(0), np.nan, share)


def _plain(a: NDArray[np.float64]) -> Any:
    return float(a) if a.ndim == 0 else a


def null(graph: SimpleGraph, kind: NullKind, seed: int = 0) -> SimpleGraph:
    """A random graph of the same nodes that keeps what :data:`DEFINITIONS` says of its kind. Raises
    :class:`ConnectomeError`.

    A symmetric graph, whose weights agree up to a relative :data:`~connectome.analysis.simple_graph.SYMMETRIC`, has
    symmetric nulls; any other has directed ones, even one that is :func:`nearly_symmetric`: there ``graph.undirected``
    may be what was meant, or a weight may be wrong. Lengths of new edges are distances between positions, as nobody has
    measured them. A graph without edges is its own null. Swaps alone cannot reverse a cycle of three edges (Roberts &
    Coolen 2012); like the Brain Connectivity Toolbox we accept that.
    """
    return _null(graph, kind, _checked_seed(seed))


def _checked_seed(seed: int) -> int:
    return integer("seed", seed, 0, 2**64 - 1)


def _null(graph: SimpleGraph, kind: NullKind, seed: int) -> SimpleGraph:
    if kind not in get_args(NullKind):
        raise ConnectomeError("kind", f"must be among {', '.join(get_args(NullKind))}", repr(kind))
    if kind == "spatial" and graph.n_edges and not graph.is_placed:
        why = "one that is not" if np.isnan(graph.position_um).any() else "one place for all"
        raise ConnectomeError("position_um", "must be known and differ for a spatial null", why, "Take 'degree'.")
    if not graph.n_edges:
        return graph
    rng = np.random.default_rng(seed)
    pair = _pairs(graph)
    if pair.size and (graph.weight[pair] != graph.weight).any():
        graph = graph.undirected  # the same edges, in the same order
    if kind == "erdos_renyi":
        return _random_pairs(graph, pair, rng)
    slots = Slots(graph.indptr, graph.source, graph.target.copy(), graph.weight.copy(), pair)
    order = _along_a_curve(graph.position_um) if kind == "spatial" else rng.permutation(graph.n).astype(np.int32)
    rank = np.empty(graph.n, np.int32)
    rank[order] = np.arange(graph.n)
    limit = np.zeros(0)
    if kind == "spatial":
        square = ((graph.position_um[slots.source] - graph.position_um[slots.target]) ** 2).sum(1)
        limit = np.unique(np.quantile(square, np.arange(1, BINS + 1) / BINS, method="inverted_cdf"))
    state = rng.integers(2**64, size=1, dtype=np.uint64)
    n_edges = graph.n_edges // 2 if pair.size else graph.n_edges
    code = {"degree": null_kernels.DEGREE, "strength": null_kernels.SIGNED, "spatial": null_kernels.SPATIAL}
    if n_edges > 1:
        rewire(
            slots, code.get(kind, null_kernels.LATTICE), order, rank, graph.position_um, limit, SWAPS * n_edges // 2,
            ATTEMPTS * n_edges, state,
        )  # fmt: skip
    if kind == "strength":
        _deal_weights(slots, rng)
        wanted = _strengths(graph.source, graph.target, graph.weight, graph.n)
        found = _strengths(slots.source, slots.target, slots.weight, graph.n)
        match_strengths(slots, found - wanted, EXCHANGES * n_edges, state)
    return _graph_of(graph, slots.source, slots.target, slots.weight)


def nearly_symmetric(graph: SimpleGraph) -> str:
    """A sentence of warning about a graph that is symmetric but for a few edges, or to within a percent of their
    weights. Its nulls are directed, so its reciprocity is as far from theirs as can be. "" for any other graph."""
    if symmetric_share(graph) == 1:
        return ""
    share, density = symmetric_share(graph, _NEAR), graph.n_edges / (graph.n * (graph.n - 1))
    if 1 - share > min(_FEW, (1 - density) / 2):  # a dense graph has most edges both ways by chance
        return ""
    odd = graph.n_edges - round(symmetric_share(graph) * graph.n_edges)
    return (
        f"The graph is symmetric but for {odd:,} of {graph.n_edges:,} edges, which have none back of the same weight: "
        "it counts as directed, and so do its nulls."
    )


def _pairs(graph: SimpleGraph) -> NDArray[np.int64]:
    """For each edge the one the other way, if the graph is symmetric; else empty."""
    return graph.partner.copy() if symmetric_share(graph) == 1 else np.zeros(0, np.int64)


def _random_pairs(graph: SimpleGraph, pair: NDArray[np.int64], rng: np.random.Generator) -> SimpleGraph:
    """Pairs drawn without replacement, numbered by the distance on a ring, then by the first node."""
    n = graph.n
    edge = np.flatnonzero(pair >= np.arange(pair.size)) if pair.size else np.arange(graph.n_edges)
    number = rng.choice(n * (n - 1) // (2 if pair.size else 1), edge.size, replace=False)
    return _graph_of(graph, *ring_pairs(number, n), graph.weight[edge], both_ways=bool(pair.size))


def ring_pairs(number: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pair of each number. The first n (n - 1) / 2 are all undirected pairs of n nodes, nearest on a ring first;
    all n (n - 1) the directed ones."""
    return number % n, (number % n + number // n + 1) % n


def _graph_of(
    graph: SimpleGraph, source: NDArray[Any], target: NDArray[Any], weight: NDArray[np.float64], both_ways: bool = False
) -> SimpleGraph:
    """The nodes of a graph with other edges."""
    if both_ways:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
        weight = np.concatenate([weight, weight])
    return SimpleGraph.from_arrays(
        graph.n,
        source,
        target,
        weight,
        position_um=graph.position_um,
        region=graph.region,
        has_signs=graph.has_signs,
        regions=graph.regions,
        label=graph.label,
    )


def _deal_weights(slots: Slots, rng: np.random.Generator) -> None:
    """The weights of one sign go to edges of this sign at random."""
    for chosen in (slots.weight < 0, slots.weight >= 0):
        edge = np.flatnonzero(chosen & (slots.source < slots.target) if slots.pair.size else chosen)
        slots.weight[edge] = rng.permutation(slots.weight[edge])
        if slots.pair.size:
            slots.weight[slots.pair[edge]] = slots.weight[edge]


def _strengths(source: NDArray[Any], target: NDArray[Any], weight: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(4 n,) sums of |weight|: (out, in) x (node) x (positive, negative)."""
    size, sign = np.abs(weight), weight < 0
    out, into = (np.bincount(2 * node.astype(np.int64) + sign, size, 2 * n) for node in (source, target))
    return np.concatenate([out, into])


def _along_a_curve(position: NDArray[np.float64]) -> NDArray[np.int32]:
    """The nodes in the order of Morton's curve: near in the order is mostly near in space."""
    extent = max(float(np.ptp(position, axis=0).max(initial=0)), np.finfo(np.float64).tiny)
    cell = ((position - position.min(0)) / extent * 1023).astype(np.int64)
    code = np.zeros(len(cell), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable").astype(np.int32)
