"""Communities: found by the Leiden algorithm, their modularity, and the place of each node among them.

Weights count by their size, |weight|. Labels are any integers; nodes with the same one are a community.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.community_kernels import Level, aggregate, both_ends, by_community, move_nodes, refine
from connectome.analysis.simple_graph import Metric, SimpleGraph, once
from connectome.analysis.thresholds import of_sign
from connectome.arrays import finite_step, freeze, integer, lock
from connectome.errors import ConnectomeError

__all__ = [
    "METRICS", "Direction", "communities", "from_largest", "leiden", "modularity", "modularity_signed",
    "participation_coefficient", "within_module_degree_z",
]  # fmt: skip

Direction = Literal["out", "in", "both"]

#: Of the draw in which parts grow, in units of the mean weight of a pair of nodes.
_TEMPERATURE: Final = 0.01
#: An iteration that gains less modularity than this is the last one.
_ENOUGH: Final = 1e-4
_MOST_ITERATIONS: Final = 30


def communities(graph: SimpleGraph, seed: int = 0, gamma: float = 1.0) -> NDArray[np.int32]:
    """The community of each node, (N,) int32, numbered from the largest, by the Leiden algorithm (Traag, Waltman & van
    Eck 2019) for :func:`modularity`. Raises :class:`ConnectomeError`.

    Iterations, each of which begins with the communities of the one before, go on until one gains less than 1e-4 in
    modularity, 30 at most. Other seeds may give other communities of nearly the same modularity. A node without edges
    is a community of its own.
    """
    key = integer("seed", seed, 0, 2**64 - 1), finite_step("gamma", gamma)
    found = _found(graph)
    if key not in found:
        found[key] = lock(_communities(graph, *key))
    return found[key]


@once
def _found(graph: SimpleGraph) -> dict[tuple[int, float], NDArray[np.int32]]:
    """Communities found before, by seed and gamma: several metrics ask for the same ones."""
    return {}


def _communities(graph: SimpleGraph, seed: int, gamma: float) -> NDArray[np.int32]:
    n, size = graph.n, np.abs(graph.weight)
    total = float(size.sum())
    if total == 0:
        return np.arange(n, dtype=np.int32)
    k_out, k_in = (np.bincount(end, size, n).astype(np.float64) for end in (graph.source, graph.target))
    return from_largest(leiden(Level(*_rows(graph, "both"), k_out, k_in, gamma / total), n, total, seed))


def leiden(whole: Level, n: int, total: float, seed: int) -> NDArray[np.int32]:
    """Labels of the n nodes of a level whose weights sum to ``total``."""
    label = np.arange(n, dtype=np.int32)
    if not whole.weight.size:
        return label
    state, temperature = np.array([seed], np.uint64), _TEMPERATURE * float(whole.weight.mean())
    for _ in range(_MOST_ITERATIONS):
        label, gained = _iterate(whole, label, state, temperature)
        if gained < _ENOUGH * total:
            break
    return label


def from_largest(label: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same communities, numbered from the largest; of equal ones, that of the lowest node comes first."""
    _, first, number, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(count.size, np.int32)
    rank[np.lexsort((first, -count))] = np.arange(count.size)
    return rank[number]


def _iterate(
    whole: Level, label: NDArray[np.int32], state: NDArray[np.uint64], temperature: float
) -> tuple[NDArray[np.int32], float]:
    """Moving, refining and aggregating until each community is one aggregated node. ``label`` is changed; returns the
    new one, and what was gained, in units of weight."""
    level, place, gained = whole, np.arange(label.size), 0.0  # place: of each node in the level
    while True:
        gained += move_nodes(level, label, state)
        found, label = _numbered(label)
        if found == label.size or gained == 0:  # or no node moves: settled
            return np.take(label, place), gained
        n_parts, part = _numbered(refine(level, label, state, temperature))
        if n_parts == label.size:  # nothing to aggregate by: take the communities themselves
            n_parts, part = found, label
        of_part = np.empty(n_parts, np.int32)
        of_part[part] = label
        level, label = Level(*aggregate(level, part, n_parts), level.scale), of_part
        place = part[place]


def _numbered(names: NDArray[Any]) -> tuple[int, NDArray[np.int32]]:
    """How many different names there are, and them as 0, 1, ..."""
    unique, number = np.unique(names, return_inverse=True)
    return unique.size, number.astype(np.int32)


def _rows(graph: SimpleGraph, direction: Direction) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """The neighbours of each node along its edges out, in, or both ways, and |weight|: as CSR."""
    out = graph.indptr, graph.target, np.abs(graph.weight)
    if direction == "out":
        return out
    if direction == "in":
        reverse = graph.reverse
        return reverse.indptr, reverse.source, np.abs(graph.weight[reverse.edge])
    return both_ends(graph.indptr, graph.target, graph.weight)


def _checked(graph: SimpleGraph, labels: ArrayLike) -> tuple[int, NDArray[np.int32]]:
    return _numbered(freeze("labels", labels, np.int64, (graph.n,)))


def modularity(graph: SimpleGraph, labels: ArrayLike, gamma: float = 1.0) -> float:
    """Leicht & Newman's (2008) modularity of directed graphs, BCT modularity_dir, with the resolution ``gamma``: the
    share of |weight| within communities, less gamma times the share expected by chance from strengths out and in.

    For a symmetric graph it is Newman's (BCT modularity_und). nan if there is no weight. ``labels`` is (N,) integers.
    Raises :class:`ConnectomeError`.
    """
    return _modularity(graph, _checked(graph, labels)[1], finite_step("gamma", gamma))


def _modularity(graph: SimpleGraph, label: NDArray[np.int32], gamma: float) -> float:
    size, source, target = np.abs(graph.weight), label[graph.source], label[graph.target]
    total = size.sum()
    if total == 0:
        return float("nan")
    n = int(label.max()) + 1
    within = size[source == target].sum() / total
    return float(within - gamma * np.dot(np.bincount(source, size, n) / total, np.bincount(target, size, n) / total))


def modularity_signed(graph: SimpleGraph, labels: ArrayLike, gamma: float = 1.0) -> float:
    """Rubinov & Sporns' (2011) Q*, for weights of both signs: the modularity of the positive weights, less that of the
    negative ones times their share of |weight|, so that negative edges between communities raise it (BCT
    modularity_und_sign, "sta"; for a directed graph with strengths out and in). If all weights have one sign, only that
    sign's term is left. Arguments as for :func:`modularity`. Raises :class:`ConnectomeError`."""
    label, gamma = _checked(graph, labels)[1], finite_step("gamma", gamma)
    size = np.abs(graph.weight)
    if not size.any():
        return float("nan")
    found = 0.0
    if (graph.weight > 0).any():
        found += _modularity(of_sign(graph, "positive"), label, gamma)
    if (graph.weight < 0).any():
        share = float(size[graph.weight < 0].sum() / size.sum())
        found -= share * _modularity(of_sign(graph, "negative"), label, gamma)
    return found


def participation_coefficient(graph: SimpleGraph, labels: ArrayLike, direction: Direction) -> NDArray[np.float64]:
    """(N,) how evenly each node's |weight| goes to communities (Guimerà & Amaral 2005; BCT participation_coef):
    ``1 - sum over communities of (strength to it / strength)**2``. Raises :class:`ConnectomeError`.

    ``direction``: edges "out", edges "in", or "both" together. 0 for a node without such edges.
    """
    n, label = _checked(graph, labels)
    total, _, squares = by_community(*_rows(graph, _checked_direction(direction)), label, n)
    share = np.divide(squares, total**2, out=np.ones(graph.n), where=total > 0)
    return 1.0 - share


def within_module_degree_z(graph: SimpleGraph, labels: ArrayLike, direction: Direction) -> NDArray[np.float64]:
    """(N,) each node's strength within its community, in standard deviations from that community's mean (Guimerà &
    Amaral 2005; BCT module_degree_zscore, whose "in" is our "out": there a row is a target). Raises
    :class:`ConnectomeError`.

    ``direction``: edges "out", edges "in", or "both" together. The standard deviation is that of the population, as in
    bctpy. 0 where all nodes of a community have the same strength.
    """
    n, label = _checked(graph, labels)
    _, own, _ = by_community(*_rows(graph, _checked_direction(direction)), label, n)
    members = np.bincount(label, minlength=n)
    mean = np.bincount(label, own, n) / members
    apart = own - mean[label]
    sd = np.sqrt(np.bincount(label, apart**2, n) / members)
    sd[sd <= 1e-12 * mean] = 0  # what rounding leaves of equal strengths
    z = np.zeros(graph.n)
    np.divide(apart, sd[label], out=z, where=sd[label] > 0)
    return z


def _checked_direction(direction: Direction) -> Direction:
    if direction not in ("out", "in", "both"):
        raise ConnectomeError("direction", "must be out, in or both", repr(direction))
    return direction


def _found_modularity(graph: SimpleGraph, seed: int) -> float:
    return modularity(graph, communities(graph, seed))


def _found_signed(graph: SimpleGraph, seed: int) -> float:
    return modularity_signed(graph, communities(of_sign(graph, "positive"), seed))


def _n_communities(graph: SimpleGraph, seed: int) -> float:
    return float(communities(graph, seed).max(initial=-1) + 1)


def _of_regions(function: Any, direction: Direction | None, graph: SimpleGraph) -> Any:
    return function(graph, graph.region) if direction is None else function(graph, graph.region, direction)


def _of_found(function: Any, direction: Direction, graph: SimpleGraph, seed: int) -> Any:
    return function(graph, communities(graph, seed), direction)


_LEIDEN: Final = "Traag, Waltman & van Eck 2019, Sci Rep 9:5233"
_MODULARITY: Final = "Leicht & Newman 2008, Phys Rev Lett 100:118703; BCT modularity_dir"
_SIGNED: Final = "Rubinov & Sporns 2011, NeuroImage 56:2068; BCT modularity_und_sign"
_ROLES: Final = "Guimerà & Amaral 2005, Nature 433:895; BCT "


def _metrics() -> tuple[Metric, ...]:
    leiden = "communities found by the Leiden algorithm, gamma = 1"
    made = [
        Metric(
            "modularity", "graph", _found_modularity, "1", f"directed modularity of |weight|, {leiden}; nan without "
            "weight", f"{_MODULARITY}; {_LEIDEN}", seeded=True,
        ),
        Metric(
            "n_communities", "graph", _n_communities, "communities",
            f"number of {leiden}; a node without edges is one",
            _LEIDEN, seeded=True,
        ),
        Metric(
            "community", "node", communities, "number", f"which of the {leiden}; 0 is the largest",
            _LEIDEN, seeded=True,
        ),
        Metric(
            "modularity_of_regions", "graph", partial(_of_regions, modularity, None), "1",
            "directed modularity of |weight|, each region a community; nan without weight",
            _MODULARITY,
        ),
        Metric(
            "modularity_signed", "graph", _found_signed, "1",
            f"Q*, modularity of positive weights less that of negative ones times their share of |weight|, {leiden} "
            "among positive edges; nan without weight", f"{_SIGNED}; {_LEIDEN}", seeded=True,
        ),
        Metric(
            "modularity_signed_of_regions", "graph", partial(_of_regions, modularity_signed, None), "1",
            "Q*, modularity of positive weights less that of negative ones times their share of |weight|, each region "
            "a community; nan without weight", _SIGNED,
        ),
    ]  # fmt: skip
    directions: tuple[tuple[Direction, str], ...] = (
        ("out", "outgoing"), ("in", "incoming"), ("both", "outgoing and incoming"),
    )  # fmt: skip
    for direction, words in directions:
        for function, name, definition, source in (
            (
                participation_coefficient, "participation_coefficient",
                f"how evenly {words} |weight| is spread over {{}}: 1 - sum of squared shares; 0 without edges",
                _ROLES + "participation_coef",
            ),
            (
                within_module_degree_z, "within_module_degree_z",
                f"{words} |weight| within the node's own of the {{}}, in standard deviations (of the "
                "population) from its mean; 0 where all are equal", _ROLES + "module_degree_zscore",
            ),
        ):  # fmt: skip
            found, regions = partial(_of_found, function, direction), partial(_of_regions, function, direction)
            made += [
                Metric(f"{name}_{direction}", "node", found, "1", definition.format(leiden), source, seeded=True),
                Metric(f"{name}_{direction}_of_regions", "node", regions, "1", definition.format("regions"), source),
            ]
    return tuple(made)


METRICS: Final = _metrics()
