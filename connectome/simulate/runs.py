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
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Engine, Selection, cores, flatten, select
from connectome.graph.parts import EdgeKey
from connectome.simulate.event_engine import Block, poisson_counts, run_events
from connectome.simulate.plastic import AnyRule, plastic_sets, weights_after
from connectome.simulate.stimulus import (
    Input,
    Poisson,
    Stimulus,
    neuron_ids,
    numbers,
    of_regions,
    poisson_drive,
    prepare,
)

__all__ = ["Poisson", "Stimulus", "run"]

Precision = Literal["float32", "float64"]
_MAX_STEPS = 2**31 - 1
_BLOCK_STEPS = 1024  # steps of the torch engine between two returns
_BLOCK_VALUES = 2**22  # values of what is made for each step and neuron of a block
_PROGRESS_S = 0.2
_THREADS_MAX = 256
_EDGES_A_NEURON = 400  # whose delivery, at some 3 spikes a second, costs as much as a neuron's update
_WORK_SHARED = 2**24


def run(
    connectome: Connectome, duration_ms: float, stimulus: Stimulus | None = None, *, engine: Engine = "numba",
    seed: int = 0, dtype: Precision = "float32", record_v: Mapping[str, ArrayLike] = MappingProxyType({}),
    recruit: Collection[str] | None = None, initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
    threads: int | None = None, progress: Callable[[float], None] | None = None,
    plasticity: Mapping[EdgeKey, AnyRule] = MappingProxyType({}),
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
    threads : of the ``numba`` engine, which gives the same result for any number; by default as many as the process has
        cores, or one for a small network
    progress : called with the milliseconds that are done: 0 when all is ready, then a few times a second
    plasticity : edge set -> how it learns during the run, by the ``numba`` engine: see
        :mod:`connectome.simulate.run_rules`. ``connectome`` stays as it is:
        see :func:`connectome.simulate.stdp.learnt`.

    Returns
    -------
    Dataset with ``spike_time_ms``, ``spike_region`` (a place in the coordinate ``region``) and ``spike_neuron`` (number
    in its region), along ``spike``, in order of time, then region, then neuron; ``n_spikes`` by ``region``; and, if
    asked for, ``v_mv`` (time_ms, recorded) with the coordinates ``recorded_region`` and ``recorded_neuron``. Spikes of
    sensors are among them. For each edge set that learns, ``weight_pa source:kind:target`` along ``edge
    source:kind:target`` (E,) float32: its weights after the run. The attributes are the run's parameters and
    ``synaptic_operations``: over all spikes, the edges that each went out on.

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
    if threads is not None and (
        isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _THREADS_MAX
    ):
        raise ConnectomeError("threads", f"must be an integer in 1 .. {_THREADS_MAX}", repr(threads))
    n_steps = _steps(duration_ms, connectome.dt_ms)
    selection = select(connectome, recruit)
    given = prepare(connectome, selection, n_steps, Stimulus() if stimulus is None else stimulus, int(seed))
    v_mv, record = {}, {}
    for where, r, v in of_regions("initial_v_mv", initial_v_mv, connectome, selection.regions):
        v_mv[r.name] = numbers(where, v, (r.size,)) - r.neuron.e_l_mv
    for where, r, wanted in of_regions("record_v", record_v, connectome, selection.regions):
        everyone = isinstance(wanted, str) and wanted == "all"
        record[r.name] = np.arange(r.size) if everyone else neuron_ids(where, wanted, r)
    real, plastic = np.dtype(dtype), plastic_sets(connectome, selection, plasticity, n_steps)
    if engine == "numba":
        source = run_events(selection, given, n_steps, real, v_mv, record, threads or _threads(selection), plastic)
    elif plastic:
        raise ConnectomeError("plasticity", "must be left out for this engine", repr(engine), "Take engine='numba'.")
    else:
        source = _run_torch(connectome, selection, given, n_steps, real, v_mv, record)
    blocks: list[Block] = []
    shown = -math.inf
    for block in source:
        blocks.append(block)
        if progress is not None and time.monotonic() - shown > _PROGRESS_S:
            shown = time.monotonic()
            progress(sum(len(b.v) for b in blocks) * connectome.dt_ms)
    step, region, neuron = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("step", "region", "neuron"))
    names, dt_ms = np.array(list(selection.regions), str), connectome.dt_ms
    result = xr.Dataset(
        {
            "spike_time_ms": ("spike", (step.astype(np.int64) + 1) * dt_ms, {"units": "ms"}),
            "spike_region": ("spike", region, {"description": "place in the coordinate region"}),
            "spike_neuron": ("spike", neuron, {"description": "number in its region"}),
            "n_spikes": ("region", np.bincount(region, minlength=len(names))),
        },
        {"region": ("region", names)},
        {
            "duration_ms": n_steps * dt_ms, "dt_ms": dt_ms, "engine": engine, "dtype": dtype,
            "seed": int(seed), "n_spikes": int(neuron.size), "synaptic_operations": sum(b.operations for b in blocks),
        },
    )  # fmt: skip
    result = result.assign(weights_after(plastic))
    if not record_v:
        return result
    e_l = np.concatenate([np.full(k.size, selection.regions[name].neuron.e_l_mv) for name, k in record.items()])
    v_mv_out = np.concatenate([b.v for b in blocks]) + e_l.astype(dtype)
    return result.assign(v_mv=(("time_ms", "recorded"), v_mv_out, {"units": "mV"})).assign_coords(
        time_ms=("time_ms", np.arange(1, n_steps + 1) * dt_ms, {"units": "ms"}),
        recorded_region=("recorded", np.repeat(list(record), [k.size for k in record.values()])),
        recorded_neuron=("recorded", np.concatenate(list(record.values()))),
    )


def _threads(selection: Selection) -> int:
    """As many as the process may use cores; one for a network so small that threads would wait for each other longer
    than they work."""
    work = sum(len(e) for e in selection.edges.values()) + _EDGES_A_NEURON * selection.n_neurons
    return min(cores(), _THREADS_MAX) if work > _WORK_SHARED else 1


def _run_torch(
    connectome: Connectome, selection: Selection, given: Input, n_steps: int, real: np.dtype[Any],
    v_mv: Mapping[str, NDArray[Any]], record: Mapping[str, NDArray[np.int64]],
) -> Iterator[Block]:  # fmt: skip
    import torch

    from connectome.simulate.torch_engine import at_rest, propagate

    flat, span = flatten(connectome, list(selection.regions)), selection.span
    n, device, dtype = flat.n_neurons, torch.get_default_device(), getattr(torch, real.name)

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, device=device).to(dtype)[..., None]  # a batch of one

    v0 = np.zeros(n)
    for name, v in v_mv.items():
        v0[span[name]] = v
    weight, v_reset = tensor(flat.weight)[:, 0], tensor(flat.dynamics.v_reset)
    state = at_rest(flat, weight)._replace(v=tensor(v0))
    drives = {name: poisson_drive(list(runs), given.seed, real) for name, runs in given.poisson.items()}
    pa = {name: np.zeros(selection.regions[name].size) for name in drives}
    for name, runs in given.poisson.items():
        for r in runs:
            pa[name][r.start : r.stop] = r.weight
    rows = np.concatenate([np.zeros(0, np.int64), *(span[name].start + k for name, k in record.items())])
    out_degree = np.diff(flat.indptr)
    stop = np.array([s.stop for s in span.values()])
    most = max(1, min(_BLOCK_STEPS, _BLOCK_VALUES // max(n, 1)))
    none = np.zeros(0, np.int32)
    yield Block(none, none, none, np.zeros((0, rows.size), real), 0)
    for first in range(0, n_steps, most):
        steps = min(most, n_steps - first)
        sent, arrivals, current = np.zeros((steps, n)), np.zeros((steps, n)), np.zeros((steps, n))
        for name, drive in drives.items():
            drawn = poisson_counts(drive, first, steps, selection.regions[name].size)
            if selection.regions[name].role == "sensor":
                sent[:, span[name]] += drawn
            else:
                arrivals[:, span[name]] += drawn * pa[name]
        for name, injected in given.injected.items():
            a, b = np.searchsorted(injected.step, (first, first + steps))
            np.add.at(sent[:, span[name]], (injected.step[a:b] - first, injected.neuron[a:b]), 1)
        for name, pa_now in given.current_pa.items():
            current[:, span[name]] = pa_now[first : first + steps] if len(pa_now) > 1 else pa_now
        with torch.no_grad():
            u, spikes, state = propagate(
                flat, weight, tensor(sent[:, flat.is_sensor]), current=tensor(current),
                arrivals=tensor(arrivals) if drives else None, state=state,
            )  # fmt: skip
        v_out = torch.where((spikes > 0) & ~torch.as_tensor(flat.is_sensor, device=device)[:, None], v_reset, u)
        step, neuron = (x.numpy(force=True) for x in spikes[..., 0].nonzero(as_tuple=True))
        times = spikes[..., 0].numpy(force=True)[step, neuron].astype(np.int64)
        step, neuron = np.repeat(step, times), np.repeat(neuron, times)
        region = np.searchsorted(stop, neuron, side="right")
        yield Block(
            (first + step).astype(np.int32), region.astype(np.int32),
            (neuron - np.array([s.start for s in span.values()])[region]).astype(np.int32),
            v_out[:, rows, 0].numpy(force=True), int(out_degree[neuron].sum()),
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
