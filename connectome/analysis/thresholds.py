"""Parts of a graph: the edges that are strong enough, that stand out at their nodes, or that have one sign.

The nodes stay the same. A symmetric graph stays symmetric. Weights count by magnitude, |weight|; parts of one sign keep
the weights' signs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.simple_graph import SimpleGraph, symmetric_share
from connectome.arrays import finite_step, lock
from connectome.errors import ConnectomeError

__all__ = ["DEFINITIONS", "ThresholdKind", "backbone", "disparity_p", "of_sign", "strongest", "threshold"]

ThresholdKind = Literal["absolute", "density", "backbone"]

#: What each threshold keeps, in one sentence; its number is the one after the name.
DEFINITIONS: Final[dict[ThresholdKind, str]] = {
    "absolute": "The edges of at least this |weight|, in the graph's own units (BCT threshold_absolute).",
    "density": (
        "The strongest edges, as many as make up this share of all ordered pairs of nodes, above 0 and at most 1; "
        "of equally strong ones those that come first (BCT threshold_proportional)."
    ),
    "backbone": (
        "The edges whose share of their node's |weight|, out of the source or into the target, would be as large by "
        "chance with a probability below this, above 0 and below 1, if the node dealt its weight out to its edges at "
        "random: the disparity filter (Serrano, Boguñá & Vespignani 2009, PNAS 106:6483)."
    ),
}


def threshold(graph: SimpleGraph, kind: ThresholdKind, number: float) -> SimpleGraph:
    """The graph with only the edges that :data:`DEFINITIONS` gives for this kind. Raises :class:`ConnectomeError`."""
    if kind == "absolute":
        return _kept(graph, np.abs(graph.weight) >= finite_step("absolute", number))
    if kind == "density":
        return strongest(graph, number)
    if kind == "backbone":
        return backbone(graph, number)
    raise ConnectomeError("kind", f"must be among {', '.join(DEFINITIONS)}", repr(kind))


def strongest(graph: SimpleGraph, density: float) -> SimpleGraph:
    """The strongest edges, as many as give this density; all, if there are fewer. In a symmetric graph an edge and the
    one back are kept or left out together. Raises :class:`ConnectomeError`."""
    if not 0 < density <= 1:
        raise ConnectomeError("density", "must be > 0 and at most 1", density)
    size, pairs = np.abs(graph.weight), graph.n * (graph.n - 1)
    keep = np.zeros(graph.n_edges, bool)
    if symmetric_share(graph) == 1:
        one = np.flatnonzero(graph.source < graph.target)
        chosen = one[np.argsort(-size[one], kind="stable")[: round(density * pairs / 2)]]
        keep[chosen] = keep[graph.partner[chosen]] = True
    else:
        keep[np.argsort(-size, kind="stable")[: round(density * pairs)]] = True
    return _kept(graph, keep)


def backbone(graph: SimpleGraph, alpha: float = 0.05) -> SimpleGraph:
    """The edges that are significant at one of their ends: :func:`disparity_p` below ``alpha``. Raises
    :class:`ConnectomeError`."""
    if not 0 < alpha < 1:
        raise ConnectomeError("alpha", "must be > 0 and < 1", alpha)
    return _kept(graph, disparity_p(graph) < alpha)


def disparity_p(graph: SimpleGraph) -> NDArray[np.float64]:
    """(E,) the probability that an edge's share of the |weight| at one of its ends is at least as large by chance,
    ``(1 - share) ** (k - 1)`` for a node with k edges: the smaller of the two, out of the source and into the target.
    1 where the edge is the node's only one."""
    size = np.abs(graph.weight)
    p = np.ones(graph.n_edges)
    for end in (graph.source, graph.target):
        k, total = np.bincount(end, minlength=graph.n)[end], np.bincount(end, size, graph.n)[end]
        share = np.divide(size, total, out=np.zeros(graph.n_edges), where=total > 0)
        p = np.minimum(p, np.maximum(1 - share, 0.0) ** (k - 1))
    return p


def of_sign(graph: SimpleGraph, sign: Literal["positive", "negative"]) -> SimpleGraph:
    """The edges of positive, or of negative weight; those of weight 0 are in neither. Raises
    :class:`ConnectomeError`."""
    if sign not in ("positive", "negative"):
        raise ConnectomeError("sign", "must be positive or negative", repr(sign))
    return _kept(graph, graph.weight > 0 if sign == "positive" else graph.weight < 0)


def _kept(graph: SimpleGraph, edge: NDArray[Any]) -> SimpleGraph:
    """The graph with these of its edges, (E,) bool."""
    indptr = np.concatenate([[0], np.cumsum(edge, dtype=np.int64)])[graph.indptr]
    return replace(
        graph, indptr=lock(indptr), target=lock(graph.target[edge]), weight=lock(graph.weight[edge]),
        length_um=lock(graph.length_um[edge]),
    )  # fmt: skip
