"""Wiring: how long the edges are, and what they cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.analysis.simple_graph import Metric, SimpleGraph

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["METRICS", "length_mean", "length_quantiles", "wiring_cost", "wiring_cost_weighted"]

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def wiring_cost(graph: SimpleGraph) -> float:
    """Sum of the lengths of the edges, um."""
    return float(graph.length_um.sum())


def wiring_cost_weighted(graph: SimpleGraph) -> float:
    """Sum of |weight| times length, pA um."""
    return float((np.abs(graph.weight) * graph.length_um).sum())


def length_mean(graph: SimpleGraph) -> float:
    """Mean length of an edge, um."""
    return float(graph.length_um.mean()) if graph.n_edges else math.nan


def length_quantiles(graph: SimpleGraph) -> xr.DataArray:
    """(quantile,) quantiles of the edges' lengths, um."""
    import xarray as xr

    lengths = graph.length_um if graph.n_edges else np.array([math.nan])
    return xr.DataArray(np.quantile(lengths, QUANTILES), {"quantile": list(QUANTILES)}, ["quantile"])


_SOURCE: Final = "Bullmore & Sporns 2012, Nat Rev Neurosci 13:336"

METRICS: Final[tuple[Metric, ...]] = (
    Metric("wiring_cost", "graph", wiring_cost, "um", "sum of the lengths of the edges; 0 without edges", _SOURCE),
    Metric(
        "wiring_cost_weighted", "graph", wiring_cost_weighted, "pA um",
        "sum of |weight| times length over the edges; 0 without edges", _SOURCE,
    ),
    Metric("length_mean", "graph", length_mean, "um", "mean length of an edge; nan without edges", _SOURCE),
    Metric(
        "length_quantiles", "graph", length_quantiles, "um",
        "length that this share of the edges does not exceed, interpolated; nan without edges", _SOURCE,
    ),
)  # fmt: skip
