"""Consensus communities: what many runs of the Leiden algorithm agree on (Lancichinetti & Fortunato 2012).

Nodes that every run keeps together form one group. How often two groups are together is what is clustered again, so the
cost depends on the number of groups, which is small in a graph with communities.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.communities import communities, from_largest, leiden, modularity
from connectome.analysis.community_kernels import Level
from connectome.analysis.simple_graph import LABEL, Metric, SimpleGraph, once
from connectome.arrays import finite_step, freeze, integer
from connectome.errors import ConnectomeError

__all__ = ["METRICS", "agreement", "consensus_communities"]

#: Runs, and the least share of them that has to agree; rounds at most.
RUNS: Final = 100
TAU: Final = 0.5
_ROUNDS: Final = 50
#: Groups that are compared, each with each: 256 MiB.
_MOST_GROUPS: Final = 1 << 13

Labels = NDArray[np.int32]


def agreement(labels: ArrayLike) -> NDArray[np.float64]:
    """(N, N) the share of partitions, (R, N) integers, in which two nodes are in one community; 0 for a node and itself
    (BCT agreement, over R)."""
    of_nodes = np.asarray(labels)
    n_runs, n = freeze("labels", of_nodes, np.int64, of_nodes.shape if of_nodes.ndim == 2 else (-1, -1)).shape
    together = np.zeros((n, n))
    for label in of_nodes:
        together += label[:, None] == label
    np.fill_diagonal(together, 0)
    return np.asarray(together / n_runs)


def consensus_communities(
    graph: SimpleGraph, seed: int = 0, gamma: float = 1.0, *, runs: int = RUNS, tau: float = TAU
) -> Labels:
    """The community of each node, (N,) int32, numbered from the largest.

    :func:`~connectome.analysis.communities.communities` is run with ``runs`` seeds. The fraction of runs in which two
    nodes are together, set to 0 below ``tau``, is the weight of a new graph, on which the runs are repeated until they
    all agree (BCT consensus_und; if after 50 rounds they do not, the most frequent partition is taken). Raises
    :class:`ConnectomeError`, also for a large graph in which hardly any two nodes are always together.
    """
    seed, runs, gamma = (
        integer("seed", seed, 0, 2**64 - 1),
        integer("runs", runs, 2, 10**5),
        finite_step("gamma", gamma),
    )
    if not 0 <= tau < 1:
        raise ConnectomeError("tau", "must be in 0 .. 1, and below 1", tau)
    seeds = np.random.SeedSequence(seed).generate_state(runs * (_ROUNDS + 1), np.uint64).reshape(-1, runs)
    found = np.stack([communities(graph, int(s), gamma) for s in seeds[0]])
    for of_round in seeds[1:]:
        vectors, group, size = np.unique(found, axis=1, return_inverse=True, return_counts=True)
        if (vectors == vectors[0]).all():
            break
        if size.size > _MOST_GROUPS:
            raise ConnectomeError(
                "graph", f"must have at most {_MOST_GROUPS:,} groups of nodes that all runs keep together",
                f"{size.size:,}", "Its communities are not clear enough for a graph of this size.",
            )  # fmt: skip
        level, total = _together(vectors, size, tau)
        found = np.stack([from_largest(leiden(level, size.size, total, int(s))[group.ravel()]) for s in of_round])
    partitions, count = np.unique(found, axis=0, return_counts=True)
    return np.asarray(partitions[np.argmax(count)], np.int32)


def _together(vectors: NDArray[np.int32], size: NDArray[np.int64], tau: float) -> tuple[Level, float]:
    """How often groups of nodes, of these sizes and (R, S) labels, are together, as a symmetric graph of the groups,
    which have all pairs of their own nodes inside."""
    n_runs, n = vectors.shape
    together = np.zeros((n, n), np.float32)
    for label in vectors:
        together += label[:, None] == label
    together /= n_runs
    together[together < tau] = 0
    strength = together.astype(np.float64) @ size * size - size  # a node and itself are no pair
    np.fill_diagonal(together, 0)
    row, column = np.nonzero(together)
    weight = 2 * together[row, column].astype(np.float64) * size[row] * size[column]
    indptr = np.searchsorted(row, np.arange(n + 1))
    total = float(strength.sum())
    return Level(indptr, column.astype(np.int32), weight, strength, strength, 1 / total if total else 0.0), total


@once
def _found(graph: SimpleGraph) -> dict[int, Labels]:
    """Results by seed: several metrics ask for the same one."""
    return {}


def _consensus(graph: SimpleGraph, seed: int) -> Labels:
    found = _found(graph)
    if seed not in found:
        found[seed] = consensus_communities(graph, seed)
    return found[seed]


def _modularity(graph: SimpleGraph, seed: int) -> float:
    return modularity(graph, _consensus(graph, seed))


def _n_communities(graph: SimpleGraph, seed: int) -> float:
    return float(_consensus(graph, seed).max(initial=-1) + 1)


_WHAT: Final = f"communities that {RUNS} runs of the Leiden algorithm agree on, gamma = 1, tau = {TAU:g}"
_SOURCE: Final = "Lancichinetti & Fortunato 2012, Sci Rep 2:336; BCT consensus_und"

METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "consensus_community", "node", _consensus, LABEL, f"which of the {_WHAT}; 0 is the largest", _SOURCE,
        seeded=True,
    ),
    Metric(
        "consensus_modularity", "graph", _modularity, "1",
        f"directed modularity of |weight|, {_WHAT}; nan without weight", _SOURCE, seeded=True,
    ),
    Metric(
        "consensus_n_communities", "graph", _n_communities, "communities",
        f"number of {_WHAT}; a node without edges is one", _SOURCE, seeded=True,
    ),
)  # fmt: skip
