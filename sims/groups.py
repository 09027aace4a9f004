"""Compare two groups of connectomes, one a subject: edges by the network-based statistic, metrics by permutation.

python -m sims.groups --first patients/*.csv --second controls/*.csv --undirected --out found.csv
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectome.errors import ConnectomeError
from connectome.texts import plural, readable, shown_p
from sims.inputs import add_graph_options, check_graph_options, open_graph, prepared
from sims.program import add_common, add_json, complete_names, ended, exit_codes, refuse_seed, refuse_taken, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

__all__ = ["METRICS", "main", "parser"]

#: What is measured of each subject unless metrics are named.
METRICS = (
    "density", "strength", "clustering_weighted_undirected", "transitivity_weighted_undirected",
    "characteristic_path_length_weighted", "efficiency_global_weighted", "assortativity_weighted_undirected",
    "modularity",
)  # fmt: skip
_SHOWN_EDGES = 20


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.groups",
        description="Find edges and metrics that differ between two groups of connectomes of the same nodes, which are "
        "known by their labels or, without labels, by their order. Edges: components of edges whose t is beyond a "
        "threshold, against the largest component of relabelled groups (network-based statistic, Zalesky et al. 2010). "
        "Metrics: |t| against relabelled groups, corrected for how many there are (Westfall & Young 1993).",
        epilog=exit_codes(),
    )
    parser.add_argument(
        "--first", nargs="+", default=[], metavar="PATH", help="the graphs of the first group, 2 or more"
    )
    parser.add_argument("--second", nargs="+", default=[], metavar="PATH", help="those of the second, 2 or more")
    parser.add_argument(
        "--paired", action="store_true",
        help="the first graph of each group is one subject's, and so on (default: all are different subjects)",
    )  # fmt: skip
    parser.add_argument(
        "--t",
        type=float,
        default=3.1,
        metavar="T",
        help="the t beyond which edges count, chosen beforehand, without units (default: %(default)s)",
    )
    parser.add_argument(
        "--tail",
        choices=["both", "greater", "less"],
        default="both",
        help="edges that are stronger in the first group (greater), weaker (less) or either (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        choices=["extent", "intensity"],
        default="extent",
        help="of a component: its edges, or the sum of their t beyond the threshold (default: %(default)s)",
    )
    metrics = parser.add_argument(
        "--metrics", metavar="A,B,...", help="names; see python -m sims.analyze --list-metrics"
    )
    complete_names(metrics, "metrics")
    add_graph_options(parser)
    parser.add_argument(
        "--permutations", type=int, default=5000, metavar="N", help="relabellings, 1 or more (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of relabellings and communities (default: 0)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write all numbers (.nc, netCDF 4), or the edges of components (.csv)"
    )
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("groups", lambda: _groups(options))


def _groups(options: argparse.Namespace) -> int:
    _check(options)
    import numpy as np

    from connectome.analysis.comparison import shared_nodes, subgraph
    from connectome.analysis.measure import choose
    from connectome.io.results import save_results, save_text

    console = console_of(options)
    metrics = choose(METRICS if options.metrics is None else split_names(options.metrics))
    paths = [*options.first, *options.second]
    with progress(options) as say:
        connectomes = []
        for path in paths:
            say(f"Reading {path}")
            connectomes.append(open_graph(path))
        nodes = shared_nodes(connectomes, kinds=split_names(options.kinds))
        if len(nodes) < 2:
            raise ConnectomeError(
                "--first, --second", "must have two or more nodes in common", len(nodes),
                "Give nodes the same labels, or graphs the same regions of the same sizes.",
            )  # fmt: skip
        graphs, most = [], 0
        for at, c in enumerate(connectomes):
            whole = prepared(c, options)
            most = max(most, whole.n)
            same = np.array_equal(nodes[:, at], np.arange(whole.n))
            graphs.append(whole if same else subgraph(whole, nodes[:, at]))
        values = np.empty((len(graphs), len(metrics)))
        for row, path, graph in zip(values, paths, graphs, strict=True):
            for at, metric in enumerate(metrics):
                say(f"{path}: {metric.name}")
                row[at] = _number(metric, graph, options.seed)
        say(f"{options.permutations:,} relabellings")
        found = _tested(options, graphs, values, metrics)
    _report(console, found, most - graphs[0].n)
    if options.json:
        print_json(found)
    if options.out is not None:
        if options.out.suffix == ".nc":
            save_results(found, options.out)
        else:
            save_text(_csv(found), options.out)
        console.print(f"Written: {options.out}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _check(options: argparse.Namespace) -> None:
    refuse_seed(options.seed)
    check_graph_options(options)
    for name in ("first", "second"):
        given = getattr(options, name)
        if len(given) < 2:
            raise ConnectomeError(f"--{name}", "must be two graphs or more", ", ".join(given) or "none")
    if options.paired and len(options.first) != len(options.second):
        raise ConnectomeError(
            "--paired", "must have as many graphs in both groups", f"{len(options.first)} and {len(options.second)}"
        )
    if not (math.isfinite(options.t) and options.t > 0):
        raise ConnectomeError("--t", "must be finite and > 0", options.t)
    if not 1 <= options.permutations <= 10**7:
        raise ConnectomeError("--permutations", "must be in 1 .. 10,000,000", options.permutations)
    if options.out is not None:
        if options.out.suffix not in (".nc", ".csv"):
            raise ConnectomeError("--out", "must end in .nc or .csv", repr(str(options.out)))
        refuse_taken("--out", options.out, overwrite=options.overwrite)


def _number(metric: Any, graph: Any, seed: int) -> float:
    """A metric of a graph, or its mean over nodes or edges. Raises :class:`ConnectomeError` for labels and curves."""
    import numpy as np

    from connectome.analysis.simple_graph import LABEL

    found = metric.value(graph, seed)
    if metric.units == LABEL or hasattr(found, "dims"):
        raise ConnectomeError("--metrics", "must be numbers, or means of numbers", repr(metric.name))
    there = np.asarray(found, float)
    there = there[~np.isnan(there)]
    return float(there.mean()) if there.size else math.nan


def _tested(options: argparse.Namespace, graphs: Any, values: Any, metrics: Any) -> xr.Dataset:
    """Both tests as one dataset: (metric), (subject, metric), (edge), (component)."""
    import numpy as np
    import xarray as xr

    from connectome.analysis.groups import network_based_statistic, permutation_test, subjects

    of = subjects(graphs)
    group = np.repeat([0, 1], [len(options.first), len(options.second)])
    common: dict[str, Any] = {"paired": options.paired, "n_permutations": options.permutations, "seed": options.seed}
    edges = network_based_statistic(of, group, options.t, tail=options.tail, size=options.size, **common)
    numbers = permutation_test(values, group, **common)
    component = np.zeros(of.source.size, np.int64)
    for at, c in enumerate(edges.components, 1):
        component[c.edge] = at
    name = [str(i) for i in range(of.n)] if graphs[0].label is None else graphs[0].label.tolist()
    units = {"units": "1"}
    return xr.Dataset(
        {
            "value": (("subject", "metric"), values),
            "metric_t": ("metric", numbers.t, units | {"definition": "positive where the first group is higher"}),
            "metric_p": ("metric", numbers.p, units | {"definition": "two-sided, by permutation"}),
            "metric_p_corrected": (
                "metric", numbers.p_corrected, units | {"definition": "family-wise, by the largest |t|"},
            ),
            "weight": (("subject", "edge"), of.weight, {"units": "pA"}),
            "edge_t": ("edge", edges.t, units | {"definition": "positive where the first group is higher"}),
            "edge_component": ("edge", component, units | {"definition": "from 1, the largest first; 0 for none"}),
            "component_size": ("component", [c.size for c in edges.components], units | {"definition": options.size}),
            "component_p": (
                "component", [c.p for c in edges.components], units | {"definition": "family-wise, by permutation"},
            ),
            "largest": ("permutation", edges.largest, units | {"definition": "largest component of a relabelling"}),
        },
        {
            "metric": [m.name if m.of == "graph" else f"{m.name} (mean)" for m in metrics],
            "metric_units": ("metric", [m.units for m in metrics]),
            "subject": [*options.first, *options.second], "group": ("subject", group + 1),
            "source": ("edge", [name[i] for i in of.source]), "target": ("edge", [name[i] for i in of.target]),
            "component": np.arange(1, len(edges.components) + 1),
        },
        {
            "t": options.t, "tail": options.tail, "size": options.size, "n_nodes": of.n, "seed": options.seed,
            "directed": int((of.source > of.target).any()),
            "n_permutations": options.permutations, "paired": int(options.paired), "signs": options.signs or "all",
            "undirected": int(options.undirected), "threshold": options.threshold or "none",
        },
    )  # fmt: skip


def _report(console: Console, found: xr.Dataset, left_out: int) -> None:
    first = found.group.values == 1
    rows = []
    for at, name in enumerate(found.metric.values):
        units = str(found.metric_units.values[at])
        means = [readable(float(found.value.values[of, at].mean())) for of in (first, ~first)]
        t = float(found.metric_t[at])
        rows.append([
            str(name), *means, "-" if math.isnan(t) else f"{t:.2f}", shown_p(float(found.metric_p[at])),
            shown_p(float(found.metric_p_corrected[at])), "" if units == "1" else units,
        ])  # fmt: skip
    said = f"{first.sum()} and {(~first).sum()} subjects{', paired' if found.attrs['paired'] else ''}; "
    said += f"{found.attrs['n_nodes']:,} nodes that all have{f', {left_out:,} left out' if left_out > 0 else ''}"
    print_table(console, said, ["", "first", "second", "t", "p", "p corrected", "units"], rows)
    _report_components(console, found)


def _report_components(console: Console, found: xr.Dataset) -> None:
    import numpy as np

    number = found.edge_component.values
    beyond = {"both": "|t| above", "greater": "t above", "less": "t below -"}[str(found.attrs["tail"])]
    title = f"Components of edges with {beyond}{'' if beyond.endswith('-') else ' '}{found.attrs['t']:g}, of "
    title += f"{found.sizes['edge']:,} edges"
    if not found.sizes["component"]:
        console.print(f"{title}: none.", highlight=False, markup=False)
        return
    rows = []
    for at in found.component.values.tolist()[:10]:
        edge = np.flatnonzero(number == at)
        nodes = np.unique([found.source.values[edge], found.target.values[edge]]).size
        size, p = float(found.component_size.sel(component=at)), float(found.component_p.sel(component=at))
        rows.append([str(at), f"{edge.size:,}", f"{nodes:,}", readable(size), shown_p(p)])
    print_table(console, title, ["component", "edges", "nodes", str(found.attrs["size"]), "p"], rows)
    joined = "->" if found.attrs["directed"] else "-"
    chosen = [at for at in found.component.values.tolist() if float(found.component_p.sel(component=at)) <= 0.05]
    for at in chosen:
        edge = np.flatnonzero(number == at)
        edge = edge[np.argsort(-np.abs(found.edge_t.values[edge]), kind="stable")]
        shown = [
            [f"{found.source.values[e]} {joined} {found.target.values[e]}", f"{float(found.edge_t[e]):.2f}"]
            for e in edge[:_SHOWN_EDGES]
        ]
        more = f", the {_SHOWN_EDGES} of highest |t|" if edge.size > _SHOWN_EDGES else ""
        print_table(console, f"Component {at}: {plural(edge.size, 'edge')}{more}", ["", "t"], shown)
    console.print(
        f"p: family-wise, against {found.attrs['n_permutations']:,} relabellings; t is positive where the first "
        "group is higher. A component is significant as a whole: of its single edges nothing is said.",
        highlight=False, markup=False,
    )  # fmt: skip


def _csv(found: xr.Dataset) -> str:
    """A row for each edge of a component: component, p, source, target, t, the groups' mean weights."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["component", "p", "source", "target", "t", "mean_first_pa", "mean_second_pa"])
    first = found.group.values == 1
    for at, p in zip(found.component.values.tolist(), found.component_p.values.tolist(), strict=True):
        for e in (found.edge_component.values == at).nonzero()[0]:
            means = (repr(float(found.weight.values[of, e].mean())) for of in (first, ~first))
            writer.writerow([
                at, repr(p), found.source.values[e], found.target.values[e], repr(float(found.edge_t[e])), *means
            ])  # fmt: skip
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
