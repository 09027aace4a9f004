"""A convolution as an edge set whose rows are its free weights, not the connections that share them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NoReturn, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import (
    boolean_mask,
    finite_step,
    first_bad,
    freeze,
    index_type,
    integer,
    is_constant,
    lock,
    numbers_of,
    take_rows,
)
from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, checked_attributes, joined_attributes
from connectome.graph.columns import delay_to_steps
from connectome.graph.maps import MAX_SIDE, Maps
from connectome.graph.parts import TIED, EdgeKey, EdgeSet, checked_key, checked_state

__all__ = ["KERNEL_COLUMNS", "MOST_CONNECTIONS", "KernelSet", "among", "expanded", "without_kernels"]

#: What a weight joins, in the order of rows.
KERNEL_COLUMNS: Final = ("out_map", "in_map", "dy", "dx")
#: Connections that a kernel set is expanded to unless more are asked for: some 0.6 GB while it is done.
MOST_CONNECTIONS: Final = 20_000_000
HOW_ELSE: Final = (
    "Training, runs with engine='torch' and Connectome.to_xarray() need no expansion; or give expanded(most=...) more."
)
#: The numbers of connections' weights are kept as float32.
MOST_TIED: Final = 2**24
#: What an edge set has of each connection, and a kernel set not.
_OF_CONNECTIONS: Final = ("indptr", "indices")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class KernelSet(EdgeSet):
    """The K free weights of a convolution of one region's maps into another's. Make one with :meth:`from_arrays`, or
    with :func:`~connectome.wiring.convolution.convolution` or :func:`~connectome.wiring.convolution.offset_kernels`.

    The weight of (source map, target map, dy, dx) joins each place (y, x) of the target map to the place
    ``(stride y + dy, stride x + dx)`` of the source map, if there is one: as torch's ``conv2d``, whose padding is part
    of dy and dx here. Coordinates are those of :class:`~connectome.graph.maps.Maps`. Weights that are not there, of
    kernels or maps that were pruned, have no row. No connection is stored: what an edge set has of each (``indptr``,
    ``indices``, ``source``, ``target``) is refused, by one message. :meth:`to_edges` makes them.

    Parameters
    ----------
    key, weight, delay_steps, dt_ms, birth_stage, state, attributes : as of an edge set, of K rows; one delay for all
    source_maps, target_maps : those of the two regions, of one kind of grid
    in_map, out_map : (K,) uint16, the maps that a weight joins
    dy, dx : (K,) int16
    stride : 1 or more

    Rows are in the order of ``out_map``, ``in_map``, ``dy``, ``dx``, each once: with none missing, that of torch's
    kernels.
    """

    # Of the fields of an edge set, those that say where each edge goes.
    n_target: int = field(init=False)
    indptr: NDArray[np.int64] = field(init=False)
    indices: NDArray[np.uint16] | NDArray[np.int32] = field(init=False)
    source_maps: Maps
    target_maps: Maps
    in_map: NDArray[np.uint16]
    out_map: NDArray[np.uint16]
    dy: NDArray[np.int16]
    dx: NDArray[np.int16]
    stride: int = 1

    def __post_init__(self) -> None:
        key = checked_key(self.key)
        where = f"edges[{key}]"
        for name in ("source_maps", "target_maps"):
            if not isinstance(getattr(self, name), Maps):
                raise ConnectomeError(f"{where}.{name}", "must be Maps", repr(getattr(self, name)))
        if self.source_maps.hexagonal != self.target_maps.hexagonal:
            grids = ["hexagonal" if m.hexagonal else "square" for m in (self.source_maps, self.target_maps)]
            raise ConnectomeError(where, "must join maps of one kind of grid", " and ".join(grids))
        stride = integer(f"{where}.stride", self.stride, 1, MAX_SIDE)
        weight = freeze(f"{where}.weight", self.weight, np.float32, (None,))
        shape = weight.shape
        if not np.isfinite(weight).all():
            raise ConnectomeError(f"{where}.weight", "must be finite (pA)", first_bad(~np.isfinite(weight), weight))
        columns: dict[str, NDArray[Any]] = {
            name: freeze(f"{where}.{name}", getattr(self, name), kind, shape)
            for name, kind in (("in_map", np.uint16), ("out_map", np.uint16), ("dy", np.int16), ("dx", np.int16))
        }
        for name, maps in (("in_map", self.source_maps), ("out_map", self.target_maps)):
            bad = columns[name] >= maps.count
            if bad.any():
                rule = f"must be in 0 .. {maps.count - 1}, the maps that there are"
                raise ConnectomeError(f"{where}.{name}", rule, first_bad(bad, columns[name]))
        place = _place(**columns)
        if (place[1:] <= place[:-1]).any():
            raise ConnectomeError(
                where, "must have each of (out_map, in_map, dy, dx) once, in this order",
                f"row {int(np.argmax(place[1:] <= place[:-1])) + 1} after one that is not before it",
                "Use KernelSet.from_arrays.",
            )  # fmt: skip
        delay = freeze(f"{where}.delay_steps", self.delay_steps, np.uint16, shape)
        if delay.size and (delay.min() < 1 or delay.min() != delay.max()):
            found = f"{delay.min()} .. {delay.max()}"
            raise ConnectomeError(f"{where}.delay_steps", "must be >= 1 step, the same for all rows", found)
        if TIED in self.state:
            raise ConnectomeError(f"{where}.state", "must have no weights that are tied besides", repr(TIED))
        for name, value in (
            ("key", key), ("n_target", self.target_maps.size), ("stride", stride), ("weight", weight),
            ("delay_steps", np.broadcast_to(delay[:1], shape)), ("dt_ms", finite_step(f"{where}.dt_ms", self.dt_ms)),
            ("birth_stage", freeze(f"{where}.birth_stage", self.birth_stage, np.int16, shape)),
            ("state", checked_state(where, self.state, shape)),
            ("attributes", checked_attributes(where, self.attributes, shape[0], EDGE_WORDS)), *columns.items(),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def from_arrays(  # type: ignore[override]  # what it is made of is other than an edge set's
        cls, key: EdgeKey | tuple[str, str, str], in_map: ArrayLike, out_map: ArrayLike, dy: ArrayLike, dx: ArrayLike,
        weight: ArrayLike = 0.0, *, source_maps: Maps, target_maps: Maps, dt_ms: float, stride: int = 1,
        delay_ms: float | None = None, birth_stage: ArrayLike = 0, state: Mapping[str, ArrayLike] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> KernelSet:  # fmt: skip
        """From rows in any order: (K,) each, or a scalar for all; ``delay_ms`` is one step by default. Raises
        :class:`ConnectomeError`."""
        where = f"edges[{checked_key(key)}]"
        given = {"in_map": in_map, "out_map": out_map, "dy": dy, "dx": dx, "weight": weight, "birth_stage": birth_stage}
        given |= {f"state[{name}]": values for name, values in (state or {}).items()}
        arrays = {name: numbers_of(f"{where}.{name}", values) for name, values in given.items()}
        size = max((a.size for a in arrays.values() if a.ndim), default=1)
        for name, array in arrays.items():
            if array.ndim and array.shape != (size,):
                raise ConnectomeError(f"{where}.{name}", f"must have shape ({size},)", array.shape)
        rows = {name: np.broadcast_to(array, size) for name, array in arrays.items()}
        order = np.lexsort([rows[name] for name in reversed(KERNEL_COLUMNS)])

        def ordered(array: NDArray[Any]) -> NDArray[Any]:
            return array if is_constant(array) else lock(array[order])

        known = checked_attributes(where, attributes or {}, size, EDGE_WORDS)
        delay = np.uint16(1) if delay_ms is None else delay_to_steps(delay_ms, dt_ms, where)
        columns: dict[str, Any] = {name: ordered(rows[name]) for name in (*KERNEL_COLUMNS, "weight", "birth_stage")}
        return cls(
            key=checked_key(key), source_maps=source_maps, target_maps=target_maps, stride=stride, dt_ms=dt_ms,
            delay_steps=np.broadcast_to(delay, size), state={n: ordered(rows[f"state[{n}]"]) for n in state or {}},
            attributes={name: a.take(order) for name, a in known.items()}, **columns,
        )  # fmt: skip

    def __getattr__(self, name: str) -> NoReturn:
        if name in _OF_CONNECTIONS:
            raise ConnectomeError(
                f"edges[{self.key}]", "must be a list of edges for this", f"a kernel set, of {len(self)} free weights",
                "Expand it: Connectome.expanded(), or its to_edges().",
            )  # fmt: skip
        raise AttributeError(name)

    def __len__(self) -> int:
        return int(self.weight.size)

    def __repr__(self) -> str:
        return (
            f"KernelSet({self.key}, {self.source_maps.count} x {self.target_maps.count} maps, {len(self)} weights, "
            f"{self.n_connections} connections)"
        )

    @property
    def n_source(self) -> int:
        """Size of the source region."""
        return self.source_maps.size

    @property
    def n_connections(self) -> int:
        """Pairs of neurons that are joined."""
        return int(self.connections.sum())

    @property
    def connections(self) -> NDArray[np.int64]:
        """(K,) connections that have each weight."""
        offsets, of = self._offsets
        return np.array([self.reach(*o)[0].size for o in offsets], np.int64)[of]

    @property
    def out_degree(self) -> NDArray[np.int64]:
        """(n_source,) connections from each neuron."""
        return self._degree(self.source_maps, self.in_map, 0)

    @property
    def in_degree(self) -> NDArray[np.int64]:
        """(n_target,) connections to each neuron."""
        return self._degree(self.target_maps, self.out_map, 1)

    def at_source(self, values: NDArray[Any]) -> NDArray[Any]:
        """(K,) the mean of each weight's source map, of (n_source,) values."""
        return _mean(values, self.source_maps)[self.in_map]

    def source_blocks(self, values: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
        """As :meth:`at_source`, in one block."""
        yield slice(None), self.at_source(values)

    def at_target(self, values: NDArray[Any]) -> NDArray[Any]:
        """(K,) the mean of each weight's target map, of (n_target,) values."""
        return _mean(values, self.target_maps)[self.out_map]

    @property
    def pair(self) -> NDArray[np.uint64]:
        """(K,) uint64: what names a weight."""
        return _place(**{name: getattr(self, name) for name in KERNEL_COLUMNS})

    @property
    def kernel(self) -> NDArray[np.int64]:
        """(K,) which kernel it is of, counted from 0 in the order of rows: those of one map for another."""
        new = np.diff(self.in_map.astype(np.int64), prepend=-1) | np.diff(self.out_map.astype(np.int64), prepend=0)
        return np.cumsum(new != 0) - 1

    @property
    def density(self) -> float:
        """Connections over the pairs of neurons that could be joined."""
        return self.n_connections / (self.n_source * self.n_target)

    def take(self, edge: NDArray[np.bool_]) -> KernelSet:
        """Only the weights where the (K,) mask is true. Raises :class:`ConnectomeError` if it is not such a mask."""
        edge = boolean_mask(f"edges[{self.key}].take", edge, len(self))
        columns = (*KERNEL_COLUMNS, "weight", "delay_steps", "birth_stage")
        rows: dict[str, Any] = {name: take_rows(getattr(self, name), edge) for name in columns}
        state = {name: take_rows(values, edge) for name, values in self.state.items()}
        attributes = {name: a.take(edge) for name, a in self.attributes.items()}
        return replace(self, state=state, attributes=attributes, **rows)

    def join(self, other: EdgeSet) -> KernelSet:
        """These weights and those of ``other``, a kernel set of the same key, maps, stride, delay and ``dt_ms``. State
        that one lacks is 0 there, an attribute is missing. Raises :class:`ConnectomeError` for another, and for a
        weight that both have."""
        where, parts = f"edges[{self.key}]", (self, other)
        if not isinstance(other, KernelSet):
            rule = "can only be joined with a kernel set"
            raise ConnectomeError(where, rule, repr(other), "Give the edges a kind of their own: local-more, say.")
        delays = {int(steps) for e in parts for steps in e.delay_steps[:1]}
        mine, theirs = ((e.key, e.source_maps, e.target_maps, e.stride, e.dt_ms) for e in (self, other))
        if mine != theirs or len(delays) > 1:
            raise ConnectomeError(where, f"can only be joined with the same maps and delay, {mine}", theirs)
        twice = np.isin(other.pair, self.pair)
        if twice.any():
            found = ", ".join(f"{name} {getattr(other, name)[np.argmax(twice)]}" for name in KERNEL_COLUMNS)
            raise ConnectomeError(where, "must not have a weight that is joined to it", found, "Reweight it.")

        def column(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(e, name) for e in (self, other)])

        names = {*self.state, *other.state}
        rows: dict[str, Any] = {name: column(name) for name in (*KERNEL_COLUMNS, "weight", "birth_stage")}
        return KernelSet.from_arrays(
            self.key, **rows, source_maps=self.source_maps, target_maps=self.target_maps, stride=self.stride,
            dt_ms=self.dt_ms, delay_ms=delays.pop() * self.dt_ms if delays else None,
            state={n: np.concatenate([e.state.get(n, np.zeros(len(e), np.float32)) for e in parts]) for n in names},
            attributes=joined_attributes(where, [(e.attributes, len(e)) for e in parts]),
        )  # fmt: skip

    def of_maps(self, source: NDArray[np.bool_], target: NDArray[np.bool_]) -> KernelSet:
        """The kernels between the maps whose neurons these (n_source,) and (n_target,) masks take. Raises
        :class:`ConnectomeError` where they take part of a map."""
        kept, number, masks = [], [], ((self.source_maps, source), (self.target_maps, target))
        for maps, mask in masks:
            mixed = maps.mixed(mask)
            if mixed.any():
                part, hint = int(np.argmax(mixed)), "Take whole maps, or expand it: Connectome.expanded()."
                raise ConnectomeError(f"edges[{self.key}]", "must keep whole maps", f"part of map {part}", hint)
            kept.append(mask[:: maps.places])
            number.append((np.cumsum(kept[-1]) - 1).astype(np.uint16))
        rows = self.take(kept[0][self.in_map] & kept[1][self.out_map])
        made = [replace(maps, count=int(k.sum())) for (maps, _), k in zip(masks, kept, strict=True)]
        maps_of: dict[str, Any] = {"in_map": number[0][rows.in_map], "out_map": number[1][rows.out_map]}
        return replace(rows, source_maps=made[0], target_maps=made[1], **maps_of)

    def to_edges(self, most: int = MOST_CONNECTIONS) -> EdgeSet:
        """The connections as an edge set, which share weights by the state :data:`~connectome.graph.parts.TIED`: row
        numbers of these. Raises :class:`ConnectomeError` if there are more than ``most``."""
        where = f"edges[{self.key}]"
        _refuse(where, self.n_connections, most)
        if len(self) > MOST_TIED:
            raise ConnectomeError(where, f"must have {MOST_TIED} weights or fewer to be expanded", len(self))
        sources, targets, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        offsets, of = self._offsets
        for number, offset in enumerate(offsets):
            row = np.flatnonzero(of == number)[:, None]
            source, target = self.reach(*offset)
            sources.append((self.in_map[row].astype(np.int64) * self.source_maps.places + source).ravel())
            targets.append((self.out_map[row].astype(np.int64) * self.target_maps.places + target).ravel())
            rows.append(np.broadcast_to(row, (row.size, source.size)).ravel())
        of_edge = np.concatenate(rows)
        kept = {name: values[of_edge] for name, values in self.state.items()}
        ends = np.concatenate(sources).astype(np.int32), np.concatenate(targets).astype(index_type(self.n_target))
        return EdgeSet.from_arrays(
            self.key, *ends, self.weight[of_edge], n_source=self.n_source, n_target=self.n_target, dt_ms=self.dt_ms,
            delay_ms=self.delay[0] if len(self) else None, birth_stage=self.birth_stage[of_edge],
            state={**kept, TIED: of_edge}, attributes={name: a.take(of_edge) for name, a in self.attributes.items()},
        )  # fmt: skip

    def reach(self, dy: int, dx: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Places of a source map, and those of a target map that they reach by an offset."""
        s, t = self.source_maps, self.target_maps
        first = self.shift(dy, dx)
        row, column = (self.stride * a + b for a, b in zip((t.row, t.column), first, strict=True))
        target = np.flatnonzero((row >= 0) & (row < s.height) & (column >= 0) & (column < s.width))
        source = s.number[row[target], column[target]]
        return source[source >= 0], target[source >= 0]

    def shift(self, dy: int, dx: int) -> tuple[int, int]:
        """Row and column of a source map that reach the corner of a target map by an offset: they may lie outside."""
        ends = zip((dy, dx), self.source_maps.origin, self.target_maps.origin, strict=True)
        down, right = (int(d) + here - self.stride * there for d, here, there in ends)
        return down, right

    @cached_property
    def _offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(U, 2) the offsets that there are, and (K,) which a weight has."""
        both = np.stack([self.dy, self.dx], axis=1).astype(np.int64).reshape(-1, 2)
        found, of = np.unique(both, axis=0, return_inverse=True)
        return found, of.reshape(-1)

    def _degree(self, maps: Maps, of_map: NDArray[np.uint16], end: int) -> NDArray[np.int64]:
        offsets, of = self._offsets
        rows = np.zeros((maps.count, len(offsets)))
        np.add.at(rows, (of_map, of), 1)
        there = np.zeros((len(offsets), maps.places))
        for number, offset in enumerate(offsets):
            there[number] = np.bincount(self.reach(*offset)[end], minlength=maps.places)
        return np.rint(rows @ there).astype(np.int64).ravel()


def among(edges: EdgeSet, source: NDArray[np.bool_], target: NDArray[np.bool_]) -> EdgeSet:
    """The edges of a set between the neurons that these (n_source,) and (n_target,) masks take, who are all there are.
    Raises :class:`ConnectomeError` where kernels join a part of a map."""
    if isinstance(edges, KernelSet):
        return edges.of_maps(source, target)
    kept = edges.take(edges.at_source(source) & edges.at_target(target))
    indptr = np.append(kept.indptr[:-1][source], len(kept))  # the rows of other sources are empty now
    number = np.cumsum(target) - 1
    return replace(kept, n_target=int(target.sum()), indptr=indptr, indices=number[kept.indices])


def expanded(edges: Mapping[EdgeKey, EdgeSet], most: int = MOST_CONNECTIONS) -> dict[EdgeKey, EdgeSet]:
    """Edge sets, with :meth:`KernelSet.to_edges` of each kernel set. Raises :class:`ConnectomeError` if these are more
    than ``most`` connections."""
    sets = {key: e for key, e in edges.items() if isinstance(e, KernelSet)}
    _refuse("edges", sum(e.n_connections for e in sets.values()), most)
    return {**edges, **{key: e.to_edges(most) for key, e in sets.items()}}


def without_kernels(edges: Mapping[EdgeKey, EdgeSet]) -> dict[EdgeKey, EdgeSet]:
    """Edge sets without the kernel sets."""
    return {key: e for key, e in edges.items() if not isinstance(e, KernelSet)}


def _refuse(where: str, n: int, most: int) -> None:
    if n > most:
        raise ConnectomeError(where, f"must have {most:,} connections or fewer to be expanded", f"{n:,}", HOW_ELSE)


A = TypeVar("A", bound=NDArray[Any])


def _place(out_map: A, in_map: A, dy: A, dx: A) -> NDArray[np.uint64]:
    """One number that rises in the order of rows."""
    parts = (out_map, in_map, dy.astype(np.int32) + 2**15, dx.astype(np.int32) + 2**15)
    place = np.zeros(in_map.size, np.uint64)
    for part in parts:
        place = place << np.uint64(16) | part.astype(np.uint64)
    return place


def _mean(values: NDArray[Any], maps: Maps) -> NDArray[Any]:
    """(maps,) of (N,) values, in their type."""
    means: NDArray[Any] = values.reshape(maps.count, maps.places).mean(axis=1)
    return means.astype(values.dtype)
