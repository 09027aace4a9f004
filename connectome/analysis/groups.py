"""Groups of subjects: which edges, and which numbers of a subject, differ between two groups, by permutation tests.

The network-based statistic (Zalesky, Fornito & Bullmore 2010, NeuroImage 53:1197) tests components of edges, not single
ones: edges whose t is beyond a threshold are joined where they share a node, and the size of a component is compared
with that of the largest component in each relabelling of the subjects. So the chance of any false component is the
p-value chosen, whatever the threshold; the threshold only decides what size of effect is looked for. Single numbers of
subjects (metrics of their graphs) are corrected likewise, by the largest |t| of each relabelling (Westfall & Young
1993).

Relabellings are drawn at random, the subjects' own labels among them, so that a p-value is 1 / (n + 1) or more and
never too small (Phipson & Smyth 2010). Under the null hypothesis subjects must be exchangeable; paired subjects, within
their pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.simple_graph import SimpleGraph, symmetric_share
from connectome.arrays import finite_step, freeze, integer
from connectome.errors import ConnectomeError

__all__ = [
    "Component", "NetworkBasedStatistic", "PermutationTest", "Size", "Subjects", "Tail", "network_based_statistic",
    "permutation_test", "subjects",
]  # fmt: skip

Values = NDArray[np.float64]
#: What counts: a difference either way, the first group the higher, the first the lower.
Tail = Literal["both", "greater", "less"]
#: Of a component: its number of edges, or the sum of what their t is beyond the threshold.
Size = Literal["extent", "intensity"]

#: Numbers of a block of relabellings times edges: 128 MiB in all.
_BLOCK: Final = 1 << 22


class Subjects(NamedTuple):
    """The edges of S graphs of the same n nodes: source and target, (E,), and weight, (S, E), 0 where a subject has no
    such edge. Symmetric graphs have each pair once."""

    n: int
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: Values


class Component(NamedTuple):
    """Connected edges that differ: their places among the edges tested, the component's size, and the family-wise
    p-value."""

    edge: NDArray[np.int64]
    size: float
    p: float


class NetworkBasedStatistic(NamedTuple):
    """Components, the largest first; (E,) t of each edge, positive where the first group is higher; (n_permutations,)
    size of the largest component of each relabelling."""

    components: tuple[Component, ...]
    t: Values
    largest: Values


class PermutationTest(NamedTuple):
    """(M,) each: t, positive where the first group is higher; the p-value; and the p-value corrected for the number of
    tests. nan for a number that is the same in all subjects, or missing in one."""

    t: Values
    p: Values
    p_corrected: Values


def subjects(graphs: Sequence[SimpleGraph]) -> Subjects:
    """The edges that any of these graphs has; all have the same nodes in the same order (see
    :func:`~connectome.analysis.comparison.shared_nodes`). Raises :class:`ConnectomeError`."""
    if not graphs:
        raise ConnectomeError("graphs", "must be those of subjects", "none")
    n = graphs[0].n
    for at, graph in enumerate(graphs):
        if graph.n != n:
            raise ConnectomeError(f"graphs[{at}]", f"must have {n} nodes, as the first has", graph.n)
    symmetric = all(symmetric_share(graph) == 1 for graph in graphs)
    pairs = [graph.source.astype(np.int64) * n + graph.target for graph in graphs]
    chosen = [graph.source < graph.target if symmetric else slice(None) for graph in graphs]
    every = np.unique(np.concatenate([pair[edge] for pair, edge in zip(pairs, chosen, strict=True)]))
    weight = np.zeros((len(graphs), every.size))
    for row, graph, pair, edge in zip(weight, graphs, pairs, chosen, strict=True):
        row[np.searchsorted(every, pair[edge])] = graph.weight[edge]
    return Subjects(n, every // max(n, 1), every % max(n, 1), weight)


def network_based_statistic(
    of: Subjects, group: ArrayLike, threshold: float, *, tail: Tail = "both", size: Size = "extent",
    paired: bool = False, n_permutations: int = 5000, seed: int = 0,
) -> NetworkBasedStatistic:  # fmt: skip
    """Components of edges that differ between two groups.

    Parameters
    ----------
    group : (S,) 0 for the subjects of the first group, 1 for those of the second
    threshold : of t, above 0; about 3 for a dozen subjects a group. Choose it before looking at the result
    tail : which differences count; "both" lets one component have edges of either direction
    size : how a component is measured: "extent", its edges, or "intensity", the sum of their excess over the threshold
    paired : the first subject of the first group and the first of the second are one pair, and so on: t is that of the
        differences, and a relabelling exchanges the two of a pair

    Raises :class:`ConnectomeError`.
    """
    threshold = finite_step("threshold", threshold)
    for name, value, known in (("tail", tail, ("both", "greater", "less")), ("size", size, ("extent", "intensity"))):
        if value not in known:
            raise ConnectomeError(name, f"must be one of {', '.join(known)}", repr(value))
    if not np.isfinite(of.weight).all():
        raise ConnectomeError("weight", "must be finite", of.weight[~np.isfinite(of.weight)][0])
    seed, n_permutations = _drawn(seed, n_permutations)
    t, relabelled = _statistics(of.weight, group, paired, n_permutations, seed)

    def beyond(values: Values) -> Values:
        return (np.abs(values) if tail == "both" else values if tail == "greater" else -values) - threshold

    largest = np.zeros(n_permutations)
    for first, block in relabelled:
        for at, excess in enumerate(beyond(block), first):
            sizes = _sizes(of, excess, size)[1]
            largest[at] = sizes.max(initial=0)
    part, sizes = _sizes(of, beyond(t), size)
    slack = 1e-9 * np.maximum(sizes, 1)  # sums in another order
    p = [(1 + (largest >= s - d).sum()) / (n_permutations + 1) for s, d in zip(sizes, slack, strict=True)]
    found = [Component(np.flatnonzero(part == k), float(sizes[k]), float(p[k])) for k in range(sizes.size)]
    return NetworkBasedStatistic(tuple(sorted(found, key=lambda c: -c.size)), t, largest)


def permutation_test(
    values: ArrayLike, group: ArrayLike, *, paired: bool = False, n_permutations: int = 5000, seed: int = 0
) -> PermutationTest:
    """Which of M numbers of each of S subjects, (S, M), differ between two groups: two-sided, by |t|. ``group`` and
    ``paired`` as in :func:`network_based_statistic`. Raises :class:`ConnectomeError`."""
    given = np.asarray(values, np.float64)
    if given.ndim != 2:
        raise ConnectomeError("values", "must have shape (S, M)", given.shape)
    seed, n_permutations = _drawn(seed, n_permutations)
    there = np.flatnonzero(np.isfinite(given).all(0) & (np.ptp(given, axis=0) > 0 if len(given) else True))
    t, relabelled = _statistics(given[:, there], group, paired, n_permutations, seed)
    own, as_high, over_all = np.abs(t) * (1 - 1e-9), np.ones(there.size), np.ones(there.size)
    for _, block in relabelled:
        size = np.abs(block)
        as_high += (size >= own).sum(0)
        over_all += (size.max(1, initial=0)[:, None] >= own).sum(0)
    found = np.full((3, given.shape[1]), np.nan)
    found[:, there] = t, as_high / (n_permutations + 1), over_all / (n_permutations + 1)
    return PermutationTest(*found)


def _drawn(seed: int, n_permutations: int) -> tuple[int, int]:
    return integer("seed", seed, 0, 2**64 - 1), integer("n_permutations", n_permutations, 1, 10**7)


def _statistics(
    values: Values, group: ArrayLike, paired: bool, n: int, seed: int
) -> tuple[Values, Iterator[tuple[int, Values]]]:
    """(M,) t of the subjects as they are; blocks of (B, M) t of relabelled ones, with the number of the first."""
    label = freeze("group", group, np.int64, (len(values),))
    counts = np.bincount(label, minlength=2) if label.size and label.min() >= 0 else np.zeros(3)
    if counts.size != 2 or counts.min() < 2:
        raise ConnectomeError(
            "group", "must be 0 or 1 for each subject, two of each or more", np.unique(label).tolist()
        )
    if paired and counts[0] != counts[1]:
        raise ConnectomeError("group", "must have as many subjects in both groups, as they are paired", counts.tolist())
    rng = np.random.default_rng(seed)
    if paired:
        values = values[label == 0] - values[label == 1]
        labels = np.ones(counts[0])
        square = (values**2).sum(0)
    else:
        values = values - values.mean(0)  # so that squares do not cancel
        labels = (label == 0) * 1.0
        square = (values**2).sum(0)

    def t_of(rows: Values) -> Values:
        """(B, M) from (B, S) labels."""
        total = rows @ values
        if paired:
            count = float(len(values))
            variance = (square - total**2 / count) / (count - 1) / count
            difference = total / count
        else:  # the groups' sums are opposite, as all values have mean 0
            one, two = float(counts[0]), float(counts[1])
            difference = total * (1 / one + 1 / two)
            within = square - total**2 * (1 / one + 1 / two)
            variance = within / (one + two - 2) * (1 / one + 1 / two)
        none = variance <= 1e-14 * square  # nothing but rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            t = difference / np.sqrt(np.where(none, 0.0, variance))
        return np.where(none & (np.abs(difference) <= 1e-7 * np.sqrt(square)), 0.0, t)

    def blocks() -> Iterator[tuple[int, Values]]:
        step = max(1, min(n, _BLOCK // max(values.shape[1], 1)))
        for first in range(0, n, step):
            many = min(step, n - first)
            if paired:
                rows: Values = rng.choice([-1.0, 1.0], (many, labels.size))
            else:
                rows = rng.permuted(np.broadcast_to(labels, (many, labels.size)), axis=1)
            yield first, t_of(rows)

    return t_of(labels[None])[0], blocks()


def _sizes(of: Subjects, excess: Values, size: Size) -> tuple[NDArray[Any], Values]:
    """(E,) the component of each edge whose excess over the threshold is above 0, -1 for the others; sizes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    part = np.full(excess.size, -1)
    edge = np.flatnonzero(excess > 0)
    if not edge.size:
        return part, np.zeros(0)
    node, ends = np.unique([of.source[edge], of.target[edge]], return_inverse=True)
    row, column = ends.reshape(2, -1)
    joined = coo_array((np.ones(edge.size, np.int8), (row, column)), (node.size, node.size))
    of_node = connected_components(joined, directed=False)[1]
    part[edge] = of_node[row]
    return part, np.bincount(of_node[row], None if size == "extent" else excess[edge]).astype(np.float64)
