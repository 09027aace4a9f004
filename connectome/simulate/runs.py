"""Run spikes through a connectome: one contract, two engines.

In each step t = 0, 1, ... of length dt, each neuron is updated by its model (:mod:`connectome.neurons`). For
``iaf_psc_exp``, with v in mV above e_l and synaptic currents in pA, the update is NEST's:

1. While refractory it counts down and v stays at v_reset; otherwise ``u = p22 v + p21_ex i_ex + p21_in i_in
   + p20 (i_e + current)``, exact for currents that are constant in the step (Rotter & Diesmann 1999).
2. ``i_ex = p11_ex i_ex + arrivals of positive weight``, and ``i_in`` likewise with those of negative weight.
3. If u >= theta it fires, v = v_reset, and it is refractory for the next t_ref / dt steps.

A spike of step t has the time (t + 1) dt. Over an edge with a delay of d steps it arrives in point 2 of step t + d.
Sensors emit the spikes they are given; effectors integrate and never fire. A run starts at rest with no spikes in
transit, or continues from the last state of another; spikes then in transit arrive over the edges of the present
connectome.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Engine, Selection, cores, select
from connectome.graph.parts import EdgeKey
from connectome.simulate.clamp import Clamp, prepare_clamps
from connectome.simulate.event_engine import Block, run_events
from connectome.simulate.recording import Tape, asked_for, kept_apart, refuse_learning
from connectome.simulate.run_state import RunState, checked_state, state_after
from connectome.simulate.stimulus import LARGEST, Poisson, Stimulus, numbers, of_regions, prepare

if TYPE_CHECKING:
    from connectome.simulate.plastic import AnyRule, Plastic

__all__ = ["Poisson", "Stimulus", "run", "steps_of"]

Precision = Literal["float32", "float64"]
_MAX_STEPS = 2**31 - 1
_PROGRESS_S = 0.2
_THREADS_MAX = 256
_EDGES_A_NEURON = 400  # whose delivery, at some 3 spikes a second, costs as much as a neuron's update
_WORK_SHARED = 2**24


@overload
def run(
    connectome: Connectome, duration_ms: float, stimulus: Stimulus | None = None, *, engine: Engine = "numba",
    seed: int = 0, dtype: Precision = "float32",
    record: Mapping[str, Mapping[str, ArrayLike]] = MappingProxyType({}),
    record_v: Mapping[str, ArrayLike] = MappingProxyType({}), recruit: Collection[str] | None = None,
    initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
    threads: int | None = None, progress: Callable[[float], None] | None = None,
    plasticity: Mapping[EdgeKey, AnyRule] = MappingProxyType({}),
    clamp: Mapping[str, Clamp | Sequence[Clamp]] = MappingProxyType({}), state: RunState | None = None,
    return_state: Literal[False] = False, device: str | None = None,
) -> xr.Dataset: ...  # fmt: skip


@overload
def run(
    connectome: Connectome, duration_ms: float, stimulus: Stimulus | None = None, *, engine: Engine = "numba",
    seed: int = 0, dtype: Precision = "float32",
    record: Mapping[str, Mapping[str, ArrayLike]] = MappingProxyType({}),
    record_v: Mapping[str, ArrayLike] = MappingProxyType({}), recruit: Collection[str] | None = None,
    initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
    threads: int | None = None, progress: Callable[[float], None] | None = None,
    plasticity: Mapping[EdgeKey, AnyRule] = MappingProxyType({}),
    clamp: Mapping[str, Clamp | Sequence[Clamp]] = MappingProxyType({}), state: RunState | None = None,
    return_state: Literal[True], device: str | None = None,
) -> tuple[xr.Dataset, RunState]: ...  # fmt: skip


def run(
    connectome: Connectome, duration_ms: float, stimulus: Stimulus | None = None, *, engine: Engine = "numba",
    seed: int = 0, dtype: Precision = "float32",
    record: Mapping[str, Mapping[str, ArrayLike]] = MappingProxyType({}),
    record_v: Mapping[str, ArrayLike] = MappingProxyType({}), recruit: Collection[str] | None = None,
    initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
    threads: int | None = None, progress: Callable[[float], None] | None = None,
    plasticity: Mapping[EdgeKey, AnyRule] = MappingProxyType({}),
    clamp: Mapping[str, Clamp | Sequence[Clamp]] = MappingProxyType({}), state: RunState | None = None,
    return_state: bool = False, device: str | None = None,
) -> xr.Dataset | tuple[xr.Dataset, RunState]:  # fmt: skip
    """Simulate a connectome from rest, or from another run's last state, in steps of its ``dt_ms``.

    Parameters
    ----------
    connectome : the network
    duration_ms : a whole number of steps, > 0
    stimulus : input to the network; none by default
    engine : ``"numba"`` (event driven) or ``"torch"`` (message passing, on ``device``)
    seed : seed of the Poisson drive, 0 .. 2**63 - 1. A neuron's random numbers depend on the seed, on its place in the
        connectome and on the step; not on the engine, on the order of computation or on ``recruit``.
    dtype : floating type of the state. The weights are float32 in either case.
    record : name of a state -> region of neurons or effector -> neurons (K,), or ``"all"``: what to record after each
        step. The neuron model defines its state variables (:mod:`connectome.neurons`): ``"v"``, ``"i_ex"``, ``"u"``,
        ...
    record_v : region -> neurons: short for ``record={"v": ...}``
    recruit : names of the regions that take part, all by default. The others are silent.
    initial_v_mv : region -> scalar or (N,), mV; by default e_l, or the model's initial value
    threads : number of threads of the ``numba`` engine, which does not change the result; by default as many as the
        process has cores, or one for a small network
    progress : called with the milliseconds simulated: 0 when all is ready, then a few times a second
    plasticity : edge set -> how it learns during the run, by the ``numba`` engine: see
        :mod:`connectome.simulate.run_rules`. ``connectome`` stays as it is:
        see :func:`connectome.simulate.stdp.learnt`.
    clamp : region -> :class:`~connectome.simulate.clamp.Clamp`, or several for different neurons
    state : another run's last state, to continue from: two runs of 50 ms equal one of 100 ms, bit for bit. All times
        count from the beginning of this run, except those passed to rules and modulators in Python, which count from
        that of the first run; Poisson numbers continue. Edge sets that learn continue with a rule of the same kind and
        the weights that they have learnt: give ``connectome`` as it was, or as :func:`~connectome.simulate.stdp.learnt`
        made it. If it has other weights, it has been changed in between, and these count. A set that begins to learn
        has seen no earlier spikes, but sees those in transit; for one that stops, ``connectome`` must have the learnt
        weights. Not together with ``initial_v_mv``.
    return_state : also return the last state
    device : of the torch engine, such as ``"cuda"``; by default torch's

    Returns
    -------
    Dataset; or, with ``return_state``, Dataset and :class:`~connectome.simulate.run_state.RunState`. The Dataset has
    ``spike_time_ms``, ``spike_region`` (a place in the coordinate ``region``) and ``spike_neuron`` (number in its
    region), along ``spike``, in order of time, then region, then neuron; ``n_spikes`` by ``region``; and, if asked for,
    ``v_mv`` (time_ms, recorded) with the coordinates ``recorded_region`` and ``recorded_neuron``; any other state
    variable under its name, e.g. ``u`` (time_ms, recorded_u) with ``recorded_u_region`` and ``recorded_u_neuron``, and
    its unit as the attribute ``units``. Spikes of sensors are included. For each edge set that learns,
    ``weight_pa source:kind:target`` along ``edge source:kind:target`` (E,) float32: its weights after the run. The
    attributes are the run's parameters; ``synaptic_operations``: the number of outgoing edges, summed over all spikes;
    and ``start_ms``, if it continues another run.

    Raises
    ------
    ConnectomeError : an argument is invalid; the message names it

    Examples
    --------
    Ten sensors that fire at 100 Hz drive one of two neurons for 200 ms:

    >>> from connectome import Connectome, EdgeSet, Poisson, Region, Stimulus, run
    >>> regions = [Region("eye", 10, "sensor"), Region("cortex", 2)]
    >>> source, target, weight_pa = list(range(10)), [0] * 10, 500.0
    >>> edges = EdgeSet.from_arrays(
    ...     ("eye", "afferent", "cortex"), source, target, weight_pa, n_source=10, n_target=2, dt_ms=0.1
    ... )
    >>> spikes = run(Connectome.of(regions, [edges], dt_ms=0.1), 200.0, Stimulus(poisson={"eye": Poisson(100.0)}))
    >>> spikes.n_spikes.to_series().to_dict()
    {'eye': 196, 'cortex': 27}
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
    if device is not None and engine != "torch":
        raise ConnectomeError("device", f"must be left out for the engine {engine!r}", str(device), "Take 'torch'.")
    n_steps = steps_of(duration_ms, connectome.dt_ms)
    selection = select(connectome, recruit)
    if engine == "numba":
        selection = selection.expanded()
    for key, edges in selection.edges.items():
        if len(edges) and max(float(edges.weight.max()), -float(edges.weight.min())) >= LARGEST:
            raise ConnectomeError(
                f"edges[{key}].weight", f"must be below {LARGEST:g} in size: sums overflow", np.abs(edges.weight).max()
            )
    before = None if state is None else checked_state(state, selection, dtype)
    if initial_v_mv and before is not None:
        raise ConnectomeError("initial_v_mv", "must be left out where a run goes on", list(initial_v_mv))
    origin = before.step if before else 0
    if origin + n_steps > _MAX_STEPS:
        raise ConnectomeError("state", f"must be at most {_MAX_STEPS - n_steps} steps old", origin)
    given = prepare(connectome, selection, n_steps, Stimulus() if stimulus is None else stimulus, int(seed), origin)
    clamps = prepare_clamps(connectome, selection, origin, n_steps, clamp)
    v_mv, wanted = {}, asked_for(connectome, selection, record, record_v, before)
    for where, r, v in of_regions("initial_v_mv", initial_v_mv, connectome, selection.regions):
        v_mv[r.name] = numbers(where, v, (r.size,)) - r.neuron.reference_mv
    real, calls = np.dtype(dtype), None
    plastic: Mapping[EdgeKey, Plastic] = {}
    if plasticity != {} or (before is not None and before.learning):
        from connectome.simulate.calls import Calls
        from connectome.simulate.plastic_sets import learning_after, plastic_sets, weights_after

        plastic = plastic_sets(connectome, selection, plasticity, n_steps, before)
        calls = Calls(selection, plastic, origin + n_steps, before)
    after: dict[str, dict[str, NDArray[Any]]] = {}
    tape = Tape(wanted, n_steps, real)
    if engine == "numba":
        refuse_learning(
            wanted, kept_apart(selection, wanted), {k.target for k, p in plastic.items() if p.acting is None}
        )
        n_threads = threads or _threads(selection)
        source = run_events(
            selection, given, n_steps, real, v_mv, wanted, n_threads, plastic, calls, clamps, before, after
        )
    elif plastic:
        raise ConnectomeError("plasticity", "must be left out for this engine", repr(engine), "Take engine='numba'.")
    else:
        from connectome.simulate.torch_runs import checked_device, run_messages

        source = run_messages(
            connectome, selection, given, n_steps, real, v_mv, wanted, clamps, before, after,
            checked_device("device", device),
        )  # fmt: skip
    blocks: list[Block] = []
    shown = -math.inf
    for block in source:
        done = tape.add(block.recorded)
        blocks.append(block._replace(recorded=block.recorded[:0]))
        if progress is not None and time.monotonic() - shown > _PROGRESS_S:
            shown = time.monotonic()
            progress(done * connectome.dt_ms)
    step, region, neuron = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("step", "region", "neuron"))
    if return_state:
        learning = learning_after(plastic, calls) if calls is not None else {}
        last = state_after(selection, dtype, origin + n_steps, before, after, (step, region, neuron), learning)
    step = step - np.int32(origin)
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
    if calls is not None:
        result = result.assign(weights_after(plastic))
    if before is not None:
        result.attrs["start_ms"] = origin * dt_ms
    result = tape.with_recorded(result, selection)
    return (result, last) if return_state else result


def _threads(selection: Selection) -> int:
    """As many as the process may use cores; one for a network so small that threads would wait for each other longer
    than they work."""
    work = sum(len(e) for e in selection.edges.values()) + _EDGES_A_NEURON * selection.n_neurons
    return min(cores(), _THREADS_MAX) if work > _WORK_SHARED else 1


def steps_of(duration_ms: float, dt_ms: float) -> int:
    """The number of steps of a run. Raises :class:`ConnectomeError` if it is not whole, or too large."""
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, (int, float, np.integer, np.floating)):
        raise ConnectomeError("duration_ms", "must be a number", repr(duration_ms))
    if not (math.isfinite(duration_ms) and duration_ms > 0):
        raise ConnectomeError("duration_ms", "must be finite and > 0", duration_ms)
    if duration_ms / dt_ms > _MAX_STEPS:
        raise ConnectomeError("duration_ms", f"must be at most {_MAX_STEPS} steps of {dt_ms:g} ms", duration_ms)
    steps = round(duration_ms / dt_ms)
    if abs(steps * dt_ms - duration_ms) > 1e-6 * dt_ms:
        raise ConnectomeError(
            "duration_ms", f"must be a whole number of steps of {dt_ms:g} ms", duration_ms,
            f"Take {max(steps, 1) * dt_ms:.12g}.",
        )  # fmt: skip
    return steps
