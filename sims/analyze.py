"""Analyse connectomes: the numbers of network science for a snapshot, a run's stages, or any graph that can be read.

python -m sims.analyze runs/seed0 --by-region --out metrics.nc
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from connectome.errors import ConnectomeError
from connectome.texts import readable, shown_p
from sims.inputs import add_graph_options, add_shape, check_graph_options, open_graphs, prepared, shaped
from sims.program import add_common, add_json, complete_names, ended, exit_codes, refuse_seed, refuse_taken, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import pandas
    import xarray as xr
    from rich.console import Console

    from connectome.analysis.simple_graph import SimpleGraph
    from connectome.graph.connectome import Connectome

__all__ = ["COMMON", "main", "parser"]

#: What is measured unless metrics are named: one or two of each family.
COMMON = (
    "degree", "strength", "density", "reciprocity", "clustering_binary_directed", "clustering_weighted_directed",
    "transitivity_binary_directed", "characteristic_path_length_binary", "efficiency_global_binary",
    "betweenness_binary", "assortativity_binary_out_in", "modularity", "n_communities",
    "participation_coefficient_both", "small_world_sigma", "small_world_omega", "small_world_propensity_binary",
    "rich_club_peak", "core_share", "coreness", "motif_frequency", "excitatory_share", "local_share",
    "length_mean", "wiring_cost", "spectral_radius",
)  # fmt: skip
_SHOWN_LABELS = 13
#: What is expected to take longer is left out unless it is named.
_LIMIT_S = 10.0
#: Metrics that are set beside nulls already.
_OWN_NULLS = ("rich_club_normalised", "rich_club_p", "small_world")


class _Row(NamedTuple):
    """A number of each graph (or region): its name, its units, and (columns,) values."""

    name: str
    units: str
    values: np.ndarray[Any, np.dtype[np.float64]]


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.analyze",
        description="Print metrics of connectomes, of the whole graph and of each region, and how a run's stages "
        "differ. Neurons are nodes; parallel edges are one, self-loops none; strengths are of |weight|.",
        epilog=exit_codes(),
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH",
        help="a snapshot, a run's folder (all its stages), any other graph, or a reference's name",
    )  # fmt: skip
    metrics = parser.add_argument(
        "--metrics", metavar="A,B,...", help="names, or 'all' (default: a common choice); a slow one only if named"
    )
    complete_names(metrics, "metrics")
    parser.add_argument("--list-metrics", action="store_true", help="say what there is, with definitions, and end")
    parser.add_argument("--by-region", action="store_true", help="each region besides the whole graph")
    parser.add_argument(
        "--of-regions", action="store_true", help="a region is a node, joined to others by sums of weights"
    )
    add_graph_options(parser)
    parser.add_argument(
        "--null", choices=["degree", "strength", "spatial", "erdos_renyi", "lattice"], metavar="NAME",
        help="set the whole graph's numbers beside random graphs that keep part of its structure, with z and p: "
        "%(choices)s (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--nulls",
        type=int,
        default=100,
        metavar="N",
        help="random graphs of each graph with --null, 2 or more; p is 2 / (N + 1) or more (default: %(default)s)",
    )
    add_shape(parser)
    parser.add_argument(
        "--paths-from", metavar="QUERY",
        help="neurons such as \"class == 'sensory'\": the strongest and the shortest paths from them, with percentages "
        "of input, and the share of input that traces back to them, beside the nulls of --null; metrics only if named",
    )  # fmt: skip
    parser.add_argument("--paths-to", metavar="QUERY", help="the neurons where these paths end")
    parser.add_argument("--hops", type=int, metavar="K", help="steps over which input is traced back (default: 3)")
    parser.add_argument("--n-paths", type=int, metavar="N", help="paths of each kind (default: 5)")
    parser.add_argument(
        "--paths-out", type=Path, metavar="FILE", help="write them: FILE.csv, and FILE_structure.csv against the nulls"
    )
    parser.add_argument("--nodes", action="store_true", help="write each node's value too (with --out FILE.nc)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers: .nc (netCDF 4) or .csv")
    parser.add_argument(
        "--lives", type=Path, metavar="FILE", help="write the life of every edge over the graphs given: .csv"
    )
    parser.add_argument("--seed", type=int, default=0, help="of communities and null models, 0 or more (default: 0)")
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("analyze", lambda: _analyze(options))


def _analyze(options: argparse.Namespace) -> int:
    if options.list_metrics:
        _list(console_of(options))
        return 0
    _check(options)
    if options.of_regions and (options.by_region or options.paths_from or options.lives):
        raise ConnectomeError("--of-regions", "must go without --by-region, --paths-from, --lives", "one of them")
    from connectome.analysis.measure import measure
    from connectome.io.results import save_results, save_text

    console = console_of(options)
    names = _metric_names(options.metrics)
    many = len(options.paths) > 1
    with progress(options, f"Reading {', '.join(options.paths)}"):
        graphs = {n: shaped(c, options) for path in options.paths for n, c in open_graphs(path, many=many)}
        simple = {name: prepared(c, options) for name, c in graphs.items()}
    if options.paths_from is not None:
        _paths(console, graphs, simple, options)
        if options.metrics is None and options.out is None and options.lives is None:
            return 0
    with progress(options) as say:
        measured = measure(
            list(simple.values()), names, by_region=options.by_region, nodes=options.nodes, seed=options.seed,
            kinds=split_names(options.kinds), stages=list(simple), limit_s=None if options.metrics else _LIMIT_S,
            on_metric=say,
        )  # fmt: skip
        beside = None if options.null is None else _beside(simple, names, options, say)
    measured = measured.assign_attrs(
        signs=options.signs or "all", undirected=int(options.undirected), threshold=options.threshold or "none"
    )
    _report(console, measured)
    if beside is not None:
        _report_nulls(console, beside)
        measured = measured.merge(beside).assign_attrs(beside.attrs)
    if len(graphs) > 1 and not options.of_regions:
        _report_changes(console, graphs)
    if options.json:
        print_json(measured)
    if options.out is not None:
        if options.out.suffix == ".nc":
            save_results(measured, options.out)
        else:
            save_text(_csv(measured), options.out)
    if options.lives is not None:
        from connectome.analysis.history import lives

        save_text(lives(list(graphs.values()), list(graphs)).to_csv(index=False), options.lives)
    written = [str(p) for p in (options.out, options.lives) if p]
    if written:
        console.print("Written: " + ", ".join(written), highlight=False, markup=False, soft_wrap=True)
    return 0


def _beside(
    graphs: dict[str, SimpleGraph], names: list[str], options: argparse.Namespace, say: Callable[[str], None]
) -> xr.Dataset:
    """What :func:`beside_nulls` says of the metrics that are numbers and are quick enough, each variable
    ``null_VARIABLE (stage, number)``."""
    from connectome.analysis.beside_nulls import beside_nulls, is_number
    from connectome.analysis.measure import choose, expected_s

    graph = max(graphs.values(), key=lambda g: g.n_edges)
    most_s = math.inf if options.metrics else _LIMIT_S / options.nulls
    # What has nulls of its own is left to them.
    metrics = [
        m for m in choose(names)
        if is_number(m) and expected_s(m, graph.n, graph.n_edges) <= most_s and not m.name.startswith(_OWN_NULLS)
    ]  # fmt: skip
    if not metrics:
        raise ConnectomeError("--null", "must go with metrics that are numbers", ", ".join(names)[:100])
    made = beside_nulls(list(graphs.values()), metrics, list(graphs), options.null, options.nulls, options.seed, say)
    made = made.rename({"graph": "stage", "metric": "number", "units": "number_units"})
    names_of = {str(k): str(k) if str(k).startswith("null_") else f"null_{k}" for k in made.data_vars}
    return made.rename(names_of)


def _report_nulls(console: Console, beside: xr.Dataset) -> None:
    for stage in beside.stage.values:
        one = beside.sel(stage=stage)
        rows = [
            [
                str(label), *(readable(float(one[f"null_{k}"][at])) for k in ("value", "mean", "sd")),
                *("-" if math.isnan(z) else f"{z:.1f}" for z in [float(one.null_z[at])]),
                shown_p(float(one.null_p_corrected[at])),
            ]
            for at, label in enumerate(one.number.values)
        ]  # fmt: skip
        title = f"{stage}, whole graph beside {beside.attrs['n_nulls']} nulls '{beside.attrs['null']}'"
        print_table(console, title, ["", "value", "null mean", "null sd", "z", "p"], rows)
    console.print(
        f"Nulls: {beside.attrs['null_keeps']}\np: {beside.null_p.attrs['definition']}; corrected for the false "
        "discovery rate of all numbers here.", highlight=False, markup=False,
    )  # fmt: skip


def _check(options: argparse.Namespace) -> None:
    if not options.paths:
        raise ConnectomeError("PATH", "must be given", "none", "A snapshot, a run's folder, or another graph.")
    refuse_seed(options.seed)
    check_graph_options(options)
    if not 2 <= options.nulls <= 10**6:
        raise ConnectomeError("--nulls", "must be 2 or more", options.nulls)
    _check_paths(options)
    for name, path, suffixes in (
        ("--out", options.out, (".nc", ".csv")), ("--lives", options.lives, (".csv",)),
        ("--paths-out", options.paths_out, (".csv",)),
    ):  # fmt: skip
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise ConnectomeError(name, f"must end in {' or '.join(suffixes)}", repr(str(path)))
        refuse_taken(name, path, overwrite=options.overwrite)
    if options.out is not None and options.lives is not None and options.out.resolve() == options.lives.resolve():
        raise ConnectomeError("--lives", "must not be the file of --out", repr(str(options.lives)))
    if options.nodes and (options.out is None or options.out.suffix != ".nc"):
        raise ConnectomeError("--nodes", "must go with --out FILE.nc", repr(str(options.out)))


def _check_paths(options: argparse.Namespace) -> None:
    asked = options.paths_from is not None and options.paths_to is not None
    for name, default, low, high in (
        ("paths_from", None, 0, 0), ("paths_to", None, 0, 0), ("paths_out", None, 0, 0), ("hops", 3, 1, 1000),
        ("n_paths", 5, 1, 1000),
    ):  # fmt: skip
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is not None and not asked:
            other = "--paths-to QUERY" if name == "paths_from" else "--paths-from QUERY and --paths-to QUERY"
            raise ConnectomeError(option, f"must go with {other}", repr(str(value)))
        if default and not low <= (default if value is None else value) <= high:
            raise ConnectomeError(option, f"must be {low} .. {high:,}", value)
        setattr(options, name, default if value is None else value)
    if options.paths_out is not None:
        refuse_taken("--paths-out", _structure_file(options.paths_out), overwrite=options.overwrite)


def _structure_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}_structure{path.suffix}")


def _paths(
    console: Console, graphs: dict[str, Connectome], simple: dict[str, SimpleGraph], options: argparse.Namespace
) -> None:
    """How the neurons of one query reach those of another, in each graph: printed, and written where that is asked."""
    import pandas

    from connectome.analysis.between import paths_between, structure_between
    from connectome.analysis.nulls import null
    from connectome.experiment.conditions import cells_where
    from connectome.io.results import save_text

    found: dict[Path, list[pandas.DataFrame]] = {}
    for name, graph in simple.items():
        ends = []
        for option in ("paths_from", "paths_to"):
            where = f"--{option.replace('_', '-')}"
            masks = cells_where(graphs[name], getattr(options, option), where).masks
            ends.append(np.concatenate([np.zeros(0, bool), *(masks[region] for region in graph.regions)]))
            if not ends[-1].any():
                raise ConnectomeError(where, "must find nodes of the graph", "sensors or effectors", "See --kinds.")
        n_nulls = options.nulls if options.null else 0
        nulls = (null(graph, options.null, options.seed + k) for k in range(n_nulls))
        paths = paths_between(graph, ends[0], ends[1], options.n_paths)
        structure = structure_between(graph, nulls, ends[0], ends[1], options.hops)
        _report_paths(console, name, paths, structure, options)
        if options.json:
            print_json({"paths": paths.assign(stage=name), "structure": structure.assign(stage=name)})
        if options.paths_out is not None:
            for file, table in ((options.paths_out, paths), (_structure_file(options.paths_out), structure)):
                table.insert(0, "stage", name)
                found.setdefault(file, []).append(table)
    for file, tables in found.items():
        save_text(pandas.concat(tables).to_csv(index=False), file)
        console.print(f"Written: {file}", highlight=False, markup=False, soft_wrap=True)


def _report_paths(
    console: Console, name: str, paths: pandas.DataFrame, structure: pandas.DataFrame, options: argparse.Namespace
) -> None:
    shown = []
    for (kind, rank), one in paths.groupby(["kind", "path"], sort=False):
        shares = [f" -{100 * share:.3g}%-> " for share in one.input_share[1:]]
        path = "".join(text for pair in zip(one.cell, [*shares, ""], strict=True) for text in pair)
        shown.append([f"{kind} {rank}", path, f"{100 * one.strength.iloc[0]:.3g}"])
    title = f"{name}: paths from {options.paths_from} to {options.paths_to}"
    console.print(title, highlight=False, markup=False)
    for kind, path, strength in shown:
        console.print(f"  {kind}: {path} ({strength} %)", highlight=False, markup=False, soft_wrap=True)
    if not shown:
        console.print("  There is none.")
    numbers = structure[["value", "mean", "sd", "z", "p"]].to_numpy(np.float64).tolist()
    rows = [
        [what, *map(readable, row[:3]), "-" if math.isnan(row[3]) else f"{row[3]:.1f}", shown_p(row[4])]
        for what, row in zip(structure.what.tolist(), numbers, strict=True)
    ]
    beside = f"beside {options.nulls} nulls '{options.null}'" if options.null else "without nulls (see --null)"
    columns = ["", "value", "null mean", "null sd", "z", "p"]
    print_table(console, f"{name}: how they are joined, {beside}", columns, rows)


def _metric_names(text: str | None) -> list[str]:
    """The names in an option, checked: ``all``, or the common ones for None. Raises :class:`ConnectomeError`."""
    from connectome.analysis.measure import choose, known_metrics

    if text == "all":
        return list(known_metrics())
    return [m.name for m in choose(COMMON if text is None else split_names(text))]


def _rows(measured: xr.Dataset, at: dict[str, Any]) -> Iterator[_Row]:
    """What a table shows of a dataset at some stage or region: a row for each metric, and for each label of a short
    curve; of a long one, its highest point."""
    for name, variable in measured.data_vars.items():
        if "region" not in variable.dims:
            continue
        chosen = variable.sel(at)
        units = str(variable.attrs.get("units", "1"))
        shown = f"{name} (mean)" if variable.attrs.get("statistic") else str(name)
        (of_column,) = (d for d in ("stage", "region") if d not in at)
        curve = [d for d in chosen.dims if d != of_column]
        if not curve:
            yield _Row(shown, units, chosen.values)
        elif chosen.sizes[curve[0]] <= _SHOWN_LABELS:
            for label in chosen[curve[0]].values:
                at_label = f"{curve[0]} {label:g}" if chosen[curve[0]].dtype.kind in "iuf" else label
                yield _Row(f"{shown} {at_label}", units, chosen.sel({curve[0]: label}).values)
        else:
            yield _Row(f"{shown}, highest over {curve[0]}", units, chosen.max(str(curve[0])).values)


def _show(console: Console, title: str, columns: Sequence[str], of: Sequence[_Row]) -> None:
    cells = [[row.name, *map(readable, row.values.tolist()), "" if row.units == "1" else row.units] for row in of]
    print_table(console, title, ["", *columns, "units"], cells)


def _report(console: Console, measured: xr.Dataset) -> None:
    from connectome.analysis.measure import WHOLE

    stages = [str(s) for s in measured.stage.values]
    regions = [str(r) for r in measured.region.values]
    if len(regions) == 1:
        _show(console, "", stages, list(_rows(measured, {"region": WHOLE})))
    else:
        for stage in stages:
            _show(console, stage, regions, list(_rows(measured, {"stage": stage})))
        console.print(
            "At a region, a metric of the graph is that of the region's neurons and the edges among them; a mean is "
            "over its neurons in the whole graph.", highlight=False,
        )  # fmt: skip
    loops, parallel = int(measured.n_loops.sum()), int(measured.n_parallel.sum())
    if loops or parallel:
        console.print(f"Left out: {loops:,} self-loops. Merged: {parallel:,} parallel edges.", highlight=False)
    if measured.attrs["symmetry"]:
        console.print(f"{measured.attrs['symmetry']} See --undirected.", highlight=False, markup=False)
    if measured.attrs["left_out"]:
        console.print(
            f"Not measured: {measured.attrs['left_out']} ({measured.attrs['left_out_why']}; name them with --metrics).",
            highlight=False,
        )


def _report_changes(console: Console, graphs: dict[str, Connectome]) -> None:
    """What changed from each graph to the next, where the two have an edge set in common."""
    from connectome.analysis.history import CHANGES, difference

    found: dict[str, Any] = {}
    named = list(graphs.items())
    for (_, before), (name, after) in pairwise(named):
        shared = before.edges.keys() & after.edges.keys()
        if any(before.edges[k].n_source == after.edges[k].n_source for k in shared):
            found[name] = difference(before, after).counts
    if not found:
        return
    kinds = sorted({str(k) for counts in found.values() for k in counts.edge_kind.values})
    of = [
        _Row(
            f"{kind} {change}", "edges",
            np.array([float(c.edges.sel(change=change)[c.edge_kind.values == kind].sum()) for c in found.values()]),
        )
        for kind in kinds for change in CHANGES
    ]  # fmt: skip
    of = [row for row in of if row.values.any()]
    _show(console, "Edges since the graph before", list(found), of)


def _csv(measured: xr.Dataset) -> str:
    """A row for each number: stage, region, metric, label (of a curve, or what of its nulls), value, units."""
    from connectome.analysis.measure import WHOLE

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stage", "region", "metric", "label", "value", "units"])
    for name, variable in measured.data_vars.items():
        if "number" in variable.dims:
            for cell in variable.stack(row=("stage", "number")):
                writer.writerow([cell.stage.item(), WHOLE, cell.number.item(), name, repr(float(cell)), "1"])
        if "region" not in variable.dims:
            continue
        curve = [d for d in variable.dims if d not in ("stage", "region")]
        for stage in measured.stage.values:
            for region in measured.region.values:
                cell = variable.sel(stage=stage, region=region)
                for label in cell[curve[0]].values if curve else [""]:
                    value = float(cell.sel({curve[0]: label}) if curve else cell)
                    writer.writerow([stage, region, name, label, repr(value), variable.attrs.get("units", "1")])
    return text.getvalue()


def _list(console: Console) -> None:
    from connectome import plugins
    from connectome.analysis.measure import choose, known_metrics

    known = known_metrics()
    for name in [n for n in plugins.known("metrics") if n not in known]:
        try:
            choose([name])
        except ConnectomeError as error:
            console.print(f"{name}: {error}", highlight=False, markup=False, soft_wrap=True)
    for metric in known.values():
        units = "" if metric.units == "1" else f", {metric.units}"
        console.print(
            f"{metric.name} (of each {metric.of}{units}): {metric.definition}. {metric.source}.",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
