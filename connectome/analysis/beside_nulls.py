"""Several metrics of graphs beside their values in the same null graphs, with p-values, as one dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.nulls import DEFINITIONS, NullKind, normalised
from connectome.analysis.simple_graph import LABEL, Metric, SimpleGraph
from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["beside_nulls", "false_discovery_rate", "is_number"]

#: Dimensions of the curves that have the same points in every graph.
_FIXED: Final = ("motif", "quantile", "quantity")


def beside_nulls(
    graphs: Sequence[SimpleGraph], metrics: Sequence[Metric], names: Sequence[str], null: NullKind = "degree",
    n_nulls: int = 100, seed: int = 0, on_null: Callable[[str], None] | None = None,
) -> xr.Dataset:  # fmt: skip
    """``value``, ``null_mean``, ``null_sd``, ``z``, ``p`` and ``p_corrected``, each ``(graph, metric)``.

    A metric of nodes or edges enters as its mean, a curve as one number a point; a curve whose points differ from graph
    to graph (the rich club, say) is refused. ``p`` is a two-sided permutation p-value, 2 / (n_nulls + 1) or more;
    ``p_corrected`` controls the false discovery rate over all numbers here that vary among the nulls (Benjamini &
    Hochberg 1995, J R Stat Soc B 57:289) and is nan for the others. ``on_null`` is called with the graph and the null
    that come next. Raises :class:`ConnectomeError`.
    """
    import xarray as xr

    labels, units = _labels(metrics, graphs[0], seed)
    sides = []
    for graph, name in zip(graphs, names, strict=True):
        told = _told(_vector(metrics, seed), name, n_nulls, on_null)
        sides.append(normalised(graph, Metric("all", "graph", told, "", "", ""), null, n_nulls, seed))
    p = np.array([side.p for side in sides])
    differs = np.isfinite(np.array([side.z for side in sides]))  # from what every null keeps nothing is inferred
    of: dict[str, tuple[Any, dict[str, str]]] = {
        "value": ([s.value for s in sides], {}),
        "null_mean": ([s.mean for s in sides], {"definition": "of the nulls"}),
        "null_sd": ([s.sd for s in sides], {"definition": "of the nulls, with n - 1 in the denominator"}),
        "z": (
            [s.z for s in sides],
            {"units": "1", "definition": "(value - null_mean) / null_sd; nan where every null has the value"},
        ),
        "p": (p, {"units": "1", "definition": f"two-sided, by permutation; at least {2 / (n_nulls + 1):.3g}"}),
        "p_corrected": (
            false_discovery_rate(np.where(differs, p, np.nan)),
            {"units": "1", "definition": f"p by Benjamini & Hochberg over the {int(differs.sum())} that nulls vary"},
        ),
    }  # fmt: skip
    return xr.Dataset(
        {name: (("graph", "metric"), np.array(values), attrs) for name, (values, attrs) in of.items()},
        {"graph": list(names), "metric": np.array(labels, str), "units": ("metric", np.array(units, str))},
        {"null": null, "null_keeps": DEFINITIONS[null], "n_nulls": n_nulls, "seed": seed},
    )


def is_number(metric: Metric) -> bool:
    """Whether a metric is one number for every graph, a mean, or a curve with the same points in every graph."""
    if metric.units == LABEL:
        return False
    if metric.of != "graph":
        return True
    found = metric.value(SimpleGraph.from_arrays(2, [0], [1]))
    return not hasattr(found, "dims") or found.dims[0] in _FIXED


def false_discovery_rate(p: Any) -> NDArray[np.float64]:
    """p-values corrected for multiple comparisons (Benjamini & Hochberg 1995); nan stays nan and does not count."""
    from scipy.stats import false_discovery_control

    found = np.array(p, np.float64)
    there = np.isfinite(found)
    if there.any():
        found[there] = false_discovery_control(found[there])
    return found


def _told(
    of: Callable[[SimpleGraph], NDArray[np.float64]], name: str, n: int, on_null: Callable[[str], None] | None
) -> Callable[[SimpleGraph], NDArray[np.float64]]:
    done = 0

    def value(graph: SimpleGraph) -> NDArray[np.float64]:
        nonlocal done
        if on_null is not None:
            on_null(f"{name}, null {done} of {n}" if done else name)
        done += 1
        return of(graph)

    return value


def _points(metric: Metric, graph: SimpleGraph, seed: int) -> Any:
    found = metric.value(graph, seed)
    if metric.of == "graph":
        return found
    there = np.asarray(found, float)
    there = there[~np.isnan(there)]
    return float(there.mean()) if there.size else math.nan


def _vector(metrics: Sequence[Metric], seed: int) -> Callable[[SimpleGraph], NDArray[np.float64]]:
    def vector(graph: SimpleGraph) -> NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *(np.atleast_1d(_points(m, graph, seed)) for m in metrics)])

    return vector


def _labels(metrics: Sequence[Metric], graph: SimpleGraph, seed: int) -> tuple[list[str], list[str]]:
    """Labels of the numbers, and their units."""
    labels, units = [], []
    for metric in metrics:
        found = _points(metric, graph, seed)
        of = f"{metric.name} (mean)" if metric.of != "graph" else metric.name
        if not hasattr(found, "dims"):
            own = [of]
        elif found.dims[0] in _FIXED:
            own = [f"{of} {label}" for label in found[found.dims[0]].values]
        else:
            raise ConnectomeError(
                "metrics", "must be numbers, or curves of a fixed length", repr(metric.name),
                "Its curve has other points in another graph.",
            )  # fmt: skip
        labels += own
        units += [metric.units] * len(own)
    return labels, units
