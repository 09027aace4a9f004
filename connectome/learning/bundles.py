"""How a network is laid out for training: which edges are sparse rows, which are matrices, and in what order.

The choice is made per edge set and delay, by density; nobody has to know. Dense rows cost by the columns of a matrix
but run at the speed of vector code; sparse rows cost by the edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import aligned_zeros
from connectome.graph.flat import Selection
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import TIED, EdgeSet, Region
from connectome.learning.bundle_kernels import (
    BLOCK,
    BUNDLE,
    CHUNK,
    LANES,
    Mask,
    Rows,
    Scratch,
    neuron_type,
    region_type,
)
from connectome.learning.convolution_kernels import FILTERS, Convolutions
from connectome.learning.filters import laid_out, moved, room
from connectome.learning.learning_kernels import COMPONENT, CONVOLUTION, DENSE, SPARSE, TileNetwork
from connectome.neurons.functions import learns
from connectome.neurons.iaf_psc_exp import step_constants
from connectome.neurons.model import NeuronModel, Quantity

__all__ = ["Bundles", "lay_out", "membrane_constants", "scratch"]

# From which share of a matrix's places with an edge on dense rows are faster, by measurement: for spikes and the
# gradients of weights, which both follow spikes; the same inside a component, where each step goes through the matrix,
# for matrices of more places than a cache holds; and for the gradients of spikes, which follow potentials.
_DENSE_FORWARD = 0.06
_DENSE_FROM_MEMORY = 0.15
_CACHED_PLACES = 2**20
_DENSE_BACKWARD = 0.35
#: A kernel set into fewer maps than this is a list of its connections: a vector of channels would be mostly padding.
_FEW_MAPS = 4


class Placement(NamedTuple):
    """Where some edges of a set, by its number, have their places among the weights as they are laid out."""

    number: int
    edges: slice | NDArray[np.int64]
    places: slice | NDArray[np.int64]
    blocks: tuple[int, ...] = ()  # of columns, sources and columns in a block, if it is a full matrix
    sign: int = 0  # of the weights that have their places here, where the others have other places as well
    tied: bool = False  # several places have one weight

    def put(self, given: NDArray[Any], places: NDArray[Any]) -> None:
        """From the edges to their places."""
        if self.blocks:
            _blocks(places[self.places], self.blocks)[...] = given.reshape(self.blocks[1], -1, self.blocks[2])
        elif self.sign:
            places[self.places] = given.clip(min=0) if self.sign > 0 else given.clip(max=0)
        else:
            places[self.places] = given[self.edges]

    def get(self, out: NDArray[Any], places: NDArray[Any], weight: NDArray[Any]) -> None:
        """From the places to their edges. ``weight``: what :meth:`put` has put; places of positive weights go first."""
        if self.blocks:
            out.reshape(self.blocks[1], -1, self.blocks[2])[...] = _blocks(places[self.places], self.blocks)
        elif self.tied:
            out[:] = np.bincount(cast(NDArray[np.int64], self.edges), places[self.places], out.size)
        elif self.sign < 0:
            np.copyto(out, places[self.places], where=weight[self.places] < 0)
        else:
            out[self.edges] = places[self.places]


def _blocks(matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return matrix.reshape(shape).transpose(1, 0, 2)


@dataclass(frozen=True, eq=False)
class Bundles:
    """A network for the kernels, with N neurons, the N' with a membrane first, and P places for weights.

    ``moves``: the edges of a set, by its number, and their places; some edges have others too, ``copies``; ``numbers``
    (bundles,): whose edges each bundle has; ``p20``: region -> mV that a pA adds to its potential in a step;
    ``own``: (N',) constants of each neuron, None where they are alike in every region; ``learns``: whether some learn;
    ``adaptation``: (2, N') rho and beta of thresholds that rise, mV; None where none does; ``convolutions``: of kernel
    sets; None where there is none.
    """

    net: TileNetwork
    span: Mapping[str, slice]
    sensors: tuple[str, ...]
    n_membranes: int
    channels: int
    n_places: int
    sizes: tuple[int, ...]
    moves: list[Placement]
    copies: list[Placement]
    numbers: NDArray[np.int64]
    p20: Mapping[str, Quantity]
    own: NDArray[Any] | None
    learns: bool
    adaptation: NDArray[Any] | None
    convolutions: Convolutions | None

    @property
    def n_neurons(self) -> int:
        """N."""
        return sum(s.stop - s.start for s in self.span.values())

    @property
    def real(self) -> np.dtype[Any]:
        """The floating type."""
        return self.net.regions.dtype["p22"]

    @property
    def max_delay(self) -> int:
        """The longest delay in steps; 0 if there is no edge."""
        return int(self.net.bundles["delay"].max(initial=0))


class _Bundle(NamedTuple):
    """Some edges of one set, by its number, with one delay."""

    number: int
    edges: EdgeSet
    delay: int
    edge: NDArray[np.int64]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    forward: int
    backward: int
    channel: int = 0
    tied: bool = False


def lay_out(
    selection: Selection, real: type[np.float32] | type[np.float64], width_mv: float,
    learnt: Mapping[str, NeuronModel] = MappingProxyType({}),
) -> Bundles:  # fmt: skip
    """Lay out a network in a floating type, with the half-width of the surrogate's support. ``learnt``: the models of
    regions whose neurons learn, among tensors."""
    ranked = _components(selection)
    roles = {name: r.role for name, r in selection.regions.items()}
    membranes = [name for component in ranked for name in component if roles[name] != "sensor"]
    sensors = [name for name in selection.regions if roles[name] == "sensor"]
    span, start = {}, 0
    for name in (*membranes, *sensors):
        span[name] = slice(start, start + selection.regions[name].size)
        start = span[name].stop
    n_membranes = sum(selection.regions[name].size for name in membranes)
    models = {n: selection.regions[n].neuron for n in membranes}
    given = {n: membrane_constants(selection.regions[n], m, selection.dt_ms) for n, m in models.items()}
    learning = [membrane_constants(selection.regions[n], m, selection.dt_ms) for n, m in learnt.items()]
    # One channel is enough where both time constants are the same, everywhere, and stay so.
    one = all(np.array_equal(c["p11"], c["p11_in"]) for c in given.values())
    channels = 1 if one and not any(learns(c["p11"], c["p11_in"]) for c in learning) else 2
    effectors = [n for n in selection.regions if roles[n] == "effector"]
    column = dict(zip(effectors, np.cumsum([0, *(selection.regions[n].size for n in effectors)]), strict=False))

    regions = np.zeros(len(membranes), region_type(real))
    own, adaptation = np.zeros(n_membranes, neuron_type(real)), np.zeros((2, n_membranes), real)
    for region, (name, c) in zip(regions, given.items(), strict=True):
        region["start"], region["stop"], region["column"] = span[name].start, span[name].stop, column.get(name, -1)
        region["inverse_width"] = 1 / width_mv
        for constant in own.dtype.fields or ():  # with one channel they are those of both
            own[constant][span[name]] = c[constant]
            region[constant] = own[constant][span[name].start] if selection.regions[name].size else 0
        for row, constant in enumerate(("rho", "beta")):
            adaptation[row, span[name]] = c[constant]
    bundles: list[_Bundle] = []
    components: list[tuple[int, ...]] = []
    first = 0
    for component in ranked:
        at = len(bundles)
        shortest = CHUNK
        leaving = [(i, k, e) for i, (k, e) in enumerate(selection.edges.items()) if k.source in component]
        for inner in (True, False):
            for number, key, edges in leaving:
                if (key.target in component) is inner:
                    made = _bundles(number, edges, channels, roles[key.source] == "neuron", inner)
                    bundles += made
                    shortest = min(shortest, *(m.delay for m in made)) if inner and made else shortest
            if inner:
                outer = len(bundles)
        n_regions = sum(roles[name] != "sensor" for name in component)
        components.append((first, first + n_regions, shortest, at, outer, len(bundles)))
        first += n_regions
    stored, n_places, moves, copies, convolutions = _store(bundles, span, n_membranes if channels == 2 else 0)
    table = np.array(components, COMPONENT)
    net = TileNetwork(regions, table, *stored)
    sizes = tuple(len(e) for e in selection.edges.values())
    numbers = np.array([b.number for b in bundles], np.int64)
    alike = not learnt and not any(np.ndim(value) for c in given.values() for value in c.values())
    rises = any(m.linear() is None for m in models.values())
    return Bundles(
        net, span, tuple(sensors), n_membranes, channels, n_places, sizes, moves, copies, numbers,
        {name: c["p20"] for name, c in given.items()}, None if alike else own, bool(learnt),
        adaptation if rises else None, convolutions,
    )  # fmt: skip


def membrane_constants(region: Region, neuron: NeuronModel, dt_ms: float) -> dict[str, Quantity]:
    """What the kernels know of a region's neurons, of this model: numbers, (N,), or tensors where parameters learn.
    Regions of models that they do not know stand still."""
    found = neuron.adaptive(dt_ms)
    base = neuron.linear() if found is None else found.base
    if base is None:
        return {"ref_steps": 0}
    c = step_constants(base, dt_ms, fires=region.role == "neuron" and neuron.fires)
    rho, beta = (0.0, 0.0) if found is None else found[1:]
    return c | dict(p21=c["p21_ex"], p11=c["p11_ex"], bias=c["p20"] * c["i_e"], rho=rho, beta=beta)


def _components(selection: Selection) -> list[list[str]]:
    """Regions that reach each other, together; those that reach others before those."""
    names = list(selection.regions)
    reaches = np.eye(len(names), dtype=bool)
    for key, edges in selection.edges.items():
        reaches[names.index(key.source), names.index(key.target)] |= len(edges) > 0
    for _ in range(len(names).bit_length()):
        reaches = (reaches.astype(np.float32) @ reaches) > 0
    found: dict[bytes, list[str]] = {}
    # Whoever comes later in the order is reached by more.
    for i in np.argsort(reaches.sum(axis=0), kind="stable"):
        found.setdefault((reaches[i] & reaches[:, i]).tobytes(), []).append(names[i])
    return list(found.values())


def _bundles(number: int, edges: EdgeSet, channels: int, fires: bool, inner: bool) -> list[_Bundle]:
    found: list[_Bundle] = []
    if isinstance(edges, KernelSet) and np.unique(edges.out_map).size < _FEW_MAPS:
        listed = edges.to_edges(edges.n_connections)
        of_edge = listed.state[TIED].astype(np.int64)
        listed_bundles = _bundles(number, listed, channels, fires, inner)
        return [b._replace(edge=of_edge[b.edge], tied=True) for b in listed_bundles]
    if isinstance(edges, KernelSet):
        none, kind = np.zeros(0, np.int32), CONVOLUTION
        made = _Bundle(
            number, edges, int(edges.delay_steps.max(initial=1)), np.arange(len(edges)), none, none, kind,
            kind if fires else 0,
        )  # fmt: skip
        return [made._replace(channel=channel) for channel in range(channels if len(edges) else 0)]
    source, target = edges.source, edges.target
    places = edges.n_source * _whole_blocks(edges.n_target)
    enough = _DENSE_FROM_MEMORY if inner and places > _CACHED_PLACES else _DENSE_FORWARD
    for delay in np.unique(edges.delay_steps):
        edge = np.flatnonzero(edges.delay_steps == delay)
        src, tgt = source[edge], target[edge]
        pairs = src.astype(np.int64) * edges.n_target + tgt
        share = edge.size / places
        simple = channels == 1 and (np.diff(np.sort(pairs)) > 0).all()
        forward = DENSE if simple and share >= enough else SPARSE
        backward = 0 if not fires else DENSE if simple and share >= _DENSE_BACKWARD else SPARSE
        made = _Bundle(number, edges, int(delay), edge, src, tgt, forward, backward)
        if forward == DENSE and backward == SPARSE:
            found += [made._replace(backward=0), made._replace(forward=0)]
        else:
            found.append(made)
    return found


def _whole_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _store(
    bundles: list[_Bundle], span: Mapping[str, slice], second: int
) -> tuple[tuple[NDArray[Any], Rows], int, list[Placement], list[Placement], Convolutions | None]:
    """The bundles for the kernels, how many places their weights have, and which. ``second``: how far it is to the
    second channel of a neuron, 0 where there is one alone."""
    filters: list[NDArray[Any]] = [np.zeros(0, FILTERS)]
    tables: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    moves: list[Placement] = []
    copies: list[Placement] = []
    rows: list[NDArray[Any]] = [np.zeros(0, np.int64)]
    indptr: list[NDArray[Any]] = [np.zeros(1, np.int64)]
    place: list[NDArray[Any]] = [np.zeros(0, np.int64)]
    table = np.zeros(len(bundles), BUNDLE)
    sparse = [b for b in bundles if SPARSE in (b.forward, b.backward)]
    at = _whole_blocks(sum(b.edge.size for b in sparse))  # so that matrices begin with a cache line, and the end is one
    filled = row = 0
    for s, b in enumerate(bundles):
        key, columns = b.edges.key, _whole_blocks(b.edges.n_target)
        start, matrix, matrix_size = row, 0, 0
        if SPARSE in (b.forward, b.backward):
            order = np.argsort(b.source, kind="stable")
            source, length = np.unique(b.source, return_counts=True)
            rows.append(source)
            indptr.append(filled + np.cumsum(length))
            place.append(b.target[order] + span[key.target].start)
            where, edge = filled + np.arange(order.size), b.edge[order]
            filled, row = filled + order.size, row + source.size
        elif isinstance(b.edges, KernelSet):
            start, matrix, edge, laid = len(filters) - 1, at, b.edge, laid_out(b.edges)
            filters.append(moved(laid.record, sum(t.size for t in tables)))
            tables.append(laid.table)
            where = at + laid.places
            at += _whole_blocks(laid.n_places)
        else:
            matrix = at
            block, column = np.divmod(b.target.astype(np.int64), BLOCK)
            where, edge = at + (block * b.edges.n_source + b.source) * BLOCK + column, b.edge
            matrix_size = b.edges.n_source * columns
            at += matrix_size
        full = matrix_size == edge.size == len(b.edges)
        sign = (1, -1)[b.channel] if second and b.forward == CONVOLUTION else 0
        move = Placement(b.number, edge if b.tied else _slice(edge), _slice(where), sign=sign, tied=b.tied)
        if full and not b.tied:
            blocks = (columns // BLOCK, b.edges.n_source, BLOCK)
            move = Placement(b.number, slice(None), slice(matrix, matrix + matrix_size), blocks)
        (moves if b.forward else copies).append(move)
        table[s] = (
            b.delay, span[key.source].start, b.edges.n_source, span[key.target].start + b.channel * second,
            b.edges.n_target, b.forward, b.backward, start, row, matrix, columns,
        )  # fmt: skip
    stored = Rows(
        np.concatenate(rows).astype(np.uint32), np.concatenate(indptr).astype(np.uint64),
        np.concatenate(place).astype(np.uint32),
    )  # fmt: skip
    convolutions = Convolutions(np.concatenate(filters), np.concatenate(tables)) if len(filters) > 1 else None
    return (table, stored), at, moves, copies, convolutions


def _slice(index: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The same places as a slice, which is faster to copy, if they follow each other."""
    follow = index.size and index[-1] - index[0] == index.size - 1 and (np.diff(index) == 1).all()
    return slice(int(index[0]), int(index[-1]) + 1) if follow else index


def scratch(layout: Bundles, steps: int) -> Scratch:
    """Buffers for runs of so many steps."""
    n, channels, b, real = layout.n_membranes, layout.channels, layout.net.bundles, layout.real
    chunk = min(steps, CHUNK)
    dense = b[(b["forward"] == DENSE) | (b["backward"] == DENSE)]
    sources, columns = int(dense["n_source"].max(initial=0)), int(dense["columns"].max(initial=0))
    entries, ends, panel = (0, 0, 0) if layout.convolutions is None else room(layout.convolutions.filters)
    return Scratch(
        ring=aligned_zeros((chunk + layout.max_delay) * channels * n * LANES + BLOCK * LANES, real),
        back=aligned_zeros(chunk * n * LANES, real), state=aligned_zeros((1 + channels, n * LANES), real),
        held=np.empty(n, Mask), offset=np.empty((2, chunk), np.uint64), values=aligned_zeros(chunk * LANES, real),
        entries=np.empty(max(sources * (chunk + 1) * LANES + 2, entries), np.uint32),
        ends=np.empty(max(sources + 1, chunk * LANES, ends), np.uint64),
        panel=aligned_zeros(max(LANES * (max(chunk * BLOCK, columns) + LANES), panel), real),
    )  # fmt: skip
