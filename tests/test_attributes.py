"""Attributes: any column, missing values kept as missing, through edits and every format that can carry them."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import igraph
import libsonata
import networkx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Attribute, Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, Region
from connectome.arrays import is_constant
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS, attribute_name, joined_attributes
from connectome.graph.region_edits import average_regions, copy_region, merge_regions
from connectome.io.exchange import read, write
from connectome.io.snapshot import load, open_snapshot, save
from tests.strategies import ATTRIBUTES, attribute

NODES: dict[str, list[Any]] = {
    "class": ["KC", None, "PN", "KC", 'é <1>, "x"'],
    "side": ["left", "left", "right", None, "right"],
    "nt_type": ["NA", "nan", None, "7", "true"],
    "note": ["of a kind", "b", "c", "d", None],
    "traced": [True, None, False, True, True],
    "root_id": [720575940600000001, None, 2**53 + 1, 3, -4],
    "volume": [1.5, math.nan, -math.pi, 0.0, 1e300],
}
EDGES: dict[str, list[Any]] = {
    "synapse": ["chemical", "electrical", None, "chemical", "chemical", "electrical", None],
    "n_sites": [3, 1, None, 1, 2, -5, 300],
    "score": [0.1, None, 0.3, 0.4, 0.5, 0.6, 0.7],
}


def annotated() -> Connectome:
    """Ten attributes of all kinds, some of each missing, in two regions; positions of which some are not known."""
    position = np.array([[1.0, 2, 3], [np.nan] * 3, [4, np.nan, 5], [6, 7, 8], [9, 10, 11]])
    of_a: Any = NODES
    of_b: Any = {"class": ["KC", "DN"], "volume": np.array([1, np.nan])}
    a = Region("a", 5, attributes=of_a, position_um=position, label=np.array(list("vwxyz")))
    b = Region("b", 2, attributes=of_b, label=np.array(["p", "q"]))
    local = EdgeSet.from_arrays(
        ("a", "local", "a"), [0, 4, 1, 2, 3, 0, 4], [1, 2, 3, 0, 2, 4, 0], 1.5, n_source=5, n_target=5, dt_ms=0.1,
        attributes=EDGES,
    )  # fmt: skip
    far = EdgeSet.from_arrays(
        ("a", "long_range", "b"), [1, 0], [0, 1], [1.0, 2.0], n_source=5, n_target=2, dt_ms=0.1,
        attributes={"synapse": "chemical"},
    )  # fmt: skip
    return Connectome.of([a, b], [local, far])


# A column.


GIVEN: list[tuple[Any, str, list[Any]]] = [
    (["a", None, "", math.nan, " b  c "], "text", ["a", None, None, None, "b c"]),
    ([True, None], "flag", [True, None]),
    ([1, None], "int64", [1, None]),
    ([1, 2.5, None], "float64", [1.0, 2.5, None]),
    ([2**63 - 1, 0], "int64", [2**63 - 1, 0]),
    ([None, None], "text", [None, None]),
    (np.array([1, 2], np.int16), "int16", [1, 2]),
    (np.array([1, 255], np.uint8), "int16", [1, 255]),
    (np.array([-128, 1], np.int8), "int16", [-128, 1]),
    (np.array([0.5, np.nan], np.float32), "float32", [0.5, None]),
    (np.array(["a", "b"]), "text", ["a", "b"]),
    (np.array([True, False]), "flag", [True, False]),
    (pd.Series(["a", None], dtype="category"), "text", ["a", None]),
    (pd.Series([1, None], dtype="Int16"), "int64", [1, None]),
    (pd.Series([True, None], dtype="boolean"), "flag", [True, None]),
    (pd.Series(["a", pd.NA], dtype="string"), "text", ["a", None]),
    (pd.Series([1.5, None]), "float64", [1.5, None]),
    (pd.Categorical([3, 4]), "int64", [3, 4]),
]


@pytest.mark.parametrize(("given_", "kind", "values"), GIVEN)
def test_a_column_of_anything(given_: Any, kind: str, values: list[Any]) -> None:
    found = Attribute.of("x", given_, len(values))
    assert (found.type, found.tolist()) == (kind, values)
    assert found.is_missing.tolist() == [v is None for v in values]
    assert not found.values.flags.writeable
    again = Attribute.of("x", found.to_pandas(), len(values))
    assert again.tolist() == values


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([1, "a"], "must be numbers, flags or texts, all of one kind; found int and str"),
        ([True, 1], "all of one kind; found bool and int"),
        ([2**63], "must be integers of 64 bits; found a larger one"),
        ([-(2**63)], "the lowest left out"),
        ([[1]], "must be one-dimensional"),
        (np.zeros((2, 2)), "must be one-dimensional"),
        (np.array([1j]), "must be numbers, flags or texts"),
        (["a\0"], "without control characters"),
        (["a" * 10_001], "at most 10,000 characters"),
        ([1, 2], "must have 1 values; found 2"),
    ],
)
def test_what_is_no_column_is_refused(given_: Any, message: str) -> None:
    with pytest.raises(ConnectomeError) as error:
        Region("a", 1, attributes={"u": given_})
    assert message in str(error.value)
    assert error.value.field.startswith("regions[a].attributes[u]")


@pytest.mark.parametrize("name", ["x", "Region", "a b", "1a", "state_x", "", "a" * 65, "label", "and", "model_type", 7])
def test_names_that_mean_something_else_are_refused(name: Any) -> None:
    with pytest.raises(ConnectomeError, match=r"regions\[a\]\.attributes must have names of letters"):
        Region("a", 1, attributes={name: Attribute.of("", [1], 1)})


def test_titles_become_names() -> None:
    wanted = {
        "Cell type": "Cell_type", "x": "x_", "X": "X_", "1st": "column_1st", "Länge (µm)": "Lange_m", "": "column_",
        "state_gain": "column_state_gain", "IN": "IN_", "nt_type": "nt_type", "nt type": "nt_type_",
    }  # fmt: skip
    found: dict[str, Any] = {}
    for title in wanted:
        found[attribute_name(title, NODE_WORDS, found)] = [1]
    assert list(found) == list(wanted.values())
    Region("a", 1, attributes=found)


def test_it_costs_nothing_where_it_is_the_same_for_all() -> None:
    n = 10**9
    column = Attribute.of("x", "chemical", n)
    assert is_constant(column.values)
    assert is_constant(column.take(np.arange(10)).values)
    assert is_constant(Attribute.missing("int64", n).values)
    assert Attribute.of("x", np.arange(1000) % 200, 1000).values.itemsize == 8
    assert Attribute.of("x", [f"t{i % 200}" for i in range(1000)], 1000).values.itemsize == 1


def test_kinds_that_differ_are_refused() -> None:
    regions = [Region(name, 1, attributes={"u": Attribute.of("u", v, 1)}) for name, v in (("a", [1]), ("b", ["x"]))]
    with pytest.raises(ConnectomeError, match=r"regions\[b\]\.attributes\[u\] must be of one kind, integer as in a"):
        Connectome.of(regions)
    with pytest.raises(ConnectomeError, match="integer and text"):
        joined_attributes("here", [(r.attributes, 1) for r in regions])


@given(st.sampled_from(ATTRIBUTES), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_taking_joining_and_blanking_are_those_of_lists(name: str, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    column = Attribute.of(name, attribute(rng, name, n), n)
    values, mask, order = column.tolist(), rng.random(n) < 0.5, rng.permutation(n)
    assert column.take(mask).tolist() == [v for v, kept in zip(values, mask, strict=True) if kept]
    assert column.take(order).tolist() == [values[i] for i in order]
    assert column.without(mask).tolist() == [None if m else v for v, m in zip(values, mask, strict=True)]
    both = joined_attributes("", [({name: column}, n), ({}, 3), ({name: column.take(order)}, n)]) if n else {}
    if both:
        assert both[name].tolist() == [*values, None, None, None, *(values[i] for i in order)]
        assert both[name].take(np.arange(n)).names == column.names  # equal columns are equal
    group = rng.integers(0, 4, n)
    if set(group) == {0, 1, 2, 3}:
        of = [{values[i] for i in np.flatnonzero(group == g)} for g in range(4)]
        assert column.agreed(group, 4).tolist() == [next(iter(v)) if len(v) == 1 else None for v in of]
    copy = pickle.loads(pickle.dumps(column))
    assert (copy.tolist(), copy.type, copy.values.flags.writeable) == (values, column.type, False)


# Edits.


def test_they_follow_every_edit() -> None:
    c = annotated()
    key = EdgeKey("a", "local", "a")
    edges = c.edges[key]
    old = list(
        zip(edges.source.tolist(), edges.target.tolist(), *(a.tolist() for a in edges.attributes.values()), strict=True)
    )
    gone = np.arange(7) % 3 == 0
    new = EdgeSet.from_arrays(
        key, [2, 0], [4, 0], 9.0, n_source=5, n_target=5, dt_ms=0.1, attributes={"n_sites": [7, 8]}
    )
    after = c.apply(Edit(remove={key: gone}, add=(new,))).edges[key]
    rows = list(
        zip(after.source.tolist(), after.target.tolist(), *(a.tolist() for a in after.attributes.values()), strict=True)
    )
    wanted = [row for row, is_gone in zip(old, gone, strict=True) if not is_gone]
    wanted += [(2, 4, 7, None, None), (0, 0, 8, None, None)]
    assert sorted(rows, key=repr) == sorted(wanted, key=repr)

    twice = c.apply(copy_region(c, "b", "d"))
    assert twice.regions["d"].attributes["class"].tolist() == ["KC", "DN"]
    assert twice.edges[EdgeKey("a", "long_range", "d")].attributes["synapse"].tolist() == ["chemical"] * 2

    one = c.apply(merge_regions(c, ["b", "a"], "ba"))
    assert one.regions["ba"].attributes["class"].tolist() == ["KC", "DN", *NODES["class"]]
    assert one.regions["ba"].attributes["traced"].tolist() == [None, None, *NODES["traced"]]
    merged = one.edges[EdgeKey("ba", "local", "ba")]
    assert sorted(merged.attributes["synapse"].tolist(), key=str) == sorted(
        [*EDGES["synapse"], "chemical", "chemical"], key=str
    )

    pair = twice.apply(average_regions(twice, ["b", "d"], "e"))
    assert pair.regions["e"].attributes["class"].tolist() == ["KC", "DN"]
    other = replace_class(twice, "d", ["KC", "PN"])
    assert other.apply(average_regions(other, ["b", "d"], "e")).regions["e"].attributes["class"].tolist() == [
        "KC",
        None,
    ]


def rows_of(edges: EdgeSet) -> list[tuple[Any, ...]]:
    """Source, target and attributes of each edge."""
    columns = (edges.source.tolist(), edges.target.tolist(), *(a.tolist() for a in edges.attributes.values()))
    return list(zip(*columns, strict=True))


def replace_class(c: Connectome, region: str, classes: list[str]) -> Connectome:
    r = c.regions[region]
    changed = replace(r, attributes={**r.attributes, "class": Attribute.of("class", classes, r.size)})
    return Connectome.of([changed if x.name == region else x for x in c.regions.values()], c.edges.values())


# Formats.

FORMATS = ["x.csv", "x.tsv", "x.parquet", "x.h5", "x.graphml", "x.gexf", "x.gml", "x.cyjs"]


@pytest.mark.parametrize("name", FORMATS)
def test_ten_attributes_survive_each_format(name: str, tmp_path: Path) -> None:
    c = annotated()
    write(c, tmp_path / name)
    back = read(tmp_path / name)
    for region, wanted in c.regions.items():
        found = back.regions[region]
        assert {k: (a.type, a.tolist()) for k, a in found.attributes.items()} == {
            k: (a.type, a.tolist()) for k, a in wanted.attributes.items()
        }
        np.testing.assert_array_equal(found.position_um, wanted.position_um)
    for key, edges in c.edges.items():
        assert {k: (a.type, a.tolist()) for k, a in back.edges[key].attributes.items()} == {
            k: (a.type, a.tolist()) for k, a in edges.attributes.items()
        }
    assert back.digest() == c.digest()


def test_a_matlab_file_has_those_of_the_nodes(tmp_path: Path) -> None:
    import scipy.io

    c = annotated()
    write(c, tmp_path / "x.mat")
    back = read(tmp_path / "x.mat")
    for name, region in c.regions.items():
        assert {k: (a.type, a.tolist()) for k, a in back.regions[name].attributes.items()} == {
            k: (a.type, a.tolist()) for k, a in region.attributes.items()
        }
    seen_there = scipy.io.loadmat(tmp_path / "x.mat", squeeze_me=True, chars_as_strings=True)
    assert [str(v) if np.size(v) else None for v in seen_there["attribute_class"]][:5] == NODES["class"]
    assert seen_there["attribute_root_id"][2] == 2**53 + 1


@pytest.mark.parametrize("view", ["networkx", "pandas", "pyg"])
def test_views_have_them_and_give_them_back(view: str) -> None:
    from connectome import views

    c = annotated()
    to, back = getattr(views, f"to_{view}"), getattr(views, f"from_{view}")
    made = to(c)
    assert (back(*made) if view == "pandas" else back(made)).digest() == c.digest()


def seen(values: list[Any], nothing: Callable[[Any], bool]) -> list[Any]:
    return [None if nothing(v) else v for v in values]


def test_libsonata_sees_them(tmp_path: Path) -> None:
    save(annotated(), tmp_path / "a.h5")
    c = annotated()
    nodes = libsonata.NodeStorage(str(tmp_path / "a.h5")).open_population("a")
    everyone = nodes.select_all()
    assert set(NODES) <= nodes.attribute_names
    assert {"class", "side", "nt_type", "note"} <= nodes.enumeration_names
    for name in ("class", "side", "nt_type", "note"):
        assert seen(nodes.get_attribute(name, everyone), lambda v: v == "") == c.regions["a"].attributes[name].tolist()
        values = nodes.enumeration_values(name)
        assert [values[i] or None for i in nodes.get_enumeration(name, everyone)] == NODES[name]
    assert seen(nodes.get_attribute("volume", everyone).tolist(), math.isnan) == seen(NODES["volume"], math.isnan)
    assert seen(nodes.get_attribute("root_id", everyone).tolist(), lambda v: v == -(2**63)) == NODES["root_id"]
    assert seen(nodes.get_attribute("traced", everyone).tolist(), lambda v: v == -1) == NODES["traced"]
    edges = libsonata.EdgeStorage(str(tmp_path / "a.h5")).open_population("a:local:a")
    every, wanted = edges.select_all(), c.edges[EdgeKey("a", "local", "a")].attributes
    assert [v or None for v in edges.get_attribute("synapse", every)] == wanted["synapse"].tolist()
    assert seen(edges.get_attribute("score", every).tolist(), math.isnan) == wanted["score"].tolist()


def test_bluepysnap_sees_them(tmp_path: Path) -> None:
    snap = pytest.importorskip("bluepysnap")
    save(annotated(), tmp_path / "a.h5")
    circuit = snap.Circuit(str(tmp_path / "a.sonata" / "circuit_config.json"))
    found = circuit.nodes["a"].get(properties=["class", "side", "volume"])
    assert [v or None for v in found["class"]] == NODES["class"]
    assert circuit.nodes["a"].ids({"class": "KC"}).tolist() == [0, 3]
    edges = circuit.edges["a:local:a"].get(circuit.edges["a:local:a"].ids(), properties=["synapse"])
    wanted = annotated().edges[EdgeKey("a", "local", "a")].attributes["synapse"].tolist()
    assert [v or None for v in edges["synapse"]] == wanted


def test_networkx_igraph_and_pandas_see_them(tmp_path: Path) -> None:
    c = annotated()
    for name, reader in (("x.graphml", networkx.read_graphml), ("x.gexf", networkx.read_gexf)):
        write(c, tmp_path / name)
        graph = reader(tmp_path / name)
        for column, values in NODES.items():
            found = [graph.nodes[f"a:{i}"].get(column) for i in range(5)]
            assert found == [None if v is None or v != v else v for v in values]
            assert {type(v) for v in found} - {type(None)} <= {str, bool, int, float}
    found = igraph.Graph.Read_GraphML(str(tmp_path / "x.graphml"))
    assert [v or None for v in found.vs["class"]][:5] == NODES["class"]
    assert seen(found.vs["volume"][:5], math.isnan) == seen(NODES["volume"], math.isnan)
    assert Counter(found.es["synapse"]) == Counter([*(v or "" for v in EDGES["synapse"]), "chemical", "chemical"])
    for name, reader in (("x.csv", pd.read_csv), ("x.parquet", pd.read_parquet)):
        write(c, tmp_path / name)
        table = reader(tmp_path / name.replace(".", "_nodes."))
        assert table["class"].isna().tolist()[:5] == [v is None for v in NODES["class"]]
        assert seen(table["volume"].tolist()[:5], math.isnan) == seen(NODES["volume"], math.isnan)


# Other people's files.


def test_columns_of_a_csv_are_what_their_cells_are(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "pre_root_id,post_root_id,syn_count,neuropil,nt type,score,kind\n"
        "720575940600000001,720575940600000002,5,ME(R),ACH,0.25,chemical\n"
        "720575940600000002,720575940600000003,1,,GABA,,electrical\n"
        "720575940600000002,720575940600000001,2,LO,NA,1e-3,chemical\n"
    )
    (tmp_path / "x_nodes.csv").write_text(
        "root_id,class,side,neuropil,hemilineage,soma,n_sites,big,traced,code\n"
        "720575940600000001,KC,left,ME(R),,1.5,7,9007199254740993,TRUE,007\n"
        "720575940600000003,, left ,LO,,,,,false,010\n"
        "720575940600000002,PN,right,ME(R),,2,300,1,,011\n"
    )
    c = read(tmp_path / "x.csv")
    assert {name: r.size for name, r in c.regions.items()} == {"ME_R": 2, "LO": 1}
    one = {k: (a.type, a.tolist()) for k, a in c.regions["ME_R"].attributes.items()}
    assert one == {
        "class": ("text", ["KC", "PN"]), "side": ("text", ["left", "right"]), "neuropil": ("text", ["ME(R)", "ME(R)"]),
        "soma": ("float64", [1.5, 2.0]), "n_sites": ("int16", [7, 300]), "big": ("int64", [2**53 + 1, 1]),
        "traced": ("flag", [True, None]), "code": ("text", ["007", "011"]),
    }  # fmt: skip
    assert c.regions["ME_R"].label is not None
    assert c.regions["ME_R"].label.tolist() == ["720575940600000001", "720575940600000002"]
    assert np.isnan(c.regions["LO"].position_um).all()
    edges = {str(k): {n: a.tolist() for n, a in e.attributes.items()} for k, e in c.edges.items()}
    assert edges["ME_R -local-> ME_R"] == {
        "neuropil": ["ME(R)", "LO"], "nt_type": ["ACH", "NA"], "score": [0.25, 0.001], "kind_": ["chemical"] * 2,
    }  # fmt: skip
    assert edges["ME_R -long_range-> LO"] == {"nt_type": ["GABA"], "kind_": ["electrical"]}
    sides = read(tmp_path / "x.csv", regions_from="side", kinds_from="kind_")
    assert {name: r.size for name, r in sides.regions.items()} == {"left": 2, "right": 1}
    assert {str(k) for k in sides.edges} == {
        "left -long_range-chemical-> right", "right -long_range-electrical-> left", "right -long_range-chemical-> left",
    }  # fmt: skip


def test_a_column_that_changes_its_mind_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from connectome.io import delimited

    monkeypatch.setattr(delimited, "_SAMPLE", 2)
    monkeypatch.setattr(delimited, "CHUNK_ROWS", 3)
    rows = ["source,target,u,v,n"] + [f"{i},{i + 1},{i},{i / 4},{i}" for i in range(8)] + ["a,b,x,,", "1,2,,y,5"]
    (tmp_path / "x.csv").write_text("\n".join(rows) + "\n")
    c = read(tmp_path / "x.csv")
    (edges,) = c.edges.values()
    assert {k: a.type for k, a in edges.attributes.items()} == {"u": "text", "v": "text", "n": "int8"}
    assert sum(edges.attributes["n"].is_missing) == 1
    (region,) = c.regions.values()
    assert region.label is not None
    assert {"a", "b", "8"} <= set(region.label.tolist())


def test_a_matrix_takes_them_from_its_nodes_file(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(",b,a\nb,0,1\na,2,0\n")
    (tmp_path / "m_nodes.csv").write_text("label,class,x,y,z\na,KC,1,2,3\nb,,,,\n")
    (region,) = read(tmp_path / "m.csv").regions.values()
    assert region.attributes["class"].tolist() == [None, "KC"]
    np.testing.assert_array_equal(region.position_um, [[np.nan] * 3, [1, 2, 3]])


def test_a_snapshot_says_what_it_has_and_is_not_believed(tmp_path: Path) -> None:
    import h5py

    save(annotated(), tmp_path / "a.h5")
    snapshot = open_snapshot(tmp_path / "a.h5")
    assert snapshot.attributes["nodes/b"] == {"class": "text", "volume": "float64"}
    assert snapshot.region("a").attributes["class"].tolist() == NODES["class"]
    with h5py.File(tmp_path / "a.h5", "r+") as h5:
        h5["nodes/a/0/class"][0] = 77
    with pytest.raises(ConnectomeError, match="must be 4 texts, with places of them"):
        load(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as h5:
        h5["nodes/a/0/class"][0] = 0
    with pytest.raises(ConnectomeError, match="must be the digest of the content"):
        load(tmp_path / "a.h5")


def test_the_archived_snapshot_opens() -> None:
    archive = Path(__file__).parent / "archives" / "format_4_attributes.h5"
    assert open_snapshot(archive).format_version == 4
    assert load(archive).digest() == annotated().digest()


def test_words_of_edges_are_those_of_their_tables() -> None:
    from connectome.graph.views import to_pandas

    nodes, edges = to_pandas(annotated())
    assert {str(c).lower() for c in nodes} - set(NODES) <= NODE_WORDS
    assert {str(c) for c in edges} - set(EDGES) <= EDGE_WORDS
