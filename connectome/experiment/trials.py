"""Trials: each of one condition, on one wiring, with one seed. Its result depends on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.shuffled import shuffled_wiring
from connectome.arrays import ReadOnly
from connectome.experiment.animation import animate
from connectome.experiment.conditions import (
    Drive,
    Manipulation,
    cells_where,
    clamps,
    manipulated,
    not_counted,
    resolve,
    stimulus,
    stretches,
)
from connectome.experiment.controls import generator, random_targets
from connectome.experiment.parts import Silencing
from connectome.experiment.physiology import physiology_from
from connectome.experiment.readouts import (
    READOUTS,
    Cells,
    Counted,
    Population,
    cells_of,
    populations,
    read_out,
    summarised,
)
from connectome.experiment.specification import Experiment
from connectome.graph.connectome import Connectome
from connectome.graph.selection import NodeSet, node_set
from connectome.simulate.runs import run, steps_of

__all__ = ["Setup", "Trial", "alive", "assemble", "perform", "prepare", "trial_of"]

#: Spikes that a trial keeps for the raster, about.
_MOST_SPIKES: Final = 1_000_000


class Trial(NamedTuple):
    """One trial. In a sweep ``condition`` is ``silence:REGION:NUMBER``."""

    condition: str
    control: str
    seed: int


@dataclass(frozen=True, eq=False)
class Setup(ReadOnly):
    """An experiment on a connectome, everything looked up and checked.

    Parameters
    ----------
    experiment : the specification
    wiring : the connectome as it was given
    network : the same, made live
    drive : the weight of stimulation and parameters of stimulated cells in it
    about : an account of how the network was made, in words
    cells : the cells that can fire; ``shown`` (C,): whether a cell has read-outs of its own
    populations : the populations that are read out
    swept : (S,) cells that a sweep silences, one at a time
    """

    experiment: Experiment
    wiring: Connectome
    network: Connectome
    drive: Drive
    about: str
    cells: Cells
    shown: NDArray[np.bool_]
    populations: tuple[Population, ...]
    swept: NDArray[np.int64]

    def trials(self) -> list[Trial]:
        """All trials, seed by seed, so that the first ones to finish can be compared."""
        e, found = self.experiment, list[Trial]()
        tried = [
            (name, control)
            for control in e.controls.names
            for name in e.conditions
            if control != "random-targets" or self.has_random_targets(name)
        ]
        for seed in e.all_seeds:
            found += [Trial(name, control, seed) for name, control in tried]
            found += [Trial(self.sweep_name(cell), "measured", seed) for cell in self.swept.tolist()]
        return found

    def found(self, query: str, where: str) -> NodeSet:
        """The cells that a query finds. Raises :class:`ConnectomeError` if there are none."""
        return cells_where(self.network, query, where)

    def sweep_name(self, cell: int) -> str:
        """The condition of a sweep in which a cell is silent."""
        return f"silence:{self.cells.region[cell]}:{self.cells.number[cell]}"

    def has_random_targets(self, name: str) -> bool:
        """Whether a condition names cells or edges itself, and there are enough others to draw from."""
        own, whole = self.own(name), self.manipulation(self.network, name)
        return own.names_anything and random_targets(self.network, own, whole, generator(0)) is not None

    def own(self, name: str) -> Manipulation:
        """What a condition does on the measured wiring in addition to its base."""
        return resolve(self.network, self.experiment.conditions[name], f"condition.{name}")

    def manipulation(self, network: Connectome, name: str, *, strict: bool = False) -> Manipulation:
        """Everything that is done in a condition."""
        return resolve(network, self.experiment.whole(name), f"condition.{name}", strict=strict)

    def counted(self, name: str) -> Counted:
        """The window of read-outs in a condition; latencies are measured from the onset of its first stimulation."""
        r, e = self.experiment.readouts, self.experiment
        begins = [s.from_ms for s in e.whole(name).stimulate]
        return Counted(
            r.from_ms, e.duration_ms if r.to_ms is None else r.to_ms, r.bin_ms, min(begins, default=r.from_ms)
        )


def prepare(experiment: Experiment, connectome: Connectome) -> Setup:
    """Look up and check everything that an experiment names. Raises :class:`ConnectomeError`."""
    network, drive, about = alive(experiment, connectome)
    steps_of(experiment.duration_ms, network.dt_ms)
    cells = cells_of(network)
    shown = np.ones(len(cells), bool)
    if experiment.readouts.cells:
        shown = cells.mask(cells_where(network, experiment.readouts.cells, "readouts.cells"))
    swept = np.zeros(0, np.int64)
    if experiment.sweep:
        swept = np.flatnonzero(cells.mask(cells_where(network, experiment.sweep.silence_each, "sweep.silence_each")))
    of = tuple(populations(network, experiment.readouts.by))
    setup = Setup(experiment, connectome, network, drive, about, cells, shown, of, swept)
    for name in experiment.conditions:
        m = setup.manipulation(network, name, strict=True)
        for during in stretches(m, experiment.duration_ms, network.dt_ms):
            stimulus(network, m, during, drive)
    return setup


def alive(experiment: Experiment, connectome: Connectome) -> tuple[Connectome, Drive, str]:
    """The live network, what stimulation means in it, and an account of how it was made."""
    if not experiment.physiology:
        return connectome, Drive(), "Neurons, weights and delays are the connectome's own."
    physiology = physiology_from(experiment.physiology)
    network, account = animate(connectome, physiology)
    return network, Drive(physiology.stimulus_weight, physiology.stimulated), str(account)


def trial_of(setup: Setup, trial: Trial, *, threads: int | None = None) -> xr.Dataset:
    """The result of a trial: the variables of :func:`~connectome.experiment.readouts.read_out`; in a sweep only those
    of populations, without the silent cell; and, for the first seed on the measured wiring, spikes for the raster."""
    e = setup.experiment
    sweeps = trial.condition.startswith("silence:")
    name = (e.sweep.base if e.sweep and sweeps else trial.condition) or e.reference
    network = _network(setup, trial.seed) if trial.control == "shuffled" else setup.network
    m = setup.manipulation(network, name)
    if sweeps:
        _, region, number = trial.condition.split(":")
        m = _silenced(network, region, int(number)).after(m)
    elif trial.control == "random-targets":
        own = setup.own(name)
        drawn = random_targets(network, own, m, generator(trial.seed, "random targets", name))
        base = e.conditions[name].base
        m = drawn.after(setup.manipulation(network, base) if base else Manipulation()) if drawn else m
    time_ms, cell = _spikes(setup, network, m, trial.seed, threads)
    gone = setup.cells.mask(not_counted(network, m))
    found = read_out(time_ms, cell, gone, setup.populations, setup.counted(name))
    made: dict[str, Any] = {k: ("population", found[k]) for k in READOUTS}
    if not sweeps:
        made["course_hz"] = (("population", "bin"), found["course_hz"].astype(np.float32))
        made |= {k: ("every_cell", found[k]) for k in ("cell_spikes", "cell_latency_ms")}
        if trial.seed == e.first_seed and trial.control == "measured" and e.readouts.raster:
            every = 2 ** max(0, int(np.ceil(np.log2(max(time_ms.size, 1) / _MOST_SPIKES))))
            kept = setup.shown[cell] & (cell % every == 0)
            made["spike_time_ms"] = ("spike", time_ms[kept].astype(np.float32))
            made["spike_cell"] = ("spike", cell[kept].astype(np.int32))
            made["spike_every"] = every
    return xr.Dataset(made)


def _silenced(network: Connectome, region: str, number: int) -> Manipulation:
    one = node_set(network, {region: np.array([number])})
    return Manipulation(silence=((Silencing("swept"), one),))


@lru_cache(maxsize=1)  # the conditions of a seed come one after the other
def _network(setup: Setup, seed: int) -> Connectome:
    return alive(setup.experiment, shuffled_wiring(setup.wiring, seed))[0]


def _spikes(
    setup: Setup, network: Connectome, m: Manipulation, seed: int, threads: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Times and cells of all spikes, stretch after stretch."""
    e, state = setup.experiment, None
    changed = manipulated(network, m)
    times, cells = [np.zeros(0)], [np.zeros(0, np.int64)]
    first = np.array([setup.cells.first.get(name, -1) for name in network.regions], np.int64)
    for during in stretches(m, e.duration_ms, network.dt_ms):
        here, driven = stimulus(changed, m, during, setup.drive)
        steps = round((during.to_ms - during.from_ms) / network.dt_ms)
        spikes, state = run(
            here, steps * network.dt_ms, driven, seed=seed, dtype=e.dtype, threads=threads,
            clamp=clamps(changed, m, during), state=state, return_state=True,
        )  # fmt: skip
        times.append(during.from_ms + spikes.spike_time_ms.values)
        cells.append(first[spikes.spike_region.values] + spikes.spike_neuron.values)
    return np.concatenate(times), np.concatenate(cells)


def perform(
    experiment: Experiment, connectome: Connectome, progress: Callable[[Trial], None] | None = None
) -> xr.Dataset:
    """Run all trials of an experiment, one after the other, in this process, and :func:`assemble` them.
    (``python -m sims.experiment`` runs them in several processes and can be resumed; its results are the same.) Raises
    :class:`ConnectomeError`."""
    setup = prepare(experiment, connectome)

    def each() -> Iterable[tuple[Trial, xr.Dataset]]:
        for trial in setup.trials():
            yield trial, trial_of(setup, trial)
            if progress is not None:
                progress(trial)

    return assemble(setup, each())


def assemble(setup: Setup, found: Iterable[tuple[Trial, xr.Dataset]]) -> xr.Dataset:
    """The results of all trials as one dataset.

    ``rate_hz``, ``active`` and ``latency_ms`` (condition, control, seed, population), ``course_hz`` (..., bin),
    ``cell_rate_hz`` and ``cell_latency_ms`` (..., cell), nan where a condition was not tried on a control.
    ``base_rate_hz`` and so on are the same for the condition that each is compared with, over the cells that count in
    both. For a sweep there are ``swept_rate_hz``, ``swept_base_rate_hz`` and so on (swept, seed, population), over all
    other cells. ``raster_time_ms``, ``raster_cell`` and ``raster_condition`` (spike) are from the first seed.
    Coordinates identify populations and cells. ``found`` is in the order of :meth:`Setup.trials`.
    """
    e, cells = setup.experiment, setup.cells
    conditions, controls, seeds = list(e.conditions), list[str](e.controls.names), list(e.all_seeds)
    n, shown = len(setup.populations), np.flatnonzero(setup.shown)
    counted = setup.counted(conditions[0])
    shape, bins = (len(conditions), len(controls), len(seeds)), counted.bins
    arrays: dict[str, NDArray[Any]] = {p + k: np.full((*shape, n), np.nan) for k in READOUTS for p in ("", "base_")}
    arrays["course_hz"] = np.full((*shape, n, bins.size - 1), np.nan, np.float32)
    arrays |= {k: np.full((*shape, shown.size), np.nan, np.float32) for k in ("cell_rate_hz", "cell_latency_ms")}
    swept = {
        f"swept_{p}{k}": np.full((setup.swept.size, len(seeds), n), np.nan) for k in READOUTS for p in ("", "base_")
    }
    row_of = {setup.sweep_name(cell): row for row, cell in enumerate(setup.swept.tolist())}
    spikes: dict[str, tuple[NDArray[Any], NDArray[Any], int]] = {}
    for seed, of_seed in groupby(found, key=lambda item: item[0].seed):
        at_seed, done = seed - e.first_seed, dict[tuple[str, str], _Each]()
        for trial, data in of_seed:
            if trial.condition in row_of:
                for k in READOUTS:
                    swept[f"swept_{k}"][row_of[trial.condition], at_seed] = data[k].values
                continue
            at = conditions.index(trial.condition), controls.index(trial.control), at_seed
            each = _Each(data.cell_spikes.values, data.cell_latency_ms.values)
            done[trial.condition, trial.control] = each
            for k in (*READOUTS, "course_hz"):
                arrays[k][at] = data[k].values
            arrays["cell_rate_hz"][at] = np.where(each.spikes < 0, np.nan, each.spikes / counted.seconds)[shown]
            arrays["cell_latency_ms"][at] = each.latency_ms[shown]
            if "spike_cell" in data:
                spikes[trial.condition] = data.spike_time_ms.values, data.spike_cell.values, int(data.spike_every)
        for (condition, control), each in done.items():
            base = done.get((e.against(condition), "measured" if control == "random-targets" else control))
            if base is not None:
                at = conditions.index(condition), controls.index(control), at_seed
                both = base._replace(spikes=np.where(each.spikes < 0, -1, base.spikes))
                for k, values in summarised(*both, setup.populations, counted.seconds).items():
                    arrays[f"base_{k}"][at] = values
        if row_of:
            _compare_sweep(setup, done, at_seed, swept)
    at_ = ("condition", "control", "seed")
    last = {"course_hz": ("population", "bin"), "cell_rate_hz": ("cell",), "cell_latency_ms": ("cell",)}
    made: dict[str, Any] = {k: ((*at_, *last.get(k, ("population",))), v) for k, v in arrays.items()}
    made |= {k: (("swept", "seed", "population"), v) for k, v in swept.items() if row_of}
    made |= _raster(setup, spikes)
    coordinates: dict[str, Any] = {
        "condition": conditions, "control": controls, "seed": seeds, "bin": (bins[:-1] + bins[1:]) / 2,
        "by": ("population", [p.by for p in setup.populations]),
        "value": ("population", [p.value for p in setup.populations]),
        "n_cells": ("population", [p.cells.size for p in setup.populations]),
        "cell_region": ("cell", cells.region[shown]), "cell_number": ("cell", cells.number[shown]),
        "cell_label": ("cell", cells.label[shown]),
    }  # fmt: skip
    if row_of:
        coordinates["swept_cell"] = ("swept", [cells.name(cell) for cell in setup.swept.tolist()])
        coordinates["swept_region"] = ("swept", cells.region[setup.swept])
        coordinates["swept_number"] = ("swept", cells.number[setup.swept])
    result = xr.Dataset(made, coordinates, {"about": setup.about, "network": setup.network.digest()})
    for k, units in READOUTS.items():
        for name in result.data_vars:
            if str(name).endswith(k):
                result[name].attrs["units"] = units
    result["bin"].attrs["units"] = "ms"
    return result


class _Each(NamedTuple):
    """What each cell did in a trial."""

    spikes: NDArray[np.int32]
    latency_ms: NDArray[np.float32]


def _compare_sweep(
    setup: Setup, done: dict[tuple[str, str], _Each], seed: int, swept: dict[str, NDArray[np.float64]]
) -> None:
    """Read-outs of the sweep's base condition, each without the cell that is silent."""
    e = setup.experiment
    spikes, latency_ms = done[(e.sweep.base if e.sweep else "") or e.reference, "measured"]
    seconds = setup.counted(e.reference).seconds
    whole = summarised(spikes, latency_ms, setup.populations, seconds)
    for row, cell in enumerate(setup.swept.tolist()):
        others = spikes.copy()
        others[cell] = -1
        mine = [k for k, population in enumerate(setup.populations) if cell in population.cells]
        less = summarised(others, latency_ms, [setup.populations[k] for k in mine], seconds)
        for name, values in whole.items():
            swept[f"swept_base_{name}"][row, seed] = values
            swept[f"swept_base_{name}"][row, seed, mine] = less[name]


def _raster(setup: Setup, spikes: dict[str, tuple[NDArray[Any], NDArray[Any], int]]) -> dict[str, Any]:
    """Spikes of a few of the cells that fired, the same cells in all conditions: spaced evenly through the cells ranked
    by activity, and shown in order of number."""
    if not spikes:
        return {}
    every = max(k for _, _, k in spikes.values())
    count = sum(np.bincount(cell, minlength=len(setup.cells)) for _, cell, _ in spikes.values())
    fired = np.flatnonzero(count * (np.arange(len(setup.cells)) % every == 0))
    loudest = fired[np.argsort(-np.asarray(count)[fired], kind="stable")]
    chosen = np.sort(loudest[_evenly(loudest.size, setup.experiment.readouts.raster)])
    rows: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for k, name in enumerate(setup.experiment.conditions):
        time_ms, cell, _ = spikes[name]
        mine = np.isin(cell, chosen)
        rows.append((time_ms[mine], cell[mine], np.full(int(mine.sum()), k, np.int32)))
    time_ms, cell, condition = (np.concatenate(column) for column in zip(*rows, strict=True))
    return {
        "raster_time_ms": ("spike", time_ms), "raster_cell": ("spike", cell), "raster_condition": ("spike", condition),
        "raster_cells": ("row", chosen),
    }  # fmt: skip


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))
