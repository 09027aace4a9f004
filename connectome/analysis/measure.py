"""Every metric by name, and their values for a connectome, its regions and its stages, as one dataset.

A package adds a metric through the entry point group ``connectome.metrics``: the name of the entry is the metric's, and
it is a :class:`~connectome.analysis.simple_graph.Metric`. One that cannot be imported is an error only where it is
named.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome import plugins
from connectome.analysis.nulls import nearly_symmetric
from connectome.analysis.simple_graph import LABEL, Metric, SimpleGraph, simple_graph
from connectome.arrays import integer
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome

__all__ = ["LIMIT_S", "WHOLE", "choose", "expected_s", "known_metrics", "measure", "stage_names"]

#: The coordinate of the whole graph, beside the regions: no region's name has a space.
WHOLE: Final = "whole graph"
#: A metric that is expected to take longer is left out unless it is named.
LIMIT_S: Final = 100.0

_SWEEPS: Final = (
    "characteristic_path_length", "eccentricity", "radius", "diameter", "efficiency_global",
)  # fmt: skip
#: Nanoseconds that a metric takes, by N and E, for names that begin so; the longest beginning counts. Measured once, at
#: 2,000 nodes and 80,000 edges on one core: right within a few times, which is all that it is for.
_COST_NS: Final[Mapping[str, Callable[[float, float], float]]] = MappingProxyType(
    {
        "": lambda n, e: 50 * (n + e),
        "clustering": lambda n, e: 0.5 * e**1.5,
        "transitivity": lambda n, e: 0.5 * e**1.5,
        "motif_frequency": lambda n, e: e**1.5,
        "motif_intensity": lambda n, e: 100 * e * e / n,
        "motif_coherence": lambda n, e: 100 * e * e / n,
        "modularity": lambda n, e: 3000 * e,
        "n_communities": lambda n, e: 3000 * e,
        "community": lambda n, e: 3000 * e,
        "participation": lambda n, e: 3000 * e,
        "within_module": lambda n, e: 3000 * e,
        "consensus": lambda n, e: 300_000 * e + 50 * n * n,
        "spectral_radius": lambda n, e: 20_000 * e,
        **{f"rich_club_{name}": lambda n, e: 125_000 * e for name in ("normalised", "p", "peak")},
        **{f"{name}_binary": lambda n, e: 0.1 * n * e for name in _SWEEPS},
        **{name: lambda n, e: 10 * n * e for name in _SWEEPS},
        "reachability": lambda n, e: 0.1 * n * e,
        "betweenness_binary": lambda n, e: 2 * n * e,
        "betweenness": lambda n, e: 15 * n * e,
        "edge_betweenness_binary": lambda n, e: 2 * n * e,
        "edge_betweenness": lambda n, e: 15 * n * e,
        "efficiency_local_binary": lambda n, e: (e / n) ** 2 * e,
        "efficiency_local": lambda n, e: 4 * (e / n) ** 2 * e,
        "small_world_sigma": lambda n, e: 20 * (0.1 * n * e + 0.5 * e**1.5 + 500 * e),
        "small_world_omega": lambda n, e: 20 * (0.2 * n * e + e**1.5 + 20_000 * e),
        "small_world_propensity_binary": lambda n, e: 40 * (0.1 * n * e + 0.5 * e**1.5 + 500 * e),
        "small_world_propensity_weighted": lambda n, e: 800 * n * e,
    }
)


def known_metrics() -> dict[str, Metric]:
    """Every metric by name: ours, then those of installed packages that can be imported and whose names are not
    taken."""
    found = _ours()
    for name in [n for n in plugins.known("metrics") if n not in found]:
        with suppress(ConnectomeError):
            found[name] = _offered(name)
    return found


def choose(names: Collection[str] | None = None) -> list[Metric]:
    """The metrics with these names, in their order; all for None. Raises :class:`ConnectomeError` for an unknown name
    and for a package's metric that cannot be imported."""
    if names is None:
        return list(known_metrics().values())
    ours, chosen = _ours(), {}
    for name in names:
        if name in ours:
            chosen[name] = ours[name]
        elif plugins.has("metrics", name):
            chosen[name] = _offered(name)
        else:
            known = [*ours, *plugins.known("metrics")]
            near = difflib.get_close_matches(name, known, 3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
            raise ConnectomeError("metrics", "must be known metrics", repr(name), hint)
    return list(chosen.values())


def _offered(name: str) -> Metric:
    """A package's metric. Raises :class:`ConnectomeError` if it cannot be imported or is not a metric."""
    metric = plugins.load("metrics", name, "metrics")
    if not isinstance(metric, Metric):
        raise ConnectomeError(f"metrics.{name}", "must be a Metric", type(metric).__name__)
    return metric


def _ours() -> dict[str, Metric]:
    from connectome.analysis import (
        clustering,
        communities,
        consensus,
        core_periphery,
        degrees,
        motifs,
        paths,
        rich_club,
        small_world,
        wiring_cost,
    )

    modules = (
        degrees.METRICS, clustering.METRICS, paths.METRICS, communities.METRICS,
        consensus.METRICS, small_world.METRICS,
        rich_club.METRICS, core_periphery.METRICS, motifs.METRICS, wiring_cost.METRICS,
    )  # fmt: skip
    return {metric.name: metric for metrics in modules for metric in metrics}


def expected_s(metric: Metric, n: int, n_edges: int) -> float:
    """Roughly how many seconds a metric takes on a graph of n nodes and this many edges, to compare with
    :data:`LIMIT_S`. A package's metric counts as quick."""
    beginning = max((b for b in _COST_NS if metric.name.startswith(b)), key=len)
    return 1e-9 * _COST_NS[beginning](max(n, 1), n_edges)


def measure(
    what: Connectome | SimpleGraph | Sequence[Connectome | SimpleGraph], metrics: Collection[str] | None = None, *,
    by_region: bool = True, nodes: bool = False, kinds: Collection[str] = ("local", "long_range"), seed: int = 0,
    stages: Sequence[str] | None = None, limit_s: float | None = None, on_metric: Callable[[str], None] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Metrics of one graph, or their course over several (the stages of a development, say).

    Every variable has dimensions ``(stage, region)``, and a curve one more. Region :data:`WHOLE` is the whole graph.
    For a region, a metric of the graph is that of the region's neurons and the edges among them. A metric of nodes or
    edges is always computed on the whole graph; its variable is the mean over the nodes of a region, or over the edges
    inside it, that have a value. ``nodes`` adds the values themselves, as ``NAME_of_node (stage, node)`` with
    coordinates ``node_region``, ``node_number`` and, if any node has a name, ``node_label``. Labels, such as a node's
    community, have no mean and are given only in this form. Regions and nodes that a stage does not have are nan.

    Attributes of a variable: ``units``, ``definition``, ``source``, ``of``, and ``seed`` if it needs one. Attributes of
    the dataset: ``left_out``, the metrics that are too slow for a graph of this size, and ``left_out_why``;
    ``symmetry``, the result of :func:`~connectome.analysis.nulls.nearly_symmetric` for the graphs.

    Parameters
    ----------
    metrics : names among :func:`known_metrics`; default: all that are fast enough
    by_region : False for the whole graph alone
    kinds : kinds of a connectome's edges to include: see :func:`~connectome.analysis.simple_graph.simple_graph`
    seed : for the metrics that draw at random
    stages : names of the graphs; default: the stage names in their provenance
    limit_s : metrics expected to take longer are left out, s; default: :data:`LIMIT_S`, but no limit for metrics that
        are named in ``metrics``
    on_metric : called before each metric is measured, with a line that has its name and number

    Raises :class:`ConnectomeError` for unknown names, and if there is no graph.
    """
    given: list[Connectome | SimpleGraph] = [what] if isinstance(what, (Connectome, SimpleGraph)) else list(what)
    if not given:
        raise ConnectomeError("what", "must be a graph, or one or more in a sequence", "none")
    seed = integer("seed", seed, 0, 2**63 - 1)
    chosen = choose(metrics)
    names = stage_names(given) if stages is None else list(stages)
    if len(names) != len(given) or len(set(names)) != len(names):
        raise ConnectomeError("stages", f"must be {len(given)} different names", names)
    graphs = [g if isinstance(g, SimpleGraph) else simple_graph(g, kinds=kinds) for g in given]
    most = limit_s if limit_s is not None else LIMIT_S if metrics is None else math.inf
    left_out = [m.name for m in chosen if max(expected_s(m, g.n, g.n_edges) for g in graphs) > most]
    regions = [WHOLE, *(dict.fromkeys(r for g in graphs for r in g.regions) if by_region else ())]
    cells = [_parts(g, regions) for g in graphs]
    places, node_coordinates = _places(graphs)
    made: dict[str, xr.DataArray] = {
        "n_nodes": _table([[float(p.n) if p else 0.0 for p in row] for row in cells], "nodes"),
        "n_edges": _table([[float(p.n_edges) if p else 0.0 for p in row] for row in cells], "edges"),
    }
    wanted = [m for m in chosen if m.name not in (*left_out, *made)]
    for at, metric in enumerate(wanted, 1):
        if on_metric is not None:
            on_metric(f"{metric.name} ({at} of {len(wanted)})")
        attributes = {"units": metric.units, "definition": metric.definition, "source": metric.source, "of": metric.of}
        attributes |= {"seed": str(seed)} if metric.seeded else {}
        if metric.of == "graph":
            made[metric.name] = _of_graphs(metric, cells, seed).assign_attrs(attributes)
            continue
        values = [np.asarray(metric.value(g, seed), np.float64) for g in graphs]
        if metric.units != LABEL:
            rows = [_means(metric, g, v, regions) for g, v in zip(graphs, values, strict=True)]
            made[metric.name] = xr.DataArray(rows, dims=("stage", "region"), attrs={**attributes, "statistic": "mean"})
        if metric.of == "node" and (nodes or (metric.units == LABEL and metrics is not None)):
            table = np.full((len(graphs), len(node_coordinates["node_number"][1])), math.nan)
            for row, place, v in zip(table, places, values, strict=True):
                row[place] = v
            made[f"{metric.name}_of_node"] = xr.DataArray(table, dims=("stage", "node"), attrs=attributes)
    coordinates: dict[str, Any] = {"stage": names, "region": regions}
    if any("node" in v.dims for v in made.values()):
        coordinates |= node_coordinates
    for name in ("n_loops", "n_parallel"):
        made[name] = xr.DataArray([getattr(g, name) for g in graphs], dims="stage", attrs={"units": "edges"})
    why = f"expected to take more than {most:g} s each" if left_out else ""
    odd = [f"{name}: {said}" for name, g in zip(names, graphs, strict=True) if (said := nearly_symmetric(g))]
    attrs = {
        "kinds": ", ".join(kinds),
        "left_out": ", ".join(left_out),
        "left_out_why": why,
        "symmetry": "\n".join(odd),
    }
    return xr.Dataset(made, coordinates, attrs)


def stage_names(given: Sequence[Connectome | SimpleGraph]) -> list[str]:
    """Names of the stages: those in their provenance, with a number where two are the same."""
    names: list[str] = []
    for at, one in enumerate(given):
        name = (one.provenance.stage_name if isinstance(one, Connectome) else "") or f"graph {at + 1}"
        names.append(name if name not in names else f"{name} ({at + 1})")
    return names


def _parts(graph: SimpleGraph, regions: Sequence[str]) -> list[SimpleGraph | None]:
    """The whole graph, then each region's own, None where it has none."""
    own = (
        None if r not in graph.regions else graph if len(graph.regions) == 1 else graph.within([r]) for r in regions[1:]
    )
    return [graph, *own]


def _places(graphs: Sequence[SimpleGraph]) -> tuple[list[NDArray[np.int64]], dict[str, Any]]:
    """Where each graph's nodes are among the nodes of all, which are told apart by region and number in it."""
    sizes: dict[str, int] = {}
    for graph in graphs:
        for name, size in zip(graph.regions, np.bincount(graph.region, minlength=len(graph.regions)), strict=True):
            sizes[name] = max(sizes.get(name, 0), int(size))
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    places = []
    for graph in graphs:
        place = np.zeros(graph.n, np.int64)
        for at, name in enumerate(graph.regions):
            mine = np.flatnonzero(graph.region == at)
            place[mine] = starts[name] + np.arange(mine.size)
        places.append(place)
    numbers = np.concatenate([np.zeros(0, np.int64), *(np.arange(n) for n in sizes.values())])
    found: dict[str, Any] = {
        "node_region": ("node", np.repeat(list(sizes) or [""], list(sizes.values()) or [0])),
        "node_number": ("node", numbers),
    }
    if any(graph.label is not None for graph in graphs):
        label = np.full(numbers.size, "", object)
        for graph, place in zip(graphs, places, strict=True):
            if graph.label is not None:
                label[place] = np.where(label[place] == "", graph.label, label[place])
        found["node_label"] = ("node", label.astype(str))
    return places, found


def _of_graphs(metric: Metric, cells: Sequence[Sequence[SimpleGraph | None]], seed: int) -> xr.DataArray:
    """(stage, region), and a curve's own dimension, whose labels are those of any of the curves."""
    known: dict[int, Any] = {}
    for part in (p for row in cells for p in row if p is not None):
        if id(part) not in known:  # a graph of one region is the region
            known[id(part)] = metric.value(part, seed)
    if not any(isinstance(v, xr.DataArray) for v in known.values()):
        return _table([[math.nan if p is None else float(known[id(p)]) for p in row] for row in cells], metric.units)
    nothing = xr.full_like(next(iter(known.values())), math.nan, float)
    rows = [xr.concat([nothing if p is None else known[id(p)] for p in row], "region", join="outer") for row in cells]
    table: xr.DataArray = xr.concat(rows, "stage", join="outer").transpose("stage", "region", ...)
    return table


def _table(rows: Sequence[Sequence[float]], units: str) -> xr.DataArray:
    return xr.DataArray(rows, dims=("stage", "region"), attrs={"units": units})


def _means(metric: Metric, graph: SimpleGraph, values: NDArray[np.float64], regions: Sequence[str]) -> list[float]:
    """The mean over the whole graph, then within each region, of the values that are not nan."""
    if metric.of == "node":
        at = graph.region
    else:
        at = np.where(graph.region[graph.source] == graph.region[graph.target], graph.region[graph.source], -1)
    there = ~np.isnan(values)
    places = [graph.regions.index(r) if r in graph.regions else None for r in regions[1:]]
    chosen = [values[there], *(values[there & (at == p)] if p is not None else values[:0] for p in places)]
    return [float(v.mean()) if v.size else math.nan for v in chosen]
