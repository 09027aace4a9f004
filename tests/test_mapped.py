"""Snapshots that are mapped into memory, and those written part by part."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import libsonata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Region, Stimulus, arrays, run
from connectome.arrays import in_blocks, is_mapped, out_of_order
from connectome.graph.kernel_set import KernelSet
from connectome.io.snapshot import load, open_snapshot, save, save_parts
from connectome.io.sonata import population
from connectome.simulate.merging import grouped
from tests.sonata_readers import check_nodes
from tests.strategies import connectomes
from tests.test_snapshot import LOCAL, assert_same, example, has_counts_of_64_bits


def parts_of(connectome: Connectome, cuts: int) -> Iterator[EdgeSet]:
    """Each edge set in this many parts, by source."""
    for e in connectome.edges.values():
        ends = np.linspace(0, e.n_source, cuts + 1).astype(int)
        for first, last in pairwise(ends):
            yield e.take((e.source >= first) & (e.source < last))


def many(n: int = 300_000) -> Connectome:
    """Edges of more than one chunk, to more targets than 16 bits tell apart."""
    rng = np.random.default_rng(3)
    sizes = {"a": 70_000, "b": 500}
    regions = [Region(name, size) for name, size in sizes.items()]
    edges = [
        EdgeSet.from_arrays(
            key, rng.integers(0, sizes[key[0]], n), rng.integers(0, sizes[key[2]], n),
            rng.normal(size=n), n_source=sizes[key[0]], n_target=sizes[key[2]], dt_ms=0.1,
            delay_ms=rng.integers(1, 30, n) * 0.1,
        )
        for key in (("a", "local", "a"), ("a", "long_range", "b"))
    ]  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=0.1)


@settings(max_examples=15)
@given(connectomes().filter(has_counts_of_64_bits), st.integers(1, 4))
def test_what_is_mapped_is_what_was_saved(tmp_path_factory: pytest.TempPathFactory, c: Connectome, cuts: int) -> None:
    path = tmp_path_factory.mktemp("mapped") / "x.h5"
    save(c, path, config="x = 1", mapped=True)
    for found in (load(path), load(path, mapped=False)):
        assert_same(found, c)
    assert open_snapshot(path).config == "x = 1"
    if any(isinstance(e, KernelSet) or (e.attributes and cuts > 1) for e in c.edges.values()):
        return
    parts = path.with_name("parts.h5")
    save_parts(parts, c.regions.values(), parts_of(c, cuts), dt_ms=c.dt_ms, provenance=c.provenance, config="x = 1")
    assert parts.read_bytes() == path.read_bytes()


def test_columns_are_the_files(tmp_path: Path) -> None:
    c, path = many(), tmp_path / "x.h5"
    save(c, path, mapped=True)
    for e in (load(path).edges[LOCAL], open_snapshot(path).edge_set(("a", "long_range", "b"))):
        for column in (e.indices, e.weight, e.delay_steps):
            assert is_mapped(column)
            assert column.flags.aligned
            assert not column.flags.writeable
    e = load(path, mapped=False).edges[LOCAL]
    assert not any(map(is_mapped, (e.indices, e.weight, e.delay_steps)))
    save(c, path, overwrite=True)
    assert not is_mapped(load(path).edges[LOCAL].weight)


def test_an_unmapped_reader_finds_what_format_6_has(tmp_path: Path) -> None:
    """What earlier versions ask for: these types, in chunks, not compressed."""
    c, path = many(), tmp_path / "x.h5"
    save(c, path, mapped=True)
    with h5py.File(path) as file:
        for key, e in c.edges.items():
            found = file[f"edges/{population(key)}"]
            for name, kind, wanted in (
                ("target_node_id", np.uint32, e.target), ("source_node_id", np.uint32, e.source),
                ("0/syn_weight", np.float32, e.weight), ("0/delay", np.float64, e.delay),
                ("edge_group_index", np.uint32, np.arange(len(e))), ("edge_type_id", np.uint32, None),
            ):  # fmt: skip
                assert (found[name].dtype, found[name].shape, found[name].compression) == (kind, (len(e),), None)
                assert found[name].chunks is not None
                if wanted is not None:
                    np.testing.assert_array_equal(found[name][...], wanted)


def test_libsonata_reads_edges_and_those_of_a_source(tmp_path: Path) -> None:
    c, path = example(), tmp_path / "x.h5"
    save(c, path, mapped=True)
    check_nodes(c, libsonata.NodeStorage(str(path)).open_population)
    for key, e in c.edges.items():
        found = libsonata.EdgeStorage(str(path)).open_population(population(key))
        if len(e):
            every = found.select_all()
            np.testing.assert_array_equal(found.source_nodes(every), e.source)
            np.testing.assert_array_equal(found.target_nodes(every), e.target)
            np.testing.assert_array_equal(found.get_attribute("syn_weight", every), e.weight)
            np.testing.assert_array_equal(found.get_attribute("delay", every), e.delay)
            np.testing.assert_array_equal(found.efferent_edges([3]).flatten(), np.flatnonzero(e.source == 3))


def test_a_run_from_a_file_is_that_from_memory(tmp_path: Path) -> None:
    c, path = many(), tmp_path / "x.h5"
    c = replace(c, edges={k: replace(e, weight=np.abs(e.weight) * 50) for k, e in c.edges.items()})
    save(c, path, mapped=True)
    drive = Stimulus(current_pa={"a": 400.0})
    wanted, found = (run(one, 30.0, drive, threads=2) for one in (c, load(path)))
    assert wanted.n_spikes.sum() > 1000
    assert found.identical(wanted)


def test_mapped_sets_are_not_merged(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    save(many(), path, mapped=True)
    for c, groups in ((many(), 1), (load(path), 2)):
        alike = dict.fromkeys(c.edges, 0)
        assert len(grouped(list(c.edges.values()), alike, {"a": 0, "b": 70_000}, 1e6)) == groups


def test_what_is_mapped_outlives_its_file(tmp_path: Path) -> None:
    c, path = many(), tmp_path / "x.h5"
    save(c, path, mapped=True)
    found = load(path)
    save(example(), path, overwrite=True)
    assert found.digest() == c.digest()
    path.unlink()
    assert found.digest() == c.digest()


def test_a_changed_file_is_found_out(tmp_path: Path) -> None:
    c, path = many(), tmp_path / "x.h5"
    save(c, path, mapped=True)
    with h5py.File(path, "r+") as file:
        file["edges/a:local:a/0/syn_weight"][7] += 1
    with pytest.raises(ConnectomeError, match="digest"):
        load(path)
    with h5py.File(path, "r+") as file:
        file["edges/a:local:a/target_node_id"][7] = 70_000
    with pytest.raises(ConnectomeError, match=r"indices must be in 0 \.\. 69999"):
        open_snapshot(path).edge_set(LOCAL)
    os.truncate(path, path.stat().st_size - 2_000_000)
    with pytest.raises(ConnectomeError):
        load(path)


@pytest.mark.parametrize("checked", [False, True])
def test_a_column_in_pieces_is_read(tmp_path: Path, checked: bool) -> None:
    """Where another program has written the same datasets otherwise, they are not mapped."""
    c, path = many(), tmp_path / "x.h5"
    save(c, path, mapped=True)
    with h5py.File(path, "r+") as file:
        group = file["edges/a:local:a/0"]
        weight = group["syn_weight"][...]
        del group["syn_weight"]
        pieces = [
            group.create_dataset(name, weight.shape, "f4", chunks=(100_000,), fletcher32=checked)
            for name in ("syn_weight", "other")
        ]
        for first in range(0, weight.size, 100_000):
            for piece in pieces:  # by turns
                piece[first : first + 100_000] = weight[first : first + 100_000]
                file.flush()
    found = load(path)
    assert_same(found, c)
    assert not is_mapped(found.edges[LOCAL].weight)
    assert is_mapped(found.edges[LOCAL].indices)


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    c, path = example(), tmp_path / "x.h5"
    a, b = (c.edges[key] for key in (LOCAL, EdgeKey("a", "long_range", "b-1.x")))
    first, second = a.take(a.source < 9), a.take(a.source >= 9)
    noted = EdgeSet.from_arrays(a.key, [10], [1], n_source=20, n_target=20, dt_ms=0.1, attributes={"x": [1]})
    for parts, message in (
        ([second, first], "must go on after its last part, whose last source is 19; found 0"),
        ([first, b, second], "must have its parts in succession"),
        ([first, replace(second, state={})], "must have parts of the sizes, dt_ms and state of the first"),
        ([replace(first, state={}), noted], r"must be in one part, as it has attributes; found \['x'\]"),
        ([replace(a, n_target=30)], "must be 20, the size of 'a'"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            save_parts(path, c.regions.values(), parts)
        assert not list(tmp_path.iterdir())
    with pytest.raises(ConnectomeError, match="mapped must not go with codebooks"):
        save(c, path, mapped=True, codebooks=True)


def test_the_order_between_blocks_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in range(2, 9):
        for wrong in range(1, 8):
            target = np.arange(8)
            target[wrong] = target[wrong - 1] - 1
            with monkeypatch.context() as m:
                m.setattr(arrays, "in_blocks", lambda n, cut=cut: in_blocks(n, cut))
                found = out_of_order(np.array([0, 8, 8]), target, np.ones(8, np.uint16))
                assert found == f"{target[wrong - 1]} at index {wrong - 1}"
                assert out_of_order(np.array([0, wrong, 8]), target, np.ones(8, np.uint16)) == ""


@pytest.mark.parametrize("fails", ["pwrite", "parts"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    c, path = many(), tmp_path / "x.h5"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def parts() -> Iterator[EdgeSet]:
        yield from c.edges.values()
        full()

    if fails == "pwrite":
        monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ConnectomeError, match="must be writable; found No space left"):
        save_parts(path, c.regions.values(), parts())
    assert not list(tmp_path.iterdir())
