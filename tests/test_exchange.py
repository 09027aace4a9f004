"""The registry of formats: what a file is, by its ending and its content."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from connectome import Connectome, ConnectomeError, Provenance, Region
from connectome.io.exchange import FORMATS, format_of, read, write
from connectome.io.snapshot import save
from tests.test_graph_files import rows, small


def test_a_folder_of_a_run_stands_for_its_last_stage(tmp_path: Path) -> None:
    for stage in (0, 2, 1):
        one = Connectome.of([Region("a", 1 + stage)], provenance=Provenance(stage=stage))
        save(one, tmp_path / f"{'cab'[stage]}.h5")
    assert read(tmp_path).n_neurons == 3


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    for path, rule in ((tmp_path, "snapshots"), (tmp_path / "a.xyz", "must end in"), (tmp_path / "a.h5", "read")):
        with pytest.raises(ConnectomeError, match=rule) as error:
            read(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ConnectomeError, match="format must be one of"):
        read(tmp_path / "a.h5", format="word")
    with pytest.raises(ConnectomeError, match="must end in"):
        write(Connectome.of([]), tmp_path / "a.xyz")


def test_what_a_file_is_follows_from_its_content_where_two_formats_share_an_ending(tmp_path: Path) -> None:
    connectome = small(dt_ms=0.1)  # SONATA does not say what delays are multiples of
    save(connectome, tmp_path / "a.h5")
    assert format_of(tmp_path / "a.h5").name == "snapshot"
    shutil.copy(tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        del file["development"]
    assert format_of(tmp_path / "b.h5").name == "sonata"
    circuit = tmp_path / "a.sonata" / "circuit_config.json"
    assert format_of(circuit).name == "sonata"
    write(connectome, tmp_path / "a.json")
    assert format_of(tmp_path / "a.json").name == "cytoscape"
    for path in (tmp_path / "b.h5", circuit, circuit.parent, tmp_path / "a.json"):
        assert rows(read(path)) == rows(connectome)


def test_a_file_may_be_named_anything_if_its_format_is(tmp_path: Path) -> None:
    for name in ("graphml", "gml", "mat"):
        write(small(), tmp_path / "graph", name)
        assert read(tmp_path / "graph", name).n_neurons == 5


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_it_is(name: str) -> None:
    known = FORMATS[name]
    assert known.name == name
    assert known.read or known.write
    assert known.suffixes
    assert all(s == s.lower() and s.startswith(".") for s in known.suffixes)
    assert known.description
    assert "\n" not in known.description
