"""A network laid out for the event-driven kernels, without a copy of its edges."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import is_constant
from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection, finite, linear_step
from connectome.graph.parts import EdgeKey, Region
from connectome.neurons.iaf_psc_exp import Dynamics
from connectome.simulate import simulate_kernels as kernels
from connectome.simulate import table_kernels as tables
from connectome.simulate.cells import Cells, in_lanes, make_cells
from connectome.simulate.clamp import Clamped
from connectome.simulate.merging import Rows, grouped, rows_of
from connectome.simulate.poisson_kernels import PoissonDrive
from connectome.simulate.run_state import RunState
from connectome.simulate.stimulus import Input, PoissonRun, poisson_drive

__all__ = ["Learns", "Place", "Streams", "lay_out"]

_TABLE_BYTES, _BYTES_AN_EDGE = 2**25, 0.25  # of a table of where a source's edges of each delay begin
_NEURON_COST, _DRIVE_COST = 400, 800  # of a step, in edges into a neuron at some 3 spikes a second


class Place(NamedTuple):
    """Where an edge set is among the streams of a run: numbers of its streams (G,), their owners, the segments of its
    target and their numbers, and its delays in steps."""

    stream: NDArray[np.int64]
    owner: NDArray[np.int64]
    segment: NDArray[np.int64]
    segments: NDArray[Any]
    delays: NDArray[np.int64]


class Learns(Protocol):
    """What a layout asks of an edge set that learns: :class:`connectome.simulate.plastic.Plastic`."""

    @property
    def reach(self) -> int:
        """For how many steps spikes must be kept."""
        ...

    @property
    def acting(self) -> NDArray[np.float32] | None:
        """(E,) weights that are delivered as those of any other set; None if the set has kernels of its own."""
        ...

    def records(self, place: Place) -> tuple[int, NDArray[Any], list[NDArray[Any]]]:
        """For a set with kernels of its own: which of ``plastic_kernels``' three kinds, its records, and what their
        addresses point to."""
        ...


@dataclass(frozen=True, eq=False)
class Streams:
    """A network as the kernels want it, with S regions, G segments, P places.

    Parameters
    ----------
    active : the regions that are no sensors
    start : their first places
    places : P
    bounds : (threads + 1,) places that the threads' shares begin and end at
    neurons : (S,) of :func:`simulate_kernels.neuron_type`
    segments, streams, due : see ``simulate_kernels.SEGMENT``, ``STREAM`` and ``DUE``
    poisson : the drive of the active regions, if any
    shortest : the shortest delay, steps
    history : H, steps for which spikes are kept
    out_degree, degree_at : the edges from each neuron, and (G,) where those of a segment's region begin
    kept : what addresses point to
    plastic : see ``plastic_kernels``; None if no edge set learns so
    cells : the regions with kernels of their own
    """

    active: list[Region]
    start: Mapping[str, int]
    places: int
    bounds: NDArray[np.int64]
    neurons: NDArray[Any]
    segments: NDArray[Any]
    streams: NDArray[Any]
    due: NDArray[Any]
    poisson: PoissonDrive | None
    shortest: int
    history: int
    out_degree: NDArray[np.int64]
    degree_at: NDArray[np.int64]
    kept: list[NDArray[Any]]
    plastic: tuple[NDArray[Any] | None, ...] | None
    cells: Cells


def lay_out(
    selection: Selection, given: Input, n_steps: int, dtype: np.dtype[Any], threads: int,
    plastic: Mapping[EdgeKey, Learns], clamp: Mapping[str, Clamped], state: RunState | None,
    twins: Mapping[str, str], alone: Collection[str],
) -> Streams:  # fmt: skip
    """Lay a network out for so many threads. ``twins``: region -> the one whose arrivals it gets as well, and keeps
    apart by sign; ``alone``: regions that are to be updated by their model's own kernel. Raises
    :class:`ConnectomeError` for an edge set that is too large, and a model without a kernel."""
    regions, number = list(selection.regions.values()), {name: k for k, name in enumerate(selection.regions)}
    active = [r for r in regions if r.role != "sensor"]
    blocks = [-(-r.size // kernels.BLOCK) for r in active]
    first = np.cumsum([0, *blocks]) * kernels.BLOCK
    start, places = {r.name: int(at) for r, at in zip(active, first, strict=False)}, int(first[-1])
    edges = [e for e in selection.edges.values() if len(e)]
    into = {r.name: sum(len(e) for e in edges if e.key.target == twins.get(r.name, r.name)) for r in active}
    bounds = _bounds(active, blocks, into, given, threads)
    segments, span = _segments(regions, start, bounds, given)
    own = [
        r for r in active
        if not in_lanes(r, clamp) or r.name in alone or (state is not None and _crowded(r, number[r.name], state))
    ]  # fmt: skip
    values = {r.name: _remembered(r, number[r.name], state) for r in own if state is not None and r.name not in twins}
    cells = make_cells(own, start, clamp, values, dtype, selection.dt_ms, twins)
    neurons = np.zeros(len(regions), kernels.neuron_type(dtype))
    for row, r in enumerate(regions):
        neurons["inhibitory"][row] = 0 if r.neuron.one_accumulator and r.name not in twins else places
        if r in own:
            neurons["cells"][row] = 1 + own.index(r)
        else:
            s = linear_step(r, selection.dt_ms)
            finite(r, s._asdict())
            for name in set(Dynamics._fields) & set(neurons.dtype.names or ()):
                neurons[name][row] = getattr(s, name)
    if state is None:  # no need to look back to before the run
        neurons["ref_steps"] = np.minimum(neurons["ref_steps"], n_steps)
    streams, dues, kept = [np.zeros(0, kernels.STREAM)], [np.zeros(0, kernels.DUE)], []
    learning: list[list[NDArray[Any]]] = [[], [], []]  # as ``plastic_kernels`` has them
    twin_of = {of: name for name, of in twins.items()}
    alike = {e.key: neurons["inhibitory"][number[e.key.target]] for e in edges if e.key not in plastic and not twins}
    groups = grouped(edges, alike, start, n_steps * selection.dt_ms)
    for group, target in [(g, n) for g in groups for n in (g[0].key.target, twin_of.get(g[0].key.target)) if n]:
        e = group[0]
        learns, targets = plastic.get(e.key), span[target]
        coarse = learns is None or learns.acting is not None
        shares = segments[targets] if len(group) == 1 else _shares([segments[span[s.key.target]] for s in group])
        due, rows, arrays = _streams(rows_of(group, start), selection.regions[e.key.source], shares, coarse=coarse)
        rows["first_segment"], rows["last_segment"] = span[e.key.source].start, span[e.key.source].stop
        rows["source_start"], rows["plus"] = start.get(e.key.source, 0), start[target]
        rows["minus"] = rows["plus"] + neurons["inhibitory"][number[target]]
        rows["delays"], rows["delay_at"] = due.size, sum(d.size for d in dues)
        if learns is not None and learns.acting is not None:
            rows["weight"] = learns.acting.ctypes.data
        elif learns is not None:
            place = Place(
                sum(map(len, streams)) + np.arange(len(rows)), rows["owner"].copy(),
                np.arange(targets.start, targets.stop), segments[targets], due["delay"],
            )  # fmt: skip
            kind, records, more = learns.records(place)
            learning[kind].append(records)
            rows["owner"] = -1
            arrays += more
        streams.append(rows)
        dues.append(due)
        kept += arrays
    degree = {name: np.zeros(r.size, np.int64) for name, r in selection.regions.items()}
    for e in edges:
        degree[e.key.source] += np.diff(e.indptr)
    degree_at = np.cumsum([0, *(d.size for d in degree.values())])
    due = np.concatenate(dues)
    return Streams(
        active=active, start=start, places=places, bounds=bounds, neurons=neurons, segments=segments,
        streams=np.concatenate(streams), due=due,
        poisson=_poisson(start, bounds, dict(zip(number, neurons["inhibitory"].tolist(), strict=True)), given, dtype),
        shortest=int(due["delay"].min(initial=n_steps)),
        history=max(
            int(due["delay"].max(initial=1)), 1 + int(neurons["ref_steps"].max(initial=0)),
            *(p.reach for p in plastic.values()),
        ),
        out_degree=np.concatenate([np.zeros(0, np.int64), *degree.values()]), degree_at=degree_at[segments["region"]],
        kept=kept, plastic=tuple(np.concatenate(x) if x else None for x in learning) if any(learning) else None,
        cells=cells,
    )  # fmt: skip


def _remembered(region: Region, place: int, state: RunState) -> dict[str, NDArray[Any]]:
    """What a state says of a region; where it was updated in lanes, its spikes say for how long it is refractory."""
    found = dict(state.values[region.name])
    if "refractory" in region.neuron.state and "refractory" not in found:
        ref_steps = linear_step(region, state.dt_ms).ref_steps
        found["refractory"] = state.waits(place, np.broadcast_to(ref_steps, region.size))
    return found


def _crowded(region: Region, place: int, state: RunState) -> bool:
    """Whether a neuron has fired again while it was refractory, as a clamp may make it: then its last spikes do not say
    how long it will be."""
    window = int(linear_step(region, state.dt_ms).ref_steps.max(initial=0)) + 1
    step, where, neuron = state.spikes
    late = neuron[(where == place) & (step >= state.step - window)]
    return bool(np.unique(late).size < late.size)


def _segments(
    regions: list[Region], start: Mapping[str, int], bounds: NDArray[np.int64], given: Input
) -> tuple[NDArray[Any], Mapping[str, slice]]:
    """The segments, and where each region's are among them."""
    segments: list[tuple[int, int, int, int, int]] = []
    span = {}
    for number, r in enumerate(regions):
        before = len(segments)
        if r.role == "sensor":
            segments.append((number, -1, 0, r.size, 0))
        else:
            current = given.current_pa.get(r.name, np.zeros((1, 1)))
            varies = 2**64 - 1 if (current != current[:, :1]).any() else 0
            stop = start[r.name] + -(-r.size // kernels.BLOCK) * kernels.BLOCK
            shares = [(max(start[r.name], a), min(stop, b)) for a, b in pairwise(bounds.tolist())]
            segments += [(number, k, a, b, varies) for k, (a, b) in enumerate(shares) if a < b]
        span[r.name] = slice(before, len(segments))
    return np.array(segments, kernels.SEGMENT), span


def _shares(segments: list[NDArray[Any]]) -> NDArray[Any]:
    """Segments of several regions, in order of place, as if these were one: one for each thread."""
    every = np.concatenate(segments)
    _, first = np.unique(every["owner"], return_index=True)
    shares: NDArray[Any] = every[first]
    shares["stop"] = every["stop"][np.append(first[1:], every.size) - 1]
    return shares


def _streams(
    e: Rows, source: Region, targets: NDArray[Any], *, coarse: bool
) -> tuple[NDArray[Any], NDArray[Any], list[NDArray[Any]]]:
    """Edges into the segments of their target: their delays, a stream for each, what their addresses point to.
    ``coarse``: the table may be."""
    n_edges, n_source = e.indices.size, e.indptr.size - 1
    if n_edges >= 2**32:
        raise ConnectomeError(
            f"edges[{e.key}]", "must have fewer than 2**32 edges to run", n_edges, "Split its regions."
        )
    delay = e.delay_steps[:1] if is_constant(e.delay_steps) else e.delay_steps
    delays, indices = e.delays, np.ascontiguousarray(e.indices)  # it may be one for all
    cuts = targets["start"][1:] - targets["start"][:1]
    due = np.zeros(delays.size, kernels.DUE)
    due["delay"] = delays
    # A place in the table for each source, delay and thread; or for several delays at once, if that would be large.
    most = max(int(max(_TABLE_BYTES, _BYTES_AN_EDGE * n_edges) / n_source / 4) - 1, 1)
    coarse = coarse and delays.size * targets.size > most and delays.size > 1
    group = np.arange(delays.size) * most // delays.size if coarse else np.arange(delays.size)
    due["column"] = group if coarse else group * targets.size
    if delays.size == 1 and not cuts.size:
        table = e.indptr.astype(np.uint32)[:, None]
    else:
        group_of = np.zeros(int(delays[-1]) + 1, np.uint32)
        group_of[delays] = group
        table = np.empty((n_source, int(due["column"][-1]) + (1 if coarse else targets.size) + 1), np.uint32)
        tables.bounds_in_groups(e.indptr, indices, delay, group_of, cuts[:0] if coarse else cuts, table)
    arrays, rows = [table, indices], np.zeros(targets.size, kernels.STREAM)
    rows["owner"], rows["table"], rows["row"] = targets["owner"], table.ctypes.data, table.shape[1]
    if coarse:
        arrays.append(delay)
        rows["each"] = delay.ctypes.data
        rows["low"], rows["high"] = (targets[end] - targets["start"][:1] for end in ("start", "stop"))
    else:
        rows["column"] = np.arange(targets.size)
    rows["indices"], rows["shift"] = indices.ctypes.data, indices.itemsize // 2
    if is_constant(e.weight):
        rows["constant"] = e.weight[0]
    else:
        rows["weight"] = e.weight.ctypes.data
        arrays.append(e.weight)
    if source.sign.all():
        arrays.append(np.ascontiguousarray(source.sign))
        rows["sign"] = arrays[-1].ctypes.data
    return due, rows, arrays


def _bounds(
    active: list[Region], blocks: list[int], edges_into: Mapping[str, int], given: Input, threads: int
) -> NDArray[np.int64]:
    """(threads + 1,) places that share the work out: updates, Poisson numbers and edges."""
    cost = []
    for r, n in zip(active, blocks, strict=True):
        one = _NEURON_COST + edges_into[r.name] / max(r.size, 1) + _DRIVE_COST * (r.name in given.poisson)
        cost.append(np.full(n, one))
    total = np.cumsum(np.concatenate([np.zeros(1), *cost]))
    cuts = np.searchsorted(total, total[-1] * np.arange(1, threads) / threads)
    return np.array([0, *cuts, total.size - 1], np.int64) * kernels.BLOCK


def _poisson(
    start: Mapping[str, int], bounds: NDArray[np.int64], inhibitory: Mapping[str, int], given: Input,
    dtype: np.dtype[Any],
) -> PoissonDrive | None:  # fmt: skip
    """The drive of what is no sensor: runs of places, cut where threads meet."""
    cut: list[PoissonRun] = []
    owner, minus = [], []
    for name in (n for n in given.poisson if n in start):
        for r in given.poisson[name]:
            first, last = start[name] + r.start, start[name] + r.stop
            for k, (a, b) in enumerate((max(first, a), min(last, b)) for a, b in pairwise(bounds.tolist())):
                if a < b:
                    here = slice(a - first, b - first) if r.mean.size > 1 else slice(None)
                    cut.append(
                        r._replace(start=a, stop=b, key=r.key + a - first, weight=r.weight[here], mean=r.mean[here])
                    )
                    owner.append(k)
                    minus.append(inhibitory[name])
    if not cut:
        return None
    drive = poisson_drive(cut, given.seed, dtype)
    drive.run["owner"], drive.run["inhibitory"] = owner, minus
    return drive
