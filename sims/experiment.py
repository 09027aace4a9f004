"""Experiment on a connectome: stimulate, silence, lesion, cut, and see what changes against controls.

python -m sims.experiment SPEC.toml --dry-run
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectome.errors import ConnectomeError
from connectome.texts import plural, readable
from sims.program import add_cells, add_loudness, ended, exit_codes, refuse_taken, seed_range
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

    from connectome.experiment.specification import Experiment
    from connectome.experiment.trials import Setup

__all__ = ["main", "parser"]

PLAN, SPECIFICATION, RESULTS, PAGE = "plan.json", "experiment.toml", "results.nc", "experiment.html"
_SHOWN = 12


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.experiment",
        description="Run the conditions of an experiment on a connectome, on shuffled wiring and with random targets "
        "besides, over several seeds; write results (netCDF), tables with intervals and p-values (CSV), and a page.",
        epilog=exit_codes(kept="finished trials are kept: the same command goes on from them"),
    )
    parser.add_argument("specification", metavar="SPEC.toml", type=Path, help="what is to be done; see --draft")
    parser.add_argument("--dry-run", action="store_true", help="check it, print the conditions, and end")
    parser.add_argument(
        "--draft", metavar="GRAPH", help="write SPEC.toml to begin with, for this graph and the columns that it has"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/NAME-OF-SPEC")
    parser.add_argument(
        "--seeds", metavar="N", help="how many trials of each condition; or the first seed and the last, such as 10-19"
    )
    add_cells(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE", dest="changes",
        help="change the specification, for example readouts.bin_ms=5; may be given several times",
    )  # fmt: skip
    add_loudness(parser, tables=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    out: Path = options.out or Path("runs") / options.specification.stem

    def kept() -> str:
        if options.dry_run or options.draft or not out.is_dir():
            return "No file is half-written."
        return f"Finished trials are in {out}: the same command goes on from them."

    return ended("experiment", lambda: _main(options, out), kept)


def _main(options: argparse.Namespace, out: Path) -> int:
    console = console_of(options)
    if options.draft:
        return _draft(options, console)
    if options.jobs is not None and options.jobs < 1:
        raise ConnectomeError("--jobs", "must be 1 or more", options.jobs)
    experiment, graph = _read(options)
    from connectome.experiment.trials import prepare
    from sims.inputs import open_graph

    with progress(options, f"Reading {graph}"):
        setup = prepare(experiment, open_graph(graph))
    _describe(setup, graph, console)
    if not options.dry_run:
        _run(setup, graph, out, options, console)
    return 0


def _read(options: argparse.Namespace) -> tuple[Experiment, str]:
    """The experiment, and the path or name of its connectome: a file beside the specification, or what it says."""
    from connectome.experiment.specification import read_experiment

    path: Path = options.specification
    if not path.exists():
        raise ConnectomeError(str(path), "must be there", "no such file", "Begin with --draft GRAPH.")
    changes: list[str] = list(options.changes)
    if options.seeds is not None:
        seeds = seed_range(options.seeds)
        changes += [f"seeds={len(seeds)}", *([f"first_seed={seeds.start}"] if "-" in options.seeds else [])]
    experiment = read_experiment(path, changes)
    if not experiment.connectome:
        raise ConnectomeError(f"{path}: connectome", "must be a file, or the name of a measured connectome", "none")
    beside = path.parent / experiment.connectome
    return experiment, str(beside) if beside.exists() else experiment.connectome


def _draft(options: argparse.Namespace, console: Console) -> int:
    """Write a specification to begin with."""
    from connectome.experiment.draft import draft
    from connectome.io.results import save_text
    from sims.inputs import open_graph

    refuse_taken("SPEC.toml", options.specification, overwrite=False)
    text = draft(open_graph(options.draft), _from(options.specification, options.draft))
    save_text(text, options.specification)
    console.print(f"Written: {options.specification}. Change what it says, then try it with --dry-run.", markup=False)
    return 0


def _from(specification: Path, graph: str) -> str:
    """A file as the specification beside it, or elsewhere, names it."""
    place = Path(graph)
    if not place.exists():
        return graph
    here, there = specification.parent.resolve(), place.resolve()
    return there.relative_to(here).as_posix() if there.is_relative_to(here) else there.as_posix()


# What is to be done, in words


def _describe(setup: Setup, graph: str, console: Console) -> None:
    from connectome.experiment.descriptions import condition_rows, notes

    network, e = setup.network, setup.experiment
    neurons, edges = plural(network.n_neurons, "neuron"), plural(network.n_edges, "edge")
    console.print(f"{graph}: {neurons}, {edges}. {setup.about}", highlight=False, markup=False)
    for name, base, done in condition_rows(setup):
        builds = "" if base == "-" else f", from {base}"
        console.print(f"  {name}{builds}: {done}", highlight=False, markup=False)
    trials = len(setup.trials())
    seeds = f"seed{'s' * (e.seeds > 1)} {e.first_seed}" + (f" to {e.first_seed + e.seeds - 1}" if e.seeds > 1 else "")
    console.print(f"On: {', '.join(e.controls.names)}; {seeds}; {plural(trials, 'trial')} of {e.duration_ms:g} ms.",
                  highlight=False, markup=False)  # fmt: skip
    for note in notes(setup):
        console.print(note, highlight=False, markup=False)


# Doing it


def _run(setup: Setup, graph: str, out: Path, options: argparse.Namespace, console: Console) -> None:
    import tomli_w

    from connectome import __version__
    from connectome.experiment.page import page
    from connectome.experiment.trials import assemble
    from connectome.io.results import save_results, save_text
    from sims.studies.cells import chosen_cells, keep_plan, run_shown
    from sims.studies.sharing import shared
    from sims.studies.trials import cells_of, found, plan_of, study_of

    began = time.monotonic()
    cells = cells_of(setup)
    chosen_cells(cells, options)
    with shared(out) as folder:
        with folder.alone():
            keep_plan(plan_of(setup, __version__), out / PLAN, "experiment", grows="conditions")
        if not run_shown(study_of(setup.experiment, graph), cells, folder, options, console):
            return
        results = assemble(setup, found(cells, out))
        save_results(results, out / RESULTS)
        tables = dict(_tables(setup, results))
        for name, table in tables.items():
            save_text(table.to_csv(index=False), out / f"{name}.csv")
        specification = tomli_w.dumps(setup.experiment.table())
        save_text(specification, out / SPECIFICATION)
        save_text(page(setup, results, tables, source=Path(graph).name), out / PAGE)
    _show(setup, tables, console)
    if options.json:
        print_json(tables)
    written = [PAGE, *(f"{name}.csv" for name in tables), RESULTS, SPECIFICATION]
    console.print(f"Written to {out}/: {', '.join(written)}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"Took {time.monotonic() - began:.0f} s. Open {out / PAGE} in a browser.", highlight=False, markup=False
    )


def _tables(setup: Setup, results: Any) -> Iterator[tuple[str, pandas.DataFrame]]:
    from connectome.experiment.activation import path_table, structure_table
    from connectome.experiment.effects import cell_table, effect_table, sweep_table

    e = setup.experiment
    yield "effects", effect_table(e, results)
    yield "cells", cell_table(e, results)
    if e.sweep:
        yield "sweep", sweep_table(e, results)
    if e.paths:
        yield "paths", path_table(setup, results)
        yield "structure", structure_table(setup)


def _show(setup: Setup, tables: dict[str, pandas.DataFrame], console: Console) -> None:
    """The effects on rates, the largest first."""
    from connectome.experiment.effects import rows_of

    table = tables["effects"]
    e = setup.experiment
    shown = table[(table.readout == "rate_hz") & (table.control == "measured") & (table.against != "")]
    shown = shown.reindex(shown.effect.abs().sort_values(ascending=False, kind="stable").index)[:_SHOWN]
    rows = [
        [
            f"{r.condition} - {r.against}, {r.value}", readable(r.mean, 3), readable(r.effect, 3),
            f"{readable(r.effect_low, 3)} to {readable(r.effect_high, 3)}", readable(r.p_corrected, 2),
        ]
        for r in rows_of(shown)
    ]  # fmt: skip
    if rows:
        print_table(
            console, "Largest effects on rates, Hz", ["", "rate", "effect", "95 %", f"p ({e.correction})"], rows
        )


if __name__ == "__main__":
    sys.exit(main())
