"""Run a named study: conditions and seeds in parallel processes, with a report of means and 95 % intervals.

python -m sims.study transfer --quick
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectome import plugins
from connectome.errors import ConnectomeError
from sims.program import add_cells, add_loudness, complete_names, ended, exit_codes, seed_range, split_names
from sims.screen import console_of, print_json, print_table

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from sims.studies.cells import Study, StudyTable

__all__ = ["main", "parser"]

PLAN, RESULTS, REPORT = "study.json", "results.nc", "report.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    out: Path = options.out or Path("runs") / f"{options.study}{'-quick' * options.quick}"

    def kept() -> str:
        return f"Finished cells are in {out}: the same command goes on from them."

    return ended("study", lambda: _study(options, out), kept)


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.study",
        description="Run a study over conditions and seeds, and report means with 95 % intervals.",
        epilog=exit_codes(kept="finished cells are kept: the same command goes on from them"),
    )
    parser.add_argument(
        "study", choices=list(plugins.known("studies")), metavar="STUDY", help=", ".join(plugins.known("studies"))
    )
    parser.add_argument("--quick", action="store_true", help="its shape in minutes: few seeds, little training")
    parser.add_argument(
        "--images", default="", metavar="SOURCE",
        help="mnist, cifar10, cifar100, or a file or folder of images (default: scikit-learn's digits)",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a development's: of wiring, which is tried; of streams"
    )
    only = parser.add_argument("--only", metavar="A,B,...", help="of circuits and mechanisms: only these systems")
    complete_names(only, "circuits", "mechanisms")
    parser.add_argument("--seeds", metavar="N", help="how many seeds, from 0; or the first and the last, such as 10-19")
    parser.add_argument("--conditions", metavar="A,B,...", help="only these")
    add_cells(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/STUDY")
    add_loudness(parser, tables=True)
    return parser


def _study(options: argparse.Namespace, out: Path) -> int:
    from dataclasses import replace

    from connectome import __version__
    from connectome.analysis.style import styled
    from connectome.io.results import save_results, save_text
    from sims.studies.cells import chosen_cells, gather, keep_plan, run_shown
    from sims.studies.sharing import shared

    make = plugins.load("studies", options.study, "study")
    more: dict[str, Any] = {} if options.config is None else {"config": options.config}
    if options.only is not None:
        more["only"] = split_names(options.only)
    for name, such in (("config", "wiring"), ("only", "circuits")):
        if name in more and name not in inspect.signature(make).parameters:
            raise ConnectomeError(f"--{name}", f"must go with a study that takes one, such as {such}", options.study)
    study: Study = make(options.quick, options.images, **more)
    if options.jobs is not None and options.jobs < 1:
        raise ConnectomeError("--jobs", "must be 1 or more", options.jobs)
    if options.seeds is not None:
        seeds = seed_range(options.seeds)
        study = replace(study, seeds=len(seeds), first_seed=seeds.start)
    if options.conditions is not None:
        chosen = tuple(split_names(options.conditions))
        for name in chosen:
            if name not in study.conditions:
                raise ConnectomeError("--conditions", f"must be among {', '.join(study.conditions)}", repr(name))
        study = replace(study, conditions=chosen)
    console, cells = console_of(options), study.cells()
    chosen_cells(cells, options)
    with shared(out) as folder:
        plan = {"study": options.study, "version": __version__, "options": dict(study.options)}
        with folder.alone():
            keep_plan(plan, out / PLAN, "study")
        began = time.monotonic()
        if not run_shown(study, cells, folder, options, console):
            return 0
        results = gather(study, cells, out).assign_attrs(study=options.study, options=json.dumps(study.options))
        save_results(results, out / RESULTS)
        pictures = styled(_draw)(study, results, out)
        save_text(_report(options.study, study, results, pictures), out / REPORT)
    _show(study, results, console)
    if options.json:
        print_json(results)
    console.print(f"Written to {out}/: {REPORT}, {RESULTS}, {', '.join(pictures)}", highlight=False)
    console.print(f"Took {time.monotonic() - began:.0f} s.", highlight=False)
    return 0


def _draw(study: Study, results: xr.Dataset, out: Path) -> list[str]:
    """Names of the pictures and films; written in here, since a figure's colours are looked up when it is saved."""
    from connectome.io.results import Film, save_figure, save_film

    names = []
    for name, figure in study.figures(results).items():
        names.append(f"{name}.gif" if isinstance(figure, Film) else f"{name}.png")
        if isinstance(figure, Film):
            save_film(figure, out / names[-1])
        else:
            save_figure(figure, out / names[-1])
    return names


def _report(name: str, study: Study, results: xr.Dataset, pictures: Sequence[str]) -> str:
    """The report as Markdown."""
    seeds = ", ".join(str(int(s)) for s in results.seed)
    parts = [f"# {name}\n\n{study.about} Seeds {seeds}; means with 95 % intervals (Student's t)."]
    parts += [table.markdown() for table in _tables(study, results)]
    parts += [f"![{Path(picture).stem}]({picture})" for picture in pictures]
    parts.append(f"Options: `{json.dumps(dict(study.options))}`")
    return "\n\n".join(parts) + "\n"


def _tables(study: Study, results: xr.Dataset) -> list[StudyTable]:
    """Those that have something to say of the conditions that were run."""
    return [table for table in study.tables(results) if table.rows]


def _show(study: Study, results: xr.Dataset, console: Console) -> None:
    for table in _tables(study, results):
        print_table(console, table.heading, table.columns, table.rows)
        console.print(table.text, highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())
