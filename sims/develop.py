"""Develop a connectome: regions mature in the order given, each with its task; every stage leaves a snapshot.

python -m sims.develop --regions perception,motor,interaction
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError
from sims.program import ended

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from connectome.development import Progress, Stage

__all__ = ["main"]

RESULTS, CONFIGURATION, FIGURE = "results.nc", "configuration.toml", "development.png"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sims.develop",
        description="Develop a spiking connectome through stages. Each region matures with its task; the rules grow, "
        "strengthen, inhibit and prune edges; every stage leaves a snapshot (HDF5, SONATA).",
        epilog="exit codes: 0 done, 2 input that cannot be used, 130 interrupted (finished stages are kept)",
    )
    parser.add_argument(
        "--regions", default="perception,motor,interaction", metavar="A,B,...",
        help="regions in the order in which they mature (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: runs/seed<SEED>)")
    parser.add_argument(
        "--seed", type=int, default=0, help="0 or more; the same seed gives the same bytes (default: 0)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML; what it leaves out keeps its default")
    parser.add_argument(
        "--engine", default="numba", choices=["numba", "torch"],
        help="numba: event driven; torch: PyG message passing, much slower on a CPU (default: numba)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the run that the folder holds")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = _parser().parse_args(argv)
    out: Path = options.out or Path("runs") / f"seed{options.seed}"

    def kept() -> str:
        return f"Finished stages are in {out}: {', '.join(sorted(p.name for p in out.glob('*.h5'))) or 'none yet'}."

    return ended("develop", lambda: _develop(options, out), kept)


def _develop(options: argparse.Namespace, out: Path) -> int:
    if options.seed < 0:
        raise ConnectomeError("--seed", "must be 0 or more", options.seed)
    # Heavy imports wait until the options are known to parse: --help answers at once.
    import tomli_w
    from rich.console import Console

    from connectome.configuration import Configuration, plan_stages, read_configuration
    from connectome.datasets.images import load_images
    from connectome.datasets.tasks import known_tasks
    from connectome.development import develop
    from connectome.figures import draw_development
    from connectome.io.results import save_figure, save_results, save_text
    from connectome.io.snapshot import save
    from connectome.results import tabulate

    configuration = Configuration() if options.config is None else read_configuration(options.config)
    data = configuration.data
    images = load_images(data.idx_folder)
    tasks = {name: make(images, data.jitter_pixels) for name, make in known_tasks().items()}
    regions = [name.strip() for name in options.regions.split(",")]
    stages = plan_stages(regions, tasks, configuration)
    _claim(out, options.overwrite)
    text = tomli_w.dumps(configuration.table())
    attrs: dict[str, str | int] = {
        "seed": options.seed, "engine": options.engine, "regions": ",".join(regions), "configuration": text,
    }  # fmt: skip
    save_text(text, out / CONFIGURATION)
    console = Console(quiet=options.quiet)
    console.print(f"Developing [bold]{', '.join(regions)}[/bold] with seed {options.seed} into {out}/", highlight=False)
    began = time.monotonic()
    history: list[Progress] = []
    outcomes = []
    with _Display(console, stages) as display:

        def on_progress(progress: Progress) -> None:
            history.append(progress)
            display.show(progress)

        for outcome in develop(
            stages, configuration.anatomy, seed=options.seed, engine=options.engine, test_trials=data.test_trials,
            on_birth=lambda newborn: save(newborn, out / "00_birth.h5", config=text, overwrite=options.overwrite),
            on_progress=on_progress,
        ):  # fmt: skip
            outcomes.append(outcome)
            provenance = outcome.connectome.provenance
            name = f"{provenance.stage:02d}_{provenance.stage_name}.h5"
            save(outcome.connectome, out / name, config=text, overwrite=options.overwrite)
            results = tabulate(outcomes, history, attrs)
            save_results(results, out / RESULTS)
    save_figure(draw_development(results), out / FIGURE)
    _report(console, results, out, time.monotonic() - began)
    return 0


def _claim(out: Path, overwrite: bool) -> None:
    """Make the folder; refuse one that holds a run unless told to replace it, and one that cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = sorted(
            p
            for p in out.iterdir()
            if p.name in (RESULTS, CONFIGURATION, FIGURE) or re.fullmatch(r"\d\d_.*\.h5", p.name)
        )
        if ours and not overwrite:
            raise ConnectomeError(
                "--out", "must not hold a run already", f"{ours[0]}", "Choose another folder, or add --overwrite."
            )
        for path in ours:
            path.unlink()
    except OSError as error:
        raise ConnectomeError("--out", "must be a folder that can be written", f"{out}: {error.strerror}") from error


class _Display:
    """Live progress: one line a stage, with its update, loss, validation score and edges."""

    def __init__(self, console: Console, stages: Sequence[Stage]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:11}"), BarColumn(bar_width=4),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"), TextColumn("{task.fields[seen]}"),
            TimeElapsedColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console)
        self._lines = [
            self._progress.add_task(stage.task.name, total=stage.updates, seen="", start=False) for stage in stages
        ]

    def __enter__(self) -> _Display:
        self._progress.start()
        self._progress.start_task(self._lines[0])
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, p: Progress) -> None:
        """Update the line of a stage."""
        line = self._lines[p.stage - 1]
        if not self._progress.tasks[p.stage - 1].started:
            self._progress.start_task(line)
        score = "-" if p.score != p.score else f"{p.score:.0%}"
        edges = f"local {p.local_edges / 1e3:.1f}k long {p.long_range_edges / 1e3:.1f}k"
        seen = f"loss {p.loss:.3f} val {score:>4} {edges}"
        self._progress.update(line, completed=p.update, seen=seen)


def _report(console: Console, results: xr.Dataset, out: Path, seconds: float) -> None:
    """The table at the end, and what was written."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from connectome.results import of_kind

    stages = [str(s) for s in results.stage.values]
    table = Table(
        title="Test score on each task (columns) after each stage (rows), and the graph", title_justify="left",
        box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    table.add_column("stage")
    for name in stages:
        table.add_column(name, justify="right")
    for heading in ("local", "long-range", "|w|"):
        table.add_column(heading, justify="right")
    local, (long_range, weight) = of_kind(results, "local").edges, of_kind(results, "long_range")
    for row, stage in enumerate(stages):
        scores = ["-" if v != v else f"{v:.1%}" for v in results.score.values[row]]
        strength = f"{float(weight[row]):.0f}" if long_range[row] else "-"
        table.add_row(stage, *scores, f"{int(local[row]):,}", f"{int(long_range[row]):,}", strength)
    console.print(table)
    console.print("local, long-range: edges. |w|: mean |weight| of the long-range ones, pA.", highlight=False)
    peak = int(results.peak_local_edges[-1])
    console.print(
        f"Local edges: {int(local[-1]):,} of {peak:,} at their peak ({int(local[-1]) / peak:.0%}).", highlight=False
    )
    for name in stages[:-1]:
        cost = results.synaptic_operations.sel(task=name, stage=[name, stages[-1]]).values
        console.print(
            f"Synaptic operations per {name} sample: {cost[0]:,.0f}, at the end {cost[1]:,.0f} "
            f"({cost[1] / cost[0] - 1:+.0%}).", highlight=False,
        )  # fmt: skip
    files = ", ".join(sorted(p.name for p in out.iterdir() if p.is_file()))
    console.print(f"Written to {out}/: {files}.\nTook {seconds:.0f} s.", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
