"""How one set of neurons reaches another: strongest and shortest paths, and effective connectivity over several steps.

What an edge carries is its *input fraction*: its |weight| over the sum of |weight| of all edges into its target, the
share of the target's input that comes from its source. A path's strength is the product of its edges' fractions. The
effective connectivity from a set to a neuron over k steps is the share of the neuron's input that traces back to the
set over exactly k edges: the sum of the strengths of all walks of k edges from the set to the neuron. It is computed by
products of a sparse matrix with one vector a set: nothing is N x N.

>>> from connectome.analysis.simple_graph import SimpleGraph
>>> graph = SimpleGraph.from_arrays(4, [0, 0, 1, 2], [1, 2, 3, 3], [1.0, 3.0, 1.0, 3.0])
>>> [(path.nodes, path.strength) for path in strongest_paths(graph, [0], [3], 2)]
[((0, 2, 3), 0.75), ((0, 1, 3), 0.25)]
>>> effective_connectivity(graph, [[0]], 2)[:, 0, 3].tolist()
[0.0, 1.0]
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.simple_graph import SimpleGraph
from connectome.arrays import integer
from connectome.errors import ConnectomeError

__all__ = [
    "AgainstShuffled", "Path", "against_shuffled", "effective_connectivity", "input_fractions", "shortest_paths",
    "steps_between", "strongest_paths",
]  # fmt: skip

#: Logarithms of strengths that differ by less are compared as fractions of whole numbers.
_ROUNDING: Final = 1e-9
#: Beginnings of paths that are looked at, at most: a graph of which so many are as strong has no few strongest paths.
_MOST: Final = 2_000_000


class Path(NamedTuple):
    """A path: its nodes, the input fraction of each of its edges, and their product."""

    nodes: tuple[int, ...]
    fractions: tuple[float, ...]
    strength: float


class AgainstShuffled(NamedTuple):
    """A number beside its values in n shuffled wirings: their mean and standard deviation (n - 1 in the denominator),
    its distance from the mean in standard deviations (``z``, nan for 0/0), and the one-sided p-value (1 + nulls as
    large) / (1 + nulls)."""

    value: float
    mean: float
    sd: float
    z: float
    p: float
    n: int


def input_fractions(graph: SimpleGraph) -> NDArray[np.float64]:
    """(E,) the share that each edge has of the |weight| into its target; 0 for an edge of weight 0."""
    size = np.abs(graph.weight)
    total = np.bincount(graph.target, size, graph.n)[graph.target]
    found: NDArray[np.float64] = np.divide(size, total, out=np.zeros(size.size), where=total > 0)
    return found


def strongest_paths(graph: SimpleGraph, sources: ArrayLike, targets: ArrayLike, n: int = 10) -> list[Path]:
    """The n strongest paths from a node of one set to a node of another, strongest first; fewer if there are no more.

    A path visits no node twice, and no other node of either set on its way: it would only extend a path between the
    sets. Strengths are compared without rounding, the float64 weights taken as exact; of equally strong paths the
    shorter come first, then those with lower node numbers. No path uses an edge of weight 0. Raises
    :class:`ConnectomeError`.
    """
    return _best(graph, *_ends(graph, sources, targets), integer("n", n, 1, 10**6), math.inf)


def shortest_paths(graph: SimpleGraph, sources: ArrayLike, targets: ArrayLike, n: int = 10) -> list[Path]:
    """The n strongest among the paths with the fewest edges from one set to another. Otherwise as
    :func:`strongest_paths`."""
    start, end = _ends(graph, sources, targets)
    return _best(graph, start, end, integer("n", n, 1, 10**6), _fewest(graph, start, end))


def steps_between(graph: SimpleGraph, sources: ArrayLike, targets: ArrayLike) -> float:
    """The number of edges on the shortest path from a node of one set to a different node of the other; infinite if
    there is none."""
    return _fewest(graph, *_ends(graph, sources, targets))


def effective_connectivity(
    graph: SimpleGraph, sets: Sequence[ArrayLike], hops: int, *, signed: bool = False
) -> NDArray[np.float64]:
    """(hops, sets, N) the share of each node's input that traces back to each set over exactly 1, 2, ... edges.

    Without signs it is in 0 .. 1. ``signed``: each edge of negative weight reverses the sign, so that excitation
    (disinhibition included) and inhibition cancel. Raises :class:`ConnectomeError`.
    """
    from scipy.sparse import csr_array

    hops = integer("hops", hops, 1, 1000)
    fraction = input_fractions(graph)
    if signed:
        fraction = fraction * np.sign(graph.weight)
    into = csr_array((fraction, graph.target, graph.indptr), (graph.n, graph.n)).T.tocsr()
    reached = np.zeros((graph.n, len(sets)))
    for k, members in enumerate(sets):
        reached[_nodes(graph, f"sets[{k}]", members), k] = 1.0
    found = np.empty((hops, len(sets), graph.n))
    for hop in range(hops):
        reached = into @ reached
        found[hop] = reached.T
    return found


def against_shuffled(value: float, shuffled: Sequence[float]) -> AgainstShuffled:
    """A number beside those of graphs with shuffled wiring (of :func:`connectome.analysis.shuffled.shuffled_wiring`, or
    of :func:`connectome.analysis.nulls.null`)."""
    nulls = np.asarray(shuffled, float)
    mean, sd = math.nan, math.nan
    if nulls.size > 1 and np.isfinite(nulls).all():
        mean, sd = float(nulls.mean()), float(nulls.std(ddof=1))
    z = (value - mean) / sd if sd > 1e-12 * max(abs(mean), abs(value)) else math.nan
    p = (1 + int((nulls >= value).sum())) / (1 + nulls.size) if nulls.size and value == value else math.nan
    return AgainstShuffled(value, mean, sd, z, p, nulls.size)


def _nodes(graph: SimpleGraph, where: str, given: ArrayLike) -> NDArray[np.int64]:
    """Numbers of nodes, ascending, each once. Raises :class:`ConnectomeError`."""
    array = np.asarray(given)
    if array.dtype == bool and array.shape == (graph.n,):
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= graph.n)):
        raise ConnectomeError(where, f"must be nodes in 0 .. {graph.n - 1}, or a mask", f"{given!r:.80}")
    return np.unique(array.astype(np.int64))


def _ends(graph: SimpleGraph, sources: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _nodes(graph, "sources", sources), _nodes(graph, "targets", targets)


def _fewest(graph: SimpleGraph, start: NDArray[np.int64], end: NDArray[np.int64]) -> float:
    for whole, _ in _search(graph, start, end, np.ones(graph.n_edges), math.inf):
        return whole
    return math.inf


def _best(
    graph: SimpleGraph, start: NDArray[np.int64], end: NDArray[np.int64], n: int, most_steps: float
) -> list[Path]:
    """The n strongest paths of at most so many edges. Those that come within rounding of the n-th are compared as
    fractions."""
    with np.errstate(divide="ignore"):
        cost = -np.log(input_fractions(graph))
    found: list[tuple[int, ...]] = []
    limit = math.inf
    for whole, nodes in _search(graph, start, end, cost, most_steps):
        if whole > limit:
            break
        found.append(nodes)
        if len(found) == n:
            limit = whole + _ROUNDING
    exact = _Exact(graph)
    order = sorted((-exact.strength(nodes), len(nodes), nodes) for nodes in found)
    return [exact.path(nodes) for _, _, nodes in order[:n]]


def _search(
    graph: SimpleGraph, start: NDArray[np.int64], end: NDArray[np.int64], cost: NDArray[np.float64], most_steps: float
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Costs and paths, the cheapest first: beginnings in the order of the best that they may become, which the costs
    from each node to the targets tell. Raises :class:`ConnectomeError` if they are too many."""
    is_start, is_end = (np.isin(np.arange(graph.n), some) for some in (start, end))
    source, target = graph.source, graph.target
    # A path leaves the sources at once and reaches a target once.
    on_way = (~is_start[target] | is_end[target]) & (~is_end[source] | is_start[source])
    allowed = np.where(on_way & (graph.weight != 0), cost, np.inf)
    ahead, steps = (_to_ends(graph, c, end).tolist() for c in (allowed, np.where(np.isfinite(allowed), 1.0, np.inf)))
    to, weigh, rows, ends = target.tolist(), allowed.tolist(), graph.indptr.tolist(), is_end.tolist()
    waiting: list[tuple[float, tuple[int, ...], float]] = [(0.0, (node,), 0.0) for node in start.tolist()]
    looked = 0
    while waiting:
        whole, nodes, so_far = heapq.heappop(waiting)
        here = nodes[-1]
        if len(nodes) > 1 and ends[here]:
            yield whole, nodes
            continue
        for edge in range(rows[here], rows[here + 1]):
            node = to[edge]
            if weigh[edge] + ahead[node] < math.inf and len(nodes) + steps[node] <= most_steps and node not in nodes:
                looked += 1
                heapq.heappush(waiting, (so_far + weigh[edge] + ahead[node], (*nodes, node), so_far + weigh[edge]))
        if looked > _MOST:
            raise ConnectomeError("paths", f"must be told apart by at most {_MOST:,} beginnings", "a graph with more")


def _to_ends(graph: SimpleGraph, cost: NDArray[np.float64], end: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) the least cost to one of some nodes, over edges of finite cost; infinite without a way."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    kept = np.isfinite(cost)
    # One more node, which leads to all ends at no cost; edges are turned round.
    rows = np.concatenate([graph.target[kept], np.full(end.size, graph.n)])
    columns = np.concatenate([graph.source[kept], end])
    values = np.concatenate([cost[kept], np.zeros(end.size)])
    back = csr_array((values, (rows, columns)), (graph.n + 1, graph.n + 1))
    found: NDArray[np.float64] = dijkstra(back, indices=graph.n)[: graph.n]
    return found


class _Exact:
    """Input fractions as fractions of whole numbers: sums and products without rounding."""

    def __init__(self, graph: SimpleGraph) -> None:
        self.graph, self._total = graph, dict[int, Fraction]()
        self._reverse = graph.reverse

    def fraction(self, source: int, target: int) -> Fraction:
        """Of the edge between two nodes."""
        g, r = self.graph, self._reverse
        if target not in self._total:
            into = r.edge[r.indptr[target] : r.indptr[target + 1]]
            self._total[target] = sum((abs(Fraction(w)) for w in g.weight[into].tolist()), Fraction(0))
        row = slice(g.indptr[source], g.indptr[source + 1])
        edge = int(g.indptr[source]) + int(np.searchsorted(g.target[row], target))
        return abs(Fraction(float(g.weight[edge]))) / self._total[target]

    def strength(self, nodes: tuple[int, ...]) -> Fraction:
        """Of a path."""
        product = Fraction(1)
        for source, target in pairwise(nodes):
            product *= self.fraction(source, target)
        return product

    def path(self, nodes: tuple[int, ...]) -> Path:
        """With numbers as they are shown."""
        each = [self.fraction(a, b) for a, b in pairwise(nodes)]
        return Path(nodes, tuple(map(float, each)), float(math.prod(each, start=Fraction(1))))
