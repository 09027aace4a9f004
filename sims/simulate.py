"""Run a graph: make it live, drive it, write its spikes, print what they say of its state, draw them.

python -m sims.simulate SNAPSHOT --duration-ms 1000 --drive REGION:poisson=8000,30 --out spikes.h5
python -m sims.simulate connectome.csv --physiology shiu2024 --stimulate "type == 'ORN_DM1'" --out spikes.h5
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError
from connectome.memory import refuse_memory
from sims.inputs import add_shape, open_graph, shaped
from sims.physiologies import add_physiology, check_physiology, made_alive
from sims.program import add_common, add_json, ended, exit_codes, refuse_seed, refuse_taken
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from connectome.graph.parts import Region
    from connectome.simulate.runs import Stimulus

__all__ = ["main", "parser", "stimulus_of"]

_DRIVE = re.compile(r"(?P<region>[^:=]+):(?P<kind>poisson|current)=(?P<numbers>.*)", re.DOTALL)
_DRIVE_RULE = "must be REGION:poisson=RATE_HZ[,WEIGHT_PA] or REGION:current=PA"
_MOST_WARNINGS = 12
_MAX_RATE_HZ = 1e6  # of one neuron: 100,000 synapses at 10 Hz


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.simulate",
        description="Run a graph, write its spikes (HDF5, SONATA), print rate, irregularity and synchrony of each "
        "region, and draw a raster.",
        epilog=exit_codes(),
    )
    parser.add_argument(
        "graph", metavar="GRAPH", help="a snapshot, any other file that is read, or the name of a measured connectome"
    )
    parser.add_argument(
        "--duration-ms", type=float, default=1000.0, metavar="MS", help="how long, in model time (default: 1000)"
    )
    parser.add_argument(
        "--drive", action="append", default=[], metavar="REGION:KIND=...",
        help="may be given several times. REGION:poisson=RATE_HZ,WEIGHT_PA: each neuron gets Poisson events of this "
        "rate and weight; REGION:poisson=RATE_HZ: a sensor fires so; REGION:current=PA: a constant current. "
        "REGION is a name, or * for every region of neurons",
    )  # fmt: skip
    parser.add_argument(
        "--spikes", type=Path, metavar="FILE", help="spikes of the sensors, a SONATA file such as --out writes"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("spikes.h5"), metavar="FILE", help="the spikes (default: spikes.h5)"
    )
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--raster", type=Path, metavar="FILE", help="the picture, PNG (default: beside --out)")
    picture.add_argument("--no-raster", action="store_true", help="draw none")
    parser.add_argument(
        "--skip-ms", type=float, default=0.0, metavar="MS", help="leave this out of the statistics (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the Poisson drive, 0 or more (default: 0)")
    parser.add_argument("--threads", type=int, metavar="N", help="the spikes are the same for any number")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"], help="default: float32")
    parser.add_argument(
        "--engine", default="numba", choices=["numba", "torch"],
        help="event driven, or message passing, which also runs neuron models without a kernel (default: numba)",
    )  # fmt: skip
    parser.add_argument("--device", metavar="NAME", help="such as cuda, with --engine torch (default: cpu)")
    add_physiology(parser)
    add_shape(parser)
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("simulate", lambda: _simulate(options), lambda: "No file is half-written.")


def _simulate(options: argparse.Namespace) -> int:
    raster: Path | None = None if options.no_raster else options.raster or options.out.with_suffix(".png")
    _check(options, raster)
    # Heavy imports wait until the options are known to parse: --help answers at once.
    from connectome.analysis.activity import activity
    from connectome.experiment.checks import activity_warnings, weight_warnings
    from connectome.io.results import save_figure
    from connectome.io.spikes import save_spikes
    from connectome.simulate.runs import run

    console = console_of(options)
    _refuse_memory(options.graph)
    with progress(options, f"Reading {options.graph}"):
        connectome = shaped(open_graph(options.graph), options)
    stimulus, replayed = stimulus_of(options.drive, options.spikes, connectome.regions)
    if options.physiology:
        connectome, of_cells = made_alive(connectome, options, console, _gain_picture(options))
        stimulus = _joined(stimulus, of_cells)
    console.print(
        f"{Path(options.graph).name}: {connectome.n_neurons:,} neurons, {connectome.n_edges:,} edges, steps of "
        f"{connectome.dt_ms:g} ms{_models(connectome.regions.values())}", highlight=False, markup=False,
    )  # fmt: skip
    for line in _describe(options.drive, replayed):
        console.print(line, highlight=False, markup=False)
    with _Display(console, options.duration_ms) as display:
        spikes = run(
            connectome, options.duration_ms, stimulus, engine=options.engine, seed=options.seed, dtype=options.dtype,
            threads=options.threads, progress=display.show, device=options.device,
        )  # fmt: skip
        display.show(options.duration_ms)
    save_spikes(spikes, options.out, overwrite=options.overwrite)
    if raster is not None:
        from connectome.analysis.figures import draw_raster

        save_figure(draw_raster(spikes, connectome.regions), raster)
    statistics = activity(spikes, connectome.regions, skip_ms=options.skip_ms)
    _report(console, spikes, statistics, display)
    if options.json:
        cost = {"real_time_factor": display.factor, "synaptic_operations": spikes.attrs["synaptic_operations"]}
        print_json(statistics.assign_attrs(cost))
    said = [*weight_warnings(connectome), *activity_warnings(spikes, connectome)]
    more = [f"And {len(said) - _MOST_WARNINGS} more like these."] if len(said) > _MOST_WARNINGS else []
    for line in said[:_MOST_WARNINGS] + more:
        console.print(f"Note: {line}", highlight=False, markup=False, soft_wrap=True)
    console.print("Written: " + ", ".join(str(p) for p in (options.out, raster) if p), markup=False, soft_wrap=True)
    return 0


def _check(options: argparse.Namespace, raster: Path | None) -> None:
    """Refuse what can be refused before anything is read: a long run must not fail at its end."""
    refuse_seed(options.seed)
    if options.device is not None:
        if options.engine != "torch":
            raise ConnectomeError("--device", "must go with --engine torch", options.device)
        from connectome.simulate.torch_runs import checked_device

        checked_device("--device", options.device)
    if options.threads is not None and options.threads < 1:
        raise ConnectomeError("--threads", "must be 1 or more", options.threads)
    if not 0 < options.duration_ms < math.inf:
        raise ConnectomeError("--duration-ms", "must be finite and > 0", options.duration_ms)
    if not 0 <= options.skip_ms < options.duration_ms:
        raise ConnectomeError(
            "--skip-ms", f"must be 0 or more and less than --duration-ms, {options.duration_ms:g}", options.skip_ms
        )
    taken = {os.path.realpath(p): name for name, p in (("GRAPH", options.graph), ("--spikes", options.spikes)) if p}
    check_physiology(options)
    gain = _gain_picture(options) if options.calibrate else None
    for name, path, suffix in (("--out", options.out, ".h5"), ("--raster", raster, ".png"), ("--out", gain, ".png")):
        if path is None:
            continue
        if path.suffix != suffix:
            raise ConnectomeError(name, f"must end in {suffix}", repr(str(path)))
        if os.path.realpath(path) in taken:
            raise ConnectomeError(name, f"must not be the file of {taken[os.path.realpath(path)]}", repr(str(path)))
        refuse_taken(name, path, overwrite=options.overwrite)


def _refuse_memory(graph: str) -> None:
    """Refuse a snapshot that is too large, before it is read. Measured: to read one and run it, spikes left out."""
    from connectome.io.exchange import format_of
    from connectome.io.snapshot import open_snapshot

    if not (Path(graph).is_file() and graph.endswith(".h5") and format_of(graph).name == "snapshot"):
        return
    snapshot = open_snapshot(graph)
    n_edges = 0 if snapshot.is_mapped else snapshot.n_edges
    refuse_memory(f"{n_edges:,} edges", 300e6 + 45 * n_edges, "Close other programs, or take a machine with more.")


def _gain_picture(options: argparse.Namespace) -> Path:
    out: Path = options.out
    return out.with_name(f"{out.stem}_gain.png")


def _joined(stimulus: Stimulus, more: Stimulus) -> Stimulus:
    """Both; what is stimulated must have no Poisson drive besides."""
    both = sorted(stimulus.poisson.keys() & more.poisson.keys())
    if both:
        raise ConnectomeError("--stimulate", "must not be of regions that --drive gives Poisson events", both[0])
    return replace(stimulus, poisson={**stimulus.poisson, **more.poisson})


def stimulus_of(
    drives: Sequence[str], spikes: Path | None, regions: Mapping[str, Region]
) -> tuple[Stimulus, Mapping[str, int]]:  # fmt: skip
    """What ``--drive`` and ``--spikes`` say, and how many spikes of the latter each sensor emits. Raises
    :class:`ConnectomeError`."""
    from connectome.io.spikes import load_spikes
    from connectome.simulate.runs import Poisson, Stimulus

    poisson: dict[str, Poisson] = {}
    current_pa: dict[str, float] = {}
    for text in drives:
        names, kind, numbers = _parse_drive(text, regions)
        for name in names:
            if name in (poisson if kind == "poisson" else current_pa):
                raise ConnectomeError("--drive", f"must give a region one {kind} drive", f"{text!r}, a second one")
            if kind == "poisson":
                poisson[name] = Poisson(*numbers)
            else:
                current_pa[name] = numbers[0]
    replayed = {}
    if spikes is not None:
        given = load_spikes(spikes)
        for place, name in enumerate(given.region.values.tolist()):
            if name not in regions:
                raise ConnectomeError(str(spikes), f"must have populations among {list(regions)}", repr(name))
            if regions[name].role == "sensor":
                mine = given.spike_region.values == place
                replayed[name] = given.spike_time_ms.values[mine], given.spike_neuron.values[mine]
        if not replayed:
            sensors = [r.name for r in regions.values() if r.role == "sensor"]
            raise ConnectomeError(str(spikes), f"must have a population of a sensor, of {sensors}", "none")
    return Stimulus(replayed, current_pa, poisson), {name: len(times) for name, (times, _) in replayed.items()}


def _parse_drive(text: str, regions: Mapping[str, Region]) -> tuple[list[str], str, list[float]]:
    """Names of regions, kind of drive, its numbers."""
    found = _DRIVE.fullmatch(text)
    if found is None:
        raise ConnectomeError("--drive", _DRIVE_RULE, repr(text))
    name, kind = found["region"], found["kind"]
    try:
        numbers = [float(number) for number in found["numbers"].split(",")]
    except ValueError:
        raise ConnectomeError("--drive", _DRIVE_RULE, repr(text)) from None
    if len(numbers) > (2 if kind == "poisson" else 1) or not all(map(math.isfinite, numbers)):
        raise ConnectomeError("--drive", f"{_DRIVE_RULE}, with finite numbers", repr(text))
    if kind == "poisson" and not 0 <= numbers[0] <= _MAX_RATE_HZ:
        raise ConnectomeError("--drive", f"must have a rate of 0 .. {_MAX_RATE_HZ:,.0f} Hz", repr(text))
    if name != "*" and name not in regions:
        raise ConnectomeError(
            "--drive", f"must name a region of {', '.join(regions)}, or * for every region of neurons", repr(text)
        )
    names = [r.name for r in regions.values() if r.role == "neuron"] if name == "*" else [name]
    if not names:
        raise ConnectomeError("--drive", "must name regions that there are", f"{text!r}, and no region of neurons")
    is_sensor = name != "*" and regions[name].role == "sensor"
    if is_sensor and (kind == "current" or len(numbers) > 1):
        raise ConnectomeError("--drive", f"must be {name}:poisson=RATE_HZ, as {name} is a sensor", repr(text))
    if not is_sensor and kind == "poisson" and len(numbers) < 2:
        raise ConnectomeError(
            "--drive", f"must be {name}:poisson=RATE_HZ,WEIGHT_PA; only a sensor goes without", repr(text)
        )
    return names, kind, numbers


def _models(regions: Iterable[Region]) -> str:
    """The models that neurons are of, if they are not all of ``iaf_psc_exp``."""
    models = dict.fromkeys(r.neuron.model for r in regions if r.role != "sensor")
    return f", neurons of {', '.join(models)}" if set(models) - {"iaf_psc_exp"} else ""


def _describe(drives: Sequence[str], replayed: Mapping[str, int]) -> Iterator[str]:
    yield "Drive: " + (" ".join(drives) if drives else "none, but what the neurons' own parameters give")
    if replayed:
        yield "Replayed: " + ", ".join(f"{name} {n:,} spikes" for name, n in replayed.items())


class _Display:
    """Live progress: model time and the real-time factor, wall time over model time. What comes before the first step
    (preparing the run and, once after an install, compiling the kernels) is not in the factor."""

    def __init__(self, console: Console, duration_ms: float) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._progress = Progress(
            BarColumn(bar_width=10), TextColumn("{task.completed:,.0f}/{task.total:,.0f} ms"),
            TextColumn("{task.fields[factor]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._line = self._progress.add_task("", total=duration_ms, factor="preparing")
        self._began, self._duration_ms = time.perf_counter(), duration_ms
        self._first: tuple[float, float] | None = None
        self.preparation_s = self.simulation_s = 0.0
        self.factor = math.nan

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, now_ms: float) -> None:
        """Say how far the run is."""
        now = time.perf_counter()
        if self._first is None:
            self._first = (now, now_ms) if now_ms < self._duration_ms else (self._began, 0.0)
        since, from_ms = self._first
        self.preparation_s = since - self._began
        self.simulation_s = now - since
        if now_ms > from_ms:
            self.factor = 1000 * self.simulation_s / (now_ms - from_ms)
            self._progress.update(self._line, factor=f"real-time factor {self.factor:.3g}")
        self._progress.update(self._line, completed=now_ms)


def _report(console: Console, spikes: xr.Dataset, statistics: xr.Dataset, display: _Display) -> None:
    """The table, what its columns mean, and what the run cost."""
    rows = []
    for at, region in enumerate(statistics.region.values):
        row = statistics.isel(population=at)
        name = f"  {str(row.population.values).removeprefix(region).strip()}" if row.sign else str(region)
        rate, cv, synchrony = (
            "-" if math.isnan(v) else f"{float(v):.2f}" for v in (row.rate_hz, row.cv_isi, row.synchrony)
        )
        of = f"{cv} ({int(row.cv_isi_neurons):,})"
        rows.append([name, f"{int(row.n_neurons):,}", f"{int(row.n_spikes):,}", rate, of, synchrony])
    print_table(console, "", ["region", "neurons", "spikes", "rate Hz", "CV ISI (of)", "synchrony"], rows)
    bin_ms, end_ms = statistics.attrs["bin_ms"], statistics.attrs["duration_ms"]
    console.print(
        f"{statistics.attrs['skip_ms']:g} to {end_ms:g} ms. CV ISI: mean of the neurons with 3 or more spikes, their "
        f"number in brackets. Synchrony: variance over mean of counts in {bin_ms:g} ms, of at most 1,000 neurons.",
        highlight=False,
    )  # fmt: skip
    operations = spikes.attrs["synaptic_operations"]
    console.print(
        f"{spikes.attrs['duration_ms']:,g} ms in {display.simulation_s:.2f} s after {display.preparation_s:.2f} s of "
        f"preparation: real-time factor {display.factor:.3g}; {operations:,} synaptic operations, "
        f"{operations / max(display.simulation_s, 1e-9):.3g} a second.", highlight=False,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
