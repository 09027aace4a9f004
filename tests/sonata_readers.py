"""The field's own readers of SONATA, held against a connectome: shared by tests that write snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import libsonata
import numpy as np
from bmtk.utils import sonata as bmtk_sonata
from bmtk.utils.sonata.config import SonataConfig

from connectome import Connectome
from connectome.io.sonata import NEST_MODELS, NEST_NAMES, population


def check_libsonata(connectome: Connectome, path: Path) -> None:
    """Every node and edge with its attributes, and every afferent and efferent query."""
    nodes, edges = libsonata.NodeStorage(str(path)), libsonata.EdgeStorage(str(path))
    assert nodes.population_names == set(connectome.regions)
    assert edges.population_names == {population(key) for key in connectome.edges}
    check_nodes(connectome, nodes.open_population)
    check_edges(connectome, edges.open_population)


def check_bmtk(connectome: Connectome, stride: int = 1) -> None:
    """Counts, types, every edge with its attributes, and the queries of every ``stride``-th node. Run in the
    ``.sonata`` folder: bmtk takes "." in the manifest to be where it runs."""
    config = SonataConfig.from_json("circuit_config.json")
    (nodes,), (edges,) = config.nodes, config.edges
    assert nodes["nodes_file"] == edges["edges_file"]
    circuit = bmtk_sonata.File(nodes["nodes_file"], [nodes["node_types_file"], edges["edge_types_file"]])
    try:
        assert circuit.version == "0.1"
        assert set(circuit.nodes.population_names) == set(connectome.regions)
        for number, region in enumerate(connectome.regions.values()):
            found = circuit.nodes[region.name]
            assert len(found) == region.size
            np.testing.assert_array_equal(found.node_ids, np.arange(region.size))
            assert set(found.type_ids) <= {100 + number}
            for node in found[0 : min(region.size, 2) : 1]:  # bmtk wants all three
                x, y, z = region.position_um[node.node_id]
                assert (node["x"], node["y"], node["z"]) == (x, y, z)
                assert node.node_type_properties["pop_name"] == region.name
                template = node.node_type_properties["model_template"]
                assert template == (None if region.role == "sensor" else "nest:iaf_psc_exp")
        for key, edges_ in connectome.edges.items():
            rows = list(zip(edges_.source, edges_.target, edges_.weight, edges_.delay, strict=True))
            found = circuit.edges[population(key)]
            assert (len(found), found.source_population, found.target_population) == (len(rows), key.source, key.target)
            assert [bmtk_row(e) for e in found] == rows
            for node in range(0, edges_.n_source, stride):
                assert [bmtk_row(e) for e in found.get_source(node)] == [r for r in rows if r[0] == node]
            for node in range(0, edges_.n_target, stride):
                assert [bmtk_row(e) for e in found.get_target(node)] == [r for r in rows if r[1] == node]
    finally:
        for handle in circuit._h5_file_handles:  # bmtk closes nothing
            handle.close()


def bmtk_row(edge: Any) -> tuple[Any, ...]:
    return edge.source_node_id, edge.target_node_id, edge["syn_weight"], edge["delay"]


def check_nodes(connectome: Connectome, nodes: Callable[[str], Any]) -> None:
    for region in connectome.regions.values():
        found = nodes(region.name)
        assert found.size == region.size
        if not region.size:  # libsonata reads no attribute of nobody
            continue
        everyone = found.select_all()
        position = np.stack([found.get_attribute(axis, everyone) for axis in "xyz"], axis=1)
        np.testing.assert_array_equal(position, region.position_um)
        kind = "virtual" if region.role == "sensor" else "point_neuron"
        assert set(found.get_attribute("model_type", everyone)) == {kind}
        if region.role == "sensor":
            assert found.dynamics_attribute_names == set()
            continue
        model = region.neuron.model
        schema = "nest" if model in NEST_MODELS else "connectome"
        assert set(found.get_attribute("model_template", everyone)) == {f"{schema}:{model}"}
        assert found.dynamics_attribute_names == {NEST_NAMES[name] for name in region.neuron.parameters()}
        for name, given in region.neuron.parameters().items():
            wanted = np.inf if region.role == "effector" and name == "v_th_mv" else given
            seen = found.get_dynamics_attribute(NEST_NAMES[name], everyone)
            np.testing.assert_array_equal(seen, np.broadcast_to(wanted, region.size))


def check_edges(connectome: Connectome, edges: Callable[[str], Any]) -> None:
    for key, wanted in connectome.edges.items():
        found = edges(population(key))
        assert (found.size, found.source, found.target) == (len(wanted), key.source, key.target)
        if not len(wanted):
            continue
        every = found.select_all()
        np.testing.assert_array_equal(found.source_nodes(every), wanted.source)
        np.testing.assert_array_equal(found.target_nodes(every), wanted.target)
        np.testing.assert_array_equal(found.get_attribute("syn_weight", every), wanted.weight)
        np.testing.assert_array_equal(found.get_attribute("delay", every), wanted.delay)
        for node in range(wanted.n_source):
            np.testing.assert_array_equal(found.efferent_edges([node]).flatten(), np.flatnonzero(wanted.source == node))
        for node in range(wanted.n_target):
            np.testing.assert_array_equal(found.afferent_edges([node]).flatten(), np.flatnonzero(wanted.target == node))
