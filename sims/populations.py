"""Make a spiking network of a tract connectome, a population for each region; compare its BOLD signal with fMRI.

python -m sims.populations GRAPH --delay-ms 10 --compare FC.csv
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectome.errors import ConnectomeError
from connectome.texts import plural, shown_p
from sims.program import add_cells, add_loudness, ended, exit_codes, refuse_taken, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import pandas
    import xarray as xr
    from numpy.typing import NDArray
    from rich.console import Console

    from connectome.experiment.populations import Populations
    from connectome.graph.connectome import Connectome

__all__ = ["main", "parser"]

PLAN, BACKGROUND, RESULTS, TABLE = "plan.json", "background.json", "results.nc", "agreement.csv"
_AGAINST = {"empirical": "the measured", "structural": "the tracts"}
#: Options with names of their own -> what they set.
_FIELDS = {
    "size": "size", "excitatory": "excitatory", "speed": "speed_m_s", "delay_ms": "delay_ms",
    "length_scale": "length_scale",
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.populations",
        description="Make of each node of a tract connectome (TVB, HCP, a matrix) a population of excitatory and "
        "inhibitory neurons, and of each tract excitatory edges with its delay; find the background that lets them "
        "fire at a low rate; run, on the tracts and on null tracts; write BOLD, functional connectivity, and how it "
        "agrees with a measured one (CSV), and a picture.",
        epilog=exit_codes(kept="finished runs are kept: the same command goes on from them"),
    )
    parser.add_argument("graph", metavar="GRAPH", help="a file of any format, or the name of a measured connectome")
    network = parser.add_argument_group("the network")
    network.add_argument("--size", type=int, metavar="N", help="neurons a node (100)")
    network.add_argument("--excitatory", type=float, metavar="SHARE", help="of them (0.8)")
    network.add_argument(
        "--coupling", default="", metavar="G,...", help="weights of tracts into an average node over its local "
        "excitation (2.5); several are tried one by one",
    )  # fmt: skip
    network.add_argument("--speed", type=float, metavar="M/S", help="of conduction along tracts (5)")
    network.add_argument("--delay-ms", type=float, metavar="MS", help="of tracts whose length is not known")
    network.add_argument(
        "--length-scale", type=float, metavar="X",
        help="times every length: 1000 for mm where um were expected, 0.001 the other way round",
    )  # fmt: skip
    network.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="any other field of connectome.experiment.Populations, for example to_inhibitory=0 or neuron.tau_m_ms=20; "
        "may be given several times",
    )  # fmt: skip
    network.add_argument("--network", type=Path, metavar="FILE.h5", help="write it, of seed 0, as a snapshot")
    network.add_argument("--dry-run", action="store_true", help="say what is made, write --network, and end")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--rate", type=float, default=3.0, metavar="HZ", help="of excitatory neurons (%(default)g)")
    runs.add_argument("--background", type=float, metavar="HZ", help="events a neuron; instead of --rate")
    runs.add_argument("--duration", type=float, default=600.0, metavar="S", help="of the network (%(default)g)")
    runs.add_argument("--skip", type=float, default=30.0, metavar="S", help="cut off at its start (%(default)g)")
    runs.add_argument("--tr", type=float, default=2.0, metavar="S", help="between two volumes (%(default)g)")
    runs.add_argument("--seeds", type=int, default=5, metavar="N", help="how many runs (%(default)s)")
    runs.add_argument("--compare", metavar="FC", help="a file with a matrix of measured functional connectivity")
    runs.add_argument(
        "--null", default="degree,weights", metavar="A,...", help="kinds of null tracts: degree, strength, spatial, "
        "erdos_renyi, lattice, or weights, dealt out anew on the same tracts (%(default)s)",
    )  # fmt: skip
    runs.add_argument("--nulls", type=int, default=20, metavar="N", help="of each kind, a run on each (%(default)s)")
    add_cells(runs)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/populations")
    parser.add_argument("--overwrite", action="store_true", help="replace --network if it exists")
    add_loudness(parser, tables=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    out: Path = options.out or Path("runs") / "populations"

    def kept() -> str:
        if options.dry_run or not out.is_dir():
            return "No file is half-written."
        return f"Finished runs are in {out}: the same command goes on from them."

    return ended("populations", lambda: _main(options, out), kept)


def _main(options: argparse.Namespace, out: Path) -> int:
    console = console_of(options)
    _check(options)
    populations, couplings = _populations(options)
    if options.network is not None:
        if options.network.suffix != ".h5":
            raise ConnectomeError("--network", "must end in .h5", repr(str(options.network)))
        refuse_taken("--network", options.network, overwrite=options.overwrite)
    from connectome.analysis.simple_graph import simple_graph
    from sims.inputs import open_graph

    with progress(options, f"Reading {options.graph}"):
        tracts = open_graph(options.graph)
    network = _network(tracts, replace(populations, coupling=couplings[0]), console)
    empirical = None
    if options.compare is not None:
        label = simple_graph(tracts).label
        empirical = _empirical(options.compare, tracts.n_neurons, None if label is None else label.tolist())
    if options.network is not None:
        from connectome.io.snapshot import save

        save(network, options.network, overwrite=options.overwrite)
        console.print(f"Written: {options.network}", highlight=False, markup=False)
    if not options.dry_run:
        _run(options, tracts, populations, couplings, empirical, out, console)
    return 0


def _check(options: argparse.Namespace) -> None:
    from connectome.analysis.shuffled import TRACT_NULLS

    for name, least in (("seeds", 1), ("nulls", 0), ("jobs", 1)):
        value = getattr(options, name)
        if value is not None and not least <= value <= 10**6:
            raise ConnectomeError(f"--{name}", f"must be {least} or more", value)
    for name in ("rate", "background", "duration", "tr"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e6:
            raise ConnectomeError(f"--{name}", "must be > 0 and below a million", value)
    if not 0 <= options.skip < options.duration:
        raise ConnectomeError(
            "--skip", f"must be 0 or more and less than --duration {options.duration:g}", options.skip
        )
    for kind in split_names(options.null):
        if kind not in TRACT_NULLS:
            raise ConnectomeError("--null", f"must be among {', '.join(TRACT_NULLS)}", repr(kind))


def _populations(options: argparse.Namespace) -> tuple[Populations, list[float]]:
    """What the options make of nodes and tracts, and the couplings. Raises :class:`ConnectomeError`."""
    from connectome.experiment.populations import Populations
    from connectome.parameters import from_table, set_value

    table: dict[str, Any] = {
        field: getattr(options, name) for name, field in _FIELDS.items() if getattr(options, name) is not None
    }
    for change in options.changes:
        set_value(table, change, "key=value", "For example to_inhibitory=0.")
    try:
        couplings = [float(text) for text in split_names(options.coupling) if text] or [Populations().coupling]
    except ValueError:
        raise ConnectomeError("--coupling", "must be numbers, with commas between them", options.coupling) from None
    try:
        made = [from_table(Populations, {**table, "coupling": g}, "") for g in dict.fromkeys(couplings)]
    except ConnectomeError as error:
        raise ConnectomeError(_option(error.field), error.rule, error.found, error.hint) from None
    return made[0], [p.coupling for p in made]


def _option(field: str) -> str:
    """What a field of :class:`Populations` is called on the command line."""
    names = {v: f"--{k.replace('_', '-')}" for k, v in _FIELDS.items()} | {"coupling": "--coupling"}
    return names.get(field, f"--set {field}" if field else "--set")


def _network(tracts: Connectome, populations: Populations, console: Console) -> Connectome:
    """The network of seed 0; says what it is."""
    from connectome.experiment.populations import populate

    try:
        network, account = populate(tracts, populations, 0)
    except ConnectomeError as error:
        hint = error.hint.replace("length_scale", "--length-scale").replace("delay_ms=10", "--delay-ms 10")
        hint = hint.replace("delay_ms", "--delay-ms").replace("negative=", "--set negative=")
        raise ConnectomeError(error.field, error.rule, error.found, hint) from None
    for sentence in account.sentences():
        console.print(sentence, highlight=False, markup=False)
    neurons, edges = plural(network.n_neurons, "neuron"), plural(network.n_edges, "edge")
    console.print(f"{neurons}, {edges}, steps of {network.dt_ms:g} ms.", highlight=False, markup=False)
    return network


def _empirical(path: str, n: int, labels: list[str] | None) -> NDArray[Any]:
    """The measured matrix, in the order of the nodes. Raises :class:`ConnectomeError`."""
    from connectome.analysis.functional import dense, upper
    from connectome.io.exchange import read

    measured = read(path)
    if measured.n_neurons != n:
        raise ConnectomeError("--compare", f"must have {plural(n, 'node')}, as GRAPH has", measured.n_neurons)
    matrix = dense("--compare", measured, labels)
    upper("--compare", matrix)
    return matrix


def _run(
    options: argparse.Namespace, tracts: Connectome, populations: Populations, couplings: list[float],
    empirical: NDArray[Any] | None, out: Path, console: Console,
) -> None:  # fmt: skip
    import pandas
    import xarray as xr

    from connectome import __version__
    from connectome.analysis.figures import draw_functional_connectivity
    from connectome.experiment.resting import agreement_table, gather_runs
    from connectome.io.results import save_figure, save_results, save_text
    from connectome.parameters import to_table
    from sims.studies.cells import chosen_cells, keep_plan, run_shown
    from sims.studies.populations import MEASURED, cells_of, found, study_of
    from sims.studies.sharing import shared

    began = time.monotonic()
    seen = {"duration_s": options.duration, "skip_s": options.skip, "tr_s": options.tr}
    nulls = dict.fromkeys(split_names(options.null), options.nulls) if options.nulls else {}
    cells = cells_of(couplings, options.seeds, nulls)
    chosen_cells(cells, options)
    with shared(out) as folder:
        table = {k: v for k, v in to_table(populations).items() if k != "coupling"}
        asked = {"rate_hz": options.rate} if options.background is None else {"background_hz": options.background}
        plan = {"version": __version__, "tracts": tracts.digest(), "populations": table, **seen, **asked}
        with folder.alone():
            keep_plan(plan, out / PLAN, "run")
            background = _backgrounds(options, tracts, populations, couplings, out, console)
        study = study_of(options.graph, populations, background, seen)
        if not run_shown(study, cells, folder, options, console):
            return
        each = []
        for coupling in couplings:
            runs = found(cells, out, coupling)
            each.append(gather_runs(runs.pop(MEASURED), runs, empirical).assign(background_hz=background[coupling]))
        results = xr.concat(each, xr.DataArray(couplings, dims="coupling", name="coupling"))
        results = results.assign_attrs(**seen, graph=options.graph, populations=json.dumps(table))
        save_results(results, out / RESULTS)
        agreements = pandas.concat(
            [agreement_table(one).assign(coupling=g) for one, g in zip(each, couplings, strict=True)]
        )
        save_text(agreements.to_csv(index=False), out / TABLE)
        pictures = {f"functional{f'_{g:g}' if len(couplings) > 1 else ''}.png": one
                    for one, g in zip(each, couplings, strict=True)}  # fmt: skip
        for name, one in pictures.items():
            save_figure(draw_functional_connectivity(one), out / name)
    _show(agreements, each, couplings, console)
    if options.json:
        print_json({"agreement": agreements})
    written = ", ".join([TABLE, RESULTS, *pictures])
    console.print(f"Written to {out}/: {written}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Took {time.monotonic() - began:.0f} s.", highlight=False, markup=False)


def _backgrounds(
    options: argparse.Namespace, tracts: Connectome, populations: Populations, couplings: Sequence[float], out: Path,
    console: Console,
) -> dict[float, float]:  # fmt: skip
    """Coupling -> Hz: the one that is given, or the one for the rate, which is kept in a file."""
    if options.background is not None:
        return dict.fromkeys(couplings, options.background)
    from connectome.experiment.populations import populate
    from connectome.experiment.resting import calibrate_background
    from connectome.io.results import save_text
    from sims.studies.populations import named

    kept: dict[str, float] = {}
    with suppress(OSError, ValueError, AttributeError, TypeError):  # not there yet, or damaged: it is found again
        kept = {str(k): float(v) for k, v in json.loads((out / BACKGROUND).read_bytes()).items()}
    for coupling in couplings:
        if named(coupling) not in kept:
            with progress(options, f"The background for {options.rate:g} Hz at a coupling of {coupling:g}"):
                network, _ = populate(tracts, replace(populations, coupling=coupling), 0)
                hz, _ = calibrate_background(network, populations.background_pa, options.rate)
            kept[named(coupling)] = hz
            save_text(json.dumps(kept, indent=1), out / BACKGROUND)
        hz = kept[named(coupling)]
        console.print(
            f"Coupling {coupling:g}: a background of {hz:,.0f} events/s of {populations.background_pa:g} pA gives "
            f"{options.rate:g} Hz.", highlight=False, markup=False,
        )  # fmt: skip
    return {coupling: kept[named(coupling)] for coupling in couplings}


def _show(table: pandas.DataFrame, each: Sequence[xr.Dataset], couplings: Sequence[float], console: Console) -> None:
    from connectome.experiment.effects import rows_of

    for one, coupling in zip(each, couplings, strict=True):
        here = table[table.coupling == coupling]
        kinds = [kind for kind in here.null.unique() if kind]
        rows = []
        for (against, what), alike in here.groupby(["against", "what"], sort=False):
            own = alike.iloc[0]
            half = f" ± {own.r_high - own.r:.3f}" if own.r_high == own.r_high else ""
            beside = {x.null: [f"{x.null_r:.3f} ({x.null_sd:.3f})", shown_p(x.p)] for x in rows_of(alike)}
            cells = [cell for kind in kinds for cell in beside.get(kind, ["-", "-"])]
            rows.append([f"{what} with {_AGAINST[str(against)]}", f"{own.r:.3f}{half}", f"{own.rank_r:.3f}", *cells])
        columns = ["", "r", "of ranks", *(name for kind in kinds for name in (f"null: {kind}", "p"))]
        title = f"Coupling {coupling:g}: correlation of pairs of nodes, 95 % intervals; null tracts: mean (sd), p"
        print_table(console, title, columns, rows)
        rate = one.rate_hz.values
        n, fc = one.sizes["node"], one.mean_fc.values
        console.print(
            f"Excitatory neurons fire at {rate.mean():.2f} Hz, those of a node at {rate.min():.2f} to "
            f"{rate.max():.2f}; nodes correlate by {(fc.sum() - n) / (n * (n - 1)):.3f} on average"
            + (f", and two runs' FC by {float(one.between_seeds):.3f}." if one.sizes["seed"] > 1 else "."),
            highlight=False, markup=False,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
