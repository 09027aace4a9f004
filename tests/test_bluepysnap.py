"""Snapshots opened by Blue Brain SNAP, as a SONATA circuit: nodes, positions, edges, weights, delays, queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bluepysnap import Circuit

from connectome import Connectome
from connectome.io.snapshot import save
from connectome.io.sonata import population
from tests.test_graph_files import small


@pytest.fixture
def circuit(tmp_path: Path) -> Circuit:
    save(small(), tmp_path / "a.h5")
    return Circuit(str(tmp_path / "a.sonata" / "circuit_config.json"))


def test_nodes_have_their_places(circuit: Circuit) -> None:
    connectome: Connectome = small()
    assert set(circuit.nodes.population_names) == set(connectome.regions)
    for name, region in connectome.regions.items():
        nodes = circuit.nodes[name]
        assert nodes.size == region.size
        if region.size:
            np.testing.assert_array_equal(nodes.get(properties=["x", "y", "z"]).to_numpy(), region.position_um)


def test_edges_have_their_weights_delays_and_directions(circuit: Circuit) -> None:
    connectome = small()
    assert set(circuit.edges.population_names) == {population(key) for key in connectome.edges}
    for key, wanted in connectome.edges.items():
        edges = circuit.edges[population(key)]
        assert (edges.size, edges.source.name, edges.target.name) == (len(wanted), key.source, key.target)
        if not len(wanted):
            continue
        found = edges.get(edges.ids(), properties=["@source_node", "@target_node", "syn_weight", "delay"])
        columns = (wanted.source, wanted.target, wanted.weight, wanted.delay)
        for name, column in zip(found.columns, columns, strict=True):
            np.testing.assert_array_equal(found[name], column)
        for node in range(wanted.n_target):
            assert sorted(edges.afferent_edges(node)) == np.flatnonzero(wanted.target == node).tolist()
        for node in range(wanted.n_source):
            assert sorted(edges.efferent_edges(node)) == np.flatnonzero(wanted.source == node).tolist()
