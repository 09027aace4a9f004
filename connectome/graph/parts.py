"""What a connectome is made of: regions and edge sets, validated once and frozen."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import (
    ReadOnly,
    boolean_mask,
    checked_ids,
    csr_order,
    finite_step,
    first_bad,
    freeze,
    index_type,
    integer,
    is_constant,
    lock,
    not_finite,
    numbers_of,
    one_nan,
    out_of_order,
    row_blocks,
    row_starts,
    stable_argsort,
    take_rows,
)
from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS, Attribute, checked_attributes, joined_attributes
from connectome.graph.columns import ReverseView, checked_labels, delay_to_steps
from connectome.graph.maps import Maps
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel, checked_neuron

__all__ = ["TIED", "EdgeKey", "EdgeSet", "Region", "ReverseView", "delay_to_steps"]

#: What an edge joins. A kind is one of these, or one with a name of its own, ``long_range-slow``: two regions may be
#: joined by any number of sets, each with its rules and its way to learn.
BaseKind = Literal["local", "long_range", "afferent", "efferent"]
Kind = str
Role = Literal["neuron", "sensor", "effector"]
KINDS: Final[tuple[BaseKind, ...]] = get_args(BaseKind)
ROLES: Final[tuple[Role, ...]] = get_args(Role)
#: The roles that each kind of edge joins, source then target.
ENDS: Final[Mapping[str, tuple[Role, Role]]] = MappingProxyType(
    {
        "local": ("neuron", "neuron"),
        "long_range": ("neuron", "neuron"),
        "afferent": ("sensor", "neuron"),
        "efferent": ("neuron", "effector"),
    }
)
#: The per-edge state that says which edges share one weight.
TIED: Final = "tied"
MAX_SIZE: Final = np.iinfo(np.int32).max
MAX_STAGE: Final = np.iinfo(np.int16).max
#: Of positions, whose distances are then finite in any arithmetic: a million kilometres.
MAX_UM: Final = 1e15
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KIND = re.compile(rf"({'|'.join(KINDS)})(-[A-Za-z0-9_]+)?")
NAME_RULE: Final = "letters, digits, '_', '.', '-', not starting with '.' or '-'"


class EdgeKey(NamedTuple):
    """The name of an edge set: ``(source region, kind, target region)``."""

    source: str
    kind: Kind
    target: str

    def __str__(self) -> str:
        return f"{self.source} -{self.kind}-> {self.target}"

    @property
    def base(self) -> BaseKind:
        """The kind without a name of its own."""
        return cast(BaseKind, self.kind.partition("-")[0])


@dataclass(frozen=True, eq=False)
class Region(ReadOnly):
    """A population of neurons, or a virtual population at the border: a sensor or an effector.

    Parameters
    ----------
    name : letters, digits, ``_ . -``; it names groups in files
    size : number of neurons N >= 0
    role : ``"neuron"``; ``"sensor"`` (emits the spikes it is given); ``"effector"`` (integrates, never fires)
    neuron : the model and its parameters, each the same for the whole region or one for each neuron: NeuronParameters
        (``iaf_psc_exp``) or another registered model, see :mod:`connectome.neurons`; unused by a sensor
    position_um : (N, 3) float64, micrometres; nan where a place is not known, as all are if not given
    sign : (N,) int8, Dale's sign of each neuron's outgoing weights: +1, -1, or 0 where either is allowed
    birth_stage : the stage that made it
    label : (N,) str, what each neuron is called elsewhere (``"ADAL"``), ``""`` for one without a name; printable, at
        most 128 characters, no space at either end. None if none has one. Two neurons may share one.
    state : name -> (N,) float32: what mechanisms keep for each neuron (gain, threshold, novelty)
    attributes : name -> (N,) numbers, flags or texts, some of them missing: what else is known of each neuron (class,
        side, transmitter, volume). Anything that :meth:`Attribute.of` takes.
    maps : how its neurons are maps of a grid, for kernel sets; None if they are not
    area : of neurons: the area that it is a layer of; "" if it is one by itself, or the top of one, whose name it has.
        What joins regions of one area is local
    """

    name: str
    size: int
    role: Role = "neuron"
    neuron: NeuronModel = NeuronParameters()
    position_um: NDArray[np.float64] = None  # type: ignore[assignment]  # filled in by __post_init__
    sign: NDArray[np.int8] = None  # type: ignore[assignment]
    birth_stage: int = 0
    label: NDArray[np.str_] | None = None
    state: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    maps: Maps | None = None
    area: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConnectomeError("region.name", f"must be {NAME_RULE}", repr(self.name))
        where = f"regions[{self.name}]"
        n = integer(f"{where}.size", self.size, 0, MAX_SIZE)
        if self.role not in ROLES:
            raise ConnectomeError(f"{where}.role", f"must be one of {', '.join(ROLES)}", repr(self.role))
        checked_neuron(f"{where}.neuron", self.neuron, n, self.role)
        birth = integer(f"{where}.birth_stage", self.birth_stage, 0, MAX_STAGE)
        position = np.full((n, 3), math.nan) if self.position_um is None else self.position_um
        position = freeze(f"{where}.position_um", position, np.float64, (n, 3))
        far = np.abs(position) > MAX_UM
        if far.any():
            raise ConnectomeError(
                f"{where}.position_um", f"must be within {MAX_UM:g} um, or nan where it is not known",
                first_bad(far, position),
            )  # fmt: skip
        position = one_nan(position)
        sign = freeze(f"{where}.sign", np.zeros(n, np.int8) if self.sign is None else self.sign, np.int8, (n,))
        bad = (sign < -1) | (sign > 1)
        if bad.any():
            raise ConnectomeError(f"{where}.sign", "must be -1, 0 or +1", first_bad(bad, sign))
        label = None if self.label is None else checked_labels(f"{where}.label", self.label, n)
        if self.maps is not None and (not isinstance(self.maps, Maps) or self.maps.size != n):
            raise ConnectomeError(f"{where}.maps", f"must be Maps of {n} neurons, the region's size", self.maps)
        if self.area and (not isinstance(self.area, str) or not _NAME.fullmatch(self.area) or self.role != "neuron"):
            found = f"{self.area!r} of a {self.role}"
            raise ConnectomeError(f"{where}.area", f"must be of neurons, and {NAME_RULE}", found)
        for name, value in (
            ("name", str(self.name)), ("size", n), ("position_um", position), ("sign", sign), ("birth_stage", birth),
            ("label", label), ("state", checked_state(where, self.state, (n,))),
            ("attributes", checked_attributes(where, self.attributes, n, NODE_WORDS)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def labels(self) -> NDArray[np.str_]:
        """(N,) what each neuron is called, "" where it has no name."""
        return np.full(self.size, "") if self.label is None else self.label

    def take(self, which: NDArray[Any]) -> Region:
        """The neurons where the (N,) mask is true, or those with these numbers, in their order. Whole maps stay."""
        return replace(
            self, size=int(which.sum()) if which.dtype == bool else which.size, neuron=self.neuron.take(which),
            maps=None if self.maps is None else self.maps.take(which),
            position_um=self.position_um[which], sign=self.sign[which],
            label=None if self.label is None else self.label[which],
            state={k: v[which] for k, v in self.state.items()},
            attributes={k: a.take(which) for k, a in self.attributes.items()},
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class EdgeSet(ReadOnly):
    """One typed set of E edges in CSR order: by source, then delay, then target. Make one with :meth:`from_arrays`.

    The simulator streams them in this order, without a copy: 8 bytes an edge with a weight and one delay, 10 with one
    each, 2 fewer where a target fits in 16 bits. A column of one value may be a broadcast view: it costs no memory.

    Parameters
    ----------
    key : ``(source, kind, target)``
    n_target : size of the target region
    indptr : (n_source + 1,) int64; the edges of source i are ``indptr[i]:indptr[i + 1]``
    indices : (E,) the targets: uint16 if n_target <= 65536, else int32. :attr:`target` gives them as int32.
    weight : (E,) float32, pA added to the synaptic current
    delay_steps : (E,) uint16, 1 .. 65535 steps of ``dt_ms``
    dt_ms : the resolution of the delays
    birth_stage : (E,) int16, the stage that made each edge
    state : name -> (E,) float32: what rules keep for each edge (memory, inhibition, trace)
    attributes : name -> (E,) numbers, flags or texts, some of them missing: what else is known of each edge
    """

    key: EdgeKey
    n_target: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.uint16] | NDArray[np.int32]
    weight: NDArray[np.float32]
    delay_steps: NDArray[np.uint16]
    dt_ms: float
    birth_stage: NDArray[np.int16]
    state: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = checked_key(self.key)
        where = f"edges[{key}]"
        n_target = integer(f"{where}.n_target", self.n_target, 0, MAX_SIZE)
        dt_ms = finite_step(f"{where}.dt_ms", self.dt_ms)
        indptr = freeze(f"{where}.indptr", self.indptr, np.int64, (None,))
        targets = checked_ids(f"{where}.indices", self.indices, n_target, "the target region's size")
        indices = freeze(f"{where}.indices", targets, index_type(n_target), (None,))
        shape = indices.shape
        if not indptr.size or indptr[0] != 0 or indptr[-1] != indices.size or (np.diff(indptr) < 0).any():
            raise ConnectomeError(f"{where}.indptr", f"must rise from 0 to the number of edges, {indices.size}", indptr)
        weight = freeze(f"{where}.weight", self.weight, np.float32, shape)
        if found := not_finite(weight):
            raise ConnectomeError(f"{where}.weight", "must be finite (pA)", found)
        delay = freeze(f"{where}.delay_steps", self.delay_steps, np.uint16, shape)
        if delay.size and delay.min() < 1:
            raise ConnectomeError(f"{where}.delay_steps", "must be >= 1 step", first_bad(delay < 1, delay))
        if found := out_of_order(indptr, indices, delay):
            raise ConnectomeError(
                f"{where}.indices", "must rise by delay, then target, within a row", found, "Use EdgeSet.from_arrays."
            )
        birth = freeze(f"{where}.birth_stage", self.birth_stage, np.int16, shape)
        attributes = checked_attributes(where, self.attributes, shape[0], EDGE_WORDS)
        for name, value in (
            ("key", key), ("n_target", n_target), ("dt_ms", dt_ms), ("indptr", indptr), ("indices", indices),
            ("weight", weight), ("delay_steps", delay), ("birth_stage", birth), ("attributes", attributes),
            ("state", checked_state(where, self.state, shape)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def from_arrays(
        cls, key: EdgeKey | tuple[str, str, str], source: ArrayLike, target: ArrayLike, weight: ArrayLike = 0.0, *,
        n_source: int, n_target: int, dt_ms: float, delay_ms: ArrayLike | None = None,
        birth_stage: ArrayLike = 0, state: Mapping[str, ArrayLike] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> EdgeSet:  # fmt: skip
        """Make an edge set from edges in any order; scalars stand for "the same for every edge".

        ``source`` and ``target`` are (E,) integers, ``weight`` pA, ``delay_ms`` a multiple of ``dt_ms`` up to rounding
        (default: one step). Several edges may join the same pair: they keep their order. Raises
        :class:`ConnectomeError`.
        """
        edge_key = checked_key(key)
        where = f"edges[{edge_key}]"
        n_source = integer(f"{where}.n_source", n_source, 0, MAX_SIZE)
        n_target = integer(f"{where}.n_target", n_target, 0, MAX_SIZE)
        dt_ms = finite_step(f"{where}.dt_ms", dt_ms)
        src = checked_ids(f"{where}.source", source, n_source, "the source region's size")
        tgt = checked_ids(f"{where}.target", target, n_target, "the target region's size")
        if src.size != tgt.size:
            raise ConnectomeError(f"{where}.target", f"must be as long as source, {src.size}", tgt.size)
        src, tgt = src.astype(np.int32, copy=False), tgt.astype(index_type(n_target), copy=False)

        def column(name: str, given: ArrayLike) -> NDArray[Any]:
            array = numbers_of(f"{where}.{name}", given)
            if array.ndim == 0:
                return np.broadcast_to(array, src.shape)
            if array.shape != src.shape:
                raise ConnectomeError(f"{where}.{name}", f"must have shape {src.shape}", array.shape)
            return array

        delay = column("delay_ms", 1 if delay_ms is None else delay_to_steps(delay_ms, dt_ms, where))
        columns = {"weight": column("weight", weight), "birth_stage": column("birth_stage", birth_stage)}
        columns |= {f"state[{k}]": column(f"state[{k}]", v) for k, v in (state or {}).items()}
        known = checked_attributes(where, attributes or {}, src.size, EDGE_WORDS)
        indptr = row_starts(src, n_source)
        order = csr_order(src, tgt, delay, indptr, n_target)

        def ordered(array: NDArray[Any]) -> NDArray[Any]:
            return array if order is None or is_constant(array) else lock(array[order])

        return cls(
            key=edge_key, n_target=n_target, indptr=indptr, indices=ordered(tgt), weight=ordered(columns["weight"]),
            delay_steps=ordered(delay), dt_ms=dt_ms, birth_stage=ordered(columns["birth_stage"]),
            state={k: ordered(columns[f"state[{k}]"]) for k in state or {}},
            attributes={k: a if order is None else a.take(order) for k, a in known.items()},
        )  # fmt: skip

    def __len__(self) -> int:
        return int(self.indices.size)

    def __repr__(self) -> str:
        return f"EdgeSet({self.key}, {self.n_source} x {self.n_target}, {len(self)} edges)"

    @property
    def n_source(self) -> int:
        """Size of the source region."""
        return int(self.indptr.size - 1)

    @property
    def source(self) -> NDArray[np.int32]:
        """(E,) int32, made from ``indptr``: it is not stored."""
        return np.repeat(np.arange(self.n_source, dtype=np.int32), np.diff(self.indptr))

    @property
    def target(self) -> NDArray[np.int32]:
        """(E,) int32."""
        return self.indices.astype(np.int32, copy=False)

    @property
    def n_connections(self) -> int:
        """Connections between neurons: the edges, but in a :class:`~connectome.graph.kernel_set.KernelSet`."""
        return len(self)

    @property
    def connections(self) -> NDArray[np.int64]:
        """(E,) of each row."""
        return np.broadcast_to(np.int64(1), len(self))

    @property
    def out_degree(self) -> NDArray[np.int64]:
        """(n_source,) connections from each neuron."""
        return np.diff(self.indptr)

    @property
    def in_degree(self) -> NDArray[np.int64]:
        """(n_target,) connections to each neuron."""
        return np.bincount(self.indices, minlength=self.n_target)

    def at_source(self, values: NDArray[Any]) -> NDArray[Any]:
        """(E,) what each row's source has, of (n_source,) values."""
        return np.repeat(values, np.diff(self.indptr))

    def source_blocks(self, values: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Block by block of edges, what each edge's source has, of (n_source,) values."""
        for rows, edges in row_blocks(self.indptr):
            yield edges, np.repeat(values[rows], np.diff(self.indptr[rows.start : rows.stop + 1]))

    def at_target(self, values: NDArray[Any]) -> NDArray[Any]:
        """(E,) what each row's target has, of (n_target,) values."""
        return values[self.indices]

    @property
    def pair(self) -> NDArray[np.uint64]:
        """(E,) uint64: source and target in one number, which names the two."""
        return self.source.astype(np.uint64) << np.uint64(32) | self.target.astype(np.uint64)

    @property
    def delay(self) -> NDArray[np.float64]:
        """(E,) float64, ms."""
        steps = self.delay_steps[:1] if is_constant(self.delay_steps) else self.delay_steps
        delay = steps.astype(np.float64) * self.dt_ms
        return delay if delay.size == len(self) else np.broadcast_to(delay, len(self))

    @property
    def density(self) -> float:
        """Edges over the pairs that could be joined; nan if there is no pair."""
        pairs = self.n_source * self.n_target
        return len(self) / pairs if pairs else math.nan

    @cached_property
    def reverse(self) -> ReverseView:
        """The same edges by target; made at the first call and kept."""
        edge = stable_argsort(self.indices, self.n_target)
        return ReverseView(row_starts(self.indices, self.n_target), lock(self.source[edge]), lock(edge))

    def take(self, edge: NDArray[np.bool_]) -> EdgeSet:
        """Only the edges where the (E,) mask is true. Raises :class:`ConnectomeError` if it is not such a mask."""
        edge = boolean_mask(f"edges[{self.key}].take", edge, len(self))
        indptr = np.concatenate([[0], np.cumsum(edge, dtype=np.int64)])[self.indptr]
        kept = {k: take_rows(v, edge) for k, v in self.state.items()}
        attributes = {k: a.take(edge) for k, a in self.attributes.items()}
        return replace(
            self, indptr=lock(indptr), indices=take_rows(self.indices, edge), weight=take_rows(self.weight, edge),
            delay_steps=take_rows(self.delay_steps, edge), birth_stage=take_rows(self.birth_stage, edge), state=kept,
            attributes=attributes,
        )  # fmt: skip

    def join(self, other: EdgeSet) -> EdgeSet:
        """These edges and those of ``other``, of the same key, sizes and ``dt_ms``. Where both join a pair, these come
        first. State that one lacks is 0 there; but edges that come without a number among those that are tied get
        numbers of their own, so that they share their weight with none. An attribute that one lacks is missing there.
        """
        mine, theirs = ((e.key, e.n_source, e.n_target, e.dt_ms) for e in (self, other))
        if mine != theirs:
            raise ConnectomeError(
                f"edges[{self.key}]", f"can only be joined with the same key, sizes and dt_ms, {mine}", theirs
            )

        def column(name: str) -> NDArray[Any]:
            a: NDArray[Any] = getattr(self, name)
            b: NDArray[Any] = getattr(other, name)
            if not a.size or not b.size:
                return b if b.size else a
            if is_constant(a) and is_constant(b) and a[0] == b[0]:
                return np.broadcast_to(a[0], a.size + b.size)
            return np.concatenate([a, b])

        def state(name: str) -> NDArray[Any]:
            columns = [e.state.get(name, np.broadcast_to(np.float32(0), len(e))) for e in (self, other)]
            if name == TIED and TIED not in self.state:
                columns[0] = _untied(columns[1], len(self), self.key)
            elif name == TIED and TIED not in other.state:
                columns[1] = _untied(columns[0], len(other), self.key)
            return np.concatenate(columns)

        return EdgeSet.from_arrays(
            self.key, column("source"), column("target"), column("weight"), n_source=self.n_source,
            n_target=self.n_target, dt_ms=self.dt_ms, delay_ms=column("delay"), birth_stage=column("birth_stage"),
            state={name: state(name) for name in {*self.state, *other.state}},
            attributes=joined_attributes(f"edges[{self.key}]", [(e.attributes, len(e)) for e in (self, other)]),
        )  # fmt: skip


def checked_state(
    where: str, given: Mapping[str, ArrayLike], shape: tuple[int, ...]
) -> Mapping[str, NDArray[np.float32]]:
    """State by name, in order, read-only. Raises :class:`ConnectomeError`."""
    for name in given:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConnectomeError(f"{where}.state", f"must have names of {NAME_RULE}", repr(name))
    return MappingProxyType(
        {name: freeze(f"{where}.state[{name}]", given[name], np.float32, shape) for name in sorted(given)}
    )


def _untied(tied: NDArray[np.float32], n: int, key: EdgeKey) -> NDArray[np.float32]:
    """(n,) numbers that are not among those of edges that share weights. Raises :class:`ConnectomeError` if float32 has
    no whole numbers left."""
    first = int(tied.max(initial=-1)) + 1
    if first + n > 2**24:
        raise ConnectomeError(
            f"edges[{key}].state[{TIED}]", f"must be below {2**24}, new edges included", first + n - 1
        )
    return np.arange(first, first + n, dtype=np.float32)


def is_kind(name: object) -> bool:
    """Whether this names a kind of edge."""
    return isinstance(name, str) and _KIND.fullmatch(name) is not None


def checked_key(key: EdgeKey | tuple[str, str, str]) -> EdgeKey:
    if not isinstance(key, (tuple, list)) or len(key) != 3:
        raise ConnectomeError("edge key", "must be (source, kind, target)", repr(key))
    edge_key = EdgeKey(*map(str, key))
    if not is_kind(edge_key.kind):
        rule = f"must be one of {', '.join(KINDS)}, or one with a name of its own, such as local-slow"
        raise ConnectomeError("edge kind", rule, repr(edge_key.kind))
    return edge_key
