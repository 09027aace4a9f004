"""Degrees and strengths, and what follows from them: density, reciprocity, assortativity, balance, locality, spectrum.

An edge of weight 0 is an edge. A strength is a sum of |weight|; only the balance of excitation and inhibition and the
spectral radius read signs. A mean over no edges, or over no pairs, is nan.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.simple_graph import Metric, SimpleGraph, ratio

__all__ = [
    "METRICS", "assortativity_binary", "assortativity_weighted", "degree", "density", "excitation_inhibition_ratio",
    "excitatory_share", "in_degree", "in_strength", "local_share", "local_strength_share", "out_degree", "out_strength",
    "reciprocity", "spectral_radius", "strength",
]  # fmt: skip

Values = NDArray[np.float64]
End = Literal["in", "out"]

_DENSE_NODES: Final = 400  # LAPACK takes a fraction of a second for so many, and gives every eigenvalue
_KRYLOV: Final = 80
#: Eigenvalues to ask for. With one or two, ARPACK cuts a complex pair in half and goes round in circles.
_WANTED: Final = (8, 24)
_RESTARTS: Final = 300


def in_degree(graph: SimpleGraph) -> NDArray[np.int64]:
    """(N,) edges into each node."""
    return np.bincount(graph.target, minlength=graph.n)


def out_degree(graph: SimpleGraph) -> NDArray[np.int64]:
    """(N,) edges out of each node."""
    return np.diff(graph.indptr)


def degree(graph: SimpleGraph) -> NDArray[np.int64]:
    """(N,) edges into and out of each node: an edge each way counts twice."""
    return in_degree(graph) + out_degree(graph)


def in_strength(graph: SimpleGraph) -> Values:
    """(N,) sum of |weight| into each node."""
    return _summed(graph.target, np.abs(graph.weight), graph.n)


def out_strength(graph: SimpleGraph) -> Values:
    """(N,) sum of |weight| out of each node."""
    return _summed(graph.source, np.abs(graph.weight), graph.n)


def strength(graph: SimpleGraph) -> Values:
    """(N,) sum of |weight| into and out of each node."""
    return in_strength(graph) + out_strength(graph)


def density(graph: SimpleGraph) -> float:
    """Edges over ordered pairs of nodes."""
    return ratio(graph.n_edges, graph.n * (graph.n - 1))


def reciprocity(graph: SimpleGraph) -> float:
    """The share of edges that have one back."""
    return ratio(int((graph.partner >= 0).sum()), graph.n_edges)


def assortativity_binary(graph: SimpleGraph, ends: tuple[End, End] | None = None) -> float:
    """Pearson's correlation over the edges of the degree at the source with the degree at the target.

    ``ends`` says which degree each end has, source's first; None takes the undirected graph. (BCT's flags 1 to 4 give
    another number: they take one mean and one variance for both ends, which is right only if the graph is undirected.
    networkx, igraph, Newman 2003 and Foster et al. 2010 use Pearson's.)
    """
    if ends is None:
        undirected = graph.undirected
        return _assortativity(undirected, out_degree(undirected), out_degree(undirected))
    of = {"in": in_degree, "out": out_degree}
    return _assortativity(graph, of[ends[0]](graph), of[ends[1]](graph))


def assortativity_weighted(graph: SimpleGraph, ends: tuple[End, End] | None = None) -> float:
    """As :func:`assortativity_binary`, with strengths in place of degrees."""
    if ends is None:
        undirected = graph.undirected
        return _assortativity(undirected, out_strength(undirected), out_strength(undirected))
    of = {"in": in_strength, "out": out_strength}
    return _assortativity(graph, of[ends[0]](graph), of[ends[1]](graph))


def excitation_inhibition_ratio(graph: SimpleGraph) -> Values:
    """(N,) the excitatory over the inhibitory weight into each node."""
    excitatory, inhibitory = _balance(graph)
    return _over(excitatory, inhibitory)


def excitatory_share(graph: SimpleGraph) -> Values:
    """(N,) the share of the weight into each node that is excitatory."""
    excitatory, inhibitory = _balance(graph)
    return _over(excitatory, excitatory + inhibitory)


def local_share(graph: SimpleGraph) -> float:
    """The share of edges inside a region; the rest is long range."""
    return ratio(int(_is_local(graph).sum()), graph.n_edges)


def local_strength_share(graph: SimpleGraph) -> float:
    """The share of |weight| inside a region; the rest is long range."""
    size = np.abs(graph.weight)
    return ratio(float(size[_is_local(graph)].sum()), float(size.sum()))


def spectral_radius(graph: SimpleGraph) -> float:
    """The largest |eigenvalue| of the signed weight matrix; nan if the iteration does not converge.

    Each strongly connected part has its own eigenvalues, and a node on no cycle has 0: solving part by part is exact
    where a solver given the whole matrix would be far off (a graph without cycles has radius 0).
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if not graph.n:
        return math.nan
    matrix = csr_array((graph.weight, graph.target, graph.indptr), (graph.n, graph.n))
    there = csr_array((np.ones(graph.n_edges), graph.target, graph.indptr), matrix.shape)
    _, part = connected_components(there, connection="strong")
    order = np.argsort(part, kind="stable")
    sizes = np.bincount(part)
    starts = np.cumsum(sizes) - sizes
    radii = [0.0]
    for at in np.flatnonzero(sizes > 1):
        members = np.sort(order[starts[at] : starts[at] + sizes[at]])
        radii.append(_radius(matrix[members][:, members]))
    return float(np.max(radii))  # nan if one is


def _radius(matrix: Any) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, eigs

    n = matrix.shape[0]
    if n <= _DENSE_NODES:
        return float(np.abs(np.linalg.eigvals(matrix.toarray())).max())
    scale = float(np.abs(matrix.data).max())
    if not scale:
        return 0.0
    for k in _WANTED:
        try:
            # A fixed start: the same number each time. Scaled, so that the tolerance means the same in pA and in nA.
            found = eigs(
                matrix / scale, k=k, v0=np.linspace(1, 2, n), ncv=_KRYLOV, maxiter=_RESTARTS, return_eigenvectors=False
            )
        except ArpackNoConvergence:
            continue
        return float(np.abs(found).max()) * scale
    return math.nan


def _assortativity(graph: SimpleGraph, at_source: NDArray[Any], at_target: NDArray[Any]) -> float:
    """Pearson's r over the edges, about the means; nan if the values at either end are constant, up to rounding."""
    if not graph.n_edges:
        return math.nan
    x, y = at_source[graph.source].astype(float), at_target[graph.target].astype(float)
    middle = x.mean(), y.mean()
    x -= middle[0]
    y -= middle[1]
    variance = float(np.mean(x * x)), float(np.mean(y * y))
    if any(v <= (1e-14 * m) ** 2 for v, m in zip(variance, middle, strict=True)):
        return math.nan
    return float(np.mean(x * y)) / math.sqrt(variance[0] * variance[1])


def _balance(graph: SimpleGraph) -> tuple[Values, Values]:
    """(N,) the excitatory and the inhibitory weight into each node, nan where signs are not known."""
    weight = graph.weight if graph.has_signs else np.full(graph.n_edges, math.nan)
    excitatory = _summed(graph.target, np.maximum(weight, 0), graph.n)
    return excitatory, _summed(graph.target, np.maximum(-weight, 0), graph.n)


def _summed(node: NDArray[np.int32], values: Values, n: int) -> Values:
    return np.asarray(np.bincount(node, values, n), np.float64)


def _is_local(graph: SimpleGraph) -> NDArray[np.bool_]:
    return np.asarray(graph.region[graph.source] == graph.region[graph.target])


def _over(numerator: Values, denominator: Values) -> Values:
    """Their quotient, nan where there is nothing to divide by."""
    out = np.full(len(numerator), math.nan)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator > 0))


_BCT: Final = "Rubinov & Sporns 2010, NeuroImage 52:1059; BCT "
_DIRECTIONS: Final[tuple[tuple[End, End], ...]] = (("out", "in"), ("in", "out"), ("out", "out"), ("in", "in"))
_NEWMAN: Final = "Newman 2002, Phys Rev Lett 89:208701; BCT "
_FOSTER: Final = (
    "Newman 2003, Phys Rev E 67:026126; Foster et al. 2010, PNAS 107:10815; networkx degree_pearson_correlation_"
    "coefficient (not BCT, whose flags 1 to 4 take one mean for both ends)"
)

METRICS: Final[tuple[Metric, ...]] = (
    Metric("n_nodes", "graph", lambda graph: graph.n, "nodes", "number of nodes", _BCT + "density_dir"),
    Metric(
        "n_edges", "graph", lambda graph: graph.n_edges, "edges", "number of edges, without self-loops, parallel ones "
        "as one", _BCT + "density_dir",
    ),
    Metric("in_degree", "node", in_degree, "1", "edges into a node", _BCT + "degrees_dir"),
    Metric("out_degree", "node", out_degree, "1", "edges out of a node", _BCT + "degrees_dir"),
    Metric("degree", "node", degree, "1", "edges into and out of a node", _BCT + "degrees_dir"),
    Metric("in_strength", "node", in_strength, "pA", "sum of |weight| into a node", _BCT + "strengths_dir"),
    Metric("out_strength", "node", out_strength, "pA", "sum of |weight| out of a node", _BCT + "strengths_dir"),
    Metric("strength", "node", strength, "pA", "sum of |weight| into and out of a node", _BCT + "strengths_dir"),
    Metric(
        "density", "graph", density, "1", "edges over ordered pairs of nodes; nan with fewer than two nodes",
        _BCT + "density_dir",
    ),
    Metric(
        "reciprocity", "graph", reciprocity, "1", "share of edges that have one back; nan without edges",
        "Newman, Forrest & Balthrop 2002, Phys Rev E 66:035101; networkx and igraph reciprocity",
    ),
    *(
        Metric(
            f"assortativity_{name}_undirected", "graph", function, "1",
            f"Pearson correlation of the {what} at the ends of an edge, of the undirected graph; nan without edges, "
            f"and if all {what} are equal", f"{_NEWMAN}assortativity_{bct}, flag 0",
        )
        for name, function, what, bct in (
            ("binary", assortativity_binary, "degrees", "bin"),
            ("weighted", assortativity_weighted, "strengths", "wei"),
        )
    ),
    *(
        Metric(
            f"assortativity_{name}_{a}_{b}", "graph", partial(function, ends=(a, b)), "1",
            f"Pearson correlation over the edges of the source's {a}-{what} with the target's {b}-{what}; nan without "
            f"edges, and if they are all equal at either end", _FOSTER,
        )
        for name, function, what in (
            ("binary", assortativity_binary, "degree"), ("weighted", assortativity_weighted, "strength"),
        )
        for a, b in _DIRECTIONS
    ),
    Metric(
        "excitation_inhibition_ratio", "node", excitation_inhibition_ratio, "1",
        "sum of the excitatory over sum of the |inhibitory| weights into a node; nan without inhibition, or where no "
        "sign is known", "structural",
    ),
    Metric(
        "excitatory_share", "node", excitatory_share, "1",
        "excitatory weight over |weight| into a node; nan without weight, or where no sign is known", "structural",
    ),
    Metric(
        "local_share", "graph", local_share, "1",
        "share of edges with both ends in one region, 1 less that of the long-range edges; nan without edges",
        "Bassett & Bullmore 2006, Neuroscientist 12:512",
    ),
    Metric(
        "local_strength_share", "graph", local_strength_share, "1",
        "share of |weight| on edges with both ends in one region; nan without weight",
        "Bassett & Bullmore 2006, Neuroscientist 12:512",
    ),
    Metric(
        "spectral_radius", "graph", spectral_radius, "pA",
        "largest |eigenvalue| of the signed weight matrix; 0 without cycles, nan without nodes or if not converged",
        "Rajan & Abbott 2006, Phys Rev Lett 97:188104",
    ),
)  # fmt: skip
