"""Core and periphery, and k-cores."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.core_periphery_kernels import peel
from connectome.analysis.degrees import strength
from connectome.analysis.simple_graph import Metric, SimpleGraph

__all__ = ["METRICS", "CorePeriphery", "core_number", "core_periphery", "core_share", "coreness"]


class CorePeriphery(NamedTuple):
    """``is_core``: (N,) whether a node is in the core; ``coreness``: how well core and periphery are separated."""

    is_core: NDArray[np.bool_]
    coreness: float


def core_periphery(graph: SimpleGraph, gamma: float = 1.0) -> CorePeriphery:
    """The best division into a core and a periphery, of |weight|, and its core-ness.

    BCT's ``core_periphery_dir`` searches for the division that has the largest Q, the sum of B over the pairs in the
    core less its sum over the pairs in the periphery, with B = (W - gamma mean(W)) / sum(W) made symmetric. Moving a
    node changes Q by twice its row's sum of B, whoever else is in the core: Q is linear. So the best division is known
    without a search, and needs no seed: the core is every node whose strength is above gamma times the mean strength.
    A node just at the limit changes nothing, and is put in the periphery. ``gamma`` > 1 makes the core smaller.

    A graph without weight has no core, and its core-ness is nan.
    """
    if not graph.n or not graph.weight.any():
        return CorePeriphery(np.zeros(graph.n, bool), math.nan)
    s = strength(graph)
    total = s.sum() / 2
    row = s / (2 * total) - gamma / graph.n  # the row sums of B
    is_core = row > 1e-12 / graph.n  # not a rounding error
    return CorePeriphery(is_core, float(2 * row[is_core].sum() - row.sum()))


def coreness(graph: SimpleGraph) -> float:
    """The core-ness of :func:`core_periphery`."""
    return core_periphery(graph).coreness


def core_share(graph: SimpleGraph) -> float:
    """The share of nodes in the core of :func:`core_periphery`."""
    return float(core_periphery(graph).is_core.mean()) if graph.n else math.nan


def core_number(graph: SimpleGraph) -> NDArray[np.int64]:
    """(N,) the largest k for which a node is in the k-core, the largest subgraph whose nodes all have degree k or more
    within it, in- and out-degree together (Batagelj & Zaversnik 2003, in O(E))."""
    back = graph.reverse
    return peel(graph.indptr, graph.target, back.indptr, back.source)


_SOURCE: Final = "Borgatti & Everett 2000, Soc Networks 21:375; Rubinov et al. 2015, PNAS 112:10032; "

METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "coreness", "graph", coreness, "1",
        "Q of the best division into core and periphery, of |weight|, gamma 1; nan without weight",
        _SOURCE + "BCT core_periphery_dir",
    ),
    Metric(
        "core_share", "graph", core_share, "1",
        "share of nodes in the core, those above the mean strength; nan without nodes",
        _SOURCE + "BCT core_periphery_dir",
    ),
    Metric(
        "core_number", "node", core_number, "1",
        "largest k for which a node is in the k-core, by in- and out-degree together; 0 for a node without edges",
        "Seidman 1983, Soc Networks 5:269; BCT kcore_bd, networkx core_number",
    ),
)  # fmt: skip
