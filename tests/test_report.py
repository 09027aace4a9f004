"""The page about a run: what is on it and what is not, that nothing in a file can act on it, and how it behaves in a
browser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, EdgeSet, Provenance, Region
from connectome.analysis.report.charts import degrees, plain, raster_chart, score_chart
from connectome.analysis.report.page import Sample, report
from connectome.analysis.report.scene import MAX_EDGES, MAX_NEURONS, sample_scene
from connectome.analysis.report.tables import measured_table
from connectome.errors import ConnectomeError
from connectome.io.results import load_results, save_results
from connectome.io.snapshot import load, save
from connectome.simulate.runs import run
from sims import develop
from sims.report import main

#: What a file of a stranger may hold.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}--ink"
VOID = {"meta", "link", "img", "br", "hr", "input"}


def graph(sizes: dict[str, int], edges: int, seed: int = 0, stage: int = 0, name: str = "") -> Connectome:
    """Regions in a row with random edges: some local, some long-range, and from a sensor "eye" if there is one."""
    rng = np.random.default_rng(seed)
    regions = [
        Region(
            n, size, "sensor" if n == "eye" else "effector" if n == "hand" else "neuron",
            position_um=rng.normal([1000.0 * i, 0, 0], 50, (size, 3)),
            sign=np.where(rng.random(size) < 0.8, 1, -1) * (n not in ("eye", "hand")),
        )
        for i, (n, size) in enumerate(sizes.items())
    ]  # fmt: skip
    of_neurons = [r for r in regions if r.role == "neuron"]
    pairs = [(a, "local" if a is b else "long_range", b) for a in of_neurons for b in of_neurons]
    pairs += [(r, "afferent", b) for r in regions if r.role == "sensor" for b in of_neurons[:1]]
    pairs += [(b, "efferent", r) for r in regions if r.role == "effector" for b in of_neurons[-1:]]
    made = []
    for a, kind, b in pairs:
        source, target = rng.integers(0, a.size, edges), rng.integers(0, b.size, edges)
        weight = rng.lognormal(3, 1, edges) * np.where(a.sign[source] < 0, -1, 1)
        made.append(
            EdgeSet.from_arrays(
                (a.name, kind, b.name), source, target, weight, n_source=a.size, n_target=b.size, dt_ms=1.0
            )
        )
    return Connectome.of(regions, made, dt_ms=1.0, provenance=Provenance(stage=stage, stage_name=name))


SIZES = {"eye": 8, "cortex": 20, "thalamus": 12, "hand": 3}


class Page(HTMLParser):
    """Elements, texts, and what a person without a mouse or eyes meets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> where it does not belong"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def payload(html: str) -> Any:
    """What the page draws, unpacked as its reader does: letters of seven bits, the last of them filled up."""
    *_, packed = re.findall(r'<script type="text/plain" class="packed">(.*?)</script>', html, re.DOTALL)
    bits = "".join(f"{ord(letter) % 128:07b}" for letter in packed)
    whole = [int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)]
    found = re.match(r'"use strict";\nconst page = (.*);\n', zlib.decompress(bytes(whole)).decode())
    assert found is not None
    return json.loads(found[1])


def numbers(packed: dict[str, str]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["type"]).newbyteorder("<"))


@pytest.fixture(scope="module")
def developed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, as small as it gets."""
    folder = tmp_path_factory.mktemp("developed")
    (folder / "small.toml").write_text(
        "[anatomy]\nneurons = 12\n[training]\nperception = 2\nepoch_updates = 1\n[data]\ntest_trials = 2\n"
    )
    given = ["--quiet", "--regions", "perception", "--config", str(folder / "small.toml"), "--out"]
    assert develop.main([*given, str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def page(developed: Path) -> Path:
    """The page about that run."""
    out = developed.parent / "page.html"
    assert main([str(developed), "--out", str(out), "--quiet"]) == 0
    return out


def results_of(names: list[str], rule: str = "pruning") -> xr.Dataset:
    """What a development through two stages might have given."""
    coordinates = {"stage": names, "task": names, "rule": [rule], "change": ["added"], "edge_set": ["e", "l"]}
    return xr.Dataset(
        {
            "score": (("stage", "task"), [[0.5, np.nan], [0.125, 0.25]]), "peak_local_edges": ("stage", [4000, 4000]),
            "synaptic_operations": (("stage", "task"), [[2000.0, np.nan], [1000.0, 600.0]]),
            "rule_count": (("stage", "rule", "change"), [[[1]], [[2]]]),
            "edges": (("stage", "edge_set"), [[2000, 0], [1000, 30]]),
            "mean_abs_weight": (("stage", "edge_set"), [[1.0, np.nan], [1.0, 1.0]]),
            "history_stage": ("epoch", [1, 2]),
            "history_update": ("epoch", [1, 1]), "history_validation_score": ("epoch", [0.1, 0.2]),
            "history_local_edges": ("epoch", [3000, 1000]), "history_long_range_edges": ("epoch", [0, 120]),
        },
        {**coordinates, "edge_kind": ("edge_set", ["local", "long_range"])},
    )  # fmt: skip


# What is on the page


def test_the_first_lines_tell_what_happened() -> None:
    html = report([graph(SIZES, 30)], ["a"], source="x", results=results_of(["see", "reach"]))
    words = re.search(r'<dl class="tiles">(.*?)</dl>', html, re.DOTALL)
    assert words is not None
    text = " ".join(re.sub("<[^>]*>", " ", words[1]).replace("\N{NO-BREAK SPACE}", " ").split())
    assert text == (
        "Learnt test score after its own stage see 50.0 % reach 25.0 % "
        "Kept score at the end (change in points) see 12.5 % (-37.5) "
        "Grown long-range edges at most 120 left 30 (25 %) "
        "Pruned local edges at most 4,000 left 1,000 (25 %) "
        "Cost synaptic operations a sample (change) see 1,000 (-50 %) reach 600"
    )


def test_a_small_page_is_small(page: Path) -> None:
    """Most of it is Plotly, packed."""
    assert page.stat().st_size < 1.8e6


def test_a_run_has_every_part(page: Path) -> None:
    html = page.read_text("utf-8")
    seen = Page(html)
    ids = {attrs.get("id") for _, attrs in seen.elements}
    assert {"network", "stages", "adjacency", "distributions", "activity", "metrics", "configuration", "cite"} <= ids
    text = " ".join(seen.text)
    for expected in ("birth", "perception", "epoch_updates", "@software", "One sample of the task perception"):
        assert expected in text
    data = payload(html)
    assert {"edges", "score", "degree", "weight", "raster0"} == set(data["charts"])
    assert [p["name"] for p in data["matrix"]["by"]] == ["region", "kind of cell", "community"]
    assert {"region", "in degree", "community", "rate, perception (Hz)"} <= {c["name"] for c in data["columns"]}
    assert seen.open == []


def test_scores_are_the_run_s(page: Path, developed: Path) -> None:
    results = load_results(developed / "results.nc")
    cells = re.findall(r'<td style="--v: [\d.]+">([\d.]+)&nbsp;%</td>', page.read_text("utf-8"))
    expected = [f"{100 * v:.1f}" for v in results.score.values.ravel() if v == v]
    assert cells == expected


def test_what_was_measured_of_each_region_is_a_table_that_says_what_a_void_is() -> None:
    stages, regions = ["one", "two"], ["", "a", "b"]
    values = np.full((2, 2, 3), np.nan)
    values[0, 0, 1], values[1, 0, 1:], values[1, 1, 0] = -0.25, (0.0, -0.5), 3.0
    results = results_of(stages).assign(measured=(("stage", "diagnostic", "region"), values))
    results = results.assign_coords(diagnostic=["silencing_effect", "gradient_norm"], region=regions)
    found = measured_table(results)
    assert found is not None
    assert "about 0 of a void" in found.caption
    assert list(found.head) == ["stage and region", "silencing effect", "gradient norm"]
    assert [list(row) for row in found.rows] == [
        ["one, a", "-0.25", "-"], ["two, all", "-", "3"], ["two, a", "0", "-"], ["two, b", "-0.5", "-"],
    ]  # fmt: skip
    assert measured_table(results_of(stages)) is None
    html = report([graph({"a": 9, "b": 3}, 20)] * 2, stages, source="mine", results=results)
    assert "What was measured of each region" in html


def test_a_lone_graph_leaves_out_what_it_lacks() -> None:
    c = graph({"a": 9}, 20)
    html = report([c], ["mine"], source="mine.csv")
    ids = {attrs.get("id") for _, attrs in Page(html).elements}
    assert not ids & {"stages", "activity", "configuration", "play"}
    assert {"network", "distributions", "metrics", "cite"} <= ids
    assert "The connectome mine.csv" in html


@pytest.mark.parametrize(
    "c",
    [Connectome.of([]), Connectome.of([Region("a", 0)]), Connectome.of([Region("a", 1)]), graph({"eye": 2, "a": 3}, 0)],
)
def test_next_to_nothing_still_makes_a_page(c: Connectome) -> None:
    assert Page(report([c], ["nothing"], source="nothing")).open == []


def test_a_region_that_shrinks_is_drawn_as_large_as_it_was() -> None:
    html = report([graph({"a": 60, "b": 9}, 300), graph({"a": 20, "b": 9}, 300)], ["x", "y"], source="z")
    assert len(numbers(payload(html)["scene"]["node_region"])) == 69
    assert (
        len(
            numbers(
                payload(report([graph({"a": 60}, 9), graph({"a": 20}, 9)], ["x", "y"], source="z"))["scene"]["nodes"]
            )
        )
        == 180
    )


def test_the_same_input_gives_the_same_page() -> None:
    pages = {report([graph(SIZES, 30)], ["a"], source="x") for _ in range(2)}
    assert len(pages) == 1


def test_a_reference_stands_beside() -> None:
    stages = [graph(SIZES, 10, name="one"), graph(SIZES, 40, stage=1, name="two")]
    html = report(stages, ["one", "two"], source="x", reference=("worm", graph({"worm": 30}, 90)))
    assert "reference: worm" in html
    assert [t["name"] for t in payload(html)["charts"]["degree"]["all"][0]["data"]][-1] == "worm, in + out"


def test_its_own_size_is_right() -> None:
    html = report([graph(SIZES, 30)], ["a"], source="x")
    stated = re.search(r"It has ([\d.]+) MB", html)
    assert stated is not None
    assert float(stated[1]) == pytest.approx(len(html.encode()) / 1e6, abs=0.06)


# Nothing in a file acts on the page


def test_hostile_texts_are_only_texts() -> None:
    label, known = np.array([HOSTILE] * 9), dict[str, Any](kind_of=[HOSTILE] * 5 + [None] * 2 + ["x"] * 2)
    c = Connectome.of(
        [Region("a", 9, label=label, attributes=known)],
        provenance=Provenance(versions={HOSTILE: HOSTILE}, stage_name=HOSTILE),
    )
    c = c.grow(edges=[EdgeSet.from_arrays(("a", "local", "a"), [0, 1], [1, 2], n_source=9, n_target=9, dt_ms=c.dt_ms)])
    names = ["x", HOSTILE]
    results = results_of(names, HOSTILE)
    configuration = f"[{json.dumps(HOSTILE)}]\nkey = {json.dumps(HOSTILE)}\n"
    html = report(
        [c, c], names, source=HOSTILE, results=results, configuration=configuration, reference=(HOSTILE, c),
        samples=[Sample(HOSTILE, HOSTILE, run(c, 2.0))],
    )  # fmt: skip
    seen = Page(html)
    assert len(seen.all("script")) == 3
    assert seen.all("img") == []
    assert not [name for _, attrs in seen.elements for name in attrs if name.startswith("on")]
    assert not [attrs for attrs in seen.all("a") if not str(attrs["href"]).startswith("#")]
    assert "49" not in " ".join(seen.text).split("--ink")[0]
    assert payload(html)["scene"]["node_label"][0] == HOSTILE
    (column,) = [c for c in payload(html)["columns"] if c["name"] == "kind_of"]
    assert (column["names"], column["missing"]) == ([HOSTILE, "x"], 2)
    assert HOSTILE in next(p["groups"] for p in payload(html)["matrix"]["by"] if p["name"] == "kind_of")
    shown = [t for chart in payload(html)["charts"]["edges"]["all"] for t in chart["layout"]["annotations"]]
    assert all("<" not in t["text"] for t in shown)
    assert "<" not in plain(HOSTILE)
    not_toml = report([c], ["x"], source="x", configuration=HOSTILE)
    assert len(Page(not_toml).all("script")) == 3


def test_the_page_forbids_itself_the_network() -> None:
    html = report([graph(SIZES, 5)], ["x"], source="x")
    (policy,) = [a["content"] for a in Page(html).all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert not [a for tag in ("script", "img", "iframe") for a in Page(html).all(tag) if "src" in a]


# What is drawn of many edges


def test_a_hundred_thousand_edges_are_drawn_by_few() -> None:
    c = graph({"a": 3000, "b": 3000, "c": 3000}, 12_000)
    assert c.n_edges > 100_000
    html = report([c], ["big"], source="x")
    scene = payload(html)["scene"]
    for bundle in scene["edges"]:
        assert all(len(numbers(rows)) <= MAX_EDGES for rows in bundle["stages"])
    assert MAX_NEURONS / 2 < scene["n_drawn"] <= MAX_NEURONS
    assert "Only the 2,499 cells that are drawn can be found;" in html
    assert "drawn" in payload(html)["counts"][0]
    assert f"of {c.n_neurons:,} neurons are drawn" in html
    assert len(html) < 6e6


@given(st.integers(1, 60), st.integers(0, 200), st.integers(0, 99))
def test_few_edges_are_all_drawn(size: int, edges: int, seed: int) -> None:
    c = graph({"a": size, "b": 5}, edges, seed)
    scene = sample_scene([c])
    start = {"a": 0, "b": size}
    offset = np.array([0, size])
    regions, points = numbers(scene.view["point_region"]), numbers(scene.view["points"]).reshape(-1, 3)
    for bundle in scene.view["edges"]:
        drawn = np.stack([numbers(bundle["source"]), numbers(bundle["target"])], 1)[numbers(bundle["stages"][0])]
        expected = {
            (start[k.source] + s, start[k.target] + t)
            for k, e in c.edges.items()
            if k.kind == bundle["kind"]
            for s, t in zip(e.source.tolist(), e.target.tolist(), strict=True)
        }
        assert len(drawn) == len(expected)
        assert {tuple(regions[pair]) for pair in drawn} == {
            tuple((np.array(p) >= offset[1]).astype(int)) for p in expected
        }
    assert np.isfinite(points).all()


def test_an_edge_that_stays_stays_drawn_and_one_that_goes_is_gone() -> None:
    first = graph({"a": 400}, 6000)
    (key,) = first.edges
    keep = np.random.default_rng(1).random(len(first.edges[key])) < 0.5
    second = Connectome.of(first.regions.values(), [first.edges[key].take(keep)], dt_ms=1.0)
    (bundle, *_) = sample_scene([first, second]).view["edges"]
    pairs = np.stack([numbers(bundle["source"]), numbers(bundle["target"])], 1)
    before, after = (set(map(tuple, pairs[numbers(rows)].tolist())) for rows in bundle["stages"])
    assert MAX_EDGES >= len(before) > MAX_EDGES * 0.9
    assert after < before
    assert 0.4 < len(after) / len(before) < 0.6


def test_degrees_count_every_edge() -> None:
    c = graph(SIZES, 50)
    inside, outside = degrees(c)
    assert inside.sum() == outside.sum() == c.count("local") + c.count("long_range")


def test_a_raster_says_what_it_leaves_out() -> None:
    c = Connectome.of([Region("a", 2000), Region("eye", 10, "sensor")], dt_ms=1.0)
    n = 30_000
    rng = np.random.default_rng(0)
    spikes = xr.Dataset(
        {
            "spike_time_ms": ("spike", np.sort(rng.integers(1, 100, n)).astype(float)),
            "spike_region": ("spike", np.zeros(n, int)), "spike_neuron": ("spike", rng.integers(0, 2000, n)),
            "n_spikes": ("region", [n, 0]),
        },
        {"region": ["a", "eye"]}, {"duration_ms": 100.0},
    )  # fmt: skip
    chart, left_out = raster_chart(spikes, c.regions)
    drawn = sum(len(t["x"]) for t in chart["data"])
    assert 500 < drawn <= 8000
    assert f"{drawn:,} of 30,000 spikes" in left_out
    few, nothing = raster_chart(spikes.isel(spike=slice(0)), Connectome.of([Region("a", 20), Region("eye", 1)]).regions)
    assert (few["data"], nothing) == ([], "")


# The program


def test_the_page_lies_where_it_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save(graph(SIZES, 30), "some.h5")
    assert main(["some.h5"]) == 0
    assert "some.report.html" in capsys.readouterr().out
    html = Path("some.report.html").read_text("utf-8")
    assert "Poisson spikes of 50 Hz for 100 ms" in html
    assert main(["some.h5"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["some.h5", "--overwrite", "--reference", "some.h5", "--quiet"]) == 0
    assert "reference: some" in Path("some.report.html").read_text("utf-8")
    assert main(["some.h5", "--overwrite", "--show", "region == 'hand'", "--quiet"]) == 0
    assert main(["some.h5", "--overwrite", "--show", "region == 'foot'"]) == 2
    assert "--show must find cells" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some.h5", "some.report.html", "some.sonata"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere.h5"], "nowhere.h5"), (["empty"], "must be a folder with snapshots"), (["x.h5"], "x.h5"),
        (["x.h5", "--out", "x.pdf"], ".html"), (["x.h5", "--out", "no/x.html"], "--out"),
        (["x.h5", "--seed", "-1"], "--seed"),
    ],
)  # fmt: skip
def test_mistakes_get_a_line(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("x.h5").write_text("no HDF5")
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("report: ")
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.html"))


def test_stages_need_names() -> None:
    with pytest.raises(ConnectomeError, match="stages"):
        report([], [], source="x")
    with pytest.raises(ConnectomeError, match="names"):
        report([graph(SIZES, 1)], [], source="x")


def test_scores_that_are_no_numbers_are_gaps(developed: Path) -> None:
    results = load_results(developed / "results.nc")
    results["history_validation_score"][:] = [0.5, np.inf]
    assert score_chart(results)["data"][-1]["y"] == [0.5, None]


def test_results_alone_do_not_matter_to_a_folder_of_snapshots(tmp_path: Path, developed: Path) -> None:
    save(load(next(iter(sorted(developed.glob("*.h5"))))), tmp_path / "00_birth.h5")
    assert main([str(tmp_path), "--quiet"]) == 0
    save_results(load_results(developed / "results.nc"), tmp_path / "results.nc")
    assert main([str(tmp_path), "--quiet", "--overwrite"]) == 0
    assert (tmp_path / "report.html").is_file()
