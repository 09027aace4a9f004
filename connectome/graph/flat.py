"""The connectome as plain arrays: what every engine runs on."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.kernel_set import KernelSet, expanded
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.memory import refuse_edges
from connectome.neurons.iaf_psc_exp import Dynamics, NeuronParameters, propagators
from connectome.neurons.model import NeuronModel

__all__ = ["Engine", "FlatNetwork", "Selection", "cores", "finite", "flatten", "linear_step", "select", "starts"]

#: Event driven on the CPU, or message passing in torch.
Engine = Literal["numba", "torch"]
_LARGEST: Final = float(np.finfo(np.float32).max)


def starts(regions: Iterable[Region]) -> dict[str, int]:
    """The number of each region's first neuron, where neurons are numbered region after region."""
    found, n = {}, 0
    for region in regions:
        found[region.name] = n
        n += region.size
    return found


@dataclass(frozen=True, eq=False)
class Selection:
    """The regions that take part, and the edge sets between them. Neurons are numbered region after region."""

    dt_ms: float
    regions: Mapping[str, Region]
    span: Mapping[str, slice]
    edges: Mapping[EdgeKey, EdgeSet]

    @property
    def n_neurons(self) -> int:
        """N, sensors and effectors included."""
        return sum(r.size for r in self.regions.values())

    def expanded(self) -> Selection:
        """With an edge set in place of each kernel set. Raises :class:`ConnectomeError`."""
        return replace(self, edges=expanded(self.edges))


@dataclass(frozen=True, eq=False)
class FlatNetwork:
    """All regions in one selection, all edge sets in one CSR, but for kernel sets.

    Neurons are numbered region after region. A row holds the edges of one source neuron, edge set after edge set, in
    the set's own order; ``order[j]`` is the place of the CSR's edge j in the concatenation of these edge sets, which is
    how weight vectors are laid out outside. ``models``: the regions whose step is not the linear one of ``dynamics``,
    which says nothing of them. ``kernels``: the kernel sets, which are not in the CSR.
    """

    dt_ms: float
    span: Mapping[str, slice]
    keys: tuple[EdgeKey, ...]
    set_start: NDArray[np.int64]
    is_sensor: NDArray[np.bool_]
    indptr: NDArray[np.int64]
    target: NDArray[np.int32]
    delay: NDArray[np.uint16]
    order: NDArray[np.int64]
    weight: NDArray[np.float32]
    dynamics: Dynamics
    models: Mapping[str, NeuronModel] = field(default_factory=dict)
    effectors: frozenset[str] = frozenset()
    kernels: Mapping[EdgeKey, KernelSet] = field(default_factory=dict)

    @property
    def n_neurons(self) -> int:
        """N, sensors and effectors included."""
        return self.is_sensor.size

    @property
    def max_delay(self) -> int:
        """The longest delay in steps; 1 if there is no edge."""
        return max(
            1, int(self.delay.max(initial=1)), *(int(e.delay_steps.max(initial=1)) for e in self.kernels.values())
        )

    @cached_property
    def delays(self) -> NDArray[np.uint16]:
        """(K,) the delays that occur, in steps, rising."""
        return np.unique(self.delay)

    @cached_property
    def orders(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """(E,) each: the row of an edge among K N, its source as it was at its delay; edges by target; and by row."""
        n, source = self.n_neurons, np.repeat(np.arange(self.n_neurons), np.diff(self.indptr))
        row = source + np.searchsorted(self.delays, self.delay) * n
        by_target, by_row = (np.argsort(x, kind="stable").astype(np.int32) for x in (self.target, row))
        return row.astype(np.int32), by_target, by_row

    @property
    def out_degree(self) -> NDArray[np.int64]:
        """(N,) connections from each neuron."""
        degree = np.diff(self.indptr)
        for key, kernels in self.kernels.items():
            degree[self.span[key.source]] += kernels.out_degree
        return degree


def cores() -> int:
    """Cores that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def select(connectome: Connectome, recruit: Collection[str] | None = None) -> Selection:
    """Number the neurons of a connectome, or of its regions named in ``recruit`` only, with the layers of their areas.

    Raises :class:`ConnectomeError` for a region that does not exist.
    """
    for name in recruit or ():
        if name not in connectome.regions:
            raise ConnectomeError("recruit", f"must name regions of {list(connectome.regions)}", repr(name))
    regions = {r.name: r for r in connectome.regions.values() if recruit is None or {r.name, r.area} & {*recruit}}
    span, start = {}, 0
    for r in regions.values():
        span[r.name] = slice(start, start + r.size)
        start += r.size
    if start >= 2**31:
        raise ConnectomeError("connectome", "must have fewer than 2**31 neurons", start)
    edges = {k: e for k, e in connectome.edges.items() if k.source in span and k.target in span}
    return Selection(connectome.dt_ms, regions, span, edges)


def flatten(connectome: Connectome, recruit: Collection[str] | None = None) -> FlatNetwork:
    """Merge the edge sets of a connectome, or of its regions named in ``recruit`` only.

    Raises :class:`ConnectomeError` for a region that does not exist.
    """
    selection = select(connectome, recruit)
    span, start = selection.span, selection.n_neurons
    refuse_edges("one network", sum(map(len, selection.edges.values())), 45)
    kernels = {k: e for k, e in selection.edges.items() if isinstance(e, KernelSet)}
    sets = [e for k, e in selection.edges.items() if k not in kernels]
    regions = list(selection.regions.values())
    indptr = np.zeros(start + 1, np.int64)
    for e in sets:
        first = span[e.key.source].start
        indptr[first + 1 : first + 1 + e.n_source] += np.diff(e.indptr)
    np.cumsum(indptr, out=indptr)
    set_start = np.cumsum([0, *(len(e) for e in sets)], dtype=np.int64)
    n_edges = int(set_start[-1])
    target, delay = np.empty(n_edges, np.int32), np.empty(n_edges, np.uint16)
    weight, order = np.empty(n_edges, np.float32), np.empty(n_edges, np.int64)
    filled = indptr[:-1].copy()
    for e, offset in zip(sets, set_start, strict=False):
        rows = span[e.key.source]
        length = np.diff(e.indptr)
        place = np.repeat(filled[rows] - e.indptr[:-1], length) + np.arange(len(e))
        target[place] = e.target + np.int32(span[e.key.target].start)
        delay[place] = e.delay_steps
        weight[place] = e.weight
        order[place] = offset + np.arange(len(e))
        filled[rows] += length
    steps = [linear_step(r, connectome.dt_ms) for r in regions]
    sizes = [r.size for r in regions]
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate(
            [np.zeros(0), *(np.broadcast_to(getattr(s, name), n) for s, n in zip(steps, sizes, strict=True))]
        )
        for name in Dynamics._fields
    }
    columns["ref_steps"] = columns["ref_steps"].astype(np.int32)
    models = {r.name: r.neuron for r in regions if r.role != "sensor" and r.neuron.linear() is None}
    for r, step in zip(regions, steps, strict=True):
        finite(r, r.neuron.constants(connectome.dt_ms) if r.name in models else step._asdict())
    return FlatNetwork(
        dt_ms=connectome.dt_ms, span=span, keys=tuple(e.key for e in sets), set_start=set_start,
        is_sensor=np.repeat(np.array([r.role == "sensor" for r in regions], bool), sizes),
        indptr=indptr, target=target, delay=delay, order=order, weight=weight, dynamics=Dynamics(**columns),
        models=models,
        effectors=frozenset(r.name for r in regions if r.role == "effector"), kernels=kernels,
    )  # fmt: skip


def linear_step(region: Region, dt_ms: float) -> Dynamics:
    """A region's step where that is linear; where it is not, one that leaves a potential of 0 as it is."""
    linear = region.neuron.linear()
    if isinstance(linear, NeuronParameters):
        return propagators(linear, dt_ms, fires=region.role == "neuron" and region.neuron.fires)
    zero = np.zeros(())
    return Dynamics(*(zero,) * 6, np.array(np.inf), zero, zero, zero, np.zeros((), np.int32))


def finite(region: Region, constants: dict[str, Any]) -> None:
    """Refuse constants of a region's neurons that single precision cannot hold, with what a constant current adds in a
    step, but for a threshold that is never reached."""
    with np.errstate(over="ignore", invalid="ignore"):
        added = constants.get("p20", 0.0) * constants.get("i_e", 0.0)
    for name, given in (constants | {"p20 i_e": added}).items():
        value = given.detach().numpy() if hasattr(given, "detach") else given
        if name != "theta" and not (np.abs(value) <= _LARGEST).all():
            rule = f"must give a step that single precision can hold ({name} is not finite)"
            raise ConnectomeError(f"neuron of region {region.name}", rule, f"{region.neuron!r:.200}")
