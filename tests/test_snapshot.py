"""Snapshots: exact, whole or absent, opened by the field's own readers, and believed only when they hold together."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import libsonata
import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectome import (
    Connectome,
    ConnectomeError,
    EdgeKey,
    EdgeSet,
    KernelSet,
    Maps,
    NeuronParameters,
    Provenance,
    Region,
    RuleRecord,
)
from connectome.io.snapshot import FORMAT_VERSION, list_stages, load, open_snapshot, save
from tests.sonata_readers import check_bmtk, check_edges, check_libsonata, check_nodes
from tests.strategies import connectomes, kernel_sets

ARCHIVES = Path(__file__).parent / "archives"
LOCAL = EdgeKey("a", "local", "a")
#: Where a small snapshot's edges are, for the tests that damage one.
A = "edges/a:local:a"


def example(scale: int = 1) -> Connectome:
    """One of everything."""
    rng = np.random.default_rng(7)
    size = {"eye": 7 * scale, "a": 20 * scale, "b-1.x": 11 * scale, "hand": 3 * scale, "none": 0}
    roles: dict[str, Any] = {"eye": "sensor", "hand": "effector"}
    regions = [
        Region(
            name, n, roles.get(name, "neuron"), NeuronParameters(tau_m_ms=10.0 + n, i_e_pa=-n / 3),
            position_um=rng.integers(-(10**6), 10**6, (n, 3)) / 64,
            sign=rng.integers(0, 2, n).astype(np.int8), birth_stage=n % 3,
        )
        for name, n in size.items()
    ]  # fmt: skip
    edges = []
    keys = [
        ("a", "local", "a"), ("b-1.x", "local", "b-1.x"), ("a", "long_range", "b-1.x"), ("b-1.x", "long_range", "a"),
        ("eye", "afferent", "a"), ("b-1.x", "efferent", "hand"), ("none", "local", "none"),
    ]  # fmt: skip
    for i, key in enumerate(keys):
        n_source, n_target = size[key[0]], size[key[2]]
        n = 4 * n_source
        edges.append(
            EdgeSet.from_arrays(
                key, rng.integers(0, max(n_source, 1), n), rng.integers(0, max(n_target, 1), n),
                rng.integers(0, 4096, n) / 64, n_source=n_source, n_target=n_target, dt_ms=0.1,
                delay_ms=1.5 if i % 2 else rng.integers(1, 30, n) * 0.1, birth_stage=rng.integers(0, 3, n),
                state={"survival": rng.integers(-512, 512, n) / 64, "trace": 0.5} if i < 3 else {},
            )
        )  # fmt: skip
    record = RuleRecord(1, 40, "prune é", "a", "local", "a", added=3, removed=2**40)
    provenance = Provenance(
        seed=2**70, stage=1, stage_name="perception ü", parents=("00ff", "11ee"), versions={"connectome": "0.1.0"},
        rule_log=(record, record._replace(step=41)),
    )  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=0.1, provenance=provenance)


def write_archive(folder: Path) -> None:
    """How an archive is made: by the first release that writes a format, never again."""
    path = folder / f"format_{FORMAT_VERSION}.h5"
    save(example(), path, config="[run]\nseed = 7\n")
    shutil.rmtree(path.with_suffix(".sonata"))


def assert_same(found: Connectome, wanted: Connectome) -> None:
    assert found.digest() == wanted.digest()
    assert found.provenance == wanted.provenance
    assert found.dt_ms == wanted.dt_ms
    assert list(found.regions) == list(wanted.regions)
    assert list(found.edges) == list(wanted.edges)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "01_perception.h5"
    save(example(), path, config="[run]\nseed = 7\n")
    return path


# What goes in comes out.


def has_counts_of_64_bits(connectome: Connectome) -> bool:
    return all(abs(v) < 2**63 for record in connectome.provenance.rule_log for v in record if isinstance(v, int))


@settings(max_examples=25)
@given(
    connectomes().filter(has_counts_of_64_bits),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
def test_round_trip(connectome: Connectome, config: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        save(connectome, path, config=config)
        assert_same(load(path), connectome)
        snapshot = open_snapshot(path)
        assert (snapshot.provenance, snapshot.config, snapshot.dt_ms) == (
            connectome.provenance,
            config,
            connectome.dt_ms,
        )
        assert snapshot.digest == connectome.digest()
        assert dict(snapshot.regions) == {r.name: r.size for r in connectome.regions.values()}
        assert list(snapshot.edges.items()) == [(key, len(e)) for key, e in connectome.edges.items()]
        xarray.testing.assert_identical(snapshot.region_connectivity(), connectome.to_xarray())


def test_one_edge_set_and_one_region(saved: Path) -> None:
    snapshot, wanted = open_snapshot(saved), example()
    for key, edges in wanted.edges.items():
        found = snapshot.edge_set(key)
        assert found.state.keys() == edges.state.keys()
        for name in ("indptr", "indices", "weight", "delay_steps", "birth_stage"):
            np.testing.assert_array_equal(getattr(found, name), getattr(edges, name), strict=True)
            assert not getattr(found, name).flags.writeable
    for name, region in wanted.regions.items():
        one = snapshot.region(name)
        assert (one.role, one.neuron, one.birth_stage) == (region.role, region.neuron, region.birth_stage)
        np.testing.assert_array_equal(one.position_um, region.position_um, strict=True)
        np.testing.assert_array_equal(one.sign, region.sign, strict=True)


def test_content_must_have_its_digest(tmp_path: Path) -> None:
    """Also where all else that can be checked is in order: the file has been written to as HDF5 is."""
    edges = EdgeSet.from_arrays(LOCAL, [0, 1, 2], [1, 2, 0], [1.0, 2.0, 3.0], n_source=3, n_target=3, dt_ms=0.1)
    save(Connectome.of([Region("a", 3)], [edges]), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as h5:
        h5["edges/a:local:a/0/syn_weight"][1] = 2.5
    with pytest.raises(ConnectomeError, match="must be the digest of the content"):
        load(tmp_path / "x.h5")


def test_state_that_is_not_a_number_keeps_its_bits(tmp_path: Path) -> None:
    odd = np.array([np.nan, -0.0, 0.0, np.inf], np.float32)
    source = np.zeros(4, np.int32)
    state = {"mixed": odd, "nan": np.full(4, np.nan, np.float32), "zero": np.array([0, 0, -0.0, 0], np.float32)}
    edges = EdgeSet.from_arrays(LOCAL, source, source, n_source=1, n_target=1, dt_ms=0.1, state=state)
    wanted = Connectome.of([Region("a", 1)], [edges])
    save(wanted, tmp_path / "x.h5")
    found = load(tmp_path / "x.h5").edges[LOCAL].state
    for name, values in edges.state.items():
        assert found[name].tobytes() == values.tobytes()


def test_one_value_for_all_takes_no_room(tmp_path: Path) -> None:
    n = 1000
    source = np.zeros(n, np.int32)
    edges = EdgeSet.from_arrays(LOCAL, source, source, 2.5, n_source=1, n_target=1, dt_ms=0.1, state={"trace": 0.5})
    save(Connectome.of([Region("a", 1)], [edges]), tmp_path / "x.h5")
    found = load(tmp_path / "x.h5").edges[LOCAL]
    assert found.weight.strides == found.delay_steps.strides == found.state["trace"].strides == (0,)
    with h5py.File(tmp_path / "x.h5") as h5:
        assert h5[f"{A}/0/syn_weight"].id.get_storage_size() == 0
        assert (h5[f"{A}/0/syn_weight"][:] == 2.5).all()


def test_a_million_edges(tmp_path: Path) -> None:
    n, size = 1_000_000, 3000
    rng = np.random.default_rng(0)
    edges = EdgeSet.from_arrays(
        LOCAL, rng.integers(0, size, n), rng.integers(0, size, n), rng.random(n), n_source=size, n_target=size,
        dt_ms=0.1, delay_ms=rng.integers(1, 20, n) * 0.1,
    )  # fmt: skip
    wanted = Connectome.of([Region("a", size)], [edges])
    save(wanted, tmp_path / "x.h5")
    assert_same(load(tmp_path / "x.h5"), wanted)
    assert (tmp_path / "x.h5").stat().st_size < 36 * n
    found = libsonata.EdgeStorage(str(tmp_path / "x.h5")).open_population("a:local:a")
    reverse = edges.reverse
    for node in (0, 17, size - 1):
        mine = np.sort(reverse.edge[reverse.indptr[node] : reverse.indptr[node + 1]])
        np.testing.assert_array_equal(found.afferent_edges([node]).flatten(), mine)


def test_archives_still_open() -> None:
    numbers, digest = (1, 2, 3, 4, 5, 6), "92d8732904863172a04151d6ed80c9af08e5efac69ed7a3a51f86d37f2d10d91"
    for number in numbers:
        archive = ARCHIVES / f"format_{number}.h5"
        snapshot = open_snapshot(archive)
        assert (snapshot.format_version, snapshot.version) == (number, "connectome 0.1.0")
        assert snapshot.config == "[run]\nseed = 7\n"
        found = load(archive)
        assert found.digest() == digest
        assert found.provenance == example().provenance
        assert [tuple(k) for k in found.edges] == [tuple(k) for k in example().edges]
    assert list(numbers) == list(range(1, FORMAT_VERSION + 1)), "archive a file of each format"


# Weights of few values.


def of_values(values: Sequence[float], sign: Sequence[int], n: int = 24, seed: int = 0) -> Connectome:
    """A set of n edges between neurons of these signs, whose weights are of these values."""
    rng, size = np.random.default_rng(seed), len(sign)
    weight = np.append(rng.choice(np.array(values, np.float32), n - len(values)), np.array(values, np.float32))
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), rng.integers(0, size, n), rng.integers(0, size, n), weight, n_source=size, n_target=size,
        dt_ms=0.1,
    )  # fmt: skip
    signed = np.array(sign, np.int8)
    free = edges.at_source(signed) == 0
    return Connectome.of(
        [Region("a", size, sign=signed)],
        [replace(edges, weight=np.where(free, edges.weight, np.copysign(edges.weight, edges.at_source(signed))))],
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32) | st.just(-0.0), min_size=1, max_size=300),
    st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=9) | st.lists(st.just(0), min_size=1, max_size=9),
    st.integers(0, 40),
)
def test_weights_of_few_values_come_back_bit_for_bit(values: list[float], sign: list[int], more: int) -> None:
    wanted = of_values(values, sign, len(values) + more)
    (edges,) = wanted.edges.values()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        save(wanted, path, codebooks=True)
        assert_same(load(path), wanted)
        weights = {*np.where(edges.weight == 0, edges.weight, np.abs(edges.weight) if any(sign) else edges.weight)
                   .view(np.uint32).tolist()}  # fmt: skip
        population = libsonata.EdgeStorage(str(path)).open_population("a:local:a")
        assert ("syn_weight" in population.attribute_names) == (not 1 < len(weights) <= 256)
        assert population.size == len(edges)


@pytest.mark.parametrize(("k", "bits"), [(2, 1), (4, 2), (5, 3), (8, 3), (256, 8)])
def test_a_file_is_smaller_by_what_codes_save(tmp_path: Path, k: int, bits: int) -> None:
    """3 bits for one of eight magnitudes, whatever the sign, in place of 32."""
    n = 2**18
    c = of_values(np.arange(1, k + 1).tolist(), [1, -1, 1], n)
    save(c, tmp_path / "plain.h5")
    save(c, tmp_path / "codes.h5", codebooks=True)
    plain, codes = ((tmp_path / f"{name}.h5").stat().st_size for name in ("plain", "codes"))
    with h5py.File(tmp_path / "codes.h5") as h5:
        group = h5["development/edges/a:local:a/codebook"]
        assert {name: len(group[name]) for name in group} == {"code": n * bits // 8, "magnitude": k}
    assert plain - codes == pytest.approx(4 * n - n * bits // 8 - 4 * k, abs=4096)
    assert load(tmp_path / "codes.h5").digest() == c.digest()


def test_a_weight_of_another_sign_takes_a_bit_more(tmp_path: Path) -> None:
    c = of_values([-2.0, -1.0, 1.0, 2.0], [0])
    save(c, tmp_path / "x.h5", codebooks=True)
    with h5py.File(tmp_path / "x.h5") as h5:
        assert h5["development/edges/a:local:a/codebook/value"][:].tolist() == [1, 2, -1, -2]


def test_the_archive_of_codebooks_opens() -> None:
    assert load(ARCHIVES / "format_6_codebooks.h5").digest() == example().digest()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda group: group["code"].__setitem__(0, 255), r"codebook/code must have codes below 5"),
        (lambda group: group.move("magnitude", "values"), r"codebook/value must be there"),
        (lambda group: group.move("code", "codes"), r"codebook/code must be there"),
    ],
)
def test_a_spoilt_codebook_is_refused(tmp_path: Path, spoil: Callable[[Any], None], message: str) -> None:
    save(of_values([1, 2, 3, 4, 5], [1]), tmp_path / "x.h5", codebooks=True)
    with h5py.File(tmp_path / "x.h5", "r+") as h5:
        spoil(h5["development/edges/a:local:a/codebook"])
    with pytest.raises(ConnectomeError, match=message):
        load(tmp_path / "x.h5")


# Kernel sets.


def convolved() -> Connectome:
    """Square and hexagonal maps, a set with all that a row can have, one without a row, and a plain one."""
    hexagon = Maps.hexagon(2, 1, every=(1, 2))
    regions = [
        Region("eye", 18, "sensor", maps=Maps(2, 3, 3)), Region("a", 18, maps=Maps(2, 3, 3)),
        Region("b", hexagon.size, maps=hexagon), Region("c", 3),
    ]  # fmt: skip
    sets: list[EdgeSet] = [
        KernelSet.from_arrays(
            ("eye", "afferent", "a"), [0, 1, 0, 1], [1, 0, 0, 1], [0, 0, -1, 2], [0, 1, -1, 0], [1, 2, 3, 4],
            source_maps=Maps(2, 3, 3), target_maps=Maps(2, 3, 3), stride=2, dt_ms=0.1, delay_ms=0.3,
            birth_stage=[0, 1, 2, 3], state={"memory": [0, 1, 2, 3]}, attributes={"class": ["x", None, "y", "x"]},
        ),
        KernelSet.from_arrays(
            ("b", "local", "b"), [], [], [], [], [], source_maps=hexagon, target_maps=hexagon, dt_ms=0.1
        ),
        EdgeSet.from_arrays(("a", "long_range", "c"), [0, 17], [2, 1], [1, 2], n_source=18, n_target=3, dt_ms=0.1),
    ]  # fmt: skip
    return Connectome.of(regions, sets)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(kernel_sets())
def test_kernel_sets_are_kept_as_they_are(tmp_path: Path, kernels: KernelSet) -> None:
    regions = [Region("a", kernels.n_source, maps=kernels.source_maps), Region("b", kernels.n_target)]
    wanted = Connectome.of([regions[0], replace(regions[1], maps=kernels.target_maps)], [kernels], dt_ms=0.5)
    save(wanted, tmp_path / "x.h5", overwrite=True)
    assert load(tmp_path / "x.h5").digest() == wanted.digest()
    snapshot = open_snapshot(tmp_path / "x.h5")
    assert snapshot.n_edges == len(kernels)
    found = snapshot.edge_set(kernels.key)
    assert isinstance(found, KernelSet)
    assert found.weight.tobytes() == kernels.weight.tobytes()
    xarray.testing.assert_identical(snapshot.region_connectivity(), wanted.to_xarray())


def test_the_archive_of_kernel_sets_opens() -> None:
    found = load(ARCHIVES / "format_5_kernels.h5")
    assert found.digest() == convolved().digest()
    assert found.regions["b"].maps == Maps.hexagon(2, 1, every=(1, 2))


def test_connections_of_kernel_sets_for_other_programs(tmp_path: Path) -> None:
    """As edges of SONATA if they are asked for; what is read back are the kernels."""
    c, key = convolved(), EdgeKey("eye", "afferent", "a")
    save(c, tmp_path / "without.h5")
    save(c, tmp_path / "with.h5", connections=True)
    names = {name: libsonata.EdgeStorage(str(tmp_path / f"{name}.h5")).population_names for name in ("with", "without")}
    assert names == {"with": {"a:long_range:c", "b:local:b", "eye:afferent:a"}, "without": {"a:long_range:c"}}
    population = libsonata.EdgeStorage(str(tmp_path / "with.h5")).open_population("eye:afferent:a")
    listed = c.edges[key].to_edges()  # type: ignore[attr-defined]
    everything = population.select_all()
    assert population.source_nodes(everything).tolist() == listed.source.tolist()
    assert population.target_nodes(everything).tolist() == listed.target.tolist()
    assert population.get_attribute("syn_weight", everything).tolist() == listed.weight.tolist()
    for name in names:
        assert load(tmp_path / f"{name}.h5").digest() == c.digest()
    circuit = json.loads((tmp_path / "without.sonata" / "circuit_config.json").read_text())
    assert [*circuit["networks"]["edges"][0]["populations"]] == ["a:long_range:c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels/in_map": 9}, r"in_map must be in 0 .. 1"),
        ({"kernels/dx": 1}, r"must have each of \(out_map, in_map, dy, dx\) once|must be the digest"),
        ({"kernels/weight": np.nan}, r"weight must be finite"),
    ],
)
def test_kernel_sets_are_not_believed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save(convolved(), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as h5:
        for name, value in change.items():
            h5[f"development/edges/eye:afferent:a/{name}"][0] = value
    with pytest.raises(ConnectomeError, match=message):
        load(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON of maps"), ("[1]", "must be JSON of maps"), ('{"count": 1}', "must be JSON of maps"),
        ('{"count": 1, "height": 0, "width": 1}', "maps.height must be"),
        ('{"count": 1, "height": 16384, "width": 16384}', "must have the 268435456 bytes"),
        ("", "must join regions with"),
    ],
)  # fmt: skip
def test_maps_are_not_believed(tmp_path: Path, text: str, message: str) -> None:
    save(convolved(), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as h5:
        table = h5["development/regions"]
        rows = table[...]
        rows["maps"][1] = text.encode()
        table[...] = rows
    with pytest.raises(ConnectomeError, match=message):
        load(tmp_path / "x.h5")


# Determinism.


def dataset_hashes(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            data = np.asarray(item[...])
            found[name] = hashlib.sha256((data.astype("S") if data.dtype.kind == "O" else data).tobytes()).hexdigest()

    with h5py.File(path) as h5:
        h5.visititems(visit)
    return found


def test_same_connectome_same_bytes(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        save(example(), tmp_path / name / "z.h5")
    x, y = tmp_path / "x", tmp_path / "y"
    assert len(dataset_hashes(x / "z.h5")) > 100
    assert dataset_hashes(x / "z.h5") == dataset_hashes(y / "z.h5")
    for file in ("z.h5", "z.sonata/circuit_config.json", "z.sonata/node_types.csv", "z.sonata/edge_types.csv"):
        assert (x / file).read_bytes() == (y / file).read_bytes()


def test_nothing_in_the_file_tells_the_time(saved: Path) -> None:
    """A later second gives the same bytes: no object of the file may keep track of times."""
    tracked = []
    with h5py.File(saved) as h5:
        h5.visititems(lambda name, item: tracked.append(name) if h5py.h5o.get_info(item.id).mtime else None)
    assert tracked == []


def test_a_broadcast_column_and_a_full_one_make_the_same_bytes(tmp_path: Path) -> None:
    ones = np.ones(5, np.int32)
    for name, weight in (("x", np.float32(2)), ("y", np.full(5, 2, np.float32))):
        edges = EdgeSet.from_arrays(LOCAL, ones, ones, weight, n_source=2, n_target=2, dt_ms=0.1)
        save(Connectome.of([Region("a", 2)], [edges]), tmp_path / f"{name}.h5")
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()


# The field's own readers.


def test_libsonata_reads_everything(saved: Path) -> None:
    check_libsonata(example(), saved)


def test_libsonata_reads_the_circuit(saved: Path) -> None:
    circuit = libsonata.CircuitConfig.from_file(str(saved.with_suffix(".sonata") / "circuit_config.json"))
    assert circuit.config_status == libsonata.CircuitConfigStatus.complete
    assert circuit.node_populations == set(example().regions)
    assert circuit.node_population_properties("eye").type == "virtual"
    assert circuit.node_population_properties("hand").type == "point_neuron"
    check_nodes(example(), circuit.node_population)
    check_edges(example(), circuit.edge_population)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # bmtk's use of pandas
def test_bmtk_reads_the_circuit(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.with_suffix(".sonata"))
    check_bmtk(example())


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
def test_labels_are_read_by_the_fields_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = example()
    names = np.array(["ADAL", "", "é"] * 7)[:20]
    c = Connectome.of([replace(c.regions["a"], label=names), c.regions["b-1.x"]])
    save(c, tmp_path / "x.h5")
    assert_same(load(tmp_path / "x.h5"), c)
    check_libsonata(c, tmp_path / "x.h5")
    found = libsonata.NodeStorage(str(tmp_path / "x.h5")).open_population("a")
    assert list(found.get_attribute("label", found.select_all())) == names.tolist()
    monkeypatch.chdir(tmp_path / "x.sonata")
    check_bmtk(c)


def test_labels_longer_than_any_are_refused(tmp_path: Path) -> None:
    save(Connectome.of([Region("a", 2, label=np.array(["x", "y"]))]), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["development/nodes/a/label"]
        file["development/nodes/a"].create_dataset("label", data=np.array([b"x" * 1000] * 2), chunks=(2,))
    with pytest.raises(ConnectomeError, match="label must be 2 texts of at most 512 bytes"):
        load(tmp_path / "x.h5")


# Lazy: what is read is only what is asked for.


def test_one_edge_set_needs_no_other(saved: Path) -> None:
    """With every dataset of the file damaged but those of one edge set, that one still opens, and only that one."""
    wanted = example().edges[LOCAL]
    snapshot = open_snapshot(saved)
    mine = (f"{A}/", f"development/{A}/")
    keep: list[tuple[int, int]] = []
    spoil: list[tuple[int, int]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks:
            chunks = [item.id.get_chunk_info(i) for i in range(item.id.get_num_chunks())]
            (keep if name.startswith(mine) else spoil).extend((c.byte_offset, c.size) for c in chunks)

    with h5py.File(saved) as h5:
        h5.visititems(visit)
    assert len(keep) > 5
    assert len(spoil) > 50
    with saved.open("r+b") as file:
        for offset, size in spoil:
            file.seek(offset)
            file.write(b"\xa5" * size)
    found = snapshot.edge_set(LOCAL)
    np.testing.assert_array_equal(found.target, wanted.target)
    np.testing.assert_array_equal(found.state["survival"], wanted.state["survival"])
    xarray.testing.assert_identical(snapshot.region_connectivity(), example().to_xarray())
    with pytest.raises(ConnectomeError, match="undamaged"):
        snapshot.edge_set(("eye", "afferent", "a"))
    with pytest.raises(ConnectomeError, match="undamaged"):
        snapshot.region("a")
    with pytest.raises(ConnectomeError, match="undamaged"):
        load(saved)


def test_metadata_needs_no_edge(saved: Path) -> None:
    with h5py.File(saved, "r+") as h5:
        for group in ("nodes", "edges", "development/nodes", "development/edges"):
            for name in list(h5[group]):
                del h5[group][name]
    snapshot = open_snapshot(saved)
    assert snapshot.n_edges == example().n_edges
    assert "stage 1 perception ü" in repr(snapshot)
    xarray.testing.assert_identical(snapshot.region_connectivity(), example().to_xarray())


def test_an_unknown_name_lists_what_there_is(saved: Path) -> None:
    snapshot = open_snapshot(saved)
    with pytest.raises(ConnectomeError, match=r"must be one of .*'local'.*found"):
        snapshot.edge_set(("a", "local", "b"))
    with pytest.raises(ConnectomeError, match=r"must be one of .*'eye'.*found 'x'"):
        snapshot.region("x")


def test_a_snapshot_that_was_replaced_is_not_mixed_up(saved: Path) -> None:
    snapshot = open_snapshot(saved)
    save(Connectome.of([Region("a", 20)]), saved, overwrite=True)
    with pytest.raises(ConnectomeError, match="Open it again"):
        snapshot.edge_set(LOCAL)


def test_what_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a folder that may be entered but not listed; root may list any."""
    save(example(), tmp_path / "00_birth.h5")

    def refuse(*_: object) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConnectomeError, match="must be a folder that can be listed; found Permission denied"):
        list_stages(tmp_path)


def test_list_stages(tmp_path: Path) -> None:
    sizes = {"00_birth": (0, "birth"), "10_b": (2, "b"), "9_a": (1, "a")}
    for name, (stage, stage_name) in sizes.items():
        provenance = Provenance(stage=stage, stage_name=stage_name)
        save(Connectome.of([Region("a", stage)], provenance=provenance), tmp_path / f"{name}.h5")
    (tmp_path / "results.nc").write_text("not a snapshot")
    with h5py.File(tmp_path / "spikes.h5", "w") as other:
        other.create_group("spikes")
    found = list_stages(tmp_path)
    assert [s.provenance.stage_name for s in found] == ["birth", "a", "b"]
    assert [s.path.name for s in found] == ["00_birth.h5", "9_a.h5", "10_b.h5"]
    assert list_stages(tmp_path / "00_birth.sonata") == []
    (tmp_path / "x.h5").write_text("not a snapshot")
    with pytest.raises(ConnectomeError, match=r"x\.h5 must be an HDF5 file"):
        list_stages(tmp_path)
    with pytest.raises(ConnectomeError, match="no such folder"):
        list_stages(tmp_path / "none")
    with pytest.raises(ConnectomeError, match="must be a folder"):
        list_stages(tmp_path / "results.nc")


# Whole or absent.


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond ``size`` fails, as on a full disk. (Python ignores the signal that comes with it.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "x.h5"
    big = example(10)
    save(big, path)
    whole = path.stat().st_size
    shutil.rmtree(path.with_suffix(".sonata"))
    path.unlink()
    if exists:
        save(example(), path)
    before = everything(tmp_path)
    for size in [0, 1, 100, 2048, *np.linspace(3000, whole - 1, 8).astype(int).tolist()]:
        with (
            files_of_at_most(size),
            pytest.raises(ConnectomeError, match=r"x\.h5 must be writable; found File too large"),
        ):
            save(big, path, overwrite=exists)
        assert everything(tmp_path) == before
        assert path.with_suffix(".sonata").exists() == exists
    save(big, path, overwrite=exists)
    assert_same(load(path), big)


@pytest.mark.parametrize("call", ["replace", "fsync", "open"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_failing_call_leaves_what_was_there(
    saved: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    before = everything(saved.parent)

    def fail(*args: object, **options: object) -> None:
        raise error

    kind = ConnectomeError if isinstance(error, OSError) else KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(kind):
            save(example(2), saved, overwrite=True)
        with pytest.raises(kind):
            save(example(2), saved.with_name("new.h5"))
    assert everything(saved.parent) == before
    assert_same(load(saved), example())


def test_it_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        function = getattr(os, name)

        def spy(*args: Any, name: str = name, function: Any = function) -> Any:
            calls.append("folder" if name == "fsync" and os.path.isdir(f"/proc/self/fd/{args[0]}") else name)
            return function(*args)

        monkeypatch.setattr(os, name, spy)
    save(example(), tmp_path / "x.h5")
    # That of its sidecars first, they, and itself.
    assert calls == ["folder", *["fsync", "replace", "folder"] * 4]


def test_it_is_refused_what_it_cannot_write(saved: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    with pytest.raises(ConnectomeError, match="must not exist; found a file"):
        save(example(2), saved)
    with pytest.raises(ConnectomeError, match=r"must end in \.h5; found '\.hdf5'"):
        save(example(), tmp_path / "x.hdf5")
    with pytest.raises(ConnectomeError, match="must be in a folder that exists"):
        save(example(), tmp_path / "none" / "x.h5")
    with pytest.raises(ConnectomeError, match="config must be text without the character NUL"):
        save(example(), tmp_path / "x.h5", config="a\0b")
    with pytest.raises(ConnectomeError, match="UTF-8"):
        save(example(), tmp_path / "x.h5", config="\ud800")
    record = RuleRecord(0, 0, "prune", "a", "local", "a", added=2**63)
    with pytest.raises(ConnectomeError, match="rule_log must hold integers of 64 bits"):
        save(Connectome.of([Region("a", 1)], provenance=Provenance(rule_log=(record,))), tmp_path / "x.h5")
    assert everything(tmp_path) == before


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "x.sonata").symlink_to(elsewhere)
    with pytest.raises(ConnectomeError, match="real folder beside it"):
        save(example(), tmp_path / "x.h5")
    (tmp_path / "y.h5").symlink_to(elsewhere / "y.h5")
    with pytest.raises(ConnectomeError, match="must not exist"):
        save(example(), tmp_path / "y.h5")
    save(example(), tmp_path / "y.h5", overwrite=True)
    assert not (tmp_path / "y.h5").is_symlink()
    assert list(elsewhere.iterdir()) == []


def test_a_file_that_is_read_only_opens(saved: Path) -> None:
    saved.chmod(0o444)
    assert_same(load(saved), example())
