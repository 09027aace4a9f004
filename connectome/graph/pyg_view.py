"""The view of a connectome for PyTorch Geometric, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import describe
from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome, Provenance
from connectome.graph.maps import Maps
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.tables import (
    DEFAULT_WEIGHT_PA,
    STATE,
    read_header,
    roles_of_kinds,
)
from connectome.neurons.model import from_table, to_table

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


__all__ = ["from_pyg", "to_pyg"]

ATTRIBUTE: Final = "attribute_"


def to_pyg(connectome: Connectome) -> HeteroData:
    """PyG's heterogeneous graph: a node type for each region, an edge type for each edge set.

    Node stores: num_nodes, pos (N, 3) float64 micrometres, sign (N,) int8, ``state_<name>`` (N,) float32; role,
    birth_stage and neuron (model and parameters as a dict) for the whole region. Edge stores: edge_index (2, E) int64,
    weight (E,) float32 pA, delay_ms (E,) float64, birth_stage (E,) int16, ``state_<name>`` (E,) float32. The data have
    dt_ms and provenance. Where neurons have names, their store has label, a list of N texts. An attribute is
    ``attribute_<name>``: its values as :class:`~connectome.graph.attributes.Attribute` has them, texts as places in a
    list, missing as there; ``attributes`` in a store is name -> (type, that list).
    """
    import torch
    from torch_geometric.data import HeteroData

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(array))  # a copy: torch cannot keep an array read-only

    def keep(store: Any, attributes: Mapping[str, Attribute]) -> None:
        for name, attribute in attributes.items():
            codes = attribute.names is not None
            store[ATTRIBUTE + name] = tensor(attribute.values.astype(np.int64) if codes else attribute.values)
        if attributes:
            store.attributes = {k: (a.type, list(a.names or ())) for k, a in attributes.items()}

    connectome = connectome.expanded()
    data = HeteroData()
    data.dt_ms, data.provenance = connectome.dt_ms, connectome.provenance
    for r in connectome.regions.values():
        store = data[r.name]
        store.num_nodes, store.pos, store.sign = r.size, tensor(r.position_um), tensor(r.sign)
        store.role, store.birth_stage, store.neuron = r.role, r.birth_stage, to_table(r.neuron)
        if r.label is not None:
            store.label = r.label.tolist()
        if r.maps is not None:
            store.maps = asdict(r.maps)
        if r.area:
            store.area = r.area
        for name, value in r.state.items():
            store[STATE + name] = tensor(value)
        keep(store, r.attributes)
    for key, e in connectome.edges.items():
        store = data[tuple(key)]
        index = np.empty((2, len(e)), np.int64)
        index[0], index[1] = e.source, e.target
        store.edge_index = torch.from_numpy(index)
        store.weight, store.delay_ms, store.birth_stage = tensor(e.weight), tensor(e.delay), tensor(e.birth_stage)
        for name, value in e.state.items():
            store[STATE + name] = tensor(value)
        keep(store, e.attributes)
    return data


def from_pyg(data: HeteroData, *, dt_ms: float | None = None) -> Connectome:
    """A connectome from :func:`to_pyg`, or from any HeteroData whose edge types are ``(region, kind, region)``.

    Needed: num_nodes (or pos) and edge_index. Defaults: role as the kinds of edges ask for, sign 0, position 0; weight
    1 pA; delay one step; dt 0.1 ms. ``state_<name>`` in a node store is state of neurons if it is one number for each:
    others keep features there; attributes are what ``attributes`` names. Raises :class:`ConnectomeError`.
    """
    from torch_geometric.data import HeteroData

    if not isinstance(data, HeteroData):
        raise ConnectomeError(
            "data",
            "must be a torch_geometric HeteroData",
            type(data).__name__,
            "For a Data, call its to_heterogeneous().",
        )

    def array(value: Any) -> NDArray[Any]:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)

    header = read_header({k: getattr(data, k) for k in ("dt_ms",) if hasattr(data, k)}, "data", dt_ms)
    roles = roles_of_kinds(data.edge_types)
    regions = {}
    for name in data.node_types:
        store: dict[str, Any] = {k: array(v) if hasattr(v, "detach") else v for k, v in data[name].items()}
        size = data[name].num_nodes
        if size is None:
            raise ConnectomeError(f"data[{name}].num_nodes", "must be given", None)
        try:
            neuron = from_table(store.get("neuron", {}), f"data[{name}].neuron")
        except TypeError as error:
            raise ConnectomeError(f"data[{name}].neuron", "must hold NeuronParameters", error) from None
        names = {"role": "role", "pos": "position_um", "sign": "sign", "birth_stage": "birth_stage"}
        about = {"role": roles.get(name, "neuron"), **{names[k]: v for k, v in store.items() if k in names}}
        if isinstance(store.get("label"), list):  # others have a tensor of that name: classes
            about["label"] = store["label"]
        if isinstance(store.get("maps"), dict):
            about["maps"] = Maps(**store["maps"])
        if isinstance(store.get("area"), str):
            about["area"] = store["area"]
        state = {k: v for k, v in store.items() if k.startswith(STATE) and np.shape(v) == (size,)}
        about["state"] = {k.removeprefix(STATE): v for k, v in state.items()}
        about["attributes"] = _attributes(f"data[{name}]", store)
        regions[name] = Region(name, size, neuron=neuron, **about)
    edge_sets = []
    for key in data.edge_types:
        store, where = data[key], f"data[{key}]"
        if key[0] not in regions or key[2] not in regions:
            raise ConnectomeError(where, f"must join node types of {list(regions)}", key)
        index = array(store.get("edge_index", ()))
        known = _attributes(where, {k: array(v) if hasattr(v, "detach") else v for k, v in store.items()})
        if index.ndim != 2 or index.shape[0] != 2:
            raise ConnectomeError(f"{where}.edge_index", "must have shape (2, E)", index.shape)
        edge_sets.append(
            EdgeSet.from_arrays(
                key, index[0], index[1], array(store.get("weight", DEFAULT_WEIGHT_PA)), n_source=regions[key[0]].size,
                n_target=regions[key[2]].size, dt_ms=header.dt_ms, delay_ms=array(store.get("delay_ms", header.dt_ms)),
                birth_stage=array(store.get("birth_stage", 0)),
                state={k.removeprefix(STATE): array(v) for k, v in store.items() if k.startswith(STATE)},
                attributes=known,
            )
        )  # fmt: skip
    provenance = getattr(data, "provenance", None)
    if not isinstance(provenance, Provenance):
        provenance = None
    return Connectome.of(regions.values(), edge_sets, dt_ms=header.dt_ms, provenance=provenance)


def _attributes(where: str, store: Mapping[str, Any]) -> dict[str, Attribute]:
    """The attributes of a store."""
    found = {}
    given = store.get("attributes", {})
    if not isinstance(given, Mapping) or not all(isinstance(v, (tuple, list)) and len(v) == 2 for v in given.values()):
        return {}  # another's
    for name, (kind, texts) in given.items():
        field = f"{where}.{ATTRIBUTE}{name}"
        values = np.asarray(store.get(ATTRIBUTE + name, ()))
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            raise ConnectomeError(field, "must be one number for each", describe(values))
        if kind == "text":
            if values.size and not 0 <= values.min() <= values.max() < len(texts):
                raise ConnectomeError(field, f"must be in 0 .. {len(texts) - 1}, places among its texts", values.max())
            found[name] = Attribute.of_codes(field, values.astype(np.int64), texts)
        else:
            found[name] = Attribute(values.astype(np.int8), None, True) if kind == "flag" else Attribute(values)
    return found
