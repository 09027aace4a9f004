"""Spikes in SONATA's format: the round trip, the field's own readers, and files that are not to be believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import libsonata
import numpy as np
import pytest
import xarray as xr
from bmtk.utils.reports.spike_trains import SpikeTrains
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.io.spikes import SORTING, load_spikes, save_spikes
from connectome.simulate.runs import Poisson, Stimulus, run

NAMES = ["zebra", "a.b-c", "silent"]


def dataset(spikes: list[tuple[float, int, int]], names: list[str] = NAMES) -> xr.Dataset:
    """(time, region, neuron) as a run returns them."""
    time_ms, region, neuron = zip(*sorted(spikes), strict=True) if spikes else ((), (), ())
    return xr.Dataset(
        {
            "spike_time_ms": ("spike", np.array(time_ms, np.float64), {"units": "ms"}),
            "spike_region": ("spike", np.array(region, np.int32), {"description": "place in the coordinate region"}),
            "spike_neuron": ("spike", np.array(neuron, np.int32), {"description": "number in its region"}),
            "n_spikes": ("region", np.bincount(np.array(region, int), minlength=len(names))),
        },
        {"region": ("region", np.array(names))}, {"duration_ms": 20.0, "dt_ms": 0.1, "seed": 3, "engine": "numba"},
    )  # fmt: skip


SOME = dataset([(0.1, 0, 3), (0.1, 1, 7), (2.5, 0, 3), (2.5, 0, 3), (20.0, 1, 0)])
events = st.lists(
    st.tuples(st.integers(1, 200).map(lambda step: step * 0.1), st.integers(0, 2), st.integers(0, 2**31 - 1))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spikes.h5"


@given(spikes=events)
def test_what_is_written_is_read(
    spikes: list[tuple[float, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("round") / "spikes.h5"
    save_spikes(dataset(spikes), file)
    assert load_spikes(file).identical(dataset(spikes))


def test_a_run_is_written_and_read(path: Path) -> None:
    eye, cortex = Region("eye", 20, "sensor"), Region("cortex", 5)
    edges = EdgeSet.from_arrays(
        ("eye", "afferent", "cortex"), np.arange(20), np.arange(20) % 5, 3000.0, n_source=20, n_target=5, dt_ms=0.1
    )
    spikes = run(Connectome.of([eye, cortex], [edges]), 50.0, Stimulus(poisson={"eye": Poisson(100.0)}))
    assert (spikes.n_spikes > 0).all()
    save_spikes(spikes, path)
    assert load_spikes(path).identical(spikes)
    check_libsonata(spikes, path)


@pytest.mark.parametrize("spikes", [SOME, dataset([])], ids=["some", "none"])
def test_libsonata_reads_times_and_ids(spikes: xr.Dataset, path: Path) -> None:
    save_spikes(spikes, path)
    check_libsonata(spikes, path)


def check_libsonata(spikes: xr.Dataset, path: Path) -> None:
    reader = libsonata.SpikeReader(str(path))
    assert set(reader.get_population_names()) == set(spikes.region.values)
    for place, name in enumerate(spikes.region.values):
        population, mine = reader[name], spikes.spike_region.values == place
        assert (population.sorting, population.time_units) == ("by_time", "ms")
        found = population.get_dict()
        np.testing.assert_array_equal(found["timestamps"], spikes.spike_time_ms.values[mine])
        np.testing.assert_array_equal(found["node_ids"], spikes.spike_neuron.values[mine])


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_bmtk_reads_ours_and_we_read_bmtks(path: Path, tmp_path: Path) -> None:
    """bmtk compresses by gzip and writes ``sorting`` as a text."""
    save_spikes(SOME, path)
    theirs = SpikeTrains.load(str(path), file_type="h5")
    assert list(theirs.populations) == NAMES
    assert sorted(theirs.to_dataframe()[["timestamps", "node_ids"]].itertuples(index=False, name=None)) == sorted(
        zip(SOME.spike_time_ms.values, SOME.spike_neuron.values, strict=True)
    )
    trains = SpikeTrains(population="zebra")
    trains.add_spikes(3, [0.1, 2.5])
    trains.add_spikes(1, [1.0])
    trains.to_sonata(str(tmp_path / "bmtk.h5"))
    trains.close()
    found = load_spikes(tmp_path / "bmtk.h5")
    assert found.region.values.tolist() == ["zebra"]
    assert found.spike_time_ms.values.tolist() == [0.1, 1.0, 2.5]
    assert found.spike_neuron.values.tolist() == [3, 1, 3]
    assert found.attrs == {}


@pytest.mark.parametrize("sorting", ["none", "by_id", "by_time", None])
@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.uint32, np.int32])
def test_any_sorting_and_width_of_other_programs(sorting: str | None, dtype: type, path: Path) -> None:
    ids: Any = np.array([2, 0, 1, 0], dtype)
    times = np.array([1.0, 9.0, 3.0, 3.0])
    if sorting in ("by_id", "by_time"):
        order = np.lexsort((times, ids) if sorting == "by_id" else (ids, times))
        ids, times = ids[order], times[order]

    def write(population: Any) -> None:
        population["node_ids"], population["timestamps"] = ids, times
        if sorting:
            population.attrs.create("sorting", h5py.check_enum_dtype(SORTING)[sorting], dtype=SORTING)

    foreign(path, write)
    found = load_spikes(path)
    assert found.spike_time_ms.values.tolist() == [1.0, 3.0, 3.0, 9.0]
    assert found.spike_neuron.values.tolist() == [2, 0, 1, 0]
    assert int(found.n_spikes.sum()) == 4


def foreign(path: Path, write: Callable[[Any], None]) -> None:
    with h5py.File(path, "w") as file:
        write(file.create_group("spikes/cortex"))


def test_equal_spikes_make_equal_bytes(path: Path, tmp_path: Path) -> None:
    save_spikes(SOME, path)
    save_spikes(SOME, tmp_path / "again.h5")
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_a_file_that_exists_is_kept(path: Path) -> None:
    save_spikes(SOME, path)
    before = path.read_bytes()
    with pytest.raises(ConnectomeError, match="must not exist"):
        save_spikes(dataset([]), path)
    assert path.read_bytes() == before
    save_spikes(dataset([]), path, overwrite=True)
    assert load_spikes(path).sizes["spike"] == 0


def test_nothing_is_left_of_a_write_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_spikes(SOME, path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("connectome.io.hdf5.write_column", full)
    with pytest.raises(ConnectomeError, match=r"must be writable; found No space left on device"):
        save_spikes(dataset([]), path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def _plain(times: Any = (1.0,), ids: Any = (0,), **options: Any) -> Callable[[Any], None]:
    def write(population: Any) -> None:
        population.create_dataset("timestamps", data=np.asarray(times), **options)
        population.create_dataset("node_ids", data=np.asarray(ids), **options)

    return write


def _units(units: Any) -> Callable[[Any], None]:
    def write(population: Any) -> None:
        _plain()(population)
        population["timestamps"].attrs["units"] = units

    return write


def _claim(population: Any) -> None:
    _plain()(population)
    del population["timestamps"]
    population.create_dataset("timestamps", shape=(2**40,), dtype=np.float64, chunks=(2**10,), fillvalue=1.0)


def _claim_deflated(population: Any) -> None:
    _plain()(population)
    del population["timestamps"]
    dataset = population.create_dataset("timestamps", (2**40,), np.float64, chunks=(2**10,), compression="gzip")
    dataset[:4] = 1.0


def _linked(population: Any) -> None:
    _plain()(population)
    del population["timestamps"]
    population["timestamps"] = h5py.ExternalLink("/etc/hostname", "/x")


def _again_and_again(population: Any) -> None:
    """Hard links: a small file that would take much memory."""
    _plain(np.ones(2000), np.zeros(2000, int))(population)
    for number in range(50):
        population.parent[f"p{number}"] = population


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda g: None, "/spikes/cortex/timestamps must be there"),
        (_plain([1.0, 2.0], [0]), "must have as many timestamps as node_ids; found 2 and 1"),
        (_plain([[1.0]], [0]), r"must be one row of numbers; found float64 of shape \(1, 1\)"),
        (_plain([1.0], [0.5]), "node_ids must be one row of integers; found float64"),
        (_plain([b"x"], [0]), "timestamps must be one row of numbers"),
        (_plain([np.nan], [0]), "timestamps must be finite and >= 0; found nan"),
        (_plain([-1.0], [0]), "timestamps must be finite and >= 0; found -1.0"),
        (_plain([1.0], [-1]), "node_ids must be in 0 .. 2147483647; found -1"),
        (_plain([1.0], np.array([2**63], np.uint64)), "node_ids must be in 0 .. 2147483647; found 9223372036854775808"),
        (_plain(compression="lzf"), "must not be compressed, or by deflate"),
        (_units("s"), "timestamps@units must be one of ms, millisecond, milliseconds; found 's'"),
        (_units([1, 2]), "timestamps@units must be one of ms"),
        (_claim, "must have the 8796093022208 bytes that it claims"),
        (_claim_deflated, "must have the 8796093022208 bytes that it claims"),
        (_linked, "must be part of the file itself; found a ExternalLink"),
        (_again_and_again, "bytes that it claims"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused(write: Callable[[Any], None], message: str, path: Path) -> None:
    foreign(path, write)
    with pytest.raises(ConnectomeError, match=message) as refused:
        load_spikes(path)
    assert str(path) in str(refused.value)


def test_other_files_are_refused(path: Path) -> None:
    with pytest.raises(ConnectomeError, match="must be a file that can be read"):
        load_spikes(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(ConnectomeError, match="must be to SONATA's spike format, with a group /spikes"):
        load_spikes(path)
    path.write_text("times")
    with pytest.raises(ConnectomeError, match="must be an HDF5 file"):
        load_spikes(path)


@pytest.mark.parametrize("text", ["[1]", '{"a": [1]}', "no json"])
def test_attributes_of_a_run_are_not_believed(text: str, path: Path) -> None:
    from connectome.io.hdf5 import write_text

    foreign(path, _plain())
    with h5py.File(path, "a") as file:
        write_text(file.create_group("run"), "attributes", text)
    with pytest.raises(ConnectomeError, match=str(path)):
        load_spikes(path)
