"""Hold a measured atlas of signal propagation against what the wiring foretells: by spikes, by graded cells, by paths.

python -m sims.propagation funatlas.h5 --graph celegans_witvliet2021_8 --out runs/propagation
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.errors import ConnectomeError
from connectome.texts import plural, shown_p
from sims.program import add_cells, add_loudness, ended, exit_codes
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from connectome.experiment.physiology import Physiology
    from sims.studies.cells import StudyTable
    from sims.studies.propagation import Setup

__all__ = ["main", "parser"]

PLAN, RESULTS, TABLE, REPORT, PICTURE = "plan.json", "results.nc", "figures.csv", "report.md", "propagation.png"
#: What the models leave out.
LEFT_OUT = (
    "The spiking network is a simplification: most of the worm's neurons are graded and do not fire, and it has no gap "
    "junctions. Graded cells here are linear, all with one leak; signs are of transmitters, not of receptors. None of "
    "the models has neuropeptides or other signals beyond synapses, which the strain unc-31 lacks in part."
)
_MOST = 10_000


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.propagation",
        description="Stimulate each neuron of a wiring in turn and hold the responses of all others against a measured "
        "atlas of signal propagation, with what the wiring alone says and what graded cells with gap junctions do: "
        "rank correlation and ROC area with 95 % intervals, against shuffled wiring and against path length.",
        epilog=exit_codes(kept="finished wirings are kept: the same command goes on from them"),
    )
    parser.add_argument(
        "atlas", metavar="ATLAS", type=Path,
        help="funatlas.h5 of the package wormneuroatlas, or an npz file of its arrays",
    )  # fmt: skip
    parser.add_argument(
        "--graph", default="celegans_witvliet2021_8", metavar="GRAPH",
        help="a measured connectome by name, with its gap junctions, or a file whose edges have a column gap_junction, "
        "0 or 1 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--physiology", default="worm", metavar="NAME|FILE", help="as of sims.simulate (default: %(default)s)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the physiology, for example unknown=drop; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--gain", type=float, metavar="NUMBER",
        help="of the spiking network (default: the largest at which activity dies out after all neurons were driven)",
    )  # fmt: skip
    parser.add_argument("--rate-hz", type=float, default=150.0, help="of events at a stimulated neuron (default: 150)")
    parser.add_argument("--duration-ms", type=float, default=500.0, help="of each stimulation (default: 500)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="trials of each neuron (default: 5)")
    parser.add_argument("--nulls", type=int, default=100, metavar="N", help="shuffled wirings (default: 100)")
    parser.add_argument("--draws", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)")
    add_cells(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/propagation")
    add_loudness(parser, tables=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    out: Path = options.out or Path("runs") / "propagation"

    def kept() -> str:
        if not out.is_dir():
            return "No file is half-written."
        return f"Finished wirings are in {out}: the same command goes on from them."

    return ended("propagation", lambda: _main(options, out), kept)


def _main(options: argparse.Namespace, out: Path) -> int:
    from connectome.experiment.physiology import read_physiology, table_of
    from sims.studies.propagation import prepare

    console = console_of(options)
    for name, low, high in (
        ("seeds", 1, _MOST), ("nulls", 0, _MOST), ("jobs", 1, _MOST), ("draws", 2, 10**6), ("rate_hz", 0.0, 10_000.0),
        ("duration_ms", 0.0, 1e6), ("gain", 0.0, 1e9),
    ):  # fmt: skip
        value, above = getattr(options, name), isinstance(low, float)  # where it is a float it is left out itself
        if value is not None and not (low < value <= high or (value == low and not above)):
            rule = f"must be {'more than ' * above}{low:g} .. {high:,.0f}"
            raise ConnectomeError(f"--{name.replace('_', '-')}", rule, value)
    physiology = read_physiology(options.physiology, options.changes)
    with progress(options, f"Reading {options.graph} and {options.atlas}") as say:
        setup = prepare(options.graph, str(options.atlas), table_of(physiology))
        say("The gain at the edge of activity")
        setup = setup._replace(physiology=_with_gain(setup, options))
    console.print(_account(setup, options), highlight=False, markup=False)
    told = {
        "graph": options.graph, "atlas": str(options.atlas), "physiology": table_of(setup.physiology),
        "rate_hz": options.rate_hz, "duration_ms": options.duration_ms, "seeds": options.seeds, "draws": options.draws,
    }  # fmt: skip
    _run(setup, told, out, options, console)
    return 0


def _with_gain(setup: Setup, options: argparse.Namespace) -> Physiology:
    """The physiology with the gain that is asked for, or that of the edge of activity. The atlas has no say in it."""
    from dataclasses import replace

    from connectome.experiment.animation import stimulate
    from connectome.experiment.calibration import calibrate

    if options.gain is not None:
        return replace(setup.physiology, gain=options.gain)
    everyone = {r.name: np.arange(r.size) for r in setup.chemical.regions.values() if r.role == "neuron"}
    try:
        return calibrate(
            setup.chemical, setup.physiology, lambda live: stimulate(live, setup.physiology, everyone, options.rate_hz)
        )[0]
    except ConnectomeError as error:
        if error.field != "gains":
            raise
        raise ConnectomeError("--gain", "must be given: no edge of activity was found", error.found) from None


def _account(setup: Setup, options: argparse.Namespace) -> str:
    from connectome.experiment.animation import animate

    lines = [
        f"{options.graph}: {plural(setup.n_neurons, 'neuron')}, {plural(setup.chemical.n_edges, 'edge')} of chemical "
        f"synapses, {setup.electrical.n_edges:,} of gap junctions. Gain {setup.physiology.gain:.3g}.",
        str(animate(setup.chemical, setup.physiology)[1]),
    ]
    lines += [
        f"{strain}: {plural(p.size.size, 'measured pair')} of {plural(p.cells.size, 'stimulated neuron')}, "
        f"{int(p.connected.sum()):,} connected, {int(p.unconnected.sum()):,} not."
        for strain, p in setup.pairs.items()
    ]  # fmt: skip
    return "\n".join(lines)


def _run(setup: Setup, told: dict[str, Any], out: Path, options: argparse.Namespace, console: Console) -> None:
    from connectome import __version__
    from connectome.analysis.style import styled
    from connectome.io.files import digest_of
    from connectome.io.results import save_figure, save_results, save_text
    from sims.studies.cells import chosen_cells, keep_plan, loaded, run_shown
    from sims.studies.propagation import assemble, cells_of, draw, study_of
    from sims.studies.sharing import shared

    began = time.monotonic()
    cells = cells_of(options.nulls)
    chosen_cells(cells, options)
    with shared(out) as folder:
        digests = {  # of the atlas in place of its path
            "atlas": digest_of(options.atlas), "chemical": setup.chemical.digest(),
            "electrical": setup.electrical.digest(),
        }  # fmt: skip
        with folder.alone():
            keep_plan({"version": __version__, **told, **digests}, out / PLAN, "comparison")
        if not run_shown(study_of(told), cells, folder, options, console):
            return
        results = assemble(loaded(cells, out))
        save_results(results, out / RESULTS)
        save_text(_csv(results), out / TABLE)
        save_figure(styled(draw)(results), out / PICTURE)
        tables = list(_tables(results))
        save_text(_report(tables, _account(setup, options)), out / REPORT)
    _show(results, console)
    if options.json:
        print_json(results)
    console.print(LEFT_OUT, highlight=False, markup=False)
    console.print(f"Written to {out}/: {REPORT}, {TABLE}, {PICTURE}, {RESULTS}", highlight=False, markup=False)
    console.print(f"Took {time.monotonic() - began:.0f} s.", highlight=False)


def _show(results: xr.Dataset, console: Console) -> None:
    """A table for each strain; the report has more."""
    from sims.studies.propagation import FIGURES

    for strain in results.strain.values.tolist():
        at = results.sel(strain=strain)
        rows = [
            [score, *(text for name in FIGURES for text in (_shown(at[name].sel(score=score).values),
                                                            shown_p(float(at[f"{name}_p"].sel(score=score)))))]
            for score in at.score.values.tolist()
        ]  # fmt: skip
        columns = [text for title in FIGURES.values() for text in (f"{title} (95 %)", "p")]
        print_table(console, f"{strain}; p against {at.sizes['null']} shuffled wirings", ["", *columns], rows)


def _tables(results: xr.Dataset) -> Iterator[StudyTable]:
    """For each strain and figure a row for each score."""
    from sims.studies.cells import StudyTable
    from sims.studies.propagation import FIGURES, SPIKES, middle

    for strain in results.strain.values.tolist():
        at = results.sel(strain=strain)
        about = (
            f"{int(at.n_pairs):,} pairs of {int(at.n_stimulated)} stimulated neurons, {int(at.n_connected):,} of them "
            f"connected, {int(at.n_unconnected):,} not. Intervals: bootstrap over stimulated neurons. Shuffled: mean "
            f"and middle 95 % of {at.sizes['null']} wirings; p one-sided. Last: minus path length with gap junctions."
        )
        for name, title in FIGURES.items():
            rows = []
            for score in at.score.values.tolist():
                one = at.sel(score=score)
                nulls, p = middle(one[f"{name}_shuffled"].values), shown_p(float(one[f"{name}_p"]))
                less = _shown(one[f"{name}_less_path"].values)
                rows.append([score, _shown(one[name].values), _shown(nulls), p, less])
            of_seed = at[f"{name}_of_seed"].values
            text = f"{about} {SPIKES} by seed: {', '.join(f'{v:.3f}' for v in of_seed.tolist())}."
            yield StudyTable(
                f"{strain}: {title}", text, ["score", "measured (95 %)", "shuffled (95 %)", "p", "- path length"], rows
            )


def _shown(values: Any) -> str:
    value, low, high = (f"{float(v):.3f}".replace("nan", "-") for v in values)
    return f"{value} ({low} to {high})"


def _csv(results: xr.Dataset) -> str:
    """A row for each strain, figure and score."""
    import csv

    from sims.studies.propagation import FIGURES

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["strain", "figure", "score", "value", "low", "high", "shuffled_mean", "shuffled_sd", "n_shuffled", "p",
         "less_path_length", "less_low", "less_high"]
    )  # fmt: skip
    for strain in results.strain.values.tolist():
        for name, title in FIGURES.items():
            for score in results.score.values.tolist():
                one = results.sel(strain=strain, score=score)
                nulls = one[f"{name}_shuffled"].values
                mean = float(nulls.mean()) if nulls.size else np.nan
                sd = float(nulls.std(ddof=1)) if nulls.size > 1 else np.nan
                numbers = [*one[name].values.tolist(), mean, sd, nulls.size, float(one[f"{name}_p"])]
                numbers += one[f"{name}_less_path"].values.tolist()
                writer.writerow([strain, title, score, *map(repr, numbers)])
    return text.getvalue()


def _report(tables: Sequence[StudyTable], account: str) -> str:
    """As Markdown."""
    parts = ["# Signal propagation, foretold and measured", *account.split("\n"), LEFT_OUT]
    return "\n\n".join([*parts, *(table.markdown() for table in tables), f"![figures]({PICTURE})"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
