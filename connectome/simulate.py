"""Run spikes through a connectome: one contract, two engines.

In step t = 0, 1, ... of dt, each neuron with v in mV above e_l and synaptic currents in pA does what NEST's
``iaf_psc_exp`` does:

1. While refractory it counts down and v stays at v_reset; otherwise ``u = p22 v + p21_ex i_ex + p21_in i_in
   + p20 (i_e + current)``, exact for currents that are constant in the step (Rotter & Diesmann 1999).
2. ``i_ex = p11_ex i_ex + arrivals of positive weight``, and ``i_in`` likewise with those of negative weight.
3. If u >= theta it fires, v = v_reset, and it is refractory for the next t_ref / dt steps.

A spike of step t has the time (t + 1) dt. Over an edge with a delay of d steps it arrives in 2. of step t + d. Sensors
emit the spikes they are given; effectors integrate and never fire. Each run starts at rest with nothing on its way, so
that no spike can travel over an edge that an edit made later.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome import simulate_kernels as kernels
from connectome.errors import ConnectomeError
from connectome.flat import Engine, FlatNetwork, flatten
from connectome.graph import Connectome
from connectome.parts import ROLES, Region

__all__ = ["Poisson", "Stimulus", "run"]

Precision = Literal["float32", "float64"]
_MAX_STEPS = 2**31 - 1
_BLOCK_STEPS = 1024  # steps between two returns from the kernel: Ctrl-C and buffers
_BLOCK_VALUES = 2**22  # values of what is made for each step and neuron of a block
_SPIKE_BUFFER = 2**18  # spikes held by the kernel, besides one a neuron


@dataclass(frozen=True)
class Poisson:
    """Poisson drive of a region: exact counts in every step, independent between neurons and steps.

    Parameters
    ----------
    rate_hz : scalar or (N,), >= 0
    weight_pa : scalar or (N,), what each event adds to the synaptic current of its sign. Leave it out for a sensor:
        there the events are the sensor's own spikes.
    """

    rate_hz: ArrayLike
    weight_pa: ArrayLike | None = None


@dataclass(frozen=True)
class Stimulus:
    """What enters a network during a run. Keys are names of regions; a region may have several kinds.

    Parameters
    ----------
    spikes : sensor -> (times_ms (M,), neurons (M,)); times are rounded to the grid and lie in dt .. duration. A
        neuron that is named twice for a time emits two spikes then.
    current_pa : region of neurons or effector -> anything that broadcasts to (steps, N). Row t acts during step t.
    poisson : region -> :class:`Poisson`
    """

    spikes: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)
    current_pa: Mapping[str, ArrayLike] = field(default_factory=dict)
    poisson: Mapping[str, Poisson] = field(default_factory=dict)


class _Prepared(NamedTuple):
    """A run, checked and in flat numbering: what an engine needs. Voltages in mV above e_l."""

    flat: FlatNetwork
    n_steps: int
    dtype: np.dtype[Any]
    injected: kernels.Injected
    drive: kernels.PoissonDrive
    constant: NDArray[Any]  # (N,) pA
    varying: list[tuple[slice, NDArray[Any]]]  # (steps, n) pA
    v: NDArray[Any]  # (N,)
    record: NDArray[np.int64]

    def current(self, first: int, n_steps: int) -> NDArray[Any]:
        """The injected current of these steps, (1 or n_steps, N)."""
        if not self.varying:
            return self.constant[None]
        rows = np.repeat(self.constant[None], n_steps, axis=0)
        for neurons, values in self.varying:
            rows[:, neurons] = values[first : first + n_steps]
        return rows

    def spikes(self, first: int, stop: int) -> kernels.Injected:
        """The injected spikes of steps first .. stop - 1."""
        a, b = np.searchsorted(self.injected.step, (first, stop))
        return kernels.Injected(self.injected.step[a:b], self.injected.id[a:b], self.injected.number[a:b])


class _Block(NamedTuple):
    """Some steps' output: (M,) spikes by step, then id, with multiplicity, and v (steps, K) of the recorded neurons."""

    step: NDArray[np.int32]
    id: NDArray[np.uint32]
    number: NDArray[np.int32]
    v: NDArray[Any]


def run(
    connectome: Connectome, duration_ms: float, stimulus: Stimulus | None = None, *, engine: Engine = "numba",
    seed: int = 0, dtype: Precision = "float32", record_v: Mapping[str, ArrayLike] = MappingProxyType({}),
    recruit: Collection[str] | None = None, initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
) -> xr.Dataset:  # fmt: skip
    """Simulate a connectome from rest, in steps of its ``dt_ms``.

    Parameters
    ----------
    connectome : the network
    duration_ms : a whole number of steps, > 0
    stimulus : what enters; nothing by default
    engine : ``"numba"`` (event driven) or ``"torch"`` (message passing, on torch's default device)
    seed : of the Poisson drive, 0 .. 2**63 - 1. A neuron's numbers depend on the seed, on its place in the connectome
        and on the step; not on the engine, on the order of computation or on ``recruit``.
    dtype : of the state. The weights are float32 in either case.
    record_v : region of neurons or effector -> neurons (K,), or ``"all"``: whose potential to record after each step
    recruit : names of the regions that take part, all by default. The others are silent.
    initial_v_mv : region -> scalar or (N,); e_l by default

    Returns
    -------
    Dataset with ``spike_time_ms``, ``spike_region`` (a place in the coordinate ``region``) and ``spike_neuron`` (number
    in its region), along ``spike``, in order of time, then region, then neuron; ``n_spikes`` by ``region``; and, if
    asked for, ``v_mv`` (time_ms, recorded) with the coordinates ``recorded_region`` and ``recorded_neuron``. Spikes of
    sensors are among them. The attributes are the run's parameters and ``synaptic_operations``: over all spikes, the
    edges that each went out on.

    Raises
    ------
    ConnectomeError : an argument that does not fit, by name
    """
    if engine not in get_args(Engine):
        raise ConnectomeError("engine", f"must be one of {', '.join(get_args(Engine))}", repr(engine))
    if dtype not in get_args(Precision):
        raise ConnectomeError("dtype", f"must be one of {', '.join(get_args(Precision))}", repr(dtype))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ConnectomeError("seed", "must be an integer in 0 .. 2**63 - 1", repr(seed))
    n_steps = _steps(duration_ms, connectome.dt_ms)
    stimulus = Stimulus() if stimulus is None else stimulus
    net = _prepare(connectome, n_steps, stimulus, int(seed), dtype, record_v, recruit, initial_v_mv)
    flat = net.flat
    blocks = list(_run_numba(net) if engine == "numba" else _run_torch(net))
    number, step, neuron = (
        np.concatenate(c) for c in ([b.number for b in blocks], [b.step for b in blocks], [b.id for b in blocks])
    )
    operations = int(np.diff(flat.indptr)[neuron] @ number)
    if (number > 1).any():  # sensors only
        step, neuron = np.repeat(step, number), np.repeat(neuron, number)
    names = np.array(list(flat.span), str)
    start = np.array([s.start for s in flat.span.values()], np.int32)
    stop = np.array([s.stop for s in flat.span.values()], np.int32)
    region = np.searchsorted(stop, neuron, side="right")
    result = xr.Dataset(
        {
            "spike_time_ms": ("spike", (step.astype(np.int64) + 1) * flat.dt_ms, {"units": "ms"}),
            "spike_region": ("spike", region.astype(np.int32), {"description": "place in the coordinate region"}),
            "spike_neuron": ("spike", neuron.astype(np.int32) - start[region], {"description": "number in its region"}),
            "n_spikes": ("region", np.bincount(region, minlength=len(names))),
        },
        {"region": ("region", names)},
        {
            "duration_ms": n_steps * flat.dt_ms, "dt_ms": flat.dt_ms, "engine": engine, "dtype": dtype,
            "seed": int(seed), "n_spikes": int(neuron.size), "synaptic_operations": operations,
        },
    )  # fmt: skip
    if not record_v:
        return result
    where = np.searchsorted(stop, net.record, side="right")
    e_l = flat.dynamics.e_l[net.record].astype(dtype)
    v_mv = np.concatenate([b.v for b in blocks]) + e_l
    return result.assign(v_mv=(("time_ms", "recorded"), v_mv, {"units": "mV"})).assign_coords(
        time_ms=("time_ms", np.arange(1, n_steps + 1) * flat.dt_ms, {"units": "ms"}),
        recorded_region=("recorded", names[where]),
        recorded_neuron=("recorded", net.record - start[where]),
    )


def _run_numba(net: _Prepared) -> Iterator[_Block]:
    flat, dtype, n = net.flat, net.dtype, net.flat.n_neurons
    spans = [s for s in flat.span.values() if s.stop > s.start]
    start = np.array([s.start for s in spans], np.uint64)
    one = {k: c[start].astype(np.int32 if k == "ref_steps" else dtype) for k, c in flat.dynamics._asdict().items()}
    i_e = flat.dynamics.i_e.astype(dtype)
    neurons = kernels.Neurons(
        start, np.array([s.stop for s in spans], np.uint64), flat.is_sensor,
        **{k: one[k] for k in kernels.Neurons._fields[3:]},
    )  # fmt: skip
    edges = kernels.Edges(flat.indptr.view(np.uint64), flat.target.view(np.uint32), flat.delay, flat.weight)
    state = kernels.State(
        net.v.copy(), np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, np.int32),
        np.zeros(2 * flat.max_delay * n, dtype),
    )  # fmt: skip
    draws = 2 * net.drive.id.size
    scratch = kernels.Scratch(np.zeros(n, np.int32), np.zeros(draws, np.uint64), np.zeros(draws, np.int64))
    room = n + _SPIKE_BUFFER
    out = kernels.Spikes(np.empty(room, np.uint32), np.empty(room, np.int32), np.empty(_BLOCK_STEPS, np.int64))
    most = max(1, min(_BLOCK_STEPS, _BLOCK_VALUES // max(n, 1))) if net.varying else _BLOCK_STEPS
    v = np.empty((net.n_steps, net.record.size), dtype)
    first = 0
    while first < net.n_steps:
        steps = min(most, net.n_steps - first)
        done = kernels.advance(
            first, steps, neurons, edges, net.spikes(first, first + steps), net.drive, i_e + net.current(first, steps),
            state, scratch, out, net.record, v[first : first + steps],
        )  # fmt: skip
        end = out.end[:done]
        step = np.repeat(np.arange(first, first + done, dtype=np.int32), np.diff(end, prepend=0))
        yield _Block(step, out.id[: end[-1]].copy(), out.number[: end[-1]].copy(), v[first : first + done])
        first += done


def _run_torch(net: _Prepared) -> Iterator[_Block]:
    import torch

    from connectome.torch_engine import at_rest, propagate

    flat, n, places = net.flat, net.flat.n_neurons, net.drive.id.size
    device, dtype = torch.get_default_device(), getattr(torch, net.dtype.name)

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, device=device).to(dtype)[..., None]  # a batch of one

    weight = tensor(flat.weight)[:, 0]
    v_reset = tensor(flat.dynamics.v_reset)
    state = at_rest(flat, weight)._replace(v=tensor(net.v))
    bits, counts = np.zeros(2 * places, np.uint64), np.zeros(2 * places, np.int64)
    pa = np.zeros(n, net.dtype)
    pa[net.drive.id] = net.drive.weight  # 0 for a sensor
    pairs = min(_BLOCK_STEPS, _BLOCK_VALUES // max(n, 1)) // 2  # of steps: so Poisson numbers come
    most = 2 * max(1, pairs)
    for first in range(0, net.n_steps, most):
        steps = min(most, net.n_steps - first)
        drawn = np.zeros((steps + 1, n), np.int64)
        for t in range(0, steps, 2) if places else ():
            kernels.poisson_pair(first + t, net.drive, bits, counts)
            drawn[t : t + 2, net.drive.id] = counts.reshape(2, places)
        drawn = drawn[:steps]
        sent = drawn[:, flat.is_sensor]
        injected = net.spikes(first, first + steps)
        sent[injected.step - first, (np.cumsum(flat.is_sensor) - 1)[injected.id]] += injected.number
        with torch.no_grad():
            u, spikes, state = propagate(
                flat, weight, tensor(sent), current=tensor(net.current(first, steps)),
                arrivals=tensor(drawn * pa) if places else None, state=state,
            )  # fmt: skip
        v = torch.where((spikes > 0) & ~torch.as_tensor(flat.is_sensor, device=device)[:, None], v_reset, u)
        step, neuron = spikes[..., 0].nonzero(as_tuple=True)
        yield _Block(
            (first + step).numpy(force=True).astype(np.int32), neuron.numpy(force=True).astype(np.uint32),
            spikes[step, neuron, 0].numpy(force=True).astype(np.int32), v[:, net.record, 0].numpy(force=True),
        )  # fmt: skip


def _steps(duration_ms: float, dt_ms: float) -> int:
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, (int, float, np.integer, np.floating)):
        raise ConnectomeError("duration_ms", "must be a number", repr(duration_ms))
    if not (math.isfinite(duration_ms) and duration_ms > 0):
        raise ConnectomeError("duration_ms", "must be finite and > 0", duration_ms)
    steps = round(duration_ms / dt_ms)
    if steps > _MAX_STEPS:
        raise ConnectomeError("duration_ms", f"must be at most {_MAX_STEPS} steps of {dt_ms:g} ms", duration_ms)
    if abs(steps * dt_ms - duration_ms) > 1e-6 * dt_ms:
        raise ConnectomeError(
            "duration_ms", f"must be a whole number of steps of {dt_ms:g} ms", duration_ms,
            f"Take {max(steps, 1) * dt_ms:.12g}.",
        )  # fmt: skip
    return steps


def _prepare(
    connectome: Connectome, n_steps: int, stimulus: Stimulus, seed: int, precision: Precision,
    record_v: Mapping[str, ArrayLike], recruit: Collection[str] | None, initial_v_mv: Mapping[str, ArrayLike],
) -> _Prepared:  # fmt: skip
    flat, dtype = flatten(connectome, recruit), np.dtype(precision)
    regions = {name: connectome.regions[name] for name in flat.span}
    constant, varying = np.zeros(flat.n_neurons, dtype), []
    for where, r, given in _each("stimulus.current_pa", stimulus.current_pa, connectome, regions):
        values = _numbers(where, given, (n_steps, r.size) if np.ndim(given) > 1 else (r.size,))
        if values.ndim == 1:
            constant[flat.span[r.name]] = values
        else:
            varying.append((flat.span[r.name], values))
    v = np.zeros(flat.n_neurons, dtype)
    for where, r, given in _each("initial_v_mv", initial_v_mv, connectome, regions):
        v[flat.span[r.name]] = _numbers(where, given, (r.size,)) - r.neuron.e_l_mv
    record = [np.zeros(0, np.int64)]
    for where, r, given in _each("record_v", record_v, connectome, regions):
        everyone = isinstance(given, str) and given == "all"
        record.append(flat.span[r.name].start + (np.arange(r.size) if everyone else _ids(where, given, r)))
    return _Prepared(
        flat, n_steps, dtype, _injected(connectome, regions, flat, n_steps, stimulus),
        _poisson(connectome, regions, flat, stimulus, dtype, seed), constant, varying, v, np.concatenate(record),
    )  # fmt: skip


def _injected(
    connectome: Connectome, regions: Mapping[str, Region], flat: FlatNetwork, n_steps: int, stimulus: Stimulus
) -> kernels.Injected:
    steps, neurons = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for where, r, given in _each("stimulus.spikes", stimulus.spikes, connectome, regions, ("sensor",)):
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise ConnectomeError(where, "must be a pair (times_ms, neurons)", repr(given)[:80])
        times, neuron = _numbers(f"{where} times_ms", given[0]), _ids(f"{where} neurons", given[1], r)
        if times.shape != neuron.shape:
            raise ConnectomeError(where, "must have as many times as neurons", f"{times.shape} and {neuron.shape}")
        step = np.rint(times / flat.dt_ms) - 1
        bad = ~((step >= 0) & (step < n_steps))
        if bad.any():
            raise ConnectomeError(
                f"{where} times_ms", f"must be {flat.dt_ms:g} .. {n_steps * flat.dt_ms:g} ms, the run's steps",
                f"{times[bad][0]:g} at index {int(np.argmax(bad))}",
            )  # fmt: skip
        steps.append(step.astype(np.int64))
        neurons.append(neuron + flat.span[r.name].start)
    n = max(flat.n_neurons, 1)
    pair, number = np.unique(np.concatenate(steps) * n + np.concatenate(neurons), return_counts=True)
    return kernels.Injected(pair // n, (pair % n).astype(np.uint32), number.astype(np.int32))


def _poisson(
    connectome: Connectome, regions: Mapping[str, Region], flat: FlatNetwork, stimulus: Stimulus, dtype: np.dtype[Any],
    seed: int,
) -> kernels.PoissonDrive:  # fmt: skip
    rate, weight = np.zeros(flat.n_neurons), np.zeros(flat.n_neurons, dtype)
    for where, r, drive in _each("stimulus.poisson", stimulus.poisson, connectome, regions, ROLES):
        if not isinstance(drive, Poisson):
            raise ConnectomeError(where, "must be a Poisson(rate_hz, weight_pa)", repr(drive)[:80])
        rates = _numbers(f"{where}.rate_hz", drive.rate_hz, (r.size,))
        if (rates < 0).any():
            raise ConnectomeError(f"{where}.rate_hz", "must be >= 0", f"{rates.min():g}")
        rate[flat.span[r.name]] = rates
        if r.role == "sensor" and drive.weight_pa is not None:
            raise ConnectomeError(
                f"{where}.weight_pa", "must be left out for a sensor", repr(drive.weight_pa)[:80],
                "The events are the sensor's own spikes; its edges have the weights.",
            )  # fmt: skip
        if r.role != "sensor" and drive.weight_pa is None:
            raise ConnectomeError(f"{where}.weight_pa", "must be given, in pA an event", None)
        if drive.weight_pa is not None:
            weight[flat.span[r.name]] = _numbers(f"{where}.weight_pa", drive.weight_pa, (r.size,))
    # Numbered as in the whole connectome, so that a neuron's drive does not depend on which regions take part.
    keys, first = [np.zeros(0, np.uint32)], 0
    for name, r in connectome.regions.items():
        if name in regions:
            keys.append(np.arange(first, first + r.size, dtype=np.uint32))
        first += r.size
    return poisson_drive(rate * flat.dt_ms / 1000, weight, np.concatenate(keys), seed)


def poisson_drive(
    mean: NDArray[np.float64], weight: NDArray[Any], key: NDArray[np.uint32], seed: int
) -> kernels.PoissonDrive:
    """The drive of neurons 0 .. N - 1, (N,) each, by so many events a step on average; none where that is 0."""
    neuron = np.flatnonzero(mean)
    mean = mean[neuron]
    first = np.flatnonzero(np.diff(mean, prepend=-1.0))
    draws = np.ceil(mean[first] / kernels.POISSON_MEAN_MAX)
    distinct, which = np.unique(mean[first] / draws, return_inverse=True)
    k = np.arange(1, 2 if not distinct.size else int(distinct[-1] + 12 * distinct[-1] ** 0.5 + 25))
    p = np.exp(-distinct)[:, None] * np.cumprod(distinct[:, None] / k, axis=1)  # P(X = k)
    above = np.cumsum(p[:, ::-1], axis=1)[:, ::-1]  # P(X >= k), from the small terms up: right to the last digit
    threshold = np.zeros((distinct.size, k.size + 1), np.uint64)
    threshold[:, :-1] = np.ldexp(above, 64)
    length = np.count_nonzero(threshold, axis=1) + 1
    row = np.cumsum(length) - length
    return kernels.PoissonDrive(
        neuron.astype(np.uint32), key[neuron], weight[neuron], np.append(first, neuron.size).astype(np.uint64),
        draws.astype(np.int64), row[which].astype(np.uint64),
        threshold[np.arange(k.size + 1) < length[:, None]], np.array([seed % 2**32, seed >> 32], np.uint64),
    )  # fmt: skip


def _each(
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


def _numbers(where: str, given: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Finite numbers, broadcast to a shape if there is one."""
    array = np.asarray(given)
    if array.dtype.kind not in "biuf" and array.size:
        raise ConnectomeError(where, "must be numbers", f"{array.dtype} of shape {array.shape}")
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ConnectomeError(where, "must be finite", f"{array[~np.isfinite(array)][0]} among {array.size}")
    if shape is None:
        return array
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        names = "(N,)" if len(shape) == 1 else "(steps, N)"
        raise ConnectomeError(where, f"must broadcast to {names} = {shape}", f"shape {array.shape}") from None


def _ids(where: str, given: ArrayLike, region: Region) -> NDArray[np.int64]:
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
