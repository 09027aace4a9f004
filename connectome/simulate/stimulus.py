"""Input to a network during a run, and how it is checked and laid out for the engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Selection, starts
from connectome.graph.parts import ROLES, Region
from connectome.graph.selection import NodeSet
from connectome.simulate.poisson_kernels import MEAN_MAX, RUN, TABLE, UNSURE, PoissonDrive

__all__ = [
    "LARGEST", "Injected", "Input", "Poisson", "PoissonRun", "Stimulus", "neuron_ids", "numbers", "of_regions",
    "poisson_drive", "poisson_runs", "prepare",
]  # fmt: skip

_EVENTS_MAX = 1e4
_TABLES = 256  # means that get a table; with more of them every count is decided by the thresholds


#: Of weights and of what a stimulus says: sums of millions of them are within float32.
LARGEST: Final = 1e30


@dataclass(frozen=True)
class Poisson(ReadOnly):
    """Poisson drive of a region: exact counts in every step, independent between neurons and steps.

    Parameters
    ----------
    rate_hz : scalar or (N,), >= 0
    weight_pa : scalar or (N,), what each event adds to the excitatory current, or to the inhibitory one if negative.
        Leave it out for a sensor: there the events are the sensor's own spikes.
    """

    rate_hz: ArrayLike
    weight_pa: ArrayLike | None = None


@dataclass(frozen=True)
class Stimulus(ReadOnly):
    """Input to a network during a run. Keys are names of regions; a region may have several kinds of input.

    Parameters
    ----------
    spikes : sensor -> (times_ms (M,), neurons (M,)); times are rounded to the grid and lie in dt .. duration. A neuron
        that is named twice at a time emits two spikes then.
    current_pa : region of neurons or effector -> anything that broadcasts to (steps, N). Row t acts during step t.
    poisson : region -> :class:`Poisson`
    """

    spikes: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)
    current_pa: Mapping[str, ArrayLike] = field(default_factory=dict)
    poisson: Mapping[str, Poisson] = field(default_factory=dict)

    @classmethod
    def to(
        cls, nodes: NodeSet, *, current_pa: float | None = None, rate_hz: float | None = None,
        weight_pa: float | None = None,
    ) -> Stimulus:  # fmt: skip
        """A stimulus for the neurons of a set and no others: a constant current, Poisson events with a rate and a
        weight, or both. Sensors take only a rate."""
        current = {} if current_pa is None else nodes.fill(current_pa)
        rates = {} if rate_hz is None else nodes.fill(rate_hz)
        return cls(current_pa=current, poisson={name: Poisson(rate, weight_pa) for name, rate in rates.items()})

    def part(self, first: int, stop: int, n_steps: int, dt_ms: float) -> Stimulus:
        """What of a stimulus of ``n_steps`` falls into the steps ``first`` to ``stop``, in their own time. Checks
        nothing."""
        spikes, current = {}, {}
        for name, (times_ms, neurons) in self.spikes.items():
            step = np.rint(np.asarray(times_ms) / dt_ms) - 1
            mine = (step >= first) & (step < stop)
            spikes[name] = ((step[mine] + 1 - first) * dt_ms, np.asarray(neurons)[mine])
        for name, pa in self.current_pa.items():
            varies = np.ndim(pa) > 1 and len(np.asarray(pa)) == n_steps != 1
            current[name] = np.asarray(pa)[first:stop] if varies else pa
        return Stimulus(spikes, current, self.poisson)


class Injected(NamedTuple):
    """Spikes that a sensor is told to emit: (M,) each, by step, then neuron; a pair may come twice."""

    step: NDArray[np.int64]
    neuron: NDArray[np.uint32]


class PoissonRun(NamedTuple):
    """A run of one region's neurons, ``start`` to ``stop``: see ``poisson_kernels.RUN``. weight (pA an event) and mean
    (events a step): one entry for all, or one for each neuron."""

    start: int
    stop: int
    key: int
    draw: int
    weight: NDArray[np.float64]
    mean: NDArray[np.float64]


@dataclass(frozen=True)
class Input:
    """A checked stimulus. ``current_pa``: (1 or steps, n) by region."""

    injected: Mapping[str, Injected]
    current_pa: Mapping[str, NDArray[np.float64]]
    poisson: Mapping[str, tuple[PoissonRun, ...]]
    seed: int


def prepare(
    connectome: Connectome, selection: Selection, n_steps: int, stimulus: Stimulus, seed: int, first: int = 0
) -> Input:
    """Check a stimulus, for steps that begin with ``first``. Raises :class:`ConnectomeError`."""
    current = {}
    for where, r, given in of_regions("stimulus.current_pa", stimulus.current_pa, connectome, selection.regions):
        varies = np.ndim(given) > 1 and np.shape(given)[0] != 1
        current[r.name] = numbers(where, given, (n_steps if varies else 1, r.size), "(steps, N)")
    # Numbered as in the whole connectome, so that a neuron's drive does not depend on which regions take part.
    first_key = starts(connectome.regions.values())
    poisson = {}
    for where, r, drive in of_regions("stimulus.poisson", stimulus.poisson, connectome, selection.regions, ROLES):
        poisson[r.name] = tuple(poisson_runs(*_poisson(where, r, drive, connectome.dt_ms), first_key[r.name]))
    return Input(_injected(connectome, selection, n_steps, stimulus, first), current, poisson, seed)


def poisson_drive(runs: list[PoissonRun], seed: int, dtype: np.dtype[Any]) -> PoissonDrive:
    """What the generator wants."""
    means, which = np.unique(np.concatenate([np.zeros(0), *(r.mean for r in runs)]), return_inverse=True)
    k = np.arange(1, 2 if not means.size else int(means[-1] + 12 * means[-1] ** 0.5 + 25))
    p = np.exp(-means)[:, None] * np.cumprod(means[:, None] / k, axis=1)  # P(X = k)
    above = np.cumsum(p[:, ::-1], axis=1)[:, ::-1]  # P(X >= k), from the small terms up: right to the last digit
    threshold = np.zeros((means.size, k.size + 1), np.uint64)
    threshold[:, :-1] = np.ldexp(above, 64)
    length = np.count_nonzero(threshold, axis=1) + 1
    few = means.size <= _TABLES
    table = np.full((means.size if few else 1, TABLE), UNSURE, np.uint8)
    if few:
        lowest = np.arange(TABLE, dtype=np.uint64) << np.uint64(52)
        for entries, falling in zip(table, threshold, strict=True):
            rising = falling[::-1]
            least, most = (
                k.size + 1 - np.searchsorted(rising, x, "right") for x in (lowest | np.uint64(2**52 - 1), lowest)
            )
            entries[:] = np.where(least == most, most, UNSURE)
    run = np.zeros(len(runs), RUN)
    entries = np.cumsum([0, *(r.mean.size for r in runs)])
    for row, r, first in zip(run, runs, entries, strict=False):
        row["start"], row["stop"], row["key"], row["draw"] = r.start, r.stop, r.key, r.draw
        row["first"], row["spread"] = first, r.mean.size > 1
    return PoissonDrive(
        run, np.concatenate([np.zeros(0), *(r.weight for r in runs)]).astype(dtype), which.astype(np.uint64),
        table.ravel(), np.uint64(TABLE if few else 0), (np.cumsum(length) - length).astype(np.uint64),
        threshold[np.arange(k.size + 1) < length[:, None]], np.array([seed % 2**32, seed >> 32], np.uint64),
    )  # fmt: skip


def _poisson(where: str, r: Region, drive: Any, dt_ms: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) events a step on average, and pA an event."""
    if not isinstance(drive, Poisson):
        raise ConnectomeError(where, "must be a Poisson(rate_hz, weight_pa)", repr(drive)[:80])
    rate = numbers(f"{where}.rate_hz", drive.rate_hz, (r.size,))
    most = _EVENTS_MAX / dt_ms * 1000
    if ((rate < 0) | (rate > most)).any():
        raise ConnectomeError(
            f"{where}.rate_hz", f"must be 0 .. {most:g}, {_EVENTS_MAX:g} events a step",
            f"{rate[(rate < 0) | (rate > most)][0]:g}",
        )  # fmt: skip
    if r.role == "sensor" and drive.weight_pa is not None:
        raise ConnectomeError(
            f"{where}.weight_pa", "must be left out for a sensor", repr(drive.weight_pa)[:80],
            "The events are the sensor's own spikes; its edges have the weights.",
        )  # fmt: skip
    if r.role != "sensor" and drive.weight_pa is None:
        raise ConnectomeError(f"{where}.weight_pa", "must be given, in pA an event", None)
    weight = 1.0 if drive.weight_pa is None else drive.weight_pa
    return rate * dt_ms / 1000, numbers(f"{where}.weight_pa", weight, (r.size,))


def poisson_runs(mean: NDArray[np.float64], weight: NDArray[np.float64], key: int) -> Iterator[PoissonRun]:
    """Runs for the neurons of a region, (N,) each: one for each stretch of equal neurons, or one for all if there are
    many stretches; and as many again as a neuron's mean asks for."""
    edge = np.flatnonzero((np.diff(mean) != 0) | (np.diff(weight) != 0)) + 1
    alike = edge.size <= mean.size // 64
    draws = np.maximum(np.ceil(mean / MEAN_MAX), 1)
    for start, stop in pairwise([0, *(edge.tolist() if alike else []), mean.size]):
        here = slice(start, start + 1 if alike else stop)
        for draw in range(int(draws[here].max()) if mean[here].any() else 0):
            part = np.where(draw < draws[here], mean[here] / draws[here], 0.0)
            yield PoissonRun(start, stop, key + start, draw, weight[here], part)


def _injected(
    connectome: Connectome, selection: Selection, n_steps: int, stimulus: Stimulus, first: int
) -> Mapping[str, Injected]:
    injected, dt_ms = {}, connectome.dt_ms
    for where, r, given in of_regions("stimulus.spikes", stimulus.spikes, connectome, selection.regions, ("sensor",)):
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise ConnectomeError(where, "must be a pair (times_ms, neurons)", repr(given)[:80])
        times, neuron = numbers(f"{where} times_ms", given[0]), neuron_ids(f"{where} neurons", given[1], r)
        if times.shape != neuron.shape:
            raise ConnectomeError(where, "must have as many times as neurons", f"{times.shape} and {neuron.shape}")
        step = np.rint(times / dt_ms) - 1
        bad = ~((step >= 0) & (step < n_steps))
        if bad.any():
            raise ConnectomeError(
                f"{where} times_ms", f"must be {dt_ms:g} .. {n_steps * dt_ms:g} ms, the run's steps",
                f"{times[bad][0]:g} at index {int(np.argmax(bad))}",
            )  # fmt: skip
        order = np.lexsort((neuron, step))
        injected[r.name] = Injected(first + step[order].astype(np.int64), neuron[order].astype(np.uint32))
    return injected


def of_regions(
    where: str, given: Mapping[str, Any], connectome: Connectome, regions: Mapping[str, Region],
    roles: tuple[str, ...] = ("neuron", "effector"),
) -> Iterator[tuple[str, Region, Any]]:  # fmt: skip
    """The entries of an argument by region, each with its name in messages. Checks that the regions can have it."""
    if not isinstance(given, Mapping):
        raise ConnectomeError(where, "must be a mapping from names of regions", repr(given)[:80])
    for name, value in given.items():
        if name not in connectome.regions:
            raise ConnectomeError(where, f"must name regions of {list(connectome.regions)}", repr(name))
        if name not in regions:
            raise ConnectomeError(
                where, f"must name regions that take part, {list(regions)}", repr(name), "See recruit."
            )
        role = connectome.regions[name].role
        if role not in roles:
            hint = "A sensor has no membrane; it emits the spikes it is given, by stimulus.spikes or stimulus.poisson."
            if role != "sensor":
                hint = "Spikes are injected into sensors. Drive neurons by current_pa, poisson, or a sensor's edges."
            raise ConnectomeError(
                where, f"must name regions with the role {' or '.join(roles)}", f"{name!r}, a {role}", hint
            )
        yield f"{where}[{name}]", regions[name], value


def numbers(
    where: str, given: ArrayLike, shape: tuple[int, ...] | None = None, axes: str = "(N,)"
) -> NDArray[np.float64]:
    """Finite numbers, below :data:`LARGEST` in size, broadcast to a shape if there is one."""
    array = np.asarray(given)
    if array.dtype.kind not in "biuf" and array.size:
        raise ConnectomeError(where, "must be numbers", f"{array.dtype} of shape {array.shape}")
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ConnectomeError(where, "must be finite", f"{array[~np.isfinite(array)][0]} among {array.size}")
    if array.size and np.abs(array).max() >= LARGEST:
        raise ConnectomeError(where, f"must be below {LARGEST:g} in size: sums overflow", np.abs(array).max())
    if shape is None:
        return array
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ConnectomeError(where, f"must broadcast to {axes} = {shape}", f"shape {array.shape}") from None


def neuron_ids(where: str, given: ArrayLike, region: Region) -> NDArray[np.int64]:
    """Numbers (K,) of neurons of a region. Raises :class:`ConnectomeError`."""
    array = np.asarray(given)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ConnectomeError(where, "must be one-dimensional integers", f"{array.dtype} of shape {array.shape}")
    bad = (array < 0) | (array >= region.size)
    if bad.any():
        raise ConnectomeError(
            where, f"must be in 0 .. {region.size - 1}, the size of region {region.name!r}",
            f"{array[bad][0]} at index {int(np.argmax(bad))}",
        )  # fmt: skip
    return array.astype(np.int64)
