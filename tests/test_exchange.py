"""The registry of formats: what a file is, by its ending and its content."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectome import Connectome, ConnectomeError, Provenance, Region
from connectome.io.exchange import FORMATS, read, write
from connectome.io.snapshot import save


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


@pytest.mark.parametrize("name", [name for name, f in FORMATS.items() if f.read and f.write])
def test_every_format_has_its_ending(name: str, tmp_path: Path) -> None:
    assert FORMATS[name].suffixes
    assert all(s == s.lower() and s.startswith(".") for s in FORMATS[name].suffixes)
