"""Compare two connectomes: metrics side by side, each against its null; distances of distributions; shared hubs.

python -m sims.compare runs/seed0 worm.graphml --out compared.csv
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.errors import ConnectomeError
from connectome.texts import percent, readable, shown_p
from sims.inputs import add_graph_options, check_graph_options, open_graph, prepared
from sims.program import add_common, add_json, complete_names, ended, exit_codes, refuse_seed, refuse_taken, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from connectome.analysis.simple_graph import Metric, SimpleGraph

__all__ = ["COMPARED", "compare", "main", "parser", "summary"]

#: What is compared unless metrics are named: numbers that do not follow from size and density alone.
COMPARED = (
    "density", "reciprocity", "clustering_binary_directed", "transitivity_binary_directed",
    "characteristic_path_length_binary", "efficiency_global_binary", "assortativity_binary_out_in", "modularity",
    "core_share", "local_share", "length_mean", "motif_frequency",
)  # fmt: skip
#: How many standard deviations of the nulls count as beyond them.
BEYOND = 2.0


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.compare",
        description="Set two connectomes side by side: metrics, each against random graphs that keep part of its "
        "structure (z is the distance from their mean in their standard deviations); Kolmogorov-Smirnov distances of "
        "degree, clustering, betweenness and edge length, whose largest is the energy; and whether the same nodes have "
        "the high degrees.",
        epilog="A graph is a snapshot, a run's folder (its last stage), any file that this package reads, or the name "
        "of a reference (celegans_witvliet2021_8). " + exit_codes(),
    )  # fmt: skip
    parser.add_argument("a", metavar="A", help="a graph")
    parser.add_argument("b", metavar="B", help="another")
    metrics = parser.add_argument(
        "--metrics", metavar="A,B,...", help="names; see python -m sims.analyze --list-metrics"
    )
    complete_names(metrics, "metrics")
    parser.add_argument(
        "--null", default="degree", choices=["degree", "strength", "spatial", "erdos_renyi", "lattice"],
        metavar="NAME", help="what the random graphs keep: %(choices)s (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--nulls", type=int, default=100, metavar="N", help="of each graph, 2 or more (default: 100)")
    parser.add_argument("--directed", action="store_true", help="distances with directions kept (default: undirected)")
    add_graph_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of nulls and communities, 0 or more (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers: .nc (netCDF 4) or .csv")
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("compare", lambda: _compare(options))


def _compare(options: argparse.Namespace) -> int:
    refuse_seed(options.seed)
    check_graph_options(options)
    if not 2 <= options.nulls <= 10**6:
        raise ConnectomeError("--nulls", "must be 2 or more", options.nulls)
    if options.out is not None:
        if options.out.suffix not in (".nc", ".csv"):
            raise ConnectomeError("--out", "must end in .nc or .csv", repr(str(options.out)))
        refuse_taken("--out", options.out, overwrite=options.overwrite)
    # Heavy imports wait until the options are known to be good.
    from connectome.analysis.comparison import degree_correlation, shared_nodes
    from connectome.analysis.measure import LIMIT_S, choose, expected_s
    from connectome.analysis.nulls import nearly_symmetric
    from connectome.io.results import save_results, save_text

    console = console_of(options)
    named = options.metrics is not None
    metrics = choose(split_names(options.metrics) if named else COMPARED)
    kinds = split_names(options.kinds)
    with progress(options, f"Reading {options.a} and {options.b}"):
        connectomes = [open_graph(options.a), open_graph(options.b)]
        graphs = [prepared(c, options) for c in connectomes]
    most = math.inf if named else LIMIT_S / options.nulls
    slow = [m for m in metrics if max(expected_s(m, g.n, g.n_edges) for g in graphs) > most]
    pairs = shared_nodes(connectomes, kinds=kinds)
    names = [Path(options.a).stem, Path(options.b).stem]
    if names[0] == names[1]:
        names = [f"{options.a} (A)", f"{options.b} (B)"] if options.a == options.b else [options.a, options.b]
    with progress(options) as say:
        compared = compare(
            graphs, [m for m in metrics if m not in slow], names, null=options.null, n_nulls=options.nulls,
            directed=options.directed, seed=options.seed, on_null=say,
        )  # fmt: skip
    correlation = degree_correlation(graphs[0], graphs[1], pairs)
    compared["degree_correlation"] = (
        "coefficient", [correlation.pearson, correlation.spearman],
        {"units": "1", "definition": "of undirected degree over the nodes that both have", "n_nodes": correlation.n},
    )  # fmt: skip
    compared = compared.assign_coords(coefficient=["pearson", "spearman"])
    compared.attrs["summary"] = "\n".join(summary(compared))
    _report(console, compared)
    if options.json:
        print_json(compared)
    for name, graph in zip(names, graphs, strict=True):
        if said := nearly_symmetric(graph):
            console.print(f"{name}: {said} See --undirected.", highlight=False, markup=False)
    if slow:
        left = ", ".join(m.name for m in slow)
        console.print(f"Not measured, as it would take long: {left} (name them with --metrics).", highlight=False)
    if options.out is not None:
        if options.out.suffix == ".nc":
            save_results(compared, options.out)
        else:
            save_text(_csv(compared), options.out)
        console.print(f"Written: {options.out}", highlight=False, markup=False, soft_wrap=True)
    return 0


def compare(
    graphs: Sequence[SimpleGraph], metrics: Sequence[Metric], names: Sequence[str], *, null: Any = "degree",
    n_nulls: int = 100, directed: bool = False, seed: int = 0, on_null: Callable[[str], None] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Metrics of two graphs beside their nulls, ``(graph, metric)``, as
    :func:`~connectome.analysis.beside_nulls.beside_nulls` has them, and their distances. Raises
    :class:`ConnectomeError`.
    """
    from connectome.analysis.beside_nulls import beside_nulls
    from connectome.analysis.comparison import distances

    found = distances(*graphs, directed=directed)
    attrs = {"units": "1", "definition": "Kolmogorov-Smirnov, 0 to 1"}
    compared = beside_nulls(graphs, metrics, names, null, n_nulls, seed, on_null)
    return compared.assign(
        ks_distance=("distribution", np.array(found), attrs),
        energy=((), found.energy, {"units": "1", "definition": "largest ks_distance (Betzel et al. 2016)"}),
        n_nodes=("graph", [g.n for g in graphs]), n_edges=("graph", [g.n_edges for g in graphs]),
    ).assign_coords(distribution=list(found._fields)).assign_attrs(
        distances_of="directed graphs" if directed else "undirected graphs"
    )  # fmt: skip


def summary(compared: xr.Dataset) -> list[str]:
    """What the numbers say, in sentences."""
    from scipy.stats import t

    a, b = (str(name) for name in compared.graph.values)
    n_a, n_b = (int(n) for n in compared.n_nodes.values)
    said = []
    gaps = {str(k): float(v) for k, v in zip(compared.distribution.values, compared.ks_distance.values, strict=True)}
    there = {k: v for k, v in gaps.items() if not math.isnan(v)}
    worst = max(there, key=lambda k: there[k])
    if there[worst]:
        said.append(
            f"The energy is {there[worst]:.2f}: of the distributions compared, that of {worst.replace('_', ' ')} "
            "differs most (0: the same, 1: they do not overlap)."
        )
    else:
        said.append(
            "The energy is 0: the distributions compared are the same, which does not make the graphs the same."
        )
    if len(there) < len(gaps):
        missing = ", ".join(k.replace("_", " ") for k in gaps if k not in there)
        said.append(f"Not compared, as a graph has no such thing: {missing}.")
    if not 0.8 <= n_a / max(n_b, 1) <= 1.25:
        said.append(
            f"The graphs differ in size ({n_a:,} and {n_b:,} nodes). Degrees, lengths and counts of motifs go with "
            "size: read their differences with that in mind."
        )
    z = compared.z.values
    side = np.where(z > BEYOND, 1, np.where(z < -BEYOND, -1, 0))
    side = np.where(np.isnan(z), 9, side)
    for words, chosen in (
        ("Above their nulls in both", (side[0] == 1) & (side[1] == 1)),
        ("Below their nulls in both", (side[0] == -1) & (side[1] == -1)),
        ("Above in one and below in the other", np.abs(side[0] - side[1]) == 2),
        (f"Beyond the nulls in {a} alone", (np.abs(side[0]) == 1) & (side[1] == 0)),
        (f"Beyond the nulls in {b} alone", (side[0] == 0) & (np.abs(side[1]) == 1)),
    ):
        if chosen.any():
            said.append(f"{words}: {', '.join(compared.metric.values[chosen])}.")
    looked = int((~np.isnan(z)).sum())
    n_nulls = int(compared.attrs["n_nulls"])
    # One more draw from what the nulls are drawn from, if that is a normal distribution.
    chance = 2 * t.sf(BEYOND / math.sqrt(1 + 1 / n_nulls), n_nulls - 1)
    said.append(
        f"Beyond means |z| > {BEYOND:g} against {n_nulls} nulls '{compared.attrs['null']}' of each graph. By chance "
        f"alone about {percent(chance, 0)} of numbers are; looked at, without correction, were {looked}. Of these "
        f"{int((compared.p_corrected.values <= 0.05).sum())} have p <= 0.05 corrected for the false discovery rate."
    )
    n = int(compared.degree_correlation.attrs["n_nodes"])
    pearson, spearman = compared.degree_correlation.values.tolist()
    if not n:
        said.append("No nodes are known to be the same in both, so degrees are not compared node by node.")
    elif math.isnan(pearson):
        said.append(f"Over the {n:,} nodes that both have, degrees do not vary enough to be correlated.")
    else:
        said.append(
            f"Over the {n:,} nodes that both have, degrees correlate with r = {pearson:.2f} (by rank {spearman:.2f})."
        )
    said.append(
        "This is one pair of graphs: whether it differs more than two of one kind do takes several of each kind to say."
    )
    return said


def _report(console: Console, compared: xr.Dataset) -> None:
    a, b = (str(name) for name in compared.graph.values)
    rows = [
        [n, f"{int(compared[n][0]):,}", "", "", f"{int(compared[n][1]):,}", "", "", ""] for n in ("n_nodes", "n_edges")
    ]
    for at, label in enumerate(compared.metric.values):
        cell = compared.isel(metric=at)
        one, two = (readable(float(v)) for v in cell.value)
        z = ["-" if math.isnan(v) else f"{v:.1f}" if abs(v) < 1e4 else f"{v:.2g}" for v in cell.z.values.tolist()]
        p = [shown_p(v) for v in cell.p_corrected.values.tolist()]
        units = str(cell.units.values)
        rows.append([str(label), one, z[0], p[0], two, z[1], p[1], "" if units == "1" else units])
    print_table(console, "", ["", a, "z", "p", b, "z", "p", "units"], rows)
    gaps = ", ".join(
        f"{str(k).replace('_', ' ')} {readable(float(v))}"
        for k, v in zip(compared.distribution.values, compared.ks_distance.values, strict=True)
    )
    console.print(
        f"Kolmogorov-Smirnov distances ({compared.attrs['distances_of']}): {gaps}. Energy, the largest: "
        f"{readable(float(compared.energy))}.\np: {compared.p.attrs['definition']}; corrected for the false discovery "
        f"rate of all numbers.\nNulls: {compared.attrs['null_keeps']}", highlight=False, markup=False,
    )  # fmt: skip
    console.print()
    for sentence in summary(compared):
        console.print(sentence, highlight=False, markup=False)


def _csv(compared: xr.Dataset) -> str:
    """A row for each number: what, which graph (none for what is of both), value, null_mean, null_sd, z, p,
    p_corrected, units."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("value", "null_mean", "null_sd", "z", "p", "p_corrected")
    writer.writerow(["name", "graph", *columns, "units"])
    for graph in compared.graph.values:
        one = compared.sel(graph=graph)
        for name in ("n_nodes", "n_edges"):
            writer.writerow([name, graph, int(one[name]), *[""] * 5, "1"])
        for at, label in enumerate(compared.metric.values):
            cell = one.isel(metric=at)
            writer.writerow([label, graph, *(repr(float(cell[c])) for c in columns), str(cell.units.values)])
    for name, value in zip(compared.distribution.values, compared.ks_distance.values, strict=True):
        writer.writerow([f"ks_distance {name}", "", repr(float(value)), *[""] * 5, "1"])
    writer.writerow(["energy", "", repr(float(compared.energy)), *[""] * 5, "1"])
    for name, value in zip(compared.coefficient.values, compared.degree_correlation.values, strict=True):
        writer.writerow([f"degree_correlation {name}", "", repr(float(value)), *[""] * 5, "1"])
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
