"""Grow one connectome into another by rules of wiring cost and homophily, and say how near they come.

python -m sims.grow TARGET --from BIRTH --rules matching,neighbours --runs 10 --out growth.nc
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.analysis.intervals import mean_of
from connectome.errors import ConnectomeError
from sims.inputs import open_graph
from sims.program import add_common, add_json, ended, exit_codes, refuse_seed, refuse_taken, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from connectome.analysis.simple_graph import SimpleGraph
    from connectome.graph.connectome import Connectome

__all__ = ["main", "parser"]

#: Grown in any case: every free pair with the same probability.
_RANDOM = "random"
_CORRELATIONS = ("degree_correlation", "degree_gained_correlation")


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.grow",
        description="Grow BIRTH to as many edges as TARGET has, one at a time, by P ~ D^eta K^gamma: D is the distance "
        "of two nodes, K what the rule says. For each rule, eta and gamma are searched on a grid for the least mean "
        "energy, the largest of four Kolmogorov-Smirnov distances (degree, clustering, betweenness, edge length); "
        "fresh runs at the best point are then reported, with 95 % intervals. Graphs count as undirected.",
        epilog="A graph is a file or a run's folder, or the name of a reference (celegans_witvliet2021_1 ... _8 and "
        "others; they need the extra 'references'). Positions are those of TARGET. "
        + exit_codes(),
    )  # fmt: skip
    parser.add_argument("target", metavar="TARGET", help="the graph to come near to")
    parser.add_argument("--from", dest="birth", required=True, metavar="BIRTH", help="the graph to start from")
    parser.add_argument(
        "--fit-on", metavar="GRAPH",
        help="choose eta and gamma by growth from BIRTH to this graph, and only report on TARGET: then nothing was "
        "fitted to TARGET but its number of edges (default: TARGET itself, in-sample)",
    )  # fmt: skip
    parser.add_argument("--rules", metavar="NAMES", help="separated by commas (default: all thirteen)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="to report, for each rule (default: 10)")
    parser.add_argument("--search-runs", type=int, default=2, metavar="N", help="for each point (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="of the search, ever finer (default: 2)")
    for name, default in (("etas", "-4:2:9"), ("gammas", "-3:5:9")):
        parser.add_argument(
            f"--{name}", default=default, metavar="LOW:HIGH:COUNT",
            help=f"the first grid (default: {default}; write --{name}=... where LOW is below 0)",
        )  # fmt: skip
    for name, what in (("distance", "D^eta or exp(eta D)"), ("topology", "K^gamma or exp(gamma K)")):
        parser.add_argument(
            f"--{name}-form", choices=["power", "exponential"], default="power", help=f"{what} (default: power)"
        )
    parser.add_argument("--seed", type=int, default=0, help="0 or more (default: 0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="the results are the same for any number")
    parser.add_argument("--out", type=Path, metavar="FILE", help="every run and every point searched, netCDF")
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("grow", lambda: _grow(options))


def _grow(options: argparse.Namespace) -> int:
    etas, gammas = _grid("--etas", options.etas), _grid("--gammas", options.gammas)
    for name, least in (("runs", 1), ("search_runs", 1), ("rounds", 1), ("threads", 1)):
        if getattr(options, name) < least:
            raise ConnectomeError(f"--{name.replace('_', '-')}", f"must be at least {least}", getattr(options, name))
    refuse_seed(options.seed)
    if options.out is not None:
        refuse_taken("--out", options.out, overwrite=options.overwrite)
    # Heavy imports wait until the options are known to parse: --help answers at once.
    from connectome.analysis.generative import RULES, WiringLaw, evaluate, fit
    from connectome.io.results import save_results

    rules = list(RULES) if options.rules is None else split_names(options.rules)
    forms = {"distance_form": options.distance_form, "topology_form": options.topology_form}
    laws = {rule: WiringLaw(rule, **forms) for rule in rules}
    names = [options.target, options.birth, *([options.fit_on] if options.fit_on else [])]
    with progress(options, f"Reading {', '.join(names)}"):
        graphs, n_nodes = _shared([open_graph(name) for name in names])
    target, birth, middle = graphs[0], graphs[1], graphs[-1] if options.fit_on else graphs[0]
    console = console_of(options)
    roles = ("target", "birth", "fitted on")
    sizes = [f"{what} {g.undirected.n_edges // 2:,}" for what, g in zip(roles, graphs, strict=False)]
    console.print(
        f"{target.n} nodes that all graphs have (of {' and '.join(map(str, n_nodes))}); undirected edges: "
        + ", ".join(sizes), highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    given: dict[str, Any] = {"n_runs": options.runs, "seed": options.seed, "threads": options.threads}
    chance = WiringLaw("distance", 0.0, 0.0)
    with progress(options, "Growing at random") as say:
        found = {_RANDOM: evaluate(target, birth, chance, **given)}
        for rule, law in laws.items():
            say(f"Searching: {rule}")
            search = {"n_search": options.search_runs, "rounds": options.rounds}
            found[rule] = fit(middle, birth, law, etas, gammas, **search, **given)
            if options.fit_on:
                chosen = WiringLaw(rule, found[rule].attrs["eta"], found[rule].attrs["gamma"], **forms)
                searched = found[rule][[name for name in found[rule] if str(name).startswith("searched")]]
                found[rule] = evaluate(target, birth, chosen, **given).merge(searched)
    results = _joined(found, options)
    _report(console, results)
    if options.json:
        print_json(results)
    if options.out is not None:
        save_results(results, options.out)
        console.print(f"Written: {options.out}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _grid(option: str, text: str) -> np.ndarray[Any, Any]:
    try:
        low, high, count = text.split(":")
        ends, n = (float(low), float(high)), int(count)
    except ValueError:
        ends, n = (math.nan, math.nan), 0
    if not (-1000 <= ends[0] <= ends[1] <= 1000 and (n == 1 or (1 < n <= 1000 and ends[0] < ends[1]))):
        raise ConnectomeError(option, "must be LOW:HIGH:COUNT, from -1000 to 1000", repr(text), "For example -4:2:9.")
    return np.linspace(*ends, n)


def _shared(connectomes: list[Connectome]) -> tuple[list[SimpleGraph], list[int]]:
    """The graphs on the nodes that all have, in one order, at the target's positions; how many nodes each had."""
    from connectome.analysis.comparison import shared_nodes, subgraph
    from connectome.analysis.simple_graph import simple_graph

    graphs = [simple_graph(c) for c in connectomes]
    nodes = shared_nodes(connectomes)
    if not len(nodes):
        raise ConnectomeError(
            "graphs", "must have nodes in common", "none",
            "Nodes are the same by their label, or, without labels, where all have the same regions of the same sizes.",
        )  # fmt: skip
    place = graphs[0].position_um[nodes[:, 0]]
    parts = [subgraph(g, column, position_um=place) for g, column in zip(graphs, nodes.T, strict=True)]
    return parts, [g.n for g in graphs]


def _joined(found: dict[str, xr.Dataset], options: argparse.Namespace) -> xr.Dataset:
    """One dataset over ``rule``; a rule that searched fewer points has nan for the others."""
    import xarray as xr

    parts = []
    for law in found.values():
        part = law.assign({name: float(law.attrs[name]) for name in ("eta", "gamma")})
        parts.append(part.assign(by_chance=law.hits.attrs["by_chance"]).drop_attrs())
    results = xr.concat(parts, dim=xr.Variable("rule", list(found)), join="outer", data_vars="all", coords="minimal")
    for name, variable in found[_RANDOM].data_vars.items():
        results[name].attrs = {k: v for k, v in variable.attrs.items() if k != "by_chance"}
    size = found[_RANDOM].attrs
    asked = {
        name: str(getattr(options, name) or "")
        for name in ("target", "birth", "fit_on", "etas", "gammas", "distance_form", "topology_form")
    }
    numbers = {name: getattr(options, name) for name in ("seed", "runs", "search_runs", "rounds")}
    return results.assign_attrs(
        {name: size[name] for name in ("nodes", "seed_edges", "target_edges")} | asked | numbers
    )


def _report(console: Console, results: xr.Dataset) -> None:
    """Two tables, as one would be too wide; best rule first."""
    by_energy = results.isel(rule=np.argsort(results.energy.mean("run").values, kind="stable"))
    rows = [(str(rule), by_energy.sel(rule=rule)) for rule in by_energy.rule.values]
    print_table(
        console, f"Energy, the largest of four distances: mean of {results.sizes['run']} runs, 95 % interval",
        ["rule", "energy", "degree", "clust.", "betw.", "length"],
        [
            [rule, _interval(one.energy), *(f"{float(one.ks.sel(part=p).mean()):.3f}" for p in one.part.values)]
            for rule, one in rows
        ],
    )  # fmt: skip
    print_table(
        console, "At which exponents, and are they the same nodes and edges?",
        ["rule", "eta", "gamma", "r", "r gained", "hits"],
        [
            [rule, *("-" if rule == _RANDOM else f"{float(one[name]):.2f}" for name in ("eta", "gamma"))]
            + [_interval(one[name].sel(statistic="pearson"), 2) for name in _CORRELATIONS] + [_interval(one.hits)]
            for rule, one in rows
        ],
    )  # fmt: skip
    fitted = results.attrs["fit_on"]
    for line in (
        f"eta and gamma were chosen on {fitted}, not on the target."
        if fitted else "eta and gamma were chosen on the target itself: its energies are in-sample.",
        "degree, clust., betw., length: the distances, means of the runs.",
        "r: Pearson's, over nodes, of their degrees with the target's; r gained: of what birth lacks of them.",
        f"hits: share of the new edges that the target has; by chance {float(results.by_chance[0]):.3f}.",
    ):  # fmt: skip
        console.print(line, highlight=False, markup=False)


def _interval(values: xr.DataArray, digits: int = 3) -> str:
    return mean_of(values.values).text(1, digits, "")


if __name__ == "__main__":
    sys.exit(main())
