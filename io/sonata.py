"""The SONATA circuit format: regions as node populations, edge sets as edge populations.

Layout after the SONATA developer guide (Dai et al. 2020, https://doi.org/10.1371/journal.pcbi.1007696): every dataset
that libsonata 0.2 or bmtk 1.2 needs, and both indices, so that afferent and efferent queries are one look-up each. A
sensor is a population of virtual nodes. An effector is a population of point neurons that never fire: their ``V_th`` is
infinite. Attributes are properties of nodes and edges; texts are an enumeration, with an empty text for a missing one;
integers and flags have the number that stands for a missing one as ``_FillValue``. State of neurons and edges is not
part of the circuit: a snapshot has it in a group of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.io.attribute_columns import write_properties
from connectome.io.hdf5 import write_column, write_constant

__all__ = [
    "NEST_MODELS",
    "NEST_NAMES",
    "edges_each",
    "population",
    "sidecars",
    "write_edge_type",
    "write_edges",
    "write_marks",
    "write_nodes",
    "write_root",
    "write_source_index",
]

MAGIC: Final = 0x0A7A
#: NEST's names of the parameters of its models, which is what a SONATA point neuron's ``dynamics_params`` are.
NEST_NAMES: Final[Mapping[str, str]] = {
    "tau_m_ms": "tau_m", "c_m_pf": "C_m", "t_ref_ms": "t_ref", "v_th_mv": "V_th", "v_reset_mv": "V_reset",
    "e_l_mv": "E_L", "tau_syn_ex_ms": "tau_syn_ex", "tau_syn_in_ms": "tau_syn_in", "i_e_pa": "I_e", "g_l_ns": "g_L",
    "e_ex_mv": "E_ex", "e_in_mv": "E_in", "delta_t_mv": "Delta_T", "v_peak_mv": "V_peak", "a_ns": "a", "b_pa": "b",
    "tau_w_ms": "tau_w", "a_per_ms": "a", "b_per_ms": "b", "c_mv": "c", "d_mv_per_ms": "d", "v_min_mv": "V_min",
    "adapt_tau_ms": "adapt_tau", "adapt_beta_mv": "adapt_beta",
}  # fmt: skip
#: The models that NEST has, under the same name.
NEST_MODELS: Final = ("iaf_psc_exp", "iaf_psc_alpha", "iaf_cond_exp", "izhikevich", "aeif_psc_exp")
FIRST_TYPE_ID: Final = 100


def population(key: EdgeKey) -> str:
    """The name of an edge set's population; as region names have no colon, it is unique."""
    return ":".join(key)


def write_marks(file: Any) -> None:
    """Mark a file as SONATA 0.1."""
    file.attrs["magic"] = np.uint32(MAGIC)
    file.attrs["version"] = np.array([0, 1], np.uint32)


def write_root(file: Any) -> None:
    """A SONATA file with groups for nodes and edges."""
    write_marks(file)
    file.require_group("nodes")
    file.require_group("edges")


def write_nodes(file: Any, region: Region, number: int) -> None:
    """Write the ``number``-th region as a node population."""
    n = region.size
    group = file.create_group(f"nodes/{region.name}")
    rows = np.arange(n, dtype=np.uint32)
    write_column(group, "node_id", rows)
    write_constant(group, "node_type_id", n, FIRST_TYPE_ID + number, np.uint32)
    write_constant(group, "node_group_id", n, 0, np.uint32)
    write_column(group, "node_group_index", rows)
    properties = group.create_group("0")
    for axis, name in enumerate("xyz"):
        write_column(properties, name, np.ascontiguousarray(region.position_um[:, axis]), shrink=False)
    write_constant(properties, "model_type", n, _model_type(region), h5py.string_dtype())
    write_constant(properties, "model_template", n, _model_template(region), h5py.string_dtype())
    if region.label is not None:  # libsonata reads no text of fixed length
        properties.create_dataset("label", data=region.label.astype(object), dtype=h5py.string_dtype())
    write_properties(properties, region.attributes)
    dynamics = properties.create_group("dynamics_params")
    if region.role != "sensor":
        for name, given in region.neuron.parameters().items():
            value = np.inf if region.role == "effector" and name == "v_th_mv" else given
            if isinstance(value, np.ndarray):
                write_column(dynamics, NEST_NAMES.get(name, name), value, shrink=False)
            else:
                write_constant(dynamics, NEST_NAMES.get(name, name), n, value, np.float64)


def write_edges(file: Any, edges: EdgeSet, number: int, *, weights: bool = True) -> None:
    """Write the ``number``-th edge set as an edge population, with its index by source and by target, but no type."""
    n = len(edges)
    group = file.create_group(f"edges/{population(edges.key)}")
    source = write_column(group, "source_node_id", edges.source.astype(np.uint32))
    source.attrs["node_population"] = edges.key.source
    target = write_column(group, "target_node_id", edges.target.astype(np.uint32), shrink=False)
    target.attrs["node_population"] = edges.key.target
    write_column(group, "edge_group_index", np.arange(n, dtype=np.uint32))
    properties = group.create_group("0")
    if weights:
        write_column(properties, "syn_weight", edges.weight)
    write_column(properties, "delay", edges.delay)
    write_properties(properties, edges.attributes)
    # Edges are in the order of their source: one range of edges for each source, one range of one edge for each edge
    # of a target.
    write_source_index(group, edges.indptr)
    reverse = edges.reverse
    edge = reverse.edge.astype(np.uint32) if n < 2**32 else reverse.edge
    _write_index(group, "target_to_source", reverse.indptr, edge, edge + edge.dtype.type(1))


def write_edge_type(file: Any, edges: EdgeSet, number: int) -> None:
    """Write the type of all edges of the ``number``-th edge population, and their group."""
    group = file[f"edges/{population(edges.key)}"]
    write_constant(group, "edge_type_id", len(edges), FIRST_TYPE_ID + number, np.uint32)
    write_constant(group, "edge_group_id", len(edges), 0, np.uint32)


def write_source_index(edge_group: Any, indptr: NDArray[np.int64]) -> None:
    """Write the index by source of an edge population in the order of its sources."""
    _write_index(edge_group, "source_to_target", np.arange(indptr.size), indptr[:-1], indptr[1:])


def edges_each(key: EdgeKey, indptr: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many edges each source has, of n, by the index. Raises :class:`ConnectomeError` if that does not rise."""
    found = np.diff(indptr)
    if (found < 0).any() or indptr[-1] != n:
        raise ConnectomeError(f"edges[{key}].indices", f"must rise from 0 to {n}", indptr)
    return found


def _write_index(edge_group: Any, name: str, ranges: NDArray[Any], first: NDArray[Any], last: NDArray[Any]) -> None:
    index = edge_group.create_group(f"indices/{name}")
    write_column(index, "node_id_to_ranges", np.stack([ranges[:-1], ranges[1:]], axis=1))
    index["node_id_to_range"] = index["node_id_to_ranges"]  # the name that bmtk asks for
    write_column(index, "range_to_edge_id", np.stack([first, last], axis=1))


def sidecars(connectome: Connectome, h5_name: str) -> dict[str, str]:
    """File name -> text of the files that SONATA needs beside the HDF5 file, for a folder next to it."""
    regions, keys = list(connectome.regions.values()), list(connectome.edges)
    node_types = ["node_type_id pop_name model_type model_template"]
    for number, r in enumerate(regions, FIRST_TYPE_ID):
        node_types.append(f"{number} {r.name} {_model_type(r)} {_model_template(r)}")
    edge_types = ["edge_type_id pop_name model_template"]
    edge_types += [f"{number} {population(key)} static_synapse" for number, key in enumerate(keys, FIRST_TYPE_ID)]
    networks = {
        "nodes": [
            {
                "nodes_file": f"$BASE_DIR/../{h5_name}",
                "node_types_file": "$BASE_DIR/node_types.csv",
                "populations": {r.name: {"type": _model_type(r)} for r in regions},
            }
        ],
        "edges": [
            {
                "edges_file": f"$BASE_DIR/../{h5_name}",
                "edge_types_file": "$BASE_DIR/edge_types.csv",
                "populations": {population(key): {"type": "chemical"} for key in keys},
            }
        ],
    }
    config = {"version": 2.3, "manifest": {"$BASE_DIR": "."}, "networks": networks}
    return {
        "node_types.csv": "\n".join(node_types) + "\n",
        "edge_types.csv": "\n".join(edge_types) + "\n",
        "circuit_config.json": json.dumps(config, indent=2) + "\n",
    }


def _model_type(region: Region) -> str:
    return "virtual" if region.role == "sensor" else "point_neuron"


def _model_template(region: Region) -> str:
    model = region.neuron.model
    return "NULL" if region.role == "sensor" else f"{'nest' if model in NEST_MODELS else 'connectome'}:{model}"
