"""Make one page to look at of a run, a snapshot or any graph: HTML that opens without a network.

python -m sims.report runs/seed0
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectome.errors import ConnectomeError
from connectome.texts import listed
from sims.inputs import add_shape, open_graph, open_graphs, shaped
from sims.program import add_common, ended, exit_codes, refuse_seed, refuse_taken
from sims.screen import progress

if TYPE_CHECKING:
    from connectome.analysis.report.page import Sample
    from connectome.graph.connectome import Connectome
    from connectome.graph.flat import Engine
    from connectome.graph.selection import NodeSet
    from connectome.learning.task import Task

__all__ = ["main", "parser", "write_report"]

#: What drives a sensor that no known task has.
_RATE_HZ, _DURATION_MS = 50.0, 100.0


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.report",
        description="Write one HTML page about a run of sims.develop, a snapshot or any graph: stages, scores, edges, "
        "a view that turns, degrees, weights, spikes, metrics, configuration. What is not there is left out.",
        epilog=exit_codes(),
    )
    parser.add_argument("run", metavar="RUN", help="a folder of sims.develop, a snapshot, or any graph")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page (default: report.html in the folder, or NAME.report.html here)",
    )
    parser.add_argument("--reference", metavar="GRAPH", help="a file or a name; its metrics are set beside these")
    parser.add_argument(
        "--images", metavar="PATH", default="",
        help="the images that the run learnt, if its configuration names some: a page opens no path that a file names",
    )  # fmt: skip
    parser.add_argument(
        "--show", metavar="QUERY",
        help="cells that must be on the page, to look at and to find, where there are too many for all: "
        "\"class == 'DN' and side == 'left'\"; up to 2,500 of them, besides as many of all",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn to drive the sensors (default: 0)")
    add_shape(parser)
    add_common(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("report", lambda: _report(options))


def _report(options: argparse.Namespace) -> int:
    run = Path(options.run)
    out: Path = options.out or (run / "report.html" if run.is_dir() else Path(f"{run.stem}.report.html"))
    if out.suffix not in (".html", ".htm"):
        raise ConnectomeError("--out", "must end in .html", repr(str(out)))
    refuse_seed(options.seed)
    refuse_taken("--out", out, overwrite=options.overwrite)
    began = time.monotonic()
    with progress(options, f"Writing {out}"):
        size = write_report(
            options.run, out, reference=options.reference, seed=options.seed, shape=lambda c: shaped(c, options),
            images=options.images, show=options.show,
        )  # fmt: skip
    if not options.quiet:
        print(f"Written: {out} ({size / 1e6:.1f} MB, {time.monotonic() - began:.0f} s). Open it in a browser.")
    return 0


def write_report(
    run: str, out: Path, *, reference: str | None = None, seed: int = 0,
    shape: Callable[[Connectome], Connectome] = lambda c: c, images: str = "", show: str | None = None,
) -> int:  # fmt: skip
    """Write the page about a run's folder, a snapshot or another graph, its connectomes as ``shape`` makes them; return
    its size in bytes. ``images`` are those of the run's tasks: a path that a file names is not opened. ``show`` is a
    query for cells of the last one that are on it in any case. Raises :class:`ConnectomeError`."""
    from connectome.analysis.report.page import report
    from connectome.io.results import load_development, save_text
    from connectome.io.seal import renewing
    from connectome.io.snapshot import list_stages, open_snapshot

    names, stages = zip(*((name, shape(c)) for name, c in open_graphs(run)), strict=True)
    wanted = None if show is None else _shown(stages[-1], show)
    place = Path(run)
    kept = list_stages(place) if place.is_dir() else []
    results = load_development(place / "results.nc") if kept and (place / "results.nc").is_file() else None
    configuration = kept[-1].config if kept else open_snapshot(place).config if place.suffix == ".h5" else ""
    other = None if reference is None else (Path(reference).stem, open_graph(reference))
    source = place.resolve().name if place.exists() else run
    html = report(
        stages, names, source=source, results=results, configuration=configuration,
        samples=list(_samples(stages[-1], configuration, seed, images)), reference=other,
        show=wanted,
    )  # fmt: skip
    with renewing(out.parent, out.name):
        save_text(html, out)
    return len(html.encode())


def _shown(c: Connectome, query: str) -> NodeSet:
    found = c.select(query)
    if not len(found):
        raise ConnectomeError("--show", "must find cells", repr(query))
    return found


def _samples(c: Connectome, configuration: str, seed: int, images: str) -> Iterator[Sample]:
    """Spikes of one sample of each task that this connectome can do; otherwise of its sensors driven at random."""
    from connectome.analysis.report.page import Sample
    from connectome.simulate.runs import Poisson, Stimulus, run

    sensors = [r for r in c.regions.values() if r.role == "sensor" and r.size]
    if not sensors:
        return
    tasks = _tasks(c, configuration, images)
    compiled = all(r.neuron.kernel or r.neuron.linear() is not None for r in c.regions.values())
    engine: Engine = "numba" if compiled else "torch"
    for task in tasks:
        spikes, duration_ms = _stimulus(task, c.dt_ms, seed)
        drive = (
            f"One sample of the task {task.name}, {duration_ms:g} ms: its own stimulus at {listed(list(spikes))} "
            f"(training data, seed {seed}). Regions that the task does not recruit are silent."
        )
        result = run(c, duration_ms, Stimulus(spikes=spikes), engine=engine, seed=seed, recruit=task.recruits)
        yield Sample(task.name, drive, result)
    if not tasks:
        duration_ms = max(1, round(_DURATION_MS / c.dt_ms)) * c.dt_ms
        stimulus = Stimulus(poisson={r.name: Poisson(_RATE_HZ) for r in sensors})
        drive = f"Every sensor fires at random: Poisson spikes of {_RATE_HZ:g} Hz for {duration_ms:g} ms, seed {seed}."
        yield Sample("Poisson spikes at the sensors", drive, run(c, duration_ms, stimulus, engine=engine, seed=seed))


def _tasks(c: Connectome, configuration: str, images: str) -> list[Task]:
    """The known tasks whose region, sensors and recruits are all there, in the order of the regions; none if the
    configuration is not one of ours, or wants images and these are none."""
    from connectome.datasets.images import load_images
    from connectome.datasets.tasks import known_tasks
    from connectome.development.configuration import parse_configuration

    known = known_tasks()
    if not any(name in known for name in c.regions):
        return []
    try:
        given = parse_configuration(configuration)
        if bool(given.data.idx_folder) != bool(images):
            return []  # a page opens nothing that a file names
        data, jitter = load_images(images), given.data.jitter_pixels
        tasks = [known[name](data, jitter, **given.tasks.get(name, {})) for name in c.regions if name in known]
    except ConnectomeError:
        if images:
            raise
        return []  # of another program, or with parts that are not installed here
    return [task for task in tasks if _fits(task, c)]


def _fits(task: Task, c: Connectome) -> bool:
    sizes = {name: region.size for name, region in c.regions.items()}
    own = {**task.sensors, **task.effectors}
    return all(name in sizes for name in task.recruits) and all(sizes.get(name) == n for name, n in own.items())


def _stimulus(task: Task, dt_ms: float, seed: int) -> tuple[dict[str, tuple[Any, Any]], float]:
    """One training sample as spikes of the sensors, and how long it lasts. A spike of step t is at (t + 1) dt."""
    import numpy as np

    inputs, _ = task.batch(np.random.default_rng(seed), 1)
    spikes, n_steps = {}, 1
    for name, tensor in inputs.items():
        count = np.rint(tensor[0].numpy()).astype(np.int64)
        step, neuron = np.nonzero(count)
        often = count[step, neuron]
        spikes[name] = np.repeat((step + 1) * dt_ms, often), np.repeat(neuron, often)
        n_steps = max(n_steps, len(count))
    return spikes, n_steps * dt_ms


if __name__ == "__main__":
    sys.exit(main())
