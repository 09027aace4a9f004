"""Summarise several runs of one development over their seeds: means with 95 % intervals.

python -m sims.summarize runs/seed*
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.analysis.intervals import mean_of
from connectome.errors import ConnectomeError
from sims.program import add_loudness, ended, exit_codes, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.summarize",
        description="Summarise runs of sims.develop that differ in their seed: means with 95 % intervals.",
        epilog=exit_codes(kept="nothing is written"),
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="FOLDER", help="folders that sims.develop wrote")
    add_loudness(parser, tables=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("summarize", lambda: _summarize(options), lambda: "")


def _summarize(options: argparse.Namespace) -> int:
    import pandas

    from connectome.development.results import of_kind

    folders: list[Path] = options.runs
    with progress(options, "Reading results"):
        runs = [_load(folder) for folder in folders]
    alike = ("regions", "configuration", "engine")
    for folder, run in zip(folders, runs, strict=True):
        for name in alike:
            if run.attrs[name] != runs[0].attrs[name]:
                raise ConnectomeError(
                    str(folder), f"must have the {name} of {folders[0]}", "another", "Summarise them apart."
                )
    stages = [str(s) for s in runs[0].stage.values]
    seeds = ", ".join(str(run.attrs["seed"]) for run in runs)
    last = stages[-1]
    rows: dict[str, Callable[[xr.Dataset, str], Any]] = {
        "score after its own stage": lambda r, k: r.score.sel(stage=k, task=k),
        "score after the last stage": lambda r, k: r.score.sel(stage=last, task=k),
        "lost": lambda r, k: r.score.sel(stage=k, task=k) - r.score.sel(stage=last, task=k),
        "there when time is up, own stage": lambda r, k: r.score_at_end.sel(stage=k, task=k),
        "there when time is up, last stage": lambda r, k: r.score_at_end.sel(stage=last, task=k),
        "score, every region active": lambda r, k: r.score_all_recruited.sel(stage=last, task=k),
        "operations saved since the end of its stage": lambda r, k: (
            1 - r.synaptic_operations.sel(stage=last, task=k) / r.synaptic_operations.sel(stage=k, task=k)
        ),
        "operations saved since their most": lambda r, k: (
            1 - r.synaptic_operations.sel(stage=last, task=k) / _most(r, k)
        ),
    }
    console = console_of(options)
    means = {(what, k): mean_of([float(get(run, k)) for run in runs]) for what, get in rows.items() for k in stages}
    print_table(
        console, f"{len(runs)} runs (seeds {seeds}), test data: mean and 95 % interval", ["", *stages],
        [[what, *(means[what, name].text() for name in stages)] for what in rows],
    )  # fmt: skip
    left = {
        "Local": [float(of_kind(run, "local").edges[-1] / run.peak_local_edges[-1]) for run in runs],
        "All": [float(run.edges[-1].sum() / run.history_edges.max()) for run in runs],
    }
    for kind, shares in left.items():
        means[f"{kind.lower()} edges at the end, of their peak", ""] = mean_of(shares)
        console.print(f"{kind} edges at the end, of their peak: {mean_of(shares).text()}", highlight=False)
    for name in stages:
        weight = [float(of_kind(run, "long_range").mean_abs_weight.sel(stage=name)) for run in runs]
        if np.isfinite(weight).all():
            means["mean |weight| of long-range edges, pA", name] = mean_of(weight)
            mean = mean_of(weight).text(1, 0, " pA")
            console.print(f"Mean |weight| of long-range edges after {name}: {mean}", highlight=False)
    if options.json:
        records = [{"what": what, "task": task, **mean._asdict()} for (what, task), mean in means.items()]
        print_json({"runs": pandas.DataFrame(records)})
    return 0


def _most(run: xr.Dataset, task: str) -> float:
    """Most operations per sample of a task in its own stage, by the validations after each few epochs."""
    stage = [str(s) for s in run.stage.values].index(task) + 1
    within = run.history_operations.values[run.history_stage.values == stage]
    return float(np.nanmax([*within, float(run.synaptic_operations.sel(stage=task, task=task))]))


def _load(folder: Path) -> xr.Dataset:
    from connectome.io.results import load_development

    path = folder / "results.nc"
    if not path.is_file():
        hint = "python -m sims.runs lists them."
        raise ConnectomeError(str(folder), "must be a folder that sims.develop wrote", "no results.nc in it", hint)
    run = load_development(path)
    there, planned = [str(s) for s in run.stage.values], split_names(str(run.attrs["regions"]))
    if there != planned:
        raise ConnectomeError(
            str(folder), f"must be a finished run of {', '.join(planned)}", ", ".join(there) or "no stage",
            f"Go on with: python -m sims.develop --resume {folder}",
        )  # fmt: skip
    return run


if __name__ == "__main__":
    sys.exit(main())
