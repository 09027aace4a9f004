"""The fly's eye from flyvis' file: cells, connections, gaps, signs, scaling, and what a wrong file is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from scipy.spatial import ConvexHull

from connectome import ConnectomeError, EdgeKey, KernelSet
from connectome.io.exchange import format_of
from connectome.io.exchange import read as read_any
from connectome.io.flyvis import PUBLISHED_MEAN, read, within
from connectome.io.snapshot import load, save

#: A file of the form of the published one: a type in every column, one in fewer, one cell; a set with gaps.
SPECIFICATION: dict[str, Any] = {
    "nodes": [
        {"name": "R1", "pattern": ["stride", [1, 1]], "bias": 3.5},
        {"name": "Lawf(1)", "pattern": ["stride", [3, 2]]},
        {"name": "T4a", "pattern": ["tile", 1]},
        {"name": "One", "pattern": ["single", None]},
    ],
    "edges": [
        {"src": "R1", "tar": "T4a", "alpha": -1, "offsets": [[[0, 0], 40], [[2, 0], 4.5], [[0, 2], 2]]},
        {"src": "R1", "tar": "Lawf(1)", "alpha": 1, "offsets": [[[1, 0], 7]]},
        {"src": "T4a", "tar": "T4a", "alpha": 1, "offsets": [[[1, -1], 3], [[-1, 1], 5]]},
        {"src": "T4a", "tar": "One", "alpha": 1, "offsets": [[[0, 0], 3], [[-1, 0], 1]]},
    ],
    "input_units": ["R1"],
    "output_units": ["T4a"],
}  # fmt: skip


def written(folder: Path, specification: Any = SPECIFICATION) -> Path:
    file = folder / "eye.json"
    file.write_text(specification if isinstance(specification, str) else json.dumps(specification))
    return file


def columns(radius: int, every: tuple[int, int]) -> list[tuple[int, int]]:
    reach = range(-radius, radius + 1)
    return [
        (u, v) for u in reach for v in reach
        if abs(u + v) <= radius and u % every[0] == 0 and v % every[1] == 0
    ]  # fmt: skip


@pytest.mark.parametrize("radius", [0, 1, 4])
def test_against_a_loop_over_cells(tmp_path: Path, radius: int) -> None:
    """Which cell has how many synapses on which, from the file's words: the source's column plus the offset."""
    eye = read(written(tmp_path), radius=radius)
    cells = {
        "R1": columns(radius, (1, 1)), "Lawf_1": columns(radius, (3, 2)), "T4a": columns(radius, (1, 1)),
        "One": [(0, 0)],
    }  # fmt: skip
    name = {"Lawf(1)": "Lawf_1"}
    assert {n: r.size for n, r in eye.regions.items()} == {n: len(c) for n, c in cells.items()}
    total = 0
    for edge in SPECIFICATION["edges"]:
        source, target = (name.get(edge[end], edge[end]) for end in ("src", "tar"))
        offsets = [*edge["offsets"], *([[[0, 1], 1], [[1, 1], 1]] if target == "T4a" and source == "R1" else [])]
        wanted = {
            (i, cells[target].index((u + du, v + dv))): edge["alpha"] * n
            for (du, dv), n in offsets for i, (u, v) in enumerate(cells[source]) if (u + du, v + dv) in cells[target]
        }  # fmt: skip
        kernels = eye.edges[EdgeKey(source, "local" if source == target else "long_range", target)]
        edges = kernels.to_edges() if isinstance(kernels, KernelSet) else pytest.fail("no kernel set")
        found = zip(edges.source.tolist(), edges.target.tolist(), edges.weight.tolist(), strict=True)
        assert {(s, t): w for s, t, w in found} == pytest.approx(wanted)
        total += len(wanted)
    assert sum(e.n_connections for e in eye.edges.values() if isinstance(e, KernelSet)) == total


def test_what_is_said_of_cells(tmp_path: Path) -> None:
    eye = read(written(tmp_path), radius=2)
    assert [int(r.sign[0]) for r in eye.regions.values()] == [0, 0, 1, 0]  # R1 has both, two send nothing
    assert eye.select("is_sensory").masks["R1"].all()
    assert {name for name, mask in eye.select("is_output").masks.items() if mask.any()} == {"T4a"}
    attributes = eye.regions["Lawf_1"].attributes
    places = list(zip(attributes["u"].values.tolist(), attributes["v"].values.tolist(), strict=True))
    assert places == columns(2, (3, 2))
    assert eye.select("cell_type == 'Lawf(1)'").masks["Lawf_1"].all()
    assumed = eye.edges[EdgeKey("R1", "long_range", "T4a")].attributes["is_assumed"].values
    assert assumed.sum() == 2
    assert len(read(written(tmp_path), radius=2, fill=0).edges[EdgeKey("R1", "long_range", "T4a")]) == 3


def test_published_scaling(tmp_path: Path) -> None:
    """Each pair's mean over its connections is the same, each pair's profile is its counts."""
    counts = read(written(tmp_path), radius=3)
    scaled = read(written(tmp_path), radius=3, mean_weight_pa=PUBLISHED_MEAN)
    for key, kernels in scaled.edges.items():
        assert isinstance(kernels, KernelSet)
        assert np.abs(kernels.to_edges().weight).mean() == pytest.approx(0.01, rel=1e-5)
        ratio = kernels.weight / counts.edges[key].weight
        assert ratio == pytest.approx(np.full(len(kernels), ratio[0]), rel=1e-5)


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=12, unique=True))
def test_gaps_are_those_that_flyvis_fills(points: list[tuple[int, int]]) -> None:
    """As its ``fill_hull`` does it: qhull's corners of the points, matplotlib's points of the polygon."""
    known = np.array(points)
    centred = known - known[0]
    if np.linalg.matrix_rank(centred) < 2:
        assert not len(within(known))
        return
    corners = known[ConvexHull(known).vertices]
    grid = np.indices((9, 9)).reshape(2, -1).T - 4
    inside = grid[Polygon(corners).contains_points(grid)]
    wanted = {tuple(p) for p in inside.tolist()} - set(points)
    assert {tuple(p) for p in within(known).tolist()} == wanted


def test_as_any_other_file(tmp_path: Path) -> None:
    """It is told from other JSON by what is in it, and a snapshot keeps it."""
    file = written(tmp_path)
    assert format_of(file).name == "flyvis"
    eye = read_any(file)
    assert eye.regions["R1"].size == 721
    save(eye, tmp_path / "eye.h5")
    again = load(tmp_path / "eye.h5")
    key = EdgeKey("R1", "long_range", "T4a")
    kernels = again.edges[key]
    assert isinstance(kernels, KernelSet)
    assert (kernels.weight == eye.edges[key].weight).all()
    assert again.regions["Lawf_1"].maps == eye.regions["Lawf_1"].maps


def _changed(**changes: Any) -> dict[str, Any]:
    edge = {**SPECIFICATION["edges"][0], **changes}
    return {**SPECIFICATION, "edges": [edge]}


@pytest.mark.parametrize(
    ("specification", "field", "rule"),
    [
        ("[1]", "JSON", "must be an object"),
        ("{", "", "must be cell types and offsets"),
        ({**SPECIFICATION, "nodes": 3}, "nodes", "must be a list"),
        ({**SPECIFICATION, "nodes": ["R1"]}, "nodes[0]", "must be an object"),
        ({**SPECIFICATION, "nodes": [{"name": "R1", "pattern": ["stride", 1]}]}, "nodes[0].pattern", "'stride'"),
        ({**SPECIFICATION, "nodes": [{"pattern": ["tile", 1]}]}, "nodes[0].name", "must be a name"),
        ({**SPECIFICATION, "nodes": SPECIFICATION["nodes"][:1] * 2}, "nodes", "that differ"),
        ({**SPECIFICATION, "output_units": None}, "output_units", "must be a list"),
        (_changed(alpha=0), "edges[0].alpha", "1 or -1"),
        (_changed(src="Mi1"), "edges[0].src", "name of a node"),
        (_changed(offsets=[]), "edges[0].offsets", "one or more"),
        (_changed(offsets=[[[0, 0], -1]]), "edges[0].offsets", "synapses"),
        (_changed(offsets=[[[0, 10**9], 1]]), "edges[0].offsets", "up to 400"),
        (_changed(offsets=[[[0, 0], 1], [[0, 0], 2]]), "edges[R1 -long_range-> T4a]", "once"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(tmp_path: Path, specification: Any, field: str, rule: str) -> None:
    file = written(tmp_path, specification)
    with pytest.raises(ConnectomeError) as found:
        read(file)
    assert str(file) in found.value.field
    assert field in found.value.field
    assert rule in found.value.rule


def test_wrong_arguments(tmp_path: Path) -> None:
    file = written(tmp_path)
    for wrong in ({"radius": -1}, {"radius": 10**6}, {"fill": -1.0}, {"mean_weight_pa": float("nan")}):
        with pytest.raises(ConnectomeError) as found:
            read(file, **wrong)
        assert found.value.field == next(iter(wrong))
