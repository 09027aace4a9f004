"""The event-driven engine: runs a network in blocks of steps, on threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import aligned_zeros
from connectome.graph.flat import Selection
from connectome.graph.parts import EdgeKey, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters, propagators
from connectome.neurons.step_kernels import HELD
from connectome.simulate import simulate_kernels as kernels
from connectome.simulate import window_kernels
from connectome.simulate.cells import names_of
from connectome.simulate.clamp import Clamped
from connectome.simulate.poisson_kernels import OCTET, RUN, PoissonDrive, draw_octet, draw_room
from connectome.simulate.recording import Recorded, kept_apart, with_twins
from connectome.simulate.run_state import RunState
from connectome.simulate.stimulus import Input, poisson_drive
from connectome.simulate.streams import Learns, Streams, lay_out
from connectome.simulate.window_kernels import Window

if TYPE_CHECKING:
    from connectome.simulate.calls import Calls

__all__ = ["Block", "poisson_counts", "run_events"]

_BLOCK_VALUES = 2**22  # values of what is made for each step and neuron of a block
_SPIKES = 2**25  # places for the spikes of a block, unless one step may need more
_VISITS = 1024  # stretches of edges noted before they are visited
_WINDOW, _WINDOW_SPIKES = 32, 2**23  # steps of a window, and places for its spikes
_CALL_S = 0.2  # time between two returns from the kernel: Ctrl-C and progress


class Block(NamedTuple):
    """The output of a block of steps: (M,) spikes in order of step, region, neuron; the recorded values, (steps, K), v
    in mV above e_l; and the synaptic operations."""

    step: NDArray[np.int32]
    region: NDArray[np.int32]
    neuron: NDArray[np.int32]
    recorded: NDArray[Any]
    operations: int


def run_events(
    selection: Selection, given: Input, n_steps: int, dtype: np.dtype[Any], v_mv: Mapping[str, NDArray[Any]],
    wanted: Sequence[Recorded], threads: int, plastic: Mapping[EdgeKey, Learns], calls: Calls | None,
    clamp: Mapping[str, Clamped], before: RunState | None, after: dict[str, dict[str, NDArray[Any]]],
) -> Iterator[Block]:  # fmt: skip
    """Simulate. ``v_mv``: region -> (N,) initial potentials, measured as the state is, at rest by default; ``wanted``:
    what to record; ``plastic``: the edge sets that learn, changed in place, and ``calls`` between steps; ``before``:
    the state to continue from; ``after``: receives the values of the last state, by region."""
    selection, given, twins = with_twins(selection, given, kept_apart(selection, wanted))
    alone = {w.region for w in wanted if w.name in names_of(selection.regions[w.region])}
    layout = lay_out(selection, given, n_steps, dtype, threads, plastic, clamp, before, twins, alone)
    start, segments, history, cells = layout.start, layout.segments, layout.history, layout.cells
    origin = before.step if before else 0
    reset = {r.name: _reset(r) for r in layout.active}
    sensors = [_Sensor(r, given, dtype) for r in selection.regions.values() if r.role == "sensor"]
    is_sensor = np.flatnonzero(segments["owner"] < 0)
    area = segments["owner"].copy()  # of the spikes of each segment
    area[is_sensor] = threads + np.arange(is_sensor.size)
    first_place = np.array([start.get(name, 0) for name in selection.regions], np.int64)[segments["region"]]
    state, scratch = _state(layout, v_mv, area, threads, dtype, before, twins), _scratch(layout, threads)
    twin_of = {of: name for name, of in twins.items()}
    record = _record(layout, state, wanted, reset, twin_of)
    if before is not None:
        state = _on_their_way(layout, state, before, first_place, area)
    pause = 1 + int(layout.neurons["ref_steps"].min(initial=0))
    most = _SPIKES // max(layout.places, 1) * pause
    varies = any(len(current) > 1 for current in given.current_pa.values())
    if varies or sensors or any(c.step.size for c in clamp.values()):
        most = min(most, _BLOCK_VALUES // max(selection.n_neurons, 1))
    wide = True if (layout.streams["shift"] == 2).any() else None
    coarse = True if layout.streams["each"].any() else None
    in_windows = not (varies or plastic or twins or record.size)
    windows = _windows(layout, threads) if in_windows else []
    constant = _drive(layout, selection.dt_ms, given, slice(0, 1), dtype)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads, "connectome")) if threads > 1 else None
        first, steps = origin, 0  # the first call makes no step: it compiles, and progress begins when that is done
        while first < origin + n_steps:
            fired = [s.spikes(first, steps) for s in sensors]
            room = [*(np.diff(layout.bounds) * -(-steps // pause)), *(neuron.size for _, neuron in fired)]
            state = _make_room(state, history, steps, room, area)
            for (step, neuron), g in zip(fired, is_sensor, strict=True):
                at = int(state.end[history - 1, g])
                state.ids[at : at + neuron.size] = neuron
                ends = at + np.searchsorted(step, np.arange(steps + 1))
                state.begin[history:, g], state.end[history:, g] = ends[:-1], ends[1:]
            row = first - origin
            drive = _drive(layout, selection.dt_ms, given, slice(row, row + steps), dtype) if varies else constant
            cells.clamp_block(first, steps)
            recorded = np.empty((steps, record.size), dtype)
            began = time.perf_counter()
            shares = [
                partial(
                    window_kernels.advance_windows, k, first, steps, layout.shortest, history, layout.neurons, segments,
                    layout.streams, layout.due, layout.poisson, drive, state, scratch[k], windows[k],
                    cells.records.copy(), wide, coarse,
                ) if windows else partial(
                    kernels.advance, k, first, steps, layout.shortest, history, layout.neurons, segments,
                    layout.streams, layout.due, layout.poisson, drive, state, scratch[k], record, recorded,
                    layout.plastic, cells.records.copy() if cells.records.size else None, wide, coarse,
                )
                for k in range(threads)
            ]  # fmt: skip
            if pool is None:
                shares[0]()
            else:
                for done in [pool.submit(share) for share in shares]:
                    done.result()
            elapsed = time.perf_counter() - began
            block = _spikes(layout, state, first_place, first, recorded)
            first += steps
            left = origin + n_steps - first
            if calls is not None:
                effectors = [r for r in layout.active if r.role == "effector" and r.name not in twins]
                calls.after(first, block[:3], {r.name: state.v[start[r.name] :][: r.size] for r in effectors})
                left = min(left, calls.steps_left(first))
            yield block
            steps = min(8 * steps, int(steps * _CALL_S / max(elapsed, 1e-6))) if steps else 8
            steps = max(1, min(steps, most, left))
    after |= _values(layout, state, reset, twin_of)


def _spikes(
    layout: Streams, state: kernels.State, first_place: NDArray[np.int64], first: int, recorded: NDArray[Any]
) -> Block:
    """The spikes in order of step, then region, then neuron; ``first_place`` (G,): of the segments' regions."""
    begin, end = (x[layout.history :].astype(np.int64).ravel() for x in (state.begin, state.end))
    size, segment = end - begin, np.tile(np.arange(first_place.size), len(recorded))
    after = np.cumsum(size)
    at = np.repeat(begin - after + size, size) + np.arange(after[-1] if after.size else 0)
    segment = np.repeat(segment, size)
    neuron = state.ids[at].astype(np.int64) - first_place[segment]
    step = first + np.repeat(np.repeat(np.arange(len(recorded)), first_place.size), size)
    operations = int(layout.out_degree[layout.degree_at[segment] + neuron].sum())
    region = layout.segments["region"][segment]
    return Block(step.astype(np.int32), region.astype(np.int32), neuron.astype(np.int32), recorded, operations)


def _reset(region: Region) -> float:
    """Where the potential of a neuron of lanes is while refractory; it does not say so itself."""
    linear = region.neuron.linear()
    if isinstance(linear, NeuronParameters) and not linear.arrays():
        return float(linear.v_reset_mv - linear.e_l_mv)
    return 0.0


def _state(
    layout: Streams, v_mv: Mapping[str, NDArray[Any]], area: NDArray[np.int64], threads: int, dtype: np.dtype[Any],
    before: RunState | None, twins: Mapping[str, str],
) -> kernels.State:  # fmt: skip
    """At rest with nothing on its way and nobody refractory; or as it was."""
    v = aligned_zeros(layout.places, dtype)
    v.fill(-np.inf)
    signs = 2 if layout.neurons["inhibitory"].any() else 1
    current = aligned_zeros(signs * layout.places, dtype)
    regions = {r.name: r for r in layout.active}
    for r in layout.active:
        here = slice(layout.start[r.name], layout.start[r.name] + r.size)
        v[here] = v_mv.get(r.name, r.neuron.rest().get("v", 0.0))
        if r.name in layout.cells.clamp:
            c = layout.cells.clamp[r.name]
            v[here] = np.where(c.code == HELD, c.held, v[here])
        if before is not None:
            of = regions[twins.get(r.name, r.name)]
            values, names = before.values[of.name], of.neuron.synapses
            v[here] = values["v"]
            if r.neuron.one_accumulator and r.name not in twins:
                both = ["+".join(names)] if "+".join(names) in values else [n for n in names if n in values]
                current[here] = sum(values[name] for name in both)
                continue
            for number, name in enumerate(names):
                at = number * layout.places
                current[here.start + at : here.stop + at] = values[name]
    rows = np.zeros((layout.history, area.size), np.uint64)
    done = np.full(8 * threads, before.step if before else 0, np.int64)
    return kernels.State(v, current, np.zeros(0, np.uint32), rows, rows, np.zeros(threads, np.uint64), done)


def _on_their_way(
    layout: Streams, state: kernels.State, before: RunState, first_place: NDArray[np.int64], area: NDArray[np.int64]
) -> kernels.State:
    """The state with the spikes of the last H steps, and those neurons of lanes refractory that are."""
    step, region, neuron = (x[before.spikes[0] >= before.step - layout.history] for x in before.spikes)
    number = np.zeros(step.size, np.int64)
    for g, s in enumerate(layout.segments):  # a sensor is one, others are shares of places
        start = int(first_place[g])
        mine = (region == s["region"]) & (neuron + start >= int(s["start"])) & (neuron + start < int(s["stop"]))
        number[mine] = g
    row = step - (before.step - layout.history)
    shape = (layout.history, area.size)
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (row, number), 1)
    place = neuron + first_place[number]
    ids = place[np.lexsort((place, number, row, area[number]))].astype(np.uint32)
    begin, end = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    at = 0
    for one in np.unique(area):
        mine = area == one
        ends = at + np.cumsum(counts[:, mine].ravel()).reshape(-1, int(mine.sum()))
        begin[:, mine], end[:, mine] = ends - counts[:, mine], ends
        at = int(ends[-1, -1])
    lanes = (layout.neurons["cells"][region] == 0) & (area[number] < state.free.size)
    waits = step + layout.neurons["ref_steps"][region].astype(np.int64) >= before.step - 1
    state.v[place[lanes & waits]] = -np.inf
    return state._replace(ids=ids, begin=begin, end=end)


def _record(
    layout: Streams, state: kernels.State, wanted: Sequence[Recorded], reset: Mapping[str, float],
    twin_of: Mapping[str, str],
) -> NDArray[Any]:  # fmt: skip
    """(K,) of ``RECORD``."""
    records, regions = [np.zeros(0, kernels.RECORD)], {r.name: r for r in layout.active}
    for w in wanted:
        record, model = np.zeros(w.neurons.size, kernels.RECORD), regions[w.region].neuron
        place = layout.start[twin_of.get(w.region, w.region) if w.name in model.synapses else w.region] + w.neurons
        if w.name == "v":
            rows, column = state.v, place
        elif w.name in model.synapses:
            rows, column = state.current, place + layout.places * model.synapses.index(w.name)
        else:
            kept = layout.cells.state[layout.cells.names.index(w.region)]
            rows, column = kept[names_of(regions[w.region]).index(w.name)], w.neurons
        record["owner"] = np.searchsorted(layout.bounds, place, "right") - 1
        record["address"] = rows.ctypes.data + column * rows.itemsize
        record["held"] = reset[w.region] if w.name == "v" else -np.inf
        records.append(record)
    return np.concatenate(records)


def _values(
    layout: Streams, state: kernels.State, reset: Mapping[str, float], twin_of: Mapping[str, str]
) -> dict[str, dict[str, NDArray[Any]]]:  # fmt: skip
    """What each region remembers, by name; without what its spikes say. Where arrivals of both signs are added up, the
    second of the two has no value; if a twin knows both, they are there besides their sum."""
    found = {}
    for r in layout.active:
        if r.name in twin_of.values():
            continue
        here = slice(layout.start[r.name], layout.start[r.name] + r.size)
        v = state.v[here]
        values = {"v": np.where(np.isneginf(v), v.dtype.type(reset[r.name]), v)}
        names, first = r.neuron.synapses, layout.start[twin_of.get(r.name, r.name)]
        for number, name in enumerate(names[: 1 if r.neuron.one_accumulator and r.name not in twin_of else 2]):
            values[name] = state.current[first + number * layout.places :][: r.size].copy()
        if r.name in twin_of:
            values["+".join(names)] = state.current[here].copy()
        if r.name in layout.cells.names:
            rows = layout.cells.state[layout.cells.names.index(r.name)]
            values |= {name: rows[k, : r.size].copy() for k, name in enumerate(names_of(r))}
        found[r.name] = values
    return found


def _scratch(layout: Streams, threads: int) -> list[kernels.Scratch]:
    run = np.zeros(0, RUN) if layout.poisson is None else layout.poisson.run
    counts = [int((run["stop"] - run["start"])[run["owner"] == k].sum()) * OCTET for k in range(threads)]
    return [
        kernels.Scratch(
            *draw_room(), np.zeros(n, np.uint8),
            kernels.Visits(*(np.zeros(_VISITS, np.uint64) for _ in range(3))),
        )
        for n in counts
    ]  # fmt: skip


def _windows(layout: Streams, threads: int) -> list[Window]:
    """Room for windows of several steps; none where they would not help, or a region's kernel cannot."""
    records = layout.cells.records
    steps = min(layout.shortest, _WINDOW, _WINDOW_SPIKES // max(layout.places, 1))
    if steps < 2 or not layout.active or len(records) < len(layout.active) or not records["quick"].all():
        return []
    blocks = layout.places // kernels.BLOCK
    return [
        Window(
            np.zeros((steps, -(-blocks // 64)), np.uint64), np.zeros(blocks, np.uint8), np.zeros(room, np.uint32),
            np.zeros(room, np.uint8), np.zeros(room, np.uint64),
        )
        for room in (np.diff(layout.bounds)[:threads] * steps).tolist()
    ]  # fmt: skip


def _drive(layout: Streams, dt_ms: float, given: Input, steps: slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    """What the injected currents of some steps add to v, (steps, P) mV; in regions with a kernel of their own, pA."""
    out = aligned_zeros((steps.stop - steps.start, layout.places), dtype)
    for r in layout.active:
        current = given.current_pa.get(r.name, np.zeros((1, 1)))
        pa = (current[steps] if len(current) > 1 else current).astype(dtype)
        linear = r.neuron.linear()
        if r.name not in layout.cells.names and isinstance(linear, NeuronParameters):
            pa = propagators(linear, dt_ms).p20.astype(dtype) * (dtype.type(linear.i_e_pa) + pa)
        out[:, layout.start[r.name] :][:, : r.size] = pa
    return out


def _make_room(
    state: kernels.State, history: int, steps: int, room: list[Any], area_of: NDArray[np.int64]
) -> kernels.State:
    """The state with the spikes of the last H steps, and room for those of ``steps`` more: ``room`` in each area of
    ``ids``, which are the threads' and then the sensors'."""
    begin, end = state.begin[-history:], state.end[-history:]
    kept, shift, at = [], np.zeros(area_of.size, np.int64), 0
    free = state.free.copy()
    for area, more in enumerate(room):
        mine = area_of == area
        low, high = (int(begin[:, mine].min()), int(end[:, mine].max())) if mine.any() else (0, 0)
        kept.append((at, low, high))
        shift[mine] = at - low
        if area < free.size:
            free[area] = at + high - low
        at += high - low + int(more)
    ids = np.empty(at, np.uint32)
    for place, low, high in kept:
        ids[place : place + high - low] = state.ids[low:high]
    rows = (history + steps, area_of.size)
    new_begin, new_end = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
    new_begin[:history], new_end[:history] = begin.astype(np.int64) + shift, end.astype(np.int64) + shift
    new_begin[history:] = new_end[history:] = new_end[history - 1]
    return state._replace(ids=ids, begin=new_begin, end=new_end, free=free)


class _Sensor:
    """What a sensor emits, block by block."""

    def __init__(self, region: Region, given: Input, dtype: np.dtype[Any]) -> None:
        self._n = region.size
        self._injected = given.injected.get(region.name)
        self._drive = poisson_drive(list(given.poisson.get(region.name, ())), given.seed, dtype)

    def spikes(self, first: int, steps: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """(M,) steps from ``first`` on, and neurons, in this order."""
        step, neuron = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)]
        if self._drive.run.size:
            number = poisson_counts(self._drive, first, steps, self._n)
            fired = np.nonzero(number)
            times = number[fired]
            step.append(np.repeat(fired[0], times))
            neuron.append(np.repeat(fired[1].astype(np.uint32), times))
        if self._injected is not None:
            a, b = np.searchsorted(self._injected.step, (first, first + steps))
            step.append(self._injected.step[a:b] - first)
            neuron.append(self._injected.neuron[a:b])
        steps_of, neurons = np.concatenate(step), np.concatenate(neuron)
        if len(step) > 2:
            order = np.lexsort((neurons, steps_of))
            return steps_of[order], neurons[order]
        return steps_of, neurons


def poisson_counts(drive: PoissonDrive, first: int, steps: int, n: int) -> NDArray[np.int64]:
    """(steps, n) Poisson counts of the neurons in places 0 .. n - 1, summed over all their runs."""
    begin = first // OCTET * OCTET
    octets = max(1, -(-(first + steps - begin) // OCTET))  # so that no steps compile as well
    total = np.zeros((octets * OCTET, n), np.int64)
    bits, unsure = draw_room()
    for r in range(drive.run.size):
        here = slice(int(drive.run[r]["start"]), int(drive.run[r]["stop"]))
        counts = np.zeros((OCTET, here.stop - here.start), np.uint8)
        for k in range(octets):
            draw_octet(r, np.uint64(first // OCTET + k), drive, bits, unsure, counts.reshape(-1))
            total[k * OCTET : (k + 1) * OCTET, here] += counts
    return total[first - begin : first - begin + steps]
