"""One page that shows a development, or any graph: a self-contained HTML file to read, to print and to turn in 3-D.

The page has only the sections it has data for: without results there are no scores, without sensors no spikes. Data too
large to draw are sampled or binned, and the page says so beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from connectome.analysis.measure import measure
from connectome.analysis.report.blocks import Partition, adjacency, partitions
from connectome.analysis.report.cells import (
    METRICS,
    Column,
    attribute_columns,
    metric_columns,
    own_columns,
    rate_columns,
    shown_columns,
)
from connectome.analysis.report.charts import (
    KIND_NAMES,
    Chart,
    degree_bins,
    degree_chart,
    degrees,
    edges_chart,
    raster_chart,
    score_chart,
    weight_bins,
    weight_chart,
)
from connectome.analysis.report.render import rendered
from connectome.analysis.report.scene import MAX_NAMES, Scene, all_regions, sample_scene
from connectome.analysis.report.story import tiles
from connectome.analysis.report.tables import (
    Sample,
    citation,
    configuration_tables,
    matrix_table,
    measured_table,
    metric_table,
    rate_table,
    region_table,
    rule_table,
    score_rows,
    spread_table,
    stage_table,
)
from connectome.analysis.simple_graph import SimpleGraph, simple_graph
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.parts import KINDS
from connectome.graph.selection import NodeSet
from connectome.texts import listed, plural

__all__ = ["Sample", "report"]

#: The metrics of the page, each if it is expected to take no more than so many seconds for a graph.
_METRICS: Final = (
    "density", "reciprocity", "clustering_binary_directed_mean", "transitivity_binary_directed",
    "characteristic_path_length_binary", "efficiency_global_binary", "modularity", "n_communities",
    "modularity_of_regions", "assortativity_binary_out_in", "coreness", "core_share", "local_share", "excitatory_share",
    "length_mean", "wiring_cost", "spectral_radius",
)  # fmt: skip
_QUICK_S: Final = 3.0
_QUICK_CELLS_S: Final = 1.0  # likewise, of each metric of cells
_EDGES_CAPTION: Final = "Between neurons, at each epoch of training. Updates are counted through all stages."


def report(
    stages: Sequence[Connectome], names: Sequence[str], *, source: str, title: str = "",
    results: xr.Dataset | None = None, configuration: str = "", samples: Sequence[Sample] = (),
    reference: tuple[str, Connectome] | None = None, show: NodeSet | None = None,
) -> str:  # fmt: skip
    """The page, as HTML. The same input gives the same text.

    Parameters
    ----------
    stages : one connectome, or those of one development, in order
    names : of the stages
    source : where the stages come from: a folder or a file
    title : the heading; made from the stages if empty
    results : what :func:`connectome.development.results.tabulate` gave for the run
    configuration : the run's configuration; TOML is shown as tables, any other text as it is
    samples : spikes of the last stage
    reference : the name and the graph of another connectome, whose degrees and metrics are shown for comparison
    show : cells of the last stage to show in any case, if there are too many to show all

    Raises
    ------
    ConnectomeError : no stage, or not one name for each; kernel sets with too many connections to expand
    """
    if not stages or len(names) != len(stages):
        raise ConnectomeError("stages", "must be one or more, with a name each", f"{len(stages)}, {len(names)} names")
    stages = [c.expanded() for c in stages]
    last, regions, start = stages[-1], [r.name for r in all_regions(stages)], starts(all_regions(stages))
    wanted = None
    if show is not None:
        wanted = np.concatenate([start[name] + number for name, number in show.neurons.items()])
    scene = sample_scene(stages, wanted)
    graphs = [simple_graph(c) for c in stages]
    columns = _columns(stages, graphs[-1], samples)
    shown, unshown = shown_columns(columns, scene.drawn)
    by, unsorted = partitions(columns, len(stages))
    matrix = adjacency(stages, start, scene.n_nodes, by)
    bins = degree_bins(stages if reference is None else [*stages, reference[1]])
    weights = weight_bins(stages)
    rasters = [raster_chart(s.spikes, stages[-1].regions) for s in samples]
    has_degrees = any(d.any() for c in stages for d in degrees(c))
    has_training = results is not None and results.sizes.get("epoch", 0) > 0
    charts: dict[str, dict[str, list[Chart]]] = {
        "weight": {"all": [weight_chart(c, weights) for c in stages]},
        "edges": {"all": [edges_chart(stages, names, results)]},
        **({"degree": {"all": [degree_chart(c, bins, reference) for c in stages]}} if has_degrees else {}),
        **({"score": {"all": [score_chart(results)]}} if results is not None and has_training else {}),
        **{f"raster{i}": {"all": [chart]} for i, (chart, _) in enumerate(rasters)},
    }
    kinds = [kind for kind in KINDS if any(c.count(kind) for c in stages)]
    counts = [_count(scene, i, name, kinds) for i, name in enumerate(names)]
    payload = {
        "charts": charts, "scene": scene.view, "columns": shown, "matrix": matrix, "n_stages": len(stages),
        "kinds": kinds, "counts": counts, "measure": "edges", "has_signs": graphs[-1].has_signs,
    }  # fmt: skip
    parts: dict[str, Any] = {
        "source": source,
        "title": title or _title(names, results, source), "names": list(names),
        "lede": _lede(stages, names, results), "tiles": tiles(last, results, kinds),
        "scene": _scene_texts(scene, last, kinds, len(stages), counts[-1]),
        "stages": stage_table(stages, names, results) if len(stages) > 1 or results is not None else None,
        "scores": score_rows(results), "has_score_chart": has_training,
        "has_edges_chart": has_training or len(stages) > 1,
        "edges_alt": "Line chart: edges by kind" + (" over the updates of training." if has_training else " by stage."),
        "edges_caption": _EDGES_CAPTION if has_training else "After each stage.",
        "rules": rule_table(results), "measured": measured_table(results),
        "cells": _cell_texts(scene, shown, unshown, names),
        "matrix": _matrix_texts(by, unsorted, matrix["single"]) if by or matrix["single"] else None,
        "matrix_table": matrix_table(last, regions, names[-1]) if len(regions) > 1 else None,
        "weight_note": _weight_note(last),
        "has_degrees": has_degrees, "degree_width": _bin_width(bins),
        "spread": spread_table(last, names[-1] if len(names) > 1 else "", kinds),
        "samples": [
            {
                "title": s.title, "about": s.drive + left_out,
                "bands": min(200, len(chart["layout"]["yaxis"]["tickvals"])),
            }
            for s, (chart, left_out) in zip(samples, rasters, strict=True)
        ],
        "rates": rate_table(samples, last), "metrics": _metrics(stages, graphs, names, reference),
        "configuration": configuration_tables(configuration), "cite": citation(last, source),
    }  # fmt: skip
    sections = [
        ("network", "The network", True), ("stages", "Stages", parts["stages"]),
        ("adjacency", "Adjacency", parts["matrix"]), ("distributions", "Degrees and weights", True),
        ("activity", "Activity", samples), ("metrics", "Metrics", parts["metrics"]),
        ("configuration", "Configuration", configuration), ("cite", "How to cite", True),
    ]  # fmt: skip
    return rendered("report", parts, payload, sections, ("scene.js", "cells.js", "matrix.js"))


def _columns(stages: Sequence[Connectome], graph: SimpleGraph, samples: Sequence[Sample]) -> list[Column]:
    """Every column, for all cells that any stage has; metrics and rates are those of the last stage."""
    regions = all_regions(stages)
    n, span = 0, {}
    for r in regions:
        span[r.name] = slice(n, n + r.size)
        n += r.size
    columns = [*own_columns(regions), *attribute_columns(regions)]
    if graph.n_edges:
        measured = measure(graph, METRICS, by_region=False, nodes=True, limit_s=_QUICK_CELLS_S)
        columns += metric_columns(measured, span, n)
    return columns + rate_columns(samples, span, {r.name: r.role for r in regions}, n)


def _metrics(
    stages: Sequence[Connectome], of_stages: Sequence[SimpleGraph], names: Sequence[str],
    reference: tuple[str, Connectome] | None,
) -> dict[str, Any] | None:  # fmt: skip
    """The metrics that are quick on graphs of this size, for the whole graphs."""
    graphs = [*of_stages, *([simple_graph(reference[1])] if reference else ())]
    if not any(c.count("local") + c.count("long_range") for c in [*stages, *([reference[1]] if reference else ())]):
        return None
    columns = [*names, *([f"reference: {reference[0]}"] if reference else ())]
    measured = measure(graphs, _METRICS, by_region=False, stages=columns, limit_s=_QUICK_S)
    left_out = [name.strip().replace("_", " ") for name in measured.attrs["left_out"].split(",") if name]
    return metric_table(measured, columns[-1] if reference else None, left_out)


# Texts


def _title(names: Sequence[str], results: xr.Dataset | None, source: str) -> str:
    if results is not None and results.sizes.get("stage"):
        return f"A connectome that developed through {listed([str(s) for s in results.stage.values])}"
    return f"The connectome {source.rstrip('/').split('/')[-1]}"


def _lede(stages: Sequence[Connectome], names: Sequence[str], results: xr.Dataset | None) -> str:
    last = stages[-1]
    neurons = sum(r.size for r in last.regions.values() if r.role == "neuron")
    of_neurons = [name for name, r in last.regions.items() if r.role == "neuron"]
    text = f"{plural(neurons, 'neuron')} in {plural(len(of_neurons), 'region')}; {plural(last.n_edges, 'edge')}"
    text += f" in {plural(len(last.edges), 'set')}."
    if len(stages) > 1 and (results is None or not results.sizes.get("stage")):
        text += f" {len(stages)} stages, from {names[0]} to {names[-1]}."
    return text


def _count(scene: Scene, stage: int, name: str, kinds: Sequence[str]) -> str:
    total, drawn = scene.n_edges[stage], scene.n_drawn[stage]
    each = [
        f"{KIND_NAMES[k].split(' (')[0]} {total[k]:,}" + (f" ({drawn[k]:,} drawn)" if drawn[k] < total[k] else "")
        for k in kinds
        if total[k]
    ]
    return f"{name}: {', '.join(each) or 'no edges'}."


def _scene_texts(scene: Scene, last: Connectome, kinds: Sequence[str], n: int, count: str) -> dict[str, Any]:
    shapes = {r.role for r in last.regions.values()}
    about = (
        "Each region at its position; each dot is a neuron, each line an edge. Drag to turn it, or use the keys and "
        "buttons."
    )
    if n > 1:
        about += " Choose a stage to see what grew and what was pruned."
    legend = ["Filled dots are excitatory or unsigned neurons, rings inhibitory ones"]
    legend += ["squares sensors, which afferent edges leave"] if "sensor" in shapes else []
    legend += ["diamonds effectors, which efferent edges reach"] if "effector" in shapes else []
    note = "; ".join(legend) + "."
    if any(drawn[k] < total[k] for total, drawn in zip(scene.n_edges, scene.n_drawn, strict=True) for k in kinds):
        note += " Where edges are too many to draw, pairs of neurons are chosen at random, the same in every stage."
    if len(scene.drawn) < scene.n_nodes:
        note += f" {len(scene.drawn):,} of {scene.n_nodes:,} neurons are drawn."
    if not scene.wider:
        note += " The file has no positions: "
        note += (
            "neurons are placed by the graph, joined ones close together."
            if len(scene.view["names"]) == 1
            else "regions are placed on a circle, with neurons spread evenly in each."
        )
    else:
        size = [f"{extent / 1000:.3g}" for extent in scene.view["true_extent_um"]]
        note += f" The network is {' x '.join(size)} mm."
    if len(scene.view["names"]) > MAX_NAMES:
        note += f" The {MAX_NAMES} largest regions are named."
    if len(scene.view["names"]) > 1:
        note += " A name that would cover another is not drawn until the view is turned or nearer."
    if scene.wider > 1:
        note += f" Regions are drawn {scene.wider:.2g} times wider than they are, about their true centres."
    return {
        "about": about, "note": note, "count": count, "still": scene.still, "regions": region_table(last),
        "kinds": [{"id": kind, "name": KIND_NAMES[kind].split(" (")[0]} for kind in kinds],
        "alt": f"The network after the last stage, {len(scene.view['names'])} regions, seen from the front. {count}",
    }  # fmt: skip


def _cell_texts(
    scene: Scene, shown: Sequence[dict[str, Any]], unshown: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """What cells can be coloured and sized by, in groups, and the texts about it."""
    groups: dict[str, list[tuple[int, str, bool]]] = {}
    for i, column in enumerate(shown):
        if column["name"] != "kind of cell":  # that is how they are drawn if nothing is chosen
            groups.setdefault(column["group"], []).append((i, column["name"], "names" not in column))
    of = f" after {names[-1]}" if len(names) > 1 else ""
    about = f"Type part of a name, a region or an attribute. Partners and numbers are those{of}." if of else ""
    about = about or "Type part of a name, a region or an attribute."
    if len(scene.drawn) < scene.n_nodes:
        about += (
            f" Only the {len(scene.drawn):,} cells that are drawn can be found; sims.report --show QUERY draws others."
        )
    note = f"There is no room for {listed(unshown)}." if unshown else ""
    return {"groups": groups, "about": about, "note": note}


def _matrix_texts(by: Sequence[Partition], left_out: Sequence[str], has_single: object) -> dict[str, Any]:
    """What the adjacency matrix can be sorted by, and what it can show."""
    shows = [("edges", "edges"), ("density", "density"), ("weight", "mean |weight|")] if by else []
    shows += [("single", "every edge")] if has_single else []
    note = f"It cannot be sorted by {listed(left_out)}: too many values." if left_out else ""
    return {"by": [p.name for p in by], "shows": shows, "note": note}


def _weight_note(c: Connectome) -> str:
    is_ours = c.provenance.seed is not None
    return "Weights are in pA." if is_ours else "Weights are the file's numbers; a simulation takes them as pA."


def _bin_width(bins: np.ndarray[Any, Any]) -> str:
    width = int(bins[1] - bins[0])
    return "bins of one" if width == 1 else f"bins of {width}"
