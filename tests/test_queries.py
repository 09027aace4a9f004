"""Graphs as folders of parquet tables, and queries of them: the numbers of ``connectome.analysis``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import sims.export
import sims.query
from connectome import Connectome, ConnectomeError, EdgeSet, Region, memory
from connectome.analysis import degrees
from connectome.analysis.simple_graph import simple_graph
from connectome.arrays import is_mapped
from connectome.graph.attributes import Attribute
from connectome.graph.views import to_networkx, to_pandas, to_scipy
from connectome.io.exchange import read
from connectome.io.partitions import write_partitions
from connectome.io.snapshot import load, open_snapshot, save
from sims.inputs import open_graph
from tests.strategies import connectomes
from tests.test_snapshot import has_counts_of_64_bits

pytest.importorskip("duckdb")
from connectome.io.queries import open_tables

KINDS = ("local", "long_range")


def example(n: int = 4000) -> Connectome:
    """Two regions whose edges come several to a pair, some to a neuron itself, in sets of several kinds."""
    rng = np.random.default_rng(5)
    sizes = {"b": 120, "a": 90}
    regions = [
        Region(
            name,
            size,
            attributes={"class": Attribute.of("", [f"c{i % 3}" if i % 7 else "" for i in range(size)], size)},
        )
        for name, size in sizes.items()
    ]
    edges = [
        EdgeSet.from_arrays(
            key, rng.integers(0, sizes[key[0]], n), rng.integers(0, sizes[key[2]], n), rng.normal(size=n),
            n_source=sizes[key[0]], n_target=sizes[key[2]], dt_ms=0.1, delay_ms=rng.integers(1, 9, n) * 0.1,
            state={"trace": rng.random(n)}, attributes={"drug": ["x", "y"] * (n // 2)} if key[1] == "local" else {},
        )
        for key in (
            ("a", "local", "a"), ("a", "long_range", "b"), ("b", "long_range-slow", "a"), ("b", "local-fast", "b"),
        )
    ]  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "it's"
    write_partitions(example(), path)
    return path


def test_numbers_are_those_of_analysis(folder: Path) -> None:
    graph = simple_graph(example())
    with open_tables(folder, threads=2) as tables:
        found = tables.degrees(simple=True)
        for name in ("in_degree", "out_degree"):
            np.testing.assert_array_equal(found[name], getattr(degrees, name)(graph))
        for name in ("in_strength", "out_strength"):
            np.testing.assert_allclose(found[f"{name}_pa"], getattr(degrees, name)(graph), rtol=1e-6)
        assert tables.reciprocity() == degrees.reciprocity(graph)
        hubs = tables.hubs(5, simple=True)
        best = np.argsort(-degrees.degree(graph), kind="stable")[:5]
        np.testing.assert_array_equal(hubs["in_degree"] + hubs["out_degree"], degrees.degree(graph)[best])
        assert list(zip(hubs["region"], hubs["index"], strict=True)) == [
            ("b", i) if i < 120 else ("a", i - 120) for i in best
        ]


def test_every_edge_counts_unless_asked(folder: Path) -> None:
    c = example()
    with open_tables(folder) as tables:
        found = tables.degrees(kinds=["local"])
        assert list(found.columns[:2]) == ["region", "index"]
        for name in ("a", "b"):
            (edges,) = (e for k, e in c.edges.items() if (k.source, k.base) == (name, "local"))
            mine = found[found.region == name]
            np.testing.assert_array_equal(mine["out_degree"], edges.out_degree)
            np.testing.assert_array_equal(mine["in_degree"], edges.in_degree)
            size = np.abs(edges.weight).astype(float)
            np.testing.assert_allclose(
                mine["in_strength_pa"], np.bincount(edges.target, size, edges.n_target), rtol=1e-12
            )
        regions = tables.between()
        assert regions[["source", "target", "edges"]].to_numpy().tolist() == [
            ["a", "a", 4000], ["a", "b", 4000], ["b", "a", 4000], ["b", "b", 4000],
        ]  # fmt: skip
        total = [e.weight.sum(dtype=float) for e in c.edges.values()]
        np.testing.assert_allclose(sorted(regions["weight_pa"]), sorted(total))


def test_edges_between_the_values_of_an_attribute(folder: Path) -> None:
    c = example()
    with open_tables(folder) as tables:
        found = tables.between("class", kinds=["local"])
    counts: dict[tuple[str | None, str | None], int] = {}
    for key, e in c.edges.items():
        if key.base == "local":
            of = c.regions[key.source].attributes["class"].tolist()
            for s, t in zip(e.source.tolist(), e.target.tolist(), strict=True):
                counts[of[s], of[t]] = counts.get((of[s], of[t]), 0) + 1
    rows = [
        (tuple(v if isinstance(v, str) else None for v in ends), n)
        for *ends, n in found[["source", "target", "edges"]].to_numpy().tolist()
    ]
    assert dict(rows) == counts


@settings(max_examples=8)
@given(connectomes())
def test_any_graph_has_its_degrees(tmp_path_factory: pytest.TempPathFactory, c: Connectome) -> None:
    folder = tmp_path_factory.mktemp("tables") / "graph"
    write_partitions(c, folder)
    wanted = {name: [np.zeros(r.size, int), np.zeros(r.size, int)] for name, r in c.regions.items()}
    for key, e in c.edges.items():
        wanted[key.target][0] += e.in_degree
        wanted[key.source][1] += e.out_degree
    with open_tables(folder, threads=1) as tables:
        found = tables.degrees()
        assert math_or(tables.reciprocity(kinds=KINDS)) == math_or(degrees.reciprocity(simple_graph(c)))
    for name, (incoming, outgoing) in wanted.items():
        mine = found[found.region == name]
        np.testing.assert_array_equal(mine["in_degree"], incoming)
        np.testing.assert_array_equal(mine["out_degree"], outgoing)


def math_or(value: float) -> float | None:
    return None if np.isnan(value) else value


def test_tables_of_a_mapped_snapshot_are_the_same(tmp_path: Path, folder: Path) -> None:
    save(example(), tmp_path / "x.h5", mapped=True)
    write_partitions(load(tmp_path / "x.h5"), tmp_path / "tables")
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*.parquet"))]
    assert len(files) == 5
    for file in files:
        assert (tmp_path / "tables" / file).read_bytes() == (folder / file).read_bytes()


def test_mistakes_are_one_message(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConnectomeError, match="must be a folder of tables"), open_tables(tmp_path):
        pass
    with open_tables(folder) as tables:
        with pytest.raises(ConnectomeError, match=r"by must be one of region, index.*class; found 'size'"):
            tables.between("size")
        with pytest.raises(ConnectomeError, match="kinds must be among local"):
            tables.degrees(kinds=["far"])
        with pytest.raises(ConnectomeError, match=r"query must be one that DuckDB can do; found .*Parser Error"):
            tables.sql("SELEC 1")
    with pytest.raises(ConnectomeError, match="must not exist already"):
        write_partitions(example(), folder)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConnectomeError, match="must not exist already"):
        write_partitions(example(), tmp_path / "mine", overwrite=True)
    write_partitions(example(), folder, overwrite=True)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_tables_are_read_back(folder: Path) -> None:
    assert read(folder).digest() == example().digest()
    assert read(folder, "parquet").digest() == example().digest()


@settings(max_examples=8)
@given(connectomes().filter(has_counts_of_64_bits))
def test_any_graph_is_read_back(tmp_path_factory: pytest.TempPathFactory, c: Connectome) -> None:
    path = tmp_path_factory.mktemp("tables") / "graph"
    write_partitions(c, path)
    assert read(path).digest() == c.expanded().digest()


def test_a_graph_is_exported_and_queried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(example(), tmp_path / "x.h5")
    place = str(tmp_path / "tables")
    export = [str(tmp_path / "x.h5"), "--format", "parquet", "--out", place]
    assert sims.export.main(export) == 0
    assert sims.export.main(export) == 2
    assert "must not exist already" in capsys.readouterr().err
    assert sims.export.main([*export, "--overwrite", "--kinds", "local", "--quiet"]) == 0
    assert sims.query.main([place, "between", "--json", "--out", str(tmp_path / "a.csv")]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["source"], r["target"], r["edges"]) for r in rows] == [("a", "a", 4000), ("b", "b", 4000)]
    assert (tmp_path / "a.csv").read_text().startswith("source,target,edges,weight_pa,mean_abs_weight_pa\na,a,4000,")
    for query, said in (
        (["hubs", "--top", "3"], "out_degree"), (["reciprocity"], "reciprocity"), (["degrees"], "more rows"),
        (["SELECT count(*) AS n FROM edges"], "8000"), (["between", "--by", "class", "--simple"], "c1"),
    ):  # fmt: skip
        assert sims.query.main([place, *query]) == 0
        assert said in capsys.readouterr().out
    for wrong, message in (
        (["all"], "WHAT must be"), (["hubs", "--by", "class"], "--by must go with"), (["hubs", "--top", "-1"], "--top"),
        (["degrees", "--out", "a.txt"], "--out must end in .csv"), (["degrees", "--memory-gb", "0"], "memory_bytes"),
        (["SELECT x"], "query must be one that DuckDB can do"),
    ):  # fmt: skip
        assert sims.query.main([place, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_a_mapped_snapshot_by_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(example(), tmp_path / "x.h5")
    mapped = tmp_path / "mapped.h5"
    assert sims.export.main([str(tmp_path / "x.h5"), "--mapped", "--out", str(mapped), "--quiet"]) == 0
    assert sims.export.main([str(mapped), "--mapped", "--out", str(tmp_path / "x.csv"), "--quiet"]) == 2
    assert open_snapshot(mapped).is_mapped
    assert not open_snapshot(tmp_path / "x.h5").is_mapped
    found = open_graph(str(mapped))
    assert found.digest() == example().digest()
    assert all(is_mapped(e.weight) for e in found.edges.values())


def test_what_needs_all_edges_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MANY_EDGES", 1000)
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e5)
    for what, make in (
        ("tables", to_pandas), ("a graph for metrics", simple_graph), ("a networkx graph", to_networkx),
        ("one network", to_scipy),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=rf"memory must have about .* GB free for {what} of 16,000 edges"):
            make(example())
