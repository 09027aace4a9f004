"""The typed region graph: regions, edge sets and the connectome that holds them.

Everything here is frozen. Arrays are validated once, when an object is made, and are read-only afterwards; an edit is
an :class:`EdgeDelta`, and :meth:`Connectome.apply` gives a new connectome that shares what did not change.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    import networkx
    import pandas
    import scipy.sparse
    import xarray
    from torch_geometric.data import HeteroData

__all__ = ["Connectome", "EdgeDelta", "EdgeKey", "EdgeSet", "NeuronParameters", "Provenance", "Region", "RuleRecord"]

Kind = Literal["local", "long_range", "afferent", "efferent"]
Role = Literal["neuron", "sensor", "effector"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
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
MAX_DELAY_STEPS: Final = np.iinfo(np.uint16).max
MAX_SIZE: Final = np.iinfo(np.int32).max
MAX_STAGE: Final = np.iinfo(np.int16).max
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAME_RULE: Final = "letters, digits, '_', '.', '-', not starting with '.' or '-'"


class EdgeKey(NamedTuple):
    """The name of an edge set: ``(source region, kind, target region)``."""

    source: str
    kind: Kind
    target: str

    def __str__(self) -> str:
        return f"{self.source} -{self.kind}-> {self.target}"


@dataclass(frozen=True)
class NeuronParameters:
    """Leaky integrate-and-fire with exponential synaptic currents: names, units and meaning of NEST's ``iaf_psc_exp``.

    Exact integration after Rotter & Diesmann (1999). An effector is the same neuron that never fires.
    """

    tau_m_ms: float = 10.0
    c_m_pf: float = 250.0
    t_ref_ms: float = 2.0
    v_th_mv: float = -55.0
    v_reset_mv: float = -70.0
    e_l_mv: float = -70.0
    tau_syn_ex_ms: float = 2.0
    tau_syn_in_ms: float = 2.0
    i_e_pa: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, (int, float, np.floating, np.integer)) or not math.isfinite(value):
                raise ConnectomeError(f"neuron.{f.name}", "must be a finite number", repr(value))
            object.__setattr__(self, f.name, float(value))
        for name in ("tau_m_ms", "c_m_pf", "tau_syn_ex_ms", "tau_syn_in_ms"):
            if getattr(self, name) <= 0:
                raise ConnectomeError(f"neuron.{name}", "must be > 0", getattr(self, name))
        if self.t_ref_ms < 0:
            raise ConnectomeError("neuron.t_ref_ms", "must be >= 0", self.t_ref_ms)
        if self.v_reset_mv >= self.v_th_mv:
            raise ConnectomeError(
                "neuron.v_reset_mv", f"must be below v_th_mv = {self.v_th_mv}", self.v_reset_mv, "Or it fires forever."
            )


@dataclass(frozen=True, eq=False)
class Region:
    """A population of neurons, or a virtual population at the border: a sensor or an effector.

    Parameters
    ----------
    name : letters, digits, ``_ . -``; it names groups in files
    size : number of neurons N >= 0
    role : ``"neuron"``; ``"sensor"`` (emits the spikes it is given); ``"effector"`` (integrates, never fires)
    neuron : membrane and synapse parameters, the same for the whole region; unused by a sensor
    position_um : (N, 3) float64, micrometres; zeros if not given
    sign : (N,) int8, Dale's sign of each neuron's outgoing weights: +1, -1, or 0 where either is allowed
    birth_stage : the stage that made it
    """

    name: str
    size: int
    role: Role = "neuron"
    neuron: NeuronParameters = NeuronParameters()
    position_um: NDArray[np.float64] = None  # type: ignore[assignment]  # filled in by __post_init__
    sign: NDArray[np.int8] = None  # type: ignore[assignment]
    birth_stage: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConnectomeError("region.name", f"must be {_NAME_RULE}", repr(self.name))
        where = f"regions[{self.name}]"
        n = _integer(f"{where}.size", self.size, 0, MAX_SIZE)
        if self.role not in ROLES:
            raise ConnectomeError(f"{where}.role", f"must be one of {', '.join(ROLES)}", repr(self.role))
        if not isinstance(self.neuron, NeuronParameters):
            raise ConnectomeError(f"{where}.neuron", "must be NeuronParameters", repr(self.neuron))
        birth = _integer(f"{where}.birth_stage", self.birth_stage, 0, MAX_STAGE)
        position = np.zeros((n, 3)) if self.position_um is None else self.position_um
        position = _freeze(f"{where}.position_um", position, np.float64, (n, 3))
        if not np.isfinite(position).all():
            raise ConnectomeError(f"{where}.position_um", "must be finite", _first(~np.isfinite(position), position))
        sign = _freeze(f"{where}.sign", np.zeros(n, np.int8) if self.sign is None else self.sign, np.int8, (n,))
        bad = (sign < -1) | (sign > 1)
        if bad.any():
            raise ConnectomeError(f"{where}.sign", "must be -1, 0 or +1", _first(bad, sign))
        for name, value in (
            ("name", str(self.name)), ("size", n), ("position_um", position), ("sign", sign), ("birth_stage", birth),
        ):  # fmt: skip
            object.__setattr__(self, name, value)


class ReverseView(NamedTuple):
    """An edge set by target: the edges into neuron j are ``edge[indptr[j]:indptr[j + 1]]``, from ``source[...]``."""

    indptr: NDArray[np.int64]
    source: NDArray[np.int32]
    edge: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EdgeSet:
    """One typed set of E edges in CSR order: sorted by source, then target. Make one with :meth:`from_arrays`.

    A column that is the same for every edge may be a broadcast view (:func:`numpy.broadcast_to`): it costs no memory.

    Parameters
    ----------
    key : ``(source, kind, target)``
    n_target : size of the target region
    indptr : (n_source + 1,) int64; the edges of source i are ``indptr[i]:indptr[i + 1]``
    target : (E,) int32
    weight : (E,) float32, pA added to the synaptic current
    delay_steps : (E,) uint16, 1 .. 65535 steps of ``dt_ms``
    dt_ms : the resolution of the delays
    birth_stage : (E,) int16, the stage that made each edge
    state : name -> (E,) float32: what rules keep for each edge (survival, inhibition, trace)
    """

    key: EdgeKey
    n_target: int
    indptr: NDArray[np.int64]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    delay_steps: NDArray[np.uint16]
    dt_ms: float
    birth_stage: NDArray[np.int16]
    state: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = _key(self.key)
        where = f"edges[{key}]"
        n_target = _integer(f"{where}.n_target", self.n_target, 0, MAX_SIZE)
        dt_ms = _dt(f"{where}.dt_ms", self.dt_ms)
        indptr = _freeze(f"{where}.indptr", self.indptr, np.int64, (None,))
        target = _freeze(f"{where}.target", self.target, np.int32, (None,))
        shape = target.shape
        if not indptr.size or indptr[0] != 0 or indptr[-1] != target.size or (np.diff(indptr) < 0).any():
            raise ConnectomeError(f"{where}.indptr", f"must rise from 0 to the number of edges, {target.size}", indptr)
        if target.size and (target.min() < 0 or target.max() >= n_target):
            bad = (target < 0) | (target >= n_target)
            raise ConnectomeError(
                f"{where}.target", f"must be in 0 .. {n_target - 1}, the target region's size", _first(bad, target)
            )
        falls = np.diff(target) < 0
        falls[indptr[(indptr > 0) & (indptr < target.size)] - 1] = False
        if falls.any():
            raise ConnectomeError(
                f"{where}.target", "must not fall within a row", _first(falls, target), "Use EdgeSet.from_arrays."
            )
        weight = _freeze(f"{where}.weight", self.weight, np.float32, shape)
        if not np.isfinite(weight).all():
            raise ConnectomeError(f"{where}.weight", "must be finite (pA)", _first(~np.isfinite(weight), weight))
        delay = _freeze(f"{where}.delay_steps", self.delay_steps, np.uint16, shape)
        if delay.size and delay.min() < 1:
            raise ConnectomeError(f"{where}.delay_steps", "must be >= 1 step", _first(delay < 1, delay))
        birth = _freeze(f"{where}.birth_stage", self.birth_stage, np.int16, shape)
        for k in self.state:
            if not isinstance(k, str) or not _NAME.fullmatch(k):
                raise ConnectomeError(f"{where}.state", f"must have names of {_NAME_RULE}", repr(k))
        state = {k: _freeze(f"{where}.state[{k}]", self.state[k], np.float32, shape) for k in sorted(self.state)}
        for name, value in (
            ("key", key), ("n_target", n_target), ("dt_ms", dt_ms), ("indptr", indptr), ("target", target),
            ("weight", weight), ("delay_steps", delay), ("birth_stage", birth), ("state", MappingProxyType(state)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def from_arrays(
        cls, key: EdgeKey | tuple[str, str, str], source: ArrayLike, target: ArrayLike, weight: ArrayLike = 0.0, *,
        n_source: int, n_target: int, dt_ms: float, delay_ms: ArrayLike | None = None,
        birth_stage: ArrayLike = 0, state: Mapping[str, ArrayLike] | None = None,
    ) -> EdgeSet:  # fmt: skip
        """Make an edge set from edges in any order; scalars stand for "the same for every edge".

        ``source`` and ``target`` are (E,) integers, ``weight`` pA, ``delay_ms`` a multiple of ``dt_ms`` up to rounding
        (default: one step). Several edges may join the same pair: they keep their order. Raises
        :class:`ConnectomeError`.
        """
        edge_key = _key(key)
        where = f"edges[{edge_key}]"
        n_source = _integer(f"{where}.n_source", n_source, 0, MAX_SIZE)
        n_target = _integer(f"{where}.n_target", n_target, 0, MAX_SIZE)
        dt_ms = _dt(f"{where}.dt_ms", dt_ms)
        ends = []
        for name, given, n in (("source", source, n_source), ("target", target, n_target)):
            array = _numbers(f"{where}.{name}", given)
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
                raise ConnectomeError(f"{where}.{name}", "must be one-dimensional integers", _describe(array))
            if array.size and (array.min() < 0 or array.max() >= n):
                raise ConnectomeError(
                    f"{where}.{name}", f"must be in 0 .. {n - 1}, the {name} region's size",
                    _first((array < 0) | (array >= n), array),
                )  # fmt: skip
            ends.append(array.astype(np.int32, copy=False))
        src, tgt = ends
        if src.size != tgt.size:
            raise ConnectomeError(f"{where}.target", f"must be as long as source, {src.size}", tgt.size)
        pair = src.astype(np.int64) * n_target + tgt
        order = None if (np.diff(pair) >= 0).all() else _stable_argsort(pair, n_source * n_target)
        del pair

        def column(name: str, given: ArrayLike) -> NDArray[Any]:
            array = _numbers(f"{where}.{name}", given)
            if array.ndim == 0:
                return np.broadcast_to(array, src.shape)
            if array.shape != src.shape:
                raise ConnectomeError(f"{where}.{name}", f"must have shape {src.shape}", array.shape)
            return array if order is None or _is_constant(array) else _lock(array[order])

        return cls(
            key=edge_key,
            n_target=n_target,
            indptr=_row_starts(src, n_source),
            target=column("target", tgt),
            weight=column("weight", weight),
            delay_steps=column("delay_ms", 1 if delay_ms is None else delay_to_steps(delay_ms, dt_ms, where)),
            dt_ms=dt_ms,
            birth_stage=column("birth_stage", birth_stage),
            state={k: column(f"state[{k}]", v) for k, v in (state or {}).items()},
        )

    def __len__(self) -> int:
        return int(self.target.size)

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
    def delay(self) -> NDArray[np.float64]:
        """(E,) float64, ms."""
        steps = self.delay_steps[:1] if _is_constant(self.delay_steps) else self.delay_steps
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
        edge = _stable_argsort(self.target, self.n_target)
        return ReverseView(_row_starts(self.target, self.n_target), _lock(self.source[edge]), _lock(edge))

    def take(self, edge: NDArray[np.bool_]) -> EdgeSet:
        """Only the edges where the (E,) mask is true. Raises :class:`ConnectomeError` if it is not such a mask."""
        edge = _mask(f"edges[{self.key}].take", edge, len(self))
        indptr = np.concatenate([[0], np.cumsum(edge, dtype=np.int64)])[self.indptr]
        kept = {k: _take(v, edge) for k, v in self.state.items()}
        return replace(
            self, indptr=_lock(indptr), target=_take(self.target, edge), weight=_take(self.weight, edge),
            delay_steps=_take(self.delay_steps, edge), birth_stage=_take(self.birth_stage, edge), state=kept,
        )  # fmt: skip

    def join(self, other: EdgeSet) -> EdgeSet:
        """These edges and those of ``other``, of the same key, sizes and ``dt_ms``. Where both join a pair, these come
        first. State that one lacks is 0 there.
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
            if _is_constant(a) and _is_constant(b) and a[0] == b[0]:
                return np.broadcast_to(a[0], a.size + b.size)
            return np.concatenate([a, b])

        def state(name: str) -> NDArray[Any]:
            zero = np.float32(0)
            return np.concatenate([e.state.get(name, np.broadcast_to(zero, len(e))) for e in (self, other)])

        return EdgeSet.from_arrays(
            self.key, column("source"), column("target"), column("weight"), n_source=self.n_source,
            n_target=self.n_target, dt_ms=self.dt_ms, delay_ms=column("delay"), birth_stage=column("birth_stage"),
            state={name: state(name) for name in {*self.state, *other.state}},
        )  # fmt: skip


class RuleRecord(NamedTuple):
    """What one rule did to one edge set at one step of one stage: counts of edges."""

    stage: int
    step: int
    rule: str
    source: str
    kind: str
    target: str
    added: int = 0
    inhibited: int = 0
    restored: int = 0
    removed: int = 0
    strengthened: int = 0


@dataclass(frozen=True)
class Provenance:
    """Where a connectome comes from. ``parents`` are digests of the connectomes that it was made from."""

    seed: int | None = None
    stage: int = 0
    stage_name: str = ""
    parents: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    rule_log: tuple[RuleRecord, ...] = ()


@dataclass(frozen=True, eq=False)
class EdgeDelta:
    """An edit. Indices count edges of the set as it is before the edit; weights and state change first, then edges
    are removed, then edges are added.

    Parameters
    ----------
    reweight : key -> (E,) new weights, pA
    state : key -> name -> (E,) new values
    remove : key -> (E,) mask of the edges to remove
    add : edge sets with the edges to add
    records : what to append to the rule log
    """

    reweight: Mapping[EdgeKey, NDArray[np.float32]] = field(default_factory=dict)
    state: Mapping[EdgeKey, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)
    remove: Mapping[EdgeKey, NDArray[np.bool_]] = field(default_factory=dict)
    add: tuple[EdgeSet, ...] = ()
    records: tuple[RuleRecord, ...] = ()


@dataclass(frozen=True, eq=False)
class Connectome:
    """A typed region graph. Make one with :meth:`of`; change it with :meth:`apply`, :meth:`grow` or ``replace``.

    ``regions`` keeps its order: neuron ids are given out in it. ``edges`` is sorted by key. ``dt_ms`` is the
    resolution of delays and the step of the simulation.
    """

    regions: Mapping[str, Region]
    edges: Mapping[EdgeKey, EdgeSet]
    dt_ms: float = 0.1
    provenance: Provenance = Provenance()

    @classmethod
    def of(
        cls, regions: Iterable[Region], edges: Iterable[EdgeSet] = (), *, dt_ms: float = 0.1,
        provenance: Provenance | None = None,
    ) -> Connectome:  # fmt: skip
        """From regions and edge sets, in any order of edge sets. Raises :class:`ConnectomeError` for duplicates."""
        by_name: dict[str, Region] = {}
        for region in regions:
            if region.name in by_name:
                raise ConnectomeError("regions", "must have distinct names", f"{region.name!r} twice")
            by_name[region.name] = region
        by_key: dict[EdgeKey, EdgeSet] = {}
        for edge_set in edges:
            if edge_set.key in by_key:
                raise ConnectomeError("edges", "must have distinct keys", f"{edge_set.key} twice", "Use EdgeSet.join.")
            by_key[edge_set.key] = edge_set
        return cls(by_name, by_key, dt_ms, provenance or Provenance())

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt_ms", _dt("dt_ms", self.dt_ms))
        for name, region in self.regions.items():
            if name != region.name:
                raise ConnectomeError(f"regions[{name}]", "must be under its own name", repr(region.name))
        for key, edge_set in self.edges.items():
            where = f"edges[{edge_set.key}]"
            if key != edge_set.key:
                raise ConnectomeError(where, "must be under its own key", repr(key), "Use Connectome.of.")
            key = edge_set.key
            for end, name, n in (("source", key.source, edge_set.n_source), ("target", key.target, edge_set.n_target)):
                if name not in self.regions:
                    raise ConnectomeError(f"{where}.{end}", f"must name a region of {list(self.regions)}", repr(name))
                region = self.regions[name]
                role = ENDS[key.kind][end == "target"]
                if region.role != role:
                    raise ConnectomeError(f"{where}.{end}", f"must be a {role} region", f"{name!r}, a {region.role}")
                if region.size != n:
                    raise ConnectomeError(f"{where}.n_{end}", f"must be {region.size}, the size of {name!r}", n)
            if (key.kind == "local") != (key.source == key.target):
                raise ConnectomeError(
                    where, "must be 'local' inside one region and only there", key.kind, "Use 'long_range' between two."
                )
            if edge_set.dt_ms != self.dt_ms:
                raise ConnectomeError(f"{where}.dt_ms", f"must be the connectome's, {self.dt_ms}", edge_set.dt_ms)
            self._check_dale(where, edge_set)
        object.__setattr__(self, "regions", MappingProxyType(dict(self.regions)))
        object.__setattr__(
            self, "edges", MappingProxyType({e.key: e for e in sorted(self.edges.values(), key=lambda e: e.key)})
        )

    def _check_dale(self, where: str, edge_set: EdgeSet) -> None:
        sign = self.regions[edge_set.key.source].sign
        if not sign.any():
            return
        wrong = np.repeat(sign, np.diff(edge_set.indptr)) * edge_set.weight < 0
        if wrong.any():
            edge = int(np.argmax(wrong))
            neuron = int(edge_set.source[edge])
            raise ConnectomeError(
                f"{where}.weight", f"must have its source neuron's sign ({int(sign[neuron]):+d})",
                f"{edge_set.weight[edge]:g} pA from neuron {neuron}", "Set the region's sign to 0 to allow both.",
            )  # fmt: skip

    def __repr__(self) -> str:
        regions = ", ".join(f"{r.name}[{r.size}]" for r in self.regions.values())
        return f"Connectome({regions}; {len(self.edges)} edge sets, {self.n_edges} edges)"

    @property
    def n_neurons(self) -> int:
        """All neurons, sensors and effectors included."""
        return sum(r.size for r in self.regions.values())

    @property
    def n_edges(self) -> int:
        """All edges."""
        return sum(len(e) for e in self.edges.values())

    def count(self, kind: Kind) -> int:
        """Edges of one kind."""
        return sum(len(e) for e in self.edges.values() if e.key.kind == kind)

    def grow(self, regions: Iterable[Region] = (), edges: Iterable[EdgeSet] = ()) -> Connectome:
        """With these regions and edge sets besides; their names and keys must be new."""
        return Connectome.of(
            [*self.regions.values(), *regions], [*self.edges.values(), *edges], dt_ms=self.dt_ms,
            provenance=self.provenance,
        )  # fmt: skip

    def apply(self, delta: EdgeDelta) -> Connectome:
        """The connectome after an edit. Raises :class:`ConnectomeError` if the edit does not fit."""
        edges = dict(self.edges)
        for key in [*delta.reweight, *delta.state, *delta.remove]:
            if key not in edges:
                raise ConnectomeError("delta", "must name edge sets that exist", str(key))
        for key, weight in delta.reweight.items():
            edges[key] = replace(edges[key], weight=weight)
        for key, state in delta.state.items():
            edges[key] = replace(edges[key], state={**edges[key].state, **state})
        for key, mask in delta.remove.items():
            edges[key] = edges[key].take(~_mask(f"delta.remove[{key}]", mask, len(edges[key])))
        for new in delta.add:
            edges[new.key] = edges[new.key].join(new) if new.key in edges else new
        provenance = replace(self.provenance, rule_log=self.provenance.rule_log + tuple(delta.records))
        return Connectome(self.regions, edges, self.dt_ms, provenance)

    def digest(self) -> str:
        """SHA-256 over every region and edge set: equal digests mean equal graphs."""
        sha = hashlib.sha256(repr(self.dt_ms).encode())
        for r in self.regions.values():
            sha.update(repr((r.name, r.size, r.role, r.neuron, r.birth_stage)).encode())
            sha.update(r.position_um.tobytes() + r.sign.tobytes())
        for e in self.edges.values():
            sha.update(repr((tuple(e.key), e.n_source, e.n_target, list(e.state))).encode())
            for array in (e.indptr, e.target, e.weight, e.delay_steps, e.birth_stage, *e.state.values()):
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    # Views: each imports what it needs when it is called, so that `import connectome` stays light.

    def to_networkx(self) -> networkx.MultiDiGraph:
        """See :func:`connectome.views.to_networkx`."""
        from connectome import views

        return views.to_networkx(self)

    def to_pyg(self) -> HeteroData:
        """See :func:`connectome.views.to_pyg`."""
        from connectome import views

        return views.to_pyg(self)

    def to_scipy(self) -> scipy.sparse.csr_array:
        """See :func:`connectome.views.to_scipy`."""
        from connectome import views

        return views.to_scipy(self)

    def to_pandas(self) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """See :func:`connectome.views.to_pandas`."""
        from connectome import views

        return views.to_pandas(self)

    def to_xarray(self) -> xarray.Dataset:
        """See :func:`connectome.views.to_xarray`."""
        from connectome import views

        return views.to_xarray(self)


def delay_to_steps(delay_ms: ArrayLike, dt_ms: float, where: str = "delay_ms") -> NDArray[np.uint16]:
    """Whole steps of ``dt_ms``, rounded. Raises :class:`ConnectomeError` outside 1 .. 65535 steps."""
    given = _numbers(where if where.endswith("delay_ms") else f"{where}.delay_ms", delay_ms)
    if _is_constant(given):
        return np.broadcast_to(delay_to_steps(given[0], dt_ms, where), given.shape)
    with np.errstate(over="ignore"):  # what is infinite is refused on the next line
        steps = np.rint(given / dt_ms)
    bad = ~((steps >= 1) & (steps <= MAX_DELAY_STEPS))  # also true for nan
    if bad.any():
        raise ConnectomeError(
            where if where.endswith("delay_ms") else f"{where}.delay_ms",
            f"must be {dt_ms:g} .. {MAX_DELAY_STEPS * dt_ms:g} ms (1 .. {MAX_DELAY_STEPS} steps of {dt_ms:g} ms)",
            _first(bad, given) if given.ndim else given,
        )
    return steps.astype(np.uint16)


def _key(key: EdgeKey | tuple[str, str, str]) -> EdgeKey:
    if not isinstance(key, (tuple, list)) or len(key) != 3:
        raise ConnectomeError("edge key", "must be (source, kind, target)", repr(key))
    edge_key = EdgeKey(*map(str, key))  # type: ignore[arg-type]  # the kind is checked on the next line
    if edge_key.kind not in KINDS:
        raise ConnectomeError("edge kind", f"must be one of {', '.join(KINDS)}", repr(edge_key.kind))
    return edge_key


def _integer(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ConnectomeError(name, f"must be an integer in {low} .. {high}", repr(value))
    return int(value)


def _dt(name: str, value: object) -> float:
    if not isinstance(value, (int, float, np.floating, np.integer)) or not (math.isfinite(value) and value > 0):
        raise ConnectomeError(name, "must be finite and > 0", repr(value))
    return float(value)


def _mask(name: str, mask: ArrayLike, n: int) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != (n,):
        raise ConnectomeError(name, f"must be booleans of shape ({n},)", _describe(array))
    return array


def _numbers(name: str, given: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except ValueError:  # lists of unequal lengths
        raise ConnectomeError(name, "must be numbers in a regular array", repr(given)) from None
    if array.dtype.kind not in "biuf":
        raise ConnectomeError(name, "must be numbers", _describe(array))
    return array


def _freeze(name: str, array: ArrayLike, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """A read-only array of this type and shape. It copies what its caller could still write to."""
    given = _numbers(name, array)
    if given.ndim != len(shape) or any(want not in (None, n) for want, n in zip(shape, given.shape, strict=True)):
        raise ConnectomeError(name, f"must have shape {shape}", given.shape)
    if _is_constant(given):  # one value for all: keep it so
        return np.broadcast_to(_freeze(name, given[:1].copy(), dtype, (1,))[0], given.shape)
    if np.dtype(dtype).kind in "iu" and given.dtype != dtype and given.size:
        info = np.iinfo(dtype)
        bad = ~((given >= info.min) & (given <= info.max))  # also true for nan
        if given.dtype.kind == "f":
            bad |= given != np.rint(given)
        if bad.any():
            raise ConnectomeError(name, f"must be integers in {info.min} .. {info.max}", _first(bad, given))
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes inf or nan and is refused by name
        return _lock(given.astype(dtype, order="C", copy=_is_writable(given)))


def _is_constant(array: NDArray[Any]) -> bool:
    """Whether this column is a broadcast view of one value."""
    return array.ndim == 1 and array.strides == (0,) and array.size > 0


def _is_writable(array: NDArray[Any]) -> bool:
    """Whether anybody could still write to it: a read-only view says nothing about the array that it views."""
    view: object = array
    while isinstance(view, np.ndarray):
        if view.flags.writeable:
            return True
        view = view.base
    return False


def _stable_argsort(key: NDArray[np.integer[Any]], bound: int) -> NDArray[np.int64]:
    """The stable order of integers in 0 .. bound - 1."""
    n = key.size
    if bound * n < 2**63:  # key and position fit in one integer, and sorting those is several times faster
        return np.sort(key.astype(np.int64) * n + np.arange(n)) % max(n, 1)
    return np.argsort(key, kind="stable")


def _row_starts(row: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """(n + 1,) where each row begins once its members are sorted."""
    return _lock(np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))], dtype=np.int64))


def _lock(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _take(array: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    if _is_constant(array):
        return np.broadcast_to(array[0], int(mask.sum()))
    return _lock(array[mask])


def _first(bad: NDArray[np.bool_], array: NDArray[Any]) -> str:
    where = np.unravel_index(int(np.argmax(bad)), bad.shape)
    index = ", ".join(str(int(i)) for i in where)
    return f"{array[where]!s} at index {index}"


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
