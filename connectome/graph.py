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
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


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
            raise ConnectomeError(
                "region.name", "must be letters, digits, '_', '.', '-', not starting with '.' or '-'", repr(self.name)
            )
        where = f"regions[{self.name}]"
        if not isinstance(self.size, (int, np.integer)) or not 0 <= self.size < 2**31:
            raise ConnectomeError(f"{where}.size", "must be an integer in 0 .. 2**31 - 1", repr(self.size))
        if self.role not in ROLES:
            raise ConnectomeError(f"{where}.role", f"must be one of {', '.join(ROLES)}", repr(self.role))
        n = int(self.size)
        position = np.zeros((n, 3)) if self.position_um is None else self.position_um
        position = _freeze(f"{where}.position_um", position, np.float64, (n, 3))
        if not np.isfinite(position).all():
            raise ConnectomeError(f"{where}.position_um", "must be finite", _first(~np.isfinite(position), position))
        sign = _freeze(f"{where}.sign", np.zeros(n, np.int8) if self.sign is None else self.sign, np.int8, (n,))
        if (np.abs(sign) > 1).any():
            raise ConnectomeError(f"{where}.sign", "must be -1, 0 or +1", _first(np.abs(sign) > 1, sign))
        for name, value in (("size", n), ("position_um", position), ("sign", sign)):
            object.__setattr__(self, name, value)


class ReverseView(NamedTuple):
    """An edge set by target: the edges into neuron j are ``edge[indptr[j]:indptr[j + 1]]``, from ``source[...]``."""

    indptr: NDArray[np.int64]
    source: NDArray[np.int32]
    edge: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EdgeSet:
    """One typed set of E edges in CSR order: sorted by source, then target. Make one with :meth:`from_arrays`.

    An array that is the same for every edge may be a broadcast view (:func:`numpy.broadcast_to`), which costs no memory.

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
        where = f"edges[{self.key}]"
        indptr = _freeze(f"{where}.indptr", self.indptr, np.int64, (None,))
        target = _freeze(f"{where}.target", self.target, np.int32, (None,))
        shape = target.shape
        if not indptr.size or indptr[0] != 0 or indptr[-1] != target.size or (np.diff(indptr) < 0).any():
            raise ConnectomeError(f"{where}.indptr", f"must rise from 0 to the number of edges, {target.size}", indptr)
        if target.size and (target.min() < 0 or target.max() >= self.n_target):
            bad = (target < 0) | (target >= self.n_target)
            raise ConnectomeError(
                f"{where}.target", f"must be in 0 .. {self.n_target - 1}, the target region's size", _first(bad, target)
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
        if not (math.isfinite(self.dt_ms) and self.dt_ms > 0):
            raise ConnectomeError(f"{where}.dt_ms", "must be finite and > 0", self.dt_ms)
        birth = _freeze(f"{where}.birth_stage", self.birth_stage, np.int16, shape)
        state = {
            str(k): _freeze(f"{where}.state[{k}]", v, np.float32, shape) for k, v in sorted(self.state.items())
        }
        for name, value in (
            ("key", _key(self.key)), ("n_target", int(self.n_target)), ("indptr", indptr), ("target", target),
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
        (default: one step). Several edges may join the same pair. Raises :class:`ConnectomeError`.
        """
        edge_key = _key(key)
        where = f"edges[{edge_key}]"
        ends = {}
        for name, given, n in (("source", source, n_source), ("target", target, n_target)):
            array = np.asarray(given)
            if array.size == 0:
                array = array.astype(np.int32)
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise ConnectomeError(f"{where}.{name}", "must be one-dimensional integers", _describe(array))
            if array.size and (array.min() < 0 or array.max() >= n):
                raise ConnectomeError(
                    f"{where}.{name}", f"must be in 0 .. {n - 1}, the {name} region's size",
                    _first((array < 0) | (array >= n), array),
                )  # fmt: skip
            ends[name] = array
        src, tgt = ends["source"], ends["target"]
        if src.size != tgt.size:
            raise ConnectomeError(f"{where}.target", f"must be as long as source, {src.size}", tgt.size)
        pair = src.astype(np.int64) * max(n_target, 1) + tgt
        order = None if (np.diff(pair) >= 0).all() else np.argsort(pair, kind="stable")
        indptr = np.zeros(n_source + 1, np.int64)
        np.cumsum(np.bincount(src, minlength=n_source), out=indptr[1:])

        def column(name: str, given: ArrayLike, dtype: type) -> NDArray[Any]:
            array = np.asarray(given)
            if array.ndim == 0:
                return np.broadcast_to(array.astype(dtype), src.shape)
            if array.shape != src.shape:
                raise ConnectomeError(f"{where}.{name}", f"must have shape {src.shape}", array.shape)
            return array.astype(dtype, copy=False) if order is None else array[order].astype(dtype, copy=False)

        return cls(
            key=edge_key,
            n_target=n_target,
            indptr=indptr,
            target=column("target", tgt, np.int32),
            weight=column("weight", weight, np.float32),
            delay_steps=column(
                "delay_ms", np.uint16(1) if delay_ms is None else delay_to_steps(delay_ms, dt_ms, where), np.uint16
            ),
            dt_ms=dt_ms,
            birth_stage=column("birth_stage", birth_stage, np.int16),
            state={k: column(f"state[{k}]", v, np.float32) for k, v in (state or {}).items()},
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
        return self.delay_steps * self.dt_ms

    @property
    def density(self) -> float:
        """Edges over the pairs that could be joined; nan if there is no pair."""
        pairs = self.n_source * self.n_target
        return len(self) / pairs if pairs else math.nan

    @cached_property
    def reverse(self) -> ReverseView:
        """The same edges by target; made at the first call and kept."""
        edge = np.argsort(self.target, kind="stable")
        indptr = np.zeros(self.n_target + 1, np.int64)
        np.cumsum(np.bincount(self.target, minlength=self.n_target), out=indptr[1:])
        return ReverseView(_lock(indptr), _lock(self.source[edge]), _lock(edge))

    def take(self, edge: NDArray[np.bool_]) -> EdgeSet:
        """Only the edges where the (E,) mask is true."""
        indptr = np.concatenate([[0], np.cumsum(edge, dtype=np.int64)])[self.indptr]
        kept = {k: _take(v, edge) for k, v in self.state.items()}
        return replace(
            self, indptr=_lock(indptr), target=_take(self.target, edge), weight=_take(self.weight, edge),
            delay_steps=_take(self.delay_steps, edge), birth_stage=_take(self.birth_stage, edge), state=kept,
        )  # fmt: skip

    def join(self, other: EdgeSet) -> EdgeSet:
        """These edges and those of ``other``, which has the same key and sizes. State that one lacks is 0 there."""
        if (other.key, other.n_source, other.n_target) != (self.key, self.n_source, self.n_target):
            raise ConnectomeError(f"edges[{self.key}]", "can only be joined with the same key and sizes", repr(other))
        both = (self, other)
        names = sorted({*self.state, *other.state})
        zero = np.float32(0)
        return EdgeSet.from_arrays(
            self.key, np.concatenate([e.source for e in both]), np.concatenate([e.target for e in both]),
            np.concatenate([e.weight for e in both]), n_source=self.n_source, n_target=self.n_target,
            dt_ms=self.dt_ms, delay_ms=np.concatenate([e.delay for e in both]),
            birth_stage=np.concatenate([e.birth_stage for e in both]),
            state={
                n: np.concatenate([e.state.get(n, np.broadcast_to(zero, len(e))) for e in both]) for n in names
            },
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
        if not (isinstance(self.dt_ms, (int, float)) and math.isfinite(self.dt_ms) and self.dt_ms > 0):
            raise ConnectomeError("dt_ms", "must be finite and > 0", repr(self.dt_ms))
        for key, edge_set in self.edges.items():
            where = f"edges[{key}]"
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
        object.__setattr__(self, "edges", MappingProxyType(dict(sorted(self.edges.items()))))

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
            gone = np.asarray(mask)
            if gone.dtype != bool or gone.shape != (len(edges[key]),):
                raise ConnectomeError(
                    f"delta.remove[{key}]", f"must be booleans of shape ({len(edges[key])},)", _describe(gone)
                )
            edges[key] = edges[key].take(~gone)
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
            sha.update(repr((tuple(e.key), e.n_source, e.n_target, sorted(e.state))).encode())
            columns = (e.indptr, e.target, e.weight, e.delay_steps, e.birth_stage, *(e.state[k] for k in sorted(e.state)))
            for array in columns:
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
    given = np.asarray(delay_ms, np.float64)
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
    edge_key = EdgeKey(*key)  # type: ignore[arg-type]  # the kind is checked on the next line
    if edge_key.kind not in KINDS:
        raise ConnectomeError("edge kind", f"must be one of {', '.join(KINDS)}", repr(edge_key.kind))
    return edge_key


def _freeze(name: str, array: ArrayLike, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """A read-only array of this type and shape. It copies what its caller could still write to."""
    given = np.asarray(array)
    if given.ndim != len(shape) or any(want not in (None, n) for want, n in zip(shape, given.shape, strict=True)):
        raise ConnectomeError(name, f"must have shape {shape}", given.shape)
    if given.dtype.kind not in "biuf":
        raise ConnectomeError(name, "must be numbers", _describe(given))
    if np.dtype(dtype).kind in "iu" and given.dtype != dtype and given.size:
        info = np.iinfo(dtype)
        low, high = given.min(), given.max()
        if not (low >= info.min and high <= info.max) or (given.dtype.kind == "f" and (given % 1 != 0).any()):
            raise ConnectomeError(name, f"must be integers in {info.min} .. {info.max}", f"{low} .. {high}")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes inf or nan and is refused by name
        frozen = given.astype(dtype, copy=given.flags.writeable)
    return _lock(frozen)


def _lock(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _take(array: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    if array.strides == (0,):
        return np.broadcast_to(array[:1].reshape(()) if array.size else array.dtype.type(0), int(mask.sum()))
    return _lock(array[mask])


def _first(bad: NDArray[np.bool_], array: NDArray[Any]) -> str:
    where = np.unravel_index(int(np.argmax(bad)), bad.shape)
    index = ", ".join(str(int(i)) for i in where)
    return f"{array[where]!s} at index {index}"


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
