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

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["interval", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.summarize",
        description="Summarise runs of sims.develop that differ in their seed: means with 95 %% intervals.",
        epilog="exit codes: 0 done, 2 input that cannot be used",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="FOLDER", help="folders that sims.develop wrote")
    try:
        _summarize(parser.parse_args(argv).runs)
    except ConnectomeError as error:
        print(f"summarize: {error}", file=sys.stderr)
        return 2
    return 0


def interval(values: Any) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; nan for fewer than two values."""
    from scipy.stats import t

    x = np.asarray(values, float)
    if x.size < 2:
        return float(x.mean()), float("nan")
    return float(x.mean()), float(t.ppf(0.975, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size))


def _summarize(folders: Sequence[Path]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from connectome.results import of_kind

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
    table = Table(
        title=f"{len(runs)} runs (seeds {seeds}), test data: mean and 95 % interval",
        title_justify="left", box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    table.add_column("")
    for name in stages:
        table.add_column(name, justify="right")
    last = stages[-1]
    rows: dict[str, Callable[[xr.Dataset, str], Any]] = {
        "score after its own stage": lambda r, k: r.score.sel(stage=k, task=k),
        "score after the last stage": lambda r, k: r.score.sel(stage=last, task=k),
        "lost": lambda r, k: r.score.sel(stage=k, task=k) - r.score.sel(stage=last, task=k),
        "there when time is up, own stage": lambda r, k: r.score_held.sel(stage=k, task=k),
        "there when time is up, last stage": lambda r, k: r.score_held.sel(stage=last, task=k),
        "score, every region active": lambda r, k: r.score_all_recruited.sel(stage=last, task=k),
        "operations saved since its stage": lambda r, k: (
            1 - r.synaptic_operations.sel(stage=last, task=k) / r.synaptic_operations.sel(stage=k, task=k)
        ),
    }
    for heading, get in rows.items():
        table.add_row(heading, *(_percent([float(get(run, name)) for run in runs]) for name in stages))
    console = Console()
    console.print(table)
    local = [float(of_kind(run, "local").edges[-1] / run.peak_local_edges[-1]) for run in runs]
    console.print(f"Local edges at the end, of their peak: {_percent(local)}", highlight=False)
    for name in stages:
        mean = [float(of_kind(run, "long_range").mean_abs_weight.sel(stage=name)) for run in runs]
        if np.isfinite(mean).all():
            value, half = interval(mean)
            console.print(
                f"Mean |weight| of long-range edges after {name}: {value:.0f} ± {half:.0f} pA", highlight=False
            )


def _load(folder: Path) -> xr.Dataset:
    from connectome.io.results import load_results

    path = folder / "results.nc"
    if not path.is_file():
        raise ConnectomeError(str(folder), "must be a folder that sims.develop wrote", "no results.nc in it")
    return load_results(path)


def _percent(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{mean:.1%} ± {half * 100:.1f}"


if __name__ == "__main__":
    sys.exit(main())
