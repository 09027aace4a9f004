"""``python -m sims.export``: every format by one command, a stage and a part of the graph, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networkx
import pytest

from connectome import Connectome, ConnectomeError, EdgeSet, Provenance, Region
from connectome.io.exchange import FORMATS, read
from connectome.io.snapshot import save
from sims.export import main, selected
from sims.inputs import open_graph
from tests.test_graph_files import rows, small


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for stage, name in enumerate(["birth", "motor"]):
        connectome = replace(small(), provenance=Provenance(stage=stage, stage_name=name))
        if stage == 0:
            connectome = Connectome.of(connectome.regions.values(), dt_ms=0.25, provenance=connectome.provenance)
        save(connectome, folder / f"0{stage}_{name}.h5")
    return folder


@pytest.mark.parametrize("name", [f.name for f in FORMATS.values() if f.write])
def test_every_format_is_written_and_read_back(name: str, run_folder: Path, tmp_path: Path) -> None:
    known = FORMATS[name]
    out = tmp_path / f"out{known.suffixes[0]}"
    assert main([str(run_folder), "--format", name, "--out", str(out), "--quiet"]) == 0
    assert out.stat().st_size
    for beside in known.beside(out):
        assert beside.exists()
    if known.read is not None:
        back = read(out)
        assert back.n_neurons == 5
        if name not in ("mat", "tvb"):
            assert rows(back) == rows(small())
    again = out.read_bytes()
    assert main([str(run_folder), "--format", name, "--out", str(out), "--quiet"]) == 2
    assert out.read_bytes() == again


def test_a_stage_kinds_and_regions_are_chosen(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.graphml"
    for arguments, edges, nodes in (
        ([], 6, 5), (["--stage", "motor"], 6, 5), (["--stage", "0"], 0, 5), (["--stage", "birth"], 0, 5),
        (["--kinds", "long_range"], 2, 5), (["--kinds", "local, long_range", "--regions", "a.1"], 4, 3),
    ):  # fmt: skip
        assert main([str(run_folder), "--out", str(out), "--overwrite", "--quiet", *arguments]) == 0
        graph = networkx.read_graphml(out)
        assert (graph.number_of_edges(), graph.number_of_nodes()) == (edges, nodes)


def test_mistakes_end_with_2_and_one_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.gml")
    taken = tmp_path / "b_nodes.csv"
    taken.touch()
    snapshot = str(run_folder / "01_motor.h5")
    for arguments, rule in (
        ([str(tmp_path / "none"), "--out", out], "must be a file"), ([snapshot, "--out", str(tmp_path)], "--out"),
        ([snapshot, "--out", str(tmp_path / "a.xyz")], "must end in"),
        ([snapshot, "--out", str(tmp_path / "no" / "a.gml")], "folder that can be written"),
        ([snapshot, "--out", out, "--stage", "1"], "run's folder"),
        ([str(run_folder), "--out", out, "--stage", "dream"], "birth, motor"),
        ([snapshot, "--out", out, "--kinds", "local,far"], "--kinds"),
        ([snapshot, "--out", out, "--regions", "B_2,b"], "--regions"),
        ([snapshot, "--out", str(tmp_path / "b.csv")], "b_nodes.csv"),
        ([snapshot, "--out", snapshot, "--overwrite"], "not be PATH"),
        ([snapshot, "--out", str(tmp_path / "a.nwb"), "--kinds", "local"], "--kinds"),
        ([snapshot, "--out", str(tmp_path / "a.nwb")], "spike"),
        ([str(run_folder), "--out", str(tmp_path / "a.nwb")], "must be a file"),
    ):  # fmt: skip
        assert main([*arguments, "--quiet"]) == 2, arguments
        error = capsys.readouterr().err
        assert rule in error
        assert error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b_nodes.csv", "run"]


def test_help_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    given = capsys.readouterr().out
    for known in FORMATS.values():
        assert (f"  {known.name} " in given) == (known.write is not None)
    assert "  nwb " in given


def test_a_part_keeps_the_rest_as_it_was() -> None:
    part = selected(small(), "local", "B_2,a.1")
    assert list(part.regions) == ["a.1", "B_2"]
    assert {key.kind for key in part.edges} == {"local"}
    assert selected(small(), None, None).digest() == small().digest()
    with pytest.raises(ConnectomeError, match="--regions"):
        selected(small(), None, "")


def test_a_graph_is_opened_by_path_or_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConnectomeError, match="celegans"):
        open_graph("celegans")
    edges = EdgeSet.from_arrays(("a", "local", "a"), [0], [1], n_source=2, n_target=2, dt_ms=0.1)
    graph = Connectome.of([Region("a", 2)], [edges])
    save(graph, tmp_path / "a.h5")
    assert open_graph(str(tmp_path / "a.h5")).digest() == graph.digest()
