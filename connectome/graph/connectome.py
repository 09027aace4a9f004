"""The typed region graph: the connectome, its edits and where it comes from.

Everything here is frozen. Arrays are validated once, when an object is made, and are read-only afterwards; an edit is
an :class:`Edit`, and :meth:`Connectome.apply` gives a new connectome that shares what did not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly, boolean_mask, finite_step, in_blocks
from connectome.errors import ConnectomeError
from connectome.graph.kernel_set import KERNEL_COLUMNS, MOST_CONNECTIONS, KernelSet, among, expanded
from connectome.graph.parts import ENDS, EdgeKey, EdgeSet, Kind, Region
from connectome.printed import html_table

if TYPE_CHECKING:
    import networkx
    import pandas
    import scipy.sparse
    import xarray
    from torch_geometric.data import HeteroData

    from connectome.graph.selection import NodeSet

__all__ = ["Connectome", "Edit", "Provenance", "RuleRecord"]


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
class Provenance(ReadOnly):
    """Where a connectome comes from. ``parents`` are digests of the connectomes that it was made from."""

    seed: int | None = None
    stage: int = 0
    stage_name: str = ""
    parents: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    rule_log: tuple[RuleRecord, ...] = ()


@dataclass(frozen=True, eq=False)
class Edit(ReadOnly):
    """An edit. Indices count edges of the set as it is before the edit; weights and state change first, then edges
    are removed, then neurons and regions, with the edges that they had, then regions are added, then edges.

    Parameters
    ----------
    reweight : key -> (E,) new weights, pA
    state : key -> name -> (E,) new values
    remove : key -> (E,) mask of the edges to remove
    add : edge sets with the edges to add
    records : what to append to the rule log
    region_state : region -> name -> (N,) new values
    neurons : region -> (N,) mask of those that stay, whole maps where kernels join them
    remove_regions : regions to remove
    add_regions : regions to add, after those that there are
    """

    reweight: Mapping[EdgeKey, NDArray[np.float32]] = field(default_factory=dict)
    state: Mapping[EdgeKey, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)
    remove: Mapping[EdgeKey, NDArray[np.bool_]] = field(default_factory=dict)
    add: tuple[EdgeSet, ...] = ()
    records: tuple[RuleRecord, ...] = ()
    region_state: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)
    remove_regions: tuple[str, ...] = ()
    add_regions: tuple[Region, ...] = ()
    neurons: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Connectome(ReadOnly):
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
        object.__setattr__(self, "dt_ms", finite_step("dt_ms", self.dt_ms))
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
                role = ENDS[key.base][end == "target"]
                if region.role != role:
                    raise ConnectomeError(f"{where}.{end}", f"must be a {role} region", f"{name!r}, a {region.role}")
                if region.size != n:
                    raise ConnectomeError(f"{where}.n_{end}", f"must be {region.size}, the size of {name!r}", n)
            by_area = self.by_area(key)
            if (key.base == "local") != (by_area.source == by_area.target):
                raise ConnectomeError(
                    where, "must be 'local' inside one region and only there", key.kind,
                    "Use 'long_range' between two; layers of one area are as one region.",
                )  # fmt: skip
            if isinstance(edge_set, KernelSet):
                self._check_maps(where, edge_set)
            if edge_set.dt_ms != self.dt_ms:
                raise ConnectomeError(f"{where}.dt_ms", f"must be the connectome's, {self.dt_ms}", edge_set.dt_ms)
            self._check_dale(where, edge_set)
        _check_kinds("regions", self.regions)
        _check_kinds("edges", self.edges)
        object.__setattr__(self, "regions", MappingProxyType(dict(self.regions)))
        object.__setattr__(
            self, "edges", MappingProxyType({e.key: e for e in sorted(self.edges.values(), key=lambda e: e.key)})
        )

    def _check_dale(self, where: str, edge_set: EdgeSet) -> None:
        sign = self.regions[edge_set.key.source].sign
        if not sign.any():
            return
        for block, of_edge in edge_set.source_blocks(sign):
            weight = edge_set.weight[block]
            wrong = of_edge * weight < 0
            if wrong.any():
                at = int(np.argmax(wrong))
                what, of = ("map", edge_set.in_map) if isinstance(edge_set, KernelSet) else ("neuron", edge_set.source)
                raise ConnectomeError(
                    f"{where}.weight", f"must have its source {what}'s sign ({int(of_edge[at]):+d})",
                    f"{weight[at]:g} pA from {what} {of[(block.start or 0) + at]}",
                    "Set the region's sign to 0 to allow both.",
                )  # fmt: skip

    def _check_maps(self, where: str, kernels: KernelSet) -> None:
        for end, maps in (("source", kernels.source_maps), ("target", kernels.target_maps)):
            name = getattr(kernels.key, end)
            if self.regions[name].maps != maps:
                raise ConnectomeError(
                    f"{where}.{end}_maps", f"must be the maps of region {name!r}, {self.regions[name].maps}", maps
                )
        mixed = kernels.source_maps.mixed(self.regions[kernels.key.source].sign)
        if mixed.any():
            rule, found = "must be the same for all neurons of a map that kernels leave from", int(np.argmax(mixed))
            raise ConnectomeError(f"regions[{kernels.key.source}].sign", rule, f"several in map {found}")

    def __repr__(self) -> str:
        regions = ", ".join(f"{r.name}[{r.size}]" for r in self.regions.values())
        return f"Connectome({regions}; {len(self.edges)} edge sets, {self.n_edges} edges)"

    def _repr_html_(self) -> str:
        """The regions, and the edge sets."""
        models = {r.name: "" if r.role == "sensor" else r.neuron.model for r in self.regions.values()}
        regions = [(r.name, r.role, f"{r.size:,}", models[r.name]) for r in self.regions.values()]
        edges = [(k.source, k.kind, k.target, f"{len(e):,}") for k, e in self.edges.items()]
        return html_table(
            f"{len(regions)} regions, {self.n_neurons:,} neurons", ("region", "role", "size", "model"), regions
        ) + html_table(f"{len(edges)} edge sets, {self.n_edges:,} edges", ("source", "kind", "target", "edges"), edges)

    @property
    def n_neurons(self) -> int:
        """All neurons, sensors and effectors included."""
        return sum(r.size for r in self.regions.values())

    @property
    def n_edges(self) -> int:
        """All edges: rows of edge sets."""
        return sum(len(e) for e in self.edges.values())

    @property
    def n_connections(self) -> int:
        """All connections: the edges, but for kernel sets, whose free weights are shared by many."""
        return sum(e.n_connections for e in self.edges.values())

    def area_of(self, region: str) -> str:
        """The area that a region is a layer of, or its own name."""
        return self.regions[region].area or region

    def by_area(self, key: EdgeKey) -> EdgeKey:
        """The key with areas in place of regions."""
        return EdgeKey(self.area_of(key.source), key.kind, self.area_of(key.target))

    def expanded(self, most: int = MOST_CONNECTIONS) -> Connectome:
        """With an edge set in place of each kernel set, for what needs single edges; itself where there is none. Raises
        :class:`ConnectomeError` if these are more than ``most`` connections."""
        if not any(isinstance(e, KernelSet) for e in self.edges.values()):
            return self
        return replace(self, edges=expanded(self.edges, most))

    def count(self, kind: Kind) -> int:
        """Edges of one kind, or of all with this base."""
        return sum(len(e) for e in self.edges.values() if kind in (e.key.kind, e.key.base))

    def grow(self, regions: Iterable[Region] = (), edges: Iterable[EdgeSet] = ()) -> Connectome:
        """With these regions and edge sets besides; their names and keys must be new."""
        return Connectome.of(
            [*self.regions.values(), *regions], [*self.edges.values(), *edges], dt_ms=self.dt_ms,
            provenance=self.provenance,
        )  # fmt: skip

    def apply(self, delta: Edit) -> Connectome:
        """The connectome after an edit. Raises :class:`ConnectomeError` if the edit does not fit."""
        edges, regions = dict(self.edges), dict(self.regions)
        for key in [*delta.reweight, *delta.state, *delta.remove]:
            if key not in edges:
                raise ConnectomeError("delta", "must name edge sets that exist", str(key))
        for name in [*delta.region_state, *delta.remove_regions, *delta.neurons]:
            if name not in regions:
                raise ConnectomeError("delta", f"must name regions of {list(regions)}", repr(name))
        for name, values in delta.region_state.items():
            regions[name] = replace(regions[name], state={**regions[name].state, **values})
        for key, weight in delta.reweight.items():
            edges[key] = replace(edges[key], weight=weight)
        for key, state in delta.state.items():
            edges[key] = replace(edges[key], state={**edges[key].state, **state})
        for key, mask in delta.remove.items():
            edges[key] = edges[key].take(~boolean_mask(f"delta.remove[{key}]", mask, len(edges[key])))
        for name, mask in delta.neurons.items():
            stay = boolean_mask(f"delta.neurons[{name}]", mask, regions[name].size)
            regions[name] = regions[name].take(stay)
            for key, e in edges.items():
                ends = ((key.source, e.n_source), (key.target, e.n_target))
                masks = [stay if end == name else np.ones(n, bool) for end, n in ends]
                edges[key] = among(e, *masks) if name in key else e
        for name in delta.remove_regions:
            del regions[name]
        edges = {key: e for key, e in edges.items() if not {key.source, key.target} & {*delta.remove_regions}}
        for region in delta.add_regions:
            if region.name in regions:
                raise ConnectomeError("delta.add_regions", "must have new names", repr(region.name))
            regions[region.name] = region
        for new in delta.add:
            edges[new.key] = edges[new.key].join(new) if new.key in edges else new
        provenance = replace(self.provenance, rule_log=self.provenance.rule_log + tuple(delta.records))
        return Connectome(regions, edges, self.dt_ms, provenance)

    def digest(self) -> str:
        """SHA-256 over every region and edge set: equal digests mean equal graphs."""
        sha = hashlib.sha256(repr(self.dt_ms).encode())
        for r in self.regions.values():
            sha.update(repr((r.name, r.size, r.role, r.neuron, r.birth_stage)).encode())
            sha.update(r.position_um.tobytes() + r.sign.tobytes())
            for parameter in r.neuron.arrays().values():
                sha.update(parameter.tobytes())
            if r.label is not None:
                sha.update(repr(r.label.tolist()).encode())
            for name, values in r.state.items():
                sha.update(repr(name).encode() + np.ascontiguousarray(values).tobytes())
            for name, attribute in r.attributes.items():
                attribute.feed(name, sha)
            if r.maps is not None:
                sha.update(repr(r.maps).encode())
            if r.area:
                sha.update(repr(("area", r.area)).encode())
        for e in self.edges.values():
            sha.update(repr((tuple(e.key), e.n_source, e.n_target, list(e.state))).encode())
            if isinstance(e, KernelSet):
                sha.update(repr((e.source_maps, e.target_maps, e.stride)).encode())
                for name in KERNEL_COLUMNS:
                    _feed(sha, getattr(e, name))
            else:
                _feed(sha, e.indptr)
                _feed(sha, e.indices, np.int32)  # :attr:`EdgeSet.target`, without a copy
            columns: tuple[NDArray[Any], ...] = (e.weight, e.delay_steps, e.birth_stage, *e.state.values())
            for column in columns:
                _feed(sha, column)
            for name, attribute in e.attributes.items():
                attribute.feed(name, sha)
        return sha.hexdigest()

    # What follows imports what it needs when it is called, so that `import connectome` stays light.

    def select(self, query: str) -> NodeSet:
        """The neurons for which a query holds, ``class == 'KC' and side == 'left'``: see
        :mod:`connectome.graph.query`. Raises :class:`ConnectomeError`."""
        from connectome.graph import selection

        return selection.nodes_where(self, query)

    def select_edges(self, query: str) -> dict[EdgeKey, NDArray[np.bool_]]:
        """See :func:`connectome.graph.selection.edges_where`."""
        from connectome.graph import selection

        return selection.edges_where(self, query)

    def subnetwork(self, nodes: NodeSet) -> Connectome:
        """See :func:`connectome.graph.selection.subnetwork`."""
        from connectome.graph import selection

        return selection.subnetwork(self, nodes)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """See :func:`connectome.graph.views.to_networkx`."""
        from connectome.graph import views

        return views.to_networkx(self)

    def to_pyg(self) -> HeteroData:
        """See :func:`connectome.graph.views.to_pyg`."""
        from connectome.graph import views

        return views.to_pyg(self)

    def to_scipy(self) -> scipy.sparse.csr_array:
        """See :func:`connectome.graph.views.to_scipy`."""
        from connectome.graph import views

        return views.to_scipy(self)

    def to_pandas(self) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """See :func:`connectome.graph.views.to_pandas`."""
        from connectome.graph import views

        return views.to_pandas(self)

    def to_xarray(self) -> xarray.Dataset:
        """See :func:`connectome.graph.views.to_xarray`."""
        from connectome.graph import views

        return views.to_xarray(self)


def _feed(sha: Any, column: NDArray[Any], dtype: type | None = None) -> None:
    for block in in_blocks(column.size):
        sha.update(np.ascontiguousarray(column[block], dtype).data)


def _check_kinds(where: str, parts: Mapping[Any, Region] | Mapping[Any, EdgeSet]) -> None:
    """Refuse attributes of one name that are numbers here and texts there."""
    first: dict[str, tuple[Any, str]] = {}
    for key, part in parts.items():
        for name, attribute in part.attributes.items():
            other, kind = first.setdefault(name, (key, attribute.kind))
            if kind != attribute.kind:
                raise ConnectomeError(
                    f"{where}[{key}].attributes[{name}]", f"must be of one kind, {kind} as in {other}", attribute.kind
                )
