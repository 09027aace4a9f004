"""SONATA circuits of other programs: bmtk's are read as they are, and none is believed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeKey
from connectome.io.circuits import read_circuit
from connectome.io.snapshot import save
from tests.test_attributes import annotated
from tests.test_hdf5 import lengthen
from tests.test_snapshot import example

CONFIG = {
    "manifest": {"$BASE": "${configdir}", "$NET": "$BASE/network"},
    "networks": {
        part: [
            {f"{part}_file": f"$NET/{name}_{part}.h5", f"{part[:-1]}_types_file": f"$NET/{name}_{part[:-1]}_types.csv"}
            for name in names
        ]
        for part, names in (("nodes", ["v1", "lgn"]), ("edges", ["v1_v1", "lgn_v1"]))
    },
}


@pytest.fixture(scope="module")
def bmtk_circuit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two populations of bmtk, the second virtual: two groups of nodes, weights by type and numbers of synapses."""
    folder = tmp_path_factory.mktemp("circuit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bmtk.builder import NetworkBuilder

        v1 = NetworkBuilder("v1")
        v1.add_nodes(
            N=4, pop_name="E", ei="e", model_type="point_neuron", model_template="nest:iaf_psc_exp", x=np.arange(4.0),
            y=np.zeros(4), z=np.ones(4),
        )  # fmt: skip
        v1.add_nodes(N=2, pop_name="I", ei="i", model_type="point_neuron", model_template="nest:iaf_psc_exp")
        v1.add_edges(source={"ei": "e"}, target={"ei": "i"}, connection_rule=2, syn_weight=5.0, delay=1.5)
        v1.add_edges(source={"ei": "i"}, target={"ei": "e"}, connection_rule=1, syn_weight=-7.0, delay=2.0)
        lgn = NetworkBuilder("lgn")
        lgn.add_nodes(N=3, model_type="virtual")
        lgn.add_edges(source=lgn.nodes(), target=v1.nodes(ei="e"), connection_rule=1, syn_weight=3.0, delay=1.0)
        for network in (v1, lgn):
            network.build()
            network.save(output_dir=str(folder / "network"))
    (folder / "circuit_config.json").write_text(json.dumps(CONFIG))
    return folder


def matrix(c: Connectome, source: str, target: str) -> list[list[float]]:
    key = next(k for k in c.edges if (k.source, k.target) == (source, target))
    e = c.edges[key]
    found = np.zeros((e.n_source, e.n_target))
    np.add.at(found, (e.source, e.target), e.weight)
    return found.tolist()


def test_bmtks_network(bmtk_circuit: Path) -> None:
    (bmtk_circuit / "simulation.json").write_text(json.dumps({"network": "${configdir}/circuit_config.json"}))
    c = read_circuit(bmtk_circuit)
    assert {name: (r.size, r.role) for name, r in c.regions.items()} == {"v1": (6, "neuron"), "lgn": (3, "sensor")}
    np.testing.assert_array_equal(c.regions["v1"].position_um, [[i, 0, 1] for i in range(4)] + [[np.nan] * 3] * 2)
    assert {k: a.tolist() for k, a in c.regions["v1"].attributes.items()} == {
        "ei": ["e"] * 4 + ["i"] * 2, "pop_name": ["E"] * 4 + ["I"] * 2,
    }  # fmt: skip
    # Numbers of synapses, 2 and 1, times their weights.
    assert matrix(c, "v1", "v1") == [[0, 0, 0, 0, 10, 10]] * 4 + [[-7] * 4 + [0, 0]] * 2
    assert matrix(c, "lgn", "v1") == [[3, 3, 3, 3, 0, 0]] * 3
    local = c.edges[EdgeKey("v1", "local", "v1")]
    assert sorted(set(zip(local.weight.tolist(), local.delay.tolist(), strict=True))) == [(-7.0, 2.0), (10.0, 1.5)]
    assert read_circuit(bmtk_circuit / "simulation.json").digest() == c.digest()


def test_our_own_snapshots_are_circuits(tmp_path: Path) -> None:
    c = example()
    save(c, tmp_path / "x.h5")
    for path in (tmp_path / "x.sonata", tmp_path / "x.sonata" / "circuit_config.json", tmp_path / "x.h5"):
        found = read_circuit(path)
        assert set(found.regions) == set(c.regions)
        for name, region in found.regions.items():
            np.testing.assert_array_equal(region.position_um, c.regions[name].position_um)
        assert found.regions["a"].neuron == c.regions["a"].neuron
        local = EdgeKey("a", "local", "a")
        np.testing.assert_array_equal(found.edges[local].weight, c.edges[local].weight)
        np.testing.assert_array_equal(found.edges[local].delay_steps, c.edges[local].delay_steps)


def simple(path: Path, **more: Any) -> None:
    """A circuit in one file, as little as can be, gzipped; ``more`` are datasets, or None for none, by place."""
    place: dict[str, Any] = {
        "nodes/a b/node_type_id": np.zeros(3, np.int64),
        "nodes/a b/0/positions": np.arange(9.0).reshape(3, 3),
        "nodes/a b/0/name": np.array(["x", "y", "z"], object),
        "edges/e/source_node_id": np.array([2, 0]),
        "edges/e/target_node_id": np.array([1, 0]),
        "edges/e/0/delay": np.array([3.0, 0.0]),
    } | more
    with h5py.File(path, "w") as file:
        for name, value in place.items():
            if value is not None:
                is_text = value.dtype == object
                file.create_dataset(
                    name, data=value, compression="gzip", dtype=h5py.string_dtype() if is_text else None
                )
        for end in ("source", "target"):
            if f"edges/e/{end}_node_id" in file:
                file[f"edges/e/{end}_node_id"].attrs["node_population"] = "a b"


def test_a_circuit_in_one_file(tmp_path: Path) -> None:
    simple(tmp_path / "x.h5")
    c = read_circuit(tmp_path / "x.h5")
    region = c.regions["a_b"]
    assert region.label is not None
    assert (region.label.tolist(), region.position_um.tolist()) == (
        ["x", "y", "z"],
        np.arange(9.0).reshape(3, 3).tolist(),
    )
    (e,) = c.edges.values()
    assert (e.source.tolist(), e.target.tolist(), e.weight.tolist(), e.delay.tolist()) == (
        [0, 2],
        [0, 1],
        [1, 1],
        [0.1, 3],
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"nodes/a b/node_type_id": None}, "must have a column node_type_id"),
        ({"nodes/a b/node_id": np.array([1, 2, 3])}, "must count 0 .. 2"),
        ({"edges/e/target_node_id": np.array([1, 9])}, "must be in 0 .. 2"),
        ({"edges/e/target_node_id": np.array([1, -1])}, "must be in 0 .. 2"),
        ({"edges/e/target_node_id": None}, "must have a column target_node_id"),
        ({"edges/e/target_node_id": np.array([1])}, "target must be as long as source"),
        ({"edges/e/edge_group_index": np.array([0, 5])}, "must have 6 rows, as its index says"),
        ({"edges/e/edge_group_index": np.array([0, -1])}, "must have"),
        ({"edges/e/edge_group_id": np.array([0])}, "must have 2 rows"),
        ({"edges/e/0/delay": np.array([1.0, np.nan])}, "delay_ms must be"),
        ({"edges/e/0/syn_weight": np.array([1.0, np.inf])}, "weight must be finite"),
        ({"edges/e/0/syn_weight": np.array(["a", "b"], object)}, "syn_weight must be numbers"),
        ({"nodes/a b/0/positions": np.zeros((3, 2))}, "position_um must have shape"),
        ({"nodes/a b/0/dynamics_params/tau_m": np.full(3, -1.0)}, "tau_m_ms must be > 0"),
        ({"nodes/a.b/node_type_id": np.zeros(1), "nodes/é/node_type_id": np.zeros(1),
          "nodes/e/node_type_id": np.zeros(1)}, "must have a name of its own"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    simple(tmp_path / "x.h5", **more)
    with pytest.raises(ConnectomeError) as error:
        read_circuit(tmp_path / "x.h5")
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "x.h5"))


def _soft(file: Any) -> None:
    del file["edges/e/0"]
    file["edges/e/0"] = h5py.SoftLink("/")


def _external(file: Any) -> None:
    del file["nodes/a b/node_type_id"]
    file["nodes/a b/node_type_id"] = h5py.ExternalLink("other.h5", "/x")


def _stored_elsewhere(file: Any) -> None:
    del file["nodes/a b/0/positions"]
    file["nodes/a b/0"].create_dataset("positions", (3, 3), "f8", external=[("/dev/null", 0, 72)])


def _huge(file: Any) -> None:
    del file["nodes/a b/node_type_id"]
    file["nodes/a b"].create_dataset("node_type_id", (2**40,), "i8", chunks=(2**16,), compression="gzip")


def _huge_chunk(file: Any) -> None:
    del file["nodes/a b/node_type_id"]
    file["nodes/a b"].create_dataset("node_type_id", (3,), "i8", maxshape=(None,), chunks=(2**28,), compression="gzip")


@pytest.mark.parametrize("change", [_soft, _external, _stored_elsewhere, _huge, _huge_chunk])
def test_links_and_claims_are_refused(tmp_path: Path, change: Callable[[Any], None]) -> None:
    simple(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        change(file)
    with pytest.raises(ConnectomeError, match=r"part of the file itself|in the file itself|must not claim more"):
        read_circuit(tmp_path / "x.h5")


def test_a_text_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    simple(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["nodes/a b/0/place"] = np.array(["x", "y", "z"], object)
    lengthen(tmp_path / "x.h5", "nodes/a b/0/place")
    with pytest.raises(ConnectomeError, match="a text of 4294967295 bytes"):
        read_circuit(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "must be a SONATA circuit"),
        ("[]", "must have an object 'networks'"),
        ('{"networks": {"nodes": [1]}}', "must each have a nodes_file"),
        ('{"networks": {"nodes": [{"nodes_file": "$A/x.h5"}]}}', "must give each variable a value"),
        (
            '{"manifest": {"$A": "$B$B", "$B": "$A$A"}, "networks": {"nodes": [{"nodes_file": "$A"}]}}',
            "without a cycle",
        ),
        ('{"manifest": 3, "networks": {}}', "must be an object of texts"),
        ('{"networks": {"nodes": [{"nodes_file": "none.h5"}]}}', "must be an HDF5 file; found no such file"),
        ('{"networks": {"nodes": [{"nodes_file": "circuit_config.json"}]}}', "must be an HDF5 file; found another"),
        ('{"networks": {"nodes": [{"nodes_file": "."}]}}', "must be an HDF5 file"),
        ('{"network": "circuit_config.json"}', "must have an object 'networks'"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path: Path, config: str, message: str) -> None:
    (tmp_path / "circuit_config.json").write_text(config)
    with pytest.raises(ConnectomeError) as error:
        read_circuit(tmp_path)
    assert message in str(error.value)


def test_wrong_types_are_refused(bmtk_circuit: Path, tmp_path: Path) -> None:
    types = bmtk_circuit / "network" / "v1_v1_edge_types.csv"
    good = types.read_text()
    lines = good.splitlines()
    try:
        for wrong, message in (
            (good.replace("edge_type_id", "id"), "must have a column edge_type_id"),
            ("\n".join([*lines, lines[1]]), "must have each edge_type_id once"),
            ("\n".join(lines[:2]), "must have types that the CSV file has"),
        ):
            types.write_text(wrong + "\n")
            with pytest.raises(ConnectomeError, match=message):
                read_circuit(bmtk_circuit)
    finally:
        types.write_text(good)


def test_damage_is_refused(tmp_path: Path) -> None:
    simple(tmp_path / "x.h5")
    whole = (tmp_path / "x.h5").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole[: rng.integers(9, len(whole))] if rng.random() < 0.2 else whole)
        for at in rng.integers(8, len(data), 4):
            data[at] = rng.integers(256)
        (tmp_path / "y.h5").write_bytes(data)
        try:
            read_circuit(tmp_path / "y.h5")
        except ConnectomeError:
            refused += 1
    assert refused > 30


def test_attributes_of_a_snapshot_read_as_a_circuit(tmp_path: Path) -> None:
    """Enumerations, missing numbers, nan: what another program's file would have."""
    c = annotated()
    save(c, tmp_path / "c.h5")
    for back in (read_circuit(tmp_path / "c.h5"), read_circuit(tmp_path / "c.sonata")):
        for name, region in c.regions.items():
            assert {k: a.tolist() for k, a in back.regions[name].attributes.items()} == {
                k: [v if not isinstance(v, bool) else int(v) for v in a.tolist()] for k, a in region.attributes.items()
            }  # flags are integers there
        for key, edges in c.edges.items():
            found = back.edges[key].attributes
            assert {k: a.tolist() for k, a in found.items()} == {k: a.tolist() for k, a in edges.attributes.items()}


def test_places_beyond_an_enumeration_are_refused(tmp_path: Path) -> None:
    save(annotated(), tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file["nodes/a/0/class"][0] = 9
    with pytest.raises(ConnectomeError, match="must be places among the 4 texts of @library"):
        read_circuit(tmp_path / "c.h5")
