"""Results of a development: what the dataset holds, the files, and the picture."""

from __future__ import annotations

import io
import math
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from connectome import Connectome, ConnectomeError, EdgeSet, Provenance, Region, RuleRecord
from connectome.analysis.figures import draw_development, log_limits
from connectome.development.results import checked_results, tabulate
from connectome.development.stage import Progress, StageOutcome
from connectome.io.results import (
    Film,
    load_development,
    load_results,
    save_figure,
    save_film,
    save_results,
    save_text,
)
from connectome.learning.task import Score
from connectome.rules import Link
from tests.test_hdf5 import lengthen

REGIONS = ("perception", "motor", "interaction")
SIZE = 40
CHANGES = ["added", "inhibited", "restored", "removed", "strengthened"]


def edge_set(key: tuple[str, str, str], n: int, seed: int) -> EdgeSet:
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(SIZE * SIZE)[:n]
    return EdgeSet.from_arrays(
        key, pairs // SIZE, pairs % SIZE, rng.normal(0, 100 + seed, n), n_source=SIZE, n_target=SIZE, dt_ms=1.0,
    )  # fmt: skip


def outcomes(stages: int, regions: tuple[str, ...] = REGIONS) -> list[StageOutcome]:
    """Made up, in the proportions of a real run: local edges fall, long-range edges grow, operations fall."""
    made, log = [], []
    for stage in range(1, stages + 1):
        names = regions[:stage]
        pairs = [(a, b) for b in names for a in names if a != b]
        edges = [edge_set((name, "local", name), 800 - 200 * (stage - 1 - at), stage) for at, name in enumerate(names)]
        edges += [edge_set((a, "long_range", b), 100 * stage, stage + at) for at, (a, b) in enumerate(pairs)]
        edges.append(edge_set(("eye", "afferent", names[0]), 50, stage))
        name = names[-1]
        log += [
            RuleRecord(stage, 20, "growth", names[0], "long_range", name, added=3 * stage),
            RuleRecord(stage, 40, "growth", names[0], "long_range", name, added=5),
            RuleRecord(stage, 40, "feedback_pruning", name, "local", name, inhibited=7, restored=2, removed=stage),
        ]
        provenance = Provenance(seed=3, stage=stage, stage_name=name, rule_log=tuple(log))
        nodes = [Region("eye", SIZE, "sensor"), *(Region(n, SIZE) for n in names)]
        graph = Connectome.of(nodes, edges, dt_ms=1.0, provenance=provenance)
        scores = {
            n: Score(0.97 - 0.01 * (stage - at), 9e4 / stage + 4e4 * at, 700.0 + at, 0.9) for at, n in enumerate(names)
        }
        alone = {n: Score(0.5, 1.0, 1.0, 0.5) for n in names}
        links = tuple(Link(a, b, 1 / 2 / (stage - 1)) for a, b in pairs if name in (a, b))
        made.append(StageOutcome(graph, scores, alone, links, 900 * stage))
    return made


def history(stages: int, epochs: int = 12) -> list[Progress]:
    progress, local, long_range = [], 0, 0
    for stage in range(1, stages + 1):
        local, long_range = local + 20000, long_range + 6000 * (stage - 1)
        for epoch in range(1, epochs + 1):
            score = 0.1 + 0.07 * epoch if epoch % 3 == 0 else math.nan
            progress.append(
                Progress(
                    stage,
                    REGIONS[stage - 1],
                    20 * epoch,
                    20 * epochs,
                    2 / epoch,
                    score,
                    1e5 / epoch,
                    local,
                    long_range,
                    local + long_range + 500,
                )
            )
            local -= 900 * (stage > 1)
            long_range += 400 * (stage > 1)
    return progress


def results_of(stages: int, **attrs: str | int) -> xr.Dataset:
    return tabulate(outcomes(stages), history(stages), {"seed": 3, **attrs})


@pytest.fixture(scope="module", params=[1, 2, 3])
def stages(request: pytest.FixtureRequest) -> int:
    value: int = request.param
    return value


@pytest.fixture(scope="module")
def results(stages: int) -> xr.Dataset:
    return results_of(stages)


# The dataset


def test_dimensions_labels_and_units(results: xr.Dataset, stages: int) -> None:
    names = list(REGIONS[:stages])
    assert results.stage.values.tolist() == results.task.values.tolist() == names
    assert results.score.dims == results.synaptic_operations.dims == results.spikes.dims == ("stage", "task")
    assert results.edges.dims == results.mean_abs_weight.dims == ("stage", "edge_set")
    assert results.rule_count.dims == ("stage", "rule", "change")
    assert results.change.values.tolist() == CHANGES
    assert results.link_probability.dims == ("stage", "link")
    assert all(v.dims == ("epoch",) for name, v in results.items() if str(name).startswith("history_"))
    units = {str(name): v.attrs.get("units") for name, v in results.items()}
    assert None not in units.values()
    assert units["mean_abs_weight"] == "pA"
    assert units["synaptic_operations"] == units["spikes"] == "1 / sample"
    assert units["score"] == "1"
    assert results.attrs["seed"] == 3


def test_matrix_of_scores(results: xr.Dataset, stages: int) -> None:
    """R[stage, task]: nan where the task is still to come, never below the diagonal."""
    for variable, attribute in (
        ("score", "value"), ("score_at_end", "at_end"), ("synaptic_operations", "operations"), ("spikes", "spikes"),
    ):  # fmt: skip
        for row, outcome in enumerate(outcomes(stages)):
            for task, name in enumerate(REGIONS[:stages]):
                found = float(results[variable].sel(stage=REGIONS[row], task=name))
                if task > row:
                    assert math.isnan(found)
                else:
                    assert found == getattr(outcome.scores[name], attribute)
    everyone = results.score_all_recruited.values
    assert (everyone[np.tril_indices(stages)] == 0.5).all()
    assert np.isnan(everyone[np.triu_indices(stages, 1)]).all()


def test_edges_and_weights(results: xr.Dataset, stages: int) -> None:
    made = outcomes(stages)
    keys = {key for o in made for key in o.connectome.edges}
    assert results.edge_set.values.tolist() == [str(k) for k in sorted(keys)]
    for row, outcome in enumerate(made):
        for key in keys:
            here = results.sel(edge_set=str(key)).isel(stage=row)
            assert str(here.edge_kind.values) == key.kind
            edges = outcome.connectome.edges.get(key)
            assert int(here.edges) == (0 if edges is None else len(edges))
            weight = float(here.mean_abs_weight)
            if edges is None:
                assert math.isnan(weight)
            else:
                assert weight == pytest.approx(np.abs(edges.weight.astype(float)).mean(), rel=1e-5)
    assert results.peak_local_edges.values.tolist() == [900 * (n + 1) for n in range(stages)]


def test_rules_links_and_history(results: xr.Dataset, stages: int) -> None:
    assert results.rule.values.tolist() == ["feedback_pruning", "growth"]
    for row in range(stages):
        counts = results.rule_count.isel(stage=row)
        assert counts.sel(rule="growth").values.tolist() == [3 * (row + 1) + 5, 0, 0, 0, 0]
        assert counts.sel(rule="feedback_pruning").values.tolist() == [0, 7, 2, row + 1, 0]
        p = results.link_probability.isel(stage=row)
        new = [REGIONS[row] in link.split(" -> ") and set(link.split(" -> ")) <= set(REGIONS[: row + 1])
               for link in results.link.values]  # fmt: skip
        assert (np.isfinite(p.values) == new).all()
        assert float(p.sum()) == pytest.approx(float(row > 0))
    for field in ("stage", "update", "loss", "local_edges", "long_range_edges"):
        assert results[f"history_{field}"].values.tolist() == [getattr(h, field) for h in history(stages)]
    np.testing.assert_array_equal(results.history_validation_score, [h.score for h in history(stages)])


def test_a_run_without_rules_or_epochs() -> None:
    (bare,) = outcomes(1)
    graph = Connectome.of([Region("perception", 2)], provenance=Provenance(stage=1, stage_name="perception"))
    results = tabulate([StageOutcome(graph, bare.scores, bare.scores_all_recruited, (), 0)], [], {})
    assert dict(results.sizes) == {
        "stage": 1, "task": 1, "edge_set": 0, "rule": 0, "change": 5, "link": 0, "epoch": 0,
    }  # fmt: skip
    draw_development(results).savefig(io.BytesIO())


# Files


def test_netcdf_there_and_back(results: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "results.nc"
    save_results(results, path)
    back = load_results(path)
    xr.testing.assert_identical(back, results)
    assert all(back[name].dtype == results[name].dtype for name in results)
    assert os.listdir(tmp_path) == ["results.nc"]
    path.unlink()  # it is in memory
    assert float(back.score[0, 0]) == float(results.score[0, 0])


def test_other_tools_read_it(results: xr.Dataset, stages: int, tmp_path: Path) -> None:
    """Plain HDF5 with names for its dimensions."""
    save_results(results, tmp_path / "results.nc")
    with h5py.File(tmp_path / "results.nc") as file:
        assert file["score"].shape == (stages, stages)
        assert file["score"].dims[0][0].name == "/stage"
        assert [t.decode() for t in file["task"][...]] == list(REGIONS[:stages])
        assert file["mean_abs_weight"].attrs["units"] == "pA"


def test_results_of_a_development_are_checked_before_use(tmp_path: Path) -> None:
    said = {"engine": "numba", "regions": "perception", "configuration": "", "versions": "", "machine": ""}
    good = results_of(2, **said)
    one = {"stage": [0], "task": [0]}
    assert checked_results(tabulate([], [], {})).sizes["stage"] == 0
    wrong: dict[str, xr.Dataset] = {
        "peak_local_edges must be in the results of a development": good.drop_vars("peak_local_edges"),
        r"edges must be integers by stage, edge_set; found numbers": good.assign(edges=good.edges.astype(float)),
        r"score must be numbers by stage, task; found numbers by task, stage": good.assign(score=good.score.T),
        r"rule_count must be 0 or more; found -\d": good.assign(rule_count=-1 - good.rule_count),
        r"stage, task must be the same, each once": good.assign_coords(stage=["a", "a"]),
        r"history_stage must be 1 .. 2; found 3": results_of(3, **said).isel(one),
        r"@seed must be there, as sims.develop writes it; found 'x'": good.assign_attrs(seed="x"),
        r"@configuration must be there, .*; found nothing": results_of(2, **said),
        r"@engine, @seed must be one of numba, torch, and 0 or more; found 'x', 3": good.assign_attrs(engine="x"),
    }  # fmt: skip
    wrong[r"@configuration must be there, .*; found nothing"].attrs.pop("configuration")
    save_results(good, tmp_path / "a.nc")
    assert load_development(tmp_path / "a.nc").equals(good)
    for message, results in wrong.items():
        save_results(results, tmp_path / "a.nc")
        with pytest.raises(ConnectomeError, match=f"a.nc: {message}"):
            load_development(tmp_path / "a.nc")


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.nc"
    save_results(results_of(1), path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "fsync", fail)
        with pytest.raises(ConnectomeError, match=r"results\.nc must be writable; found No space left on device"):
            save_results(results_of(2), path)
        with pytest.raises(ConnectomeError, match=r"a\.txt must be writable"):
            save_text("text", tmp_path / "a.txt")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["results.nc"]
    save_results(results_of(2), path)
    assert load_results(path).sizes["stage"] == 2


def test_texts_are_utf8(tmp_path: Path) -> None:
    save_text("naïve → ok\n", tmp_path / "c.toml")
    assert (tmp_path / "c.toml").read_bytes() == "naïve → ok\n".encode()
    assert stat.S_IMODE((tmp_path / "c.toml").stat().st_mode) & 0o444, "others may read it"


@pytest.mark.parametrize("save", [lambda p: save_text("", p), lambda p: save_results(results_of(1), p)])
def test_places_that_cannot_be_written(tmp_path: Path, save: Any) -> None:
    with pytest.raises(ConnectomeError, match=r"none/x must be writable; found No such file or directory"):
        save(tmp_path / "none" / "x")
    with pytest.raises(ConnectomeError, match=r"must be writable; found Is a directory"):
        save(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"x\.nc must be an HDF5 file; found one that begins with b''"),
        (b"stage,task,score\n", r"x\.nc must be an HDF5 file"),
        (b"CDF\x01" + bytes(40), r"x\.nc must be an HDF5 file"),
    ],
)  # fmt: skip
def test_files_that_are_not_results(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.nc").write_bytes(data)
    with pytest.raises(ConnectomeError, match=message):
        load_results(tmp_path / "x.nc")


def test_a_text_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    save_results(results_of(1), tmp_path / "a.nc")
    lengthen(tmp_path / "a.nc", "task")
    with pytest.raises(ConnectomeError, match="a text of 4294967295 bytes"):
        load_results(tmp_path / "a.nc")


def test_how_a_file_was_stored_is_not_how_the_next_one_is(tmp_path: Path) -> None:
    """A fill value that is no number, found in a cell of a study, stopped what was made of it from being written."""
    save_results(xr.Dataset({"score": ("seed", [0.5, 1.0])}), tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc", "a") as file:
        file["score"].attrs["_FillValue"] = "[]"
    save_results(load_results(tmp_path / "a.nc"), tmp_path / "b.nc")
    assert load_results(tmp_path / "b.nc").score.values.tolist() == [0.5, 1.0]


def test_hdf5_that_is_not_netcdf(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file["score"] = np.zeros((2, 3))
    with pytest.raises(ConnectomeError, match=r"x\.nc must be a results file, netCDF 4; found HDF5 whose dimensions"):
        load_results(tmp_path / "x.nc")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ConnectomeError, match=r"none\.nc must be a file that can be read; found No such file"):
        load_results(tmp_path / "none.nc")
    with pytest.raises(ConnectomeError, match=r"must be a file; found a folder"):
        load_results(tmp_path)


def test_files_cut_short(tmp_path: Path) -> None:
    save_results(results_of(1), tmp_path / "whole.nc")
    data = (tmp_path / "whole.nc").read_bytes()
    for size in range(9, len(data), len(data) // 40):
        (tmp_path / "x.nc").write_bytes(data[:size])
        with pytest.raises(ConnectomeError, match=r"x\.nc must be a whole, undamaged HDF5 file"):
            load_results(tmp_path / "x.nc")


# The picture


def test_the_picture_is_drawn_without_a_warning(results: xr.Dataset, tmp_path: Path) -> None:
    """Warnings are errors here: of glyphs that are missing, layouts that do not fit, means of nothing."""
    save_figure(draw_development(results), tmp_path / "d.png")
    picture = imread(tmp_path / "d.png")
    assert picture.shape[0] > 700
    assert picture.shape[1] > 1000
    assert picture[..., :3].std() > 0.05, "an empty page"
    assert os.listdir(tmp_path) == ["d.png"]


def test_a_film_has_its_pictures_in_order(tmp_path: Path) -> None:
    from PIL import Image, ImageSequence

    frames = np.zeros((3, 4, 6, 3), np.uint8)
    for k in range(3):
        frames[k, :, 2 * k : 2 * k + 2] = 255
    save_film(Film(frames, 80), tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as film:
        assert film.info["duration"] == 80
        found = [np.asarray(picture.convert("RGB")) for picture in ImageSequence.Iterator(film)]
    np.testing.assert_array_equal(found, frames)
    with pytest.raises(ConnectomeError, match="must be writable"):
        save_film(Film(frames, 80), tmp_path / "none" / "x.gif")


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    beyond: set[Any] = set()  # the labels of ticks that are out of view
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    drawn = [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_visible() and t not in beyond]
    return [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in drawn if t.get_text().strip()]


def test_no_text_covers_another_or_leaves_the_page(results: xr.Dataset) -> None:
    figure = draw_development(results)
    found = texts(figure)
    for number, (text, box) in enumerate(found):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
        for other, another in found[:number]:
            shared = Bbox.intersection(box, another)
            assert shared is None or shared.width < 1 or shared.height < 1, f"{text!r} covers {other!r}"


def test_the_picture_says_what_the_numbers_say(results: xr.Dataset, stages: int) -> None:
    words = [text for text, _ in texts(draw_development(results))]
    for value in results.score.values[np.tril_indices(stages)]:
        assert f"{value:.1%}" in words
    assert sum(text == "not yet" for text in words) == stages * (stages - 1) // 2
    assert any("seed 3" in text for text in words)


def test_what_diagnostics_say_is_in_the_results_where_they_were_asked() -> None:
    plain = tabulate(outcomes(2), [], {})
    assert "measured" not in plain
    asked = [replace(o, diagnostics={"rate": {"a": 0.5 + i}, "norm": {"": 2.0}}) for i, o in enumerate(outcomes(2))]
    found = tabulate(asked, [], {}).measured
    assert found.dims == ("stage", "diagnostic", "region")
    assert found.sel(diagnostic="rate", region="a").values.tolist() == [0.5 + i for i in range(len(asked))]
    assert np.isnan(found.sel(diagnostic="norm", region="a")).all()


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([249.0, 249.00000000000037], (226.36, 273.9)), ([249.0], (226.36, 273.9)), ([0.0, 2.0, 8.0], (1.818, 8.8)),
        ([], (1, 10)), ([0.0, -1.0, np.nan, np.inf], (1, 10)),
    ],
)  # fmt: skip
def test_a_logarithmic_axis_has_room_around_one_value(values: list[float], limits: tuple[float, float]) -> None:
    assert log_limits(values) == pytest.approx(limits, rel=1e-3)
