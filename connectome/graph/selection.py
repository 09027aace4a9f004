"""Sets of neurons: looked up by what is known of them, and used wherever neurons are named.

That is in a run ``record_v=nodes.neurons``, ``stimulus=Stimulus.to(nodes, current_pa=100)``, ``clamp=Clamp.on(nodes)``,
and ``connectome.subnetwork(nodes)``.

>>> from connectome import Connectome, Region
>>> fly = Connectome.of([Region("MB", 4, attributes={"class": ["KC", "KC", "PN", None], "side": ["L", "R", "L", "L"]})])
>>> left = fly.select("class == 'KC' and side == 'L'")
>>> left
NodeSet(1 of 4 neurons: MB 1)
>>> left.neurons
{'MB': array([0])}
>>> len(fly.select("class is missing") | left)
2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import ReadOnly, boolean_mask, lock
from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute, joined_attributes
from connectome.graph.connectome import Connectome
from connectome.graph.kernel_set import KernelSet, among
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.graph.query import evaluate
from connectome.graph.tables import STATE

__all__ = ["NodeSet", "edges_where", "node_set", "nodes_where", "subnetwork"]


#: Columns that every neuron has, and every edge.
_NODE: Final = ("region", "label", "index", "role", "sign", "x", "y", "z", "birth_stage")
_EDGE: Final = ("kind", "weight", "delay", "birth_stage")


@dataclass(frozen=True, eq=False, repr=False)
class NodeSet(ReadOnly):
    """A set of neurons of a connectome. ``|``, ``&``, ``-`` and ``~`` are those of sets, ``len`` how many there are.

    Parameters
    ----------
    masks : region -> (N,) booleans, for every region of the connectome
    """

    masks: Mapping[str, NDArray[np.bool_]]

    def __post_init__(self) -> None:
        masks = {name: np.array(mask) for name, mask in self.masks.items()}
        kept = {name: lock(boolean_mask(f"node_set[{name}]", m, m.size)) for name, m in masks.items()}
        object.__setattr__(self, "masks", MappingProxyType(kept))

    @property
    def neurons(self) -> dict[str, NDArray[np.int64]]:
        """Region -> (K,) numbers, rising, of those that are in it; without the regions that have none."""
        return {name: np.flatnonzero(mask) for name, mask in self.masks.items() if mask.any()}

    def fill(self, value: float, elsewhere: float = 0.0) -> dict[str, NDArray[np.float64]]:
        """Region -> (N,) ``value`` for those in the set, ``elsewhere`` for others; without the regions that have none:
        currents, say, or rates."""
        return {name: np.where(mask, value, elsewhere) for name, mask in self.masks.items() if mask.any()}

    def __len__(self) -> int:
        return int(sum(mask.sum() for mask in self.masks.values()))

    def __repr__(self) -> str:
        regions = [f"{name} {numbers.size}" for name, numbers in self.neurons.items()]
        more = [f"and {len(regions) - 8} more regions"] if len(regions) > 8 else []
        of = sum(mask.size for mask in self.masks.values())
        return f"NodeSet({len(self)} of {of} neurons: {', '.join(regions[:8] + more) or 'none'})"

    def __and__(self, other: NodeSet) -> NodeSet:
        return self._with(other, np.logical_and)

    def __or__(self, other: NodeSet) -> NodeSet:
        return self._with(other, np.logical_or)

    def __sub__(self, other: NodeSet) -> NodeSet:
        return self._with(other, np.greater)

    def __invert__(self) -> NodeSet:
        return NodeSet({name: ~mask for name, mask in self.masks.items()})

    def _with(self, other: NodeSet, operation: Callable[[Any, Any], Any]) -> NodeSet:
        mine, theirs = ({name: mask.size for name, mask in s.masks.items()} for s in (self, other))
        if mine != theirs:
            raise ConnectomeError("node_set", f"must be of a connectome with regions {mine}", theirs)
        return NodeSet({name: operation(mask, other.masks[name]) for name, mask in self.masks.items()})


def node_set(connectome: Connectome, given: Mapping[str, ArrayLike]) -> NodeSet:
    """The set of these neurons: region -> (K,) numbers, or (N,) booleans. Raises :class:`ConnectomeError`."""
    masks = {name: np.zeros(r.size, bool) for name, r in connectome.regions.items()}
    for name, which in given.items():
        if name not in masks:
            raise ConnectomeError("node_set", f"must name regions of {list(masks)}", repr(name))
        array, n = np.asarray(which), masks[name].size
        if array.dtype == bool:
            masks[name] = boolean_mask(f"node_set[{name}]", array, n)
            continue
        if array.size and (array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= n):
            raise ConnectomeError(f"node_set[{name}]", f"must be numbers in 0 .. {n - 1}", f"{which!r:.80}")
        masks[name][array.astype(np.int64)] = True
    return NodeSet(masks)


def nodes_where(connectome: Connectome, query: str) -> NodeSet:
    """The neurons for which a query holds: see :mod:`connectome.graph.query`. Raises :class:`ConnectomeError`."""
    regions = list(connectome.regions.values())
    known = _names(regions, _NODE)

    def column(name: str) -> Attribute | None:
        if name not in known:
            return None
        parts = [({name: a} if (a := _of_region(r, name)) is not None else {}, r.size) for r in regions]
        return joined_attributes("query", parts).get(name, Attribute.missing("float32", 0))

    mask = evaluate(query, connectome.n_neurons, column, known)
    ends = np.cumsum([0, *(r.size for r in regions)])
    return NodeSet({r.name: mask[a:b] for r, a, b in zip(regions, ends[:-1], ends[1:], strict=True)})


def edges_where(connectome: Connectome, query: str) -> dict[EdgeKey, NDArray[np.bool_]]:
    """Edge set -> (E,) mask of the edges for which a query holds: ``source.NAME`` and ``target.NAME`` are what the
    neurons at their ends have. As the ``remove`` of an :class:`~connectome.graph.connectome.Edit` it cuts them. Raises
    :class:`ConnectomeError`."""
    sets, regions = list(connectome.edges.values()), connectome.regions
    of_nodes = _names(list(regions.values()), _NODE)
    known = [*_names(sets, _EDGE), *(f"{end}.{name}" for end in ("source", "target") for name in of_nodes)]
    types = {name: a.type for e in sets for name, a in e.attributes.items()}
    types_of_nodes = {name: a.type for r in regions.values() for name, a in r.attributes.items()}

    def column_of(e: EdgeSet) -> Callable[[str], Attribute | None]:
        def column(name: str) -> Attribute | None:
            if name not in known:
                return None
            end, _, of_end = name.rpartition(".")
            if not end:
                found = _of_edges(e, name)
                return Attribute.missing(types.get(name, "float32"), len(e)) if found is None else found
            found = _of_region(regions[getattr(e.key, end)], of_end)
            if found is None:
                return Attribute.missing(types_of_nodes.get(of_end, "float32"), len(e))
            return found.take(getattr(e, end)) if not isinstance(e, KernelSet) else _of_maps(e, end, of_end, found)

        return column

    return {key: evaluate(query, len(e), column_of(e), known) for key, e in connectome.edges.items()}


def _of_maps(e: KernelSet, end: str, name: str, of_neurons: Attribute) -> Attribute:
    """What the maps at an end of kernels have, where all their neurons have the same. Raises :class:`ConnectomeError`
    where they have not."""
    maps, rows = (e.source_maps, e.in_map) if end == "source" else (e.target_maps, e.out_map)
    if maps.mixed(of_neurons.values).any():
        hint = "Ask Connectome.expanded(), whose edges are between neurons."
        raise ConnectomeError(
            f"query: {end}.{name}", f"must be the same in a map where {e.key} has kernels", name, hint
        )
    return of_neurons.take(rows.astype(np.int64) * maps.places)


def _names(parts: Sequence[Region] | Sequence[EdgeSet], own: Sequence[str]) -> list[str]:
    """The columns that any of them has."""
    attributes = sorted({name for part in parts for name in part.attributes})
    return [*attributes, *own, *sorted({STATE + name for part in parts for name in part.state})]


def _of_region(r: Region, name: str) -> Attribute | None:
    """A column of a region; None if it has none of this name."""
    if name in r.attributes:
        return r.attributes[name]
    columns: dict[str, Callable[[], Any]] = {
        "region": lambda: r.name, "label": lambda: "" if r.label is None else r.label, "role": lambda: r.role,
        "index": lambda: np.arange(r.size, dtype=np.int32), "sign": lambda: r.sign.astype(np.int16),
        "birth_stage": lambda: r.birth_stage, "x": lambda: r.position_um[:, 0], "y": lambda: r.position_um[:, 1],
        "z": lambda: r.position_um[:, 2],
    }  # fmt: skip
    return _made(columns, r.state, name, r.size)


def _of_edges(e: EdgeSet, name: str) -> Attribute | None:
    """A column of an edge set; None if it has none of this name."""
    if name in e.attributes:
        return e.attributes[name]
    columns: dict[str, Callable[[], Any]] = {
        "kind": lambda: e.key.kind, "weight": lambda: e.weight, "delay": lambda: e.delay,
        "birth_stage": lambda: e.birth_stage,
    }  # fmt: skip
    return _made(columns, e.state, name, len(e))


def _made(
    columns: Mapping[str, Callable[[], Any]], state: Mapping[str, NDArray[np.float32]], name: str, n: int
) -> Attribute | None:
    if name in columns:
        return Attribute.of(name, columns[name](), n)
    kept = state.get(name.removeprefix(STATE)) if name.startswith(STATE) else None
    return None if kept is None else Attribute.of(name, kept, n)


def subnetwork(connectome: Connectome, nodes: NodeSet) -> Connectome:
    """The neurons of a set, and the edges among them. Regions without any are left out, and so are edge sets without
    edges. A kernel set keeps the kernels of whole maps. Raises :class:`ConnectomeError` for a set of another
    connectome, and for parts of maps that kernels join."""
    masks = {name: nodes.masks[name] for name in node_set(connectome, nodes.masks).neurons}
    edges: list[EdgeSet] = []
    for key, e in connectome.edges.items():
        if key.source not in masks or key.target not in masks:
            continue
        kept = among(e, masks[key.source], masks[key.target])
        edges += [kept] if len(kept) else []
    regions = [connectome.regions[name].take(mask) for name, mask in masks.items()]
    return Connectome.of(regions, edges, dt_ms=connectome.dt_ms, provenance=connectome.provenance)
