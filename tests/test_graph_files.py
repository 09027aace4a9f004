"""GraphML, GEXF, GML and Cytoscape JSON: opened by the tools that they are for, read back, and refused when broken."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import igraph
import jsonschema
import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.graph.views import from_networkx
from connectome.io import graph_files, graph_readers
from tests.strategies import connectomes


class Kind(NamedTuple):
    """A format: its writer and its reader."""

    write: Callable[[Connectome, Path], None]
    read: Callable[[Path], Connectome]


KINDS = {
    name: Kind(getattr(graph_files, f"write_{name}"), getattr(graph_readers, f"read_{name}"))
    for name in ("graphml", "gexf", "gml", "cytoscape")
}
every = pytest.mark.parametrize("name", KINDS)


def small(dt_ms: float = 0.25, name: str = 'q "<&>" ü') -> Connectome:
    """Two regions, parallel edges, an autapse, one of weight 0, labels, a state that only one set has."""
    a = Region(
        "a.1", 3, sign=np.array([1, -1, 0], np.int8), position_um=np.arange(9.0).reshape(3, 3) / 7,
        label=np.array(["AVAL", name, "x y"]),
    )  # fmt: skip
    regions = [a, Region("empty", 0), Region("B_2", 2, label=np.array(["AVAR", "b"]), birth_stage=2)]
    inner = EdgeSet.from_arrays(
        ("a.1", "local", "a.1"), [0, 0, 1, 2], [1, 1, 1, 0], [0.1, 2, -3, 0], n_source=3, n_target=3, dt_ms=dt_ms,
        delay_ms=[0.25, 5, 1, 2], state={"tract_length_um": [1.5, 2.5, np.nan, 4]},
    )  # fmt: skip
    outer = EdgeSet.from_arrays(
        ("a.1", "long_range", "B_2"), [2, 0], [1, 0], [-1e-7, 1e20], n_source=3, n_target=2, dt_ms=dt_ms
    )
    none = EdgeSet.from_arrays(("B_2", "local", "B_2"), [], [], n_source=2, n_target=2, dt_ms=dt_ms)
    return Connectome.of(regions, [inner, outer, none], dt_ms=dt_ms)


def rows(connectome: Connectome) -> Counter[Any]:
    """Every edge: ends as region:index, kind, weight, delay."""
    found: Counter[Any] = Counter()
    for key, e in connectome.edges.items():
        for s, t, w, d in zip(*(c.tolist() for c in (e.source, e.target, e.weight, e.delay)), strict=True):
            found[f"{key.source}:{s}", f"{key.target}:{t}", key.kind, w, d] += 1
    return found


@settings(max_examples=20)
@given(connectome=connectomes())
def test_what_is_written_is_read_back_to_the_last_bit(connectome: Connectome, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph"
    for kind in KINDS.values():  # a connectome costs more to draw than to write
        kind.write(connectome, path)
        first = path.read_bytes()
        back = kind.read(path)
        assert back.digest() == connectome.digest()
        assert back.provenance == connectome.provenance
        kind.write(back, path)
        assert path.read_bytes() == first


@every
def test_labels_states_and_numbers_of_every_size_come_back(name: str, tmp_path: Path) -> None:
    KINDS[name].write(small(), tmp_path / "graph")
    back = KINDS[name].read(tmp_path / "graph")
    assert back.digest() == small().digest()
    for region in small().regions.values():
        np.testing.assert_array_equal(back.regions[region.name].label, region.label)


def check_networkx(graph: Any, connectome: Connectome, ids: dict[Any, str], *, delay: str = "delay") -> None:
    """Everything that a user of networkx would look at."""
    assert graph.is_directed()
    assert [ids[node] for node in graph] == [
        f"{r.name}:{i}" for r in connectome.regions.values() for i in range(r.size)
    ]
    found = Counter(
        (ids[s], ids[t], about["kind"], about["weight"], about[delay]) for s, t, about in graph.edges(data=True)
    )
    assert found == rows(connectome)
    about = list(graph.nodes.values())
    for axis, column in zip("xyz", np.concatenate([r.position_um for r in connectome.regions.values()]).T, strict=True):
        np.testing.assert_array_equal([a.get(axis, np.nan) for a in about], column)
    assert [a["region"] for a in about] == [r.name for r in connectome.regions.values() for _ in range(r.size)]
    labels = [label for r in connectome.regions.values() if r.label is not None for label in r.label.tolist()]
    assert [a["label"] for a in about] == labels


def test_networkx_reads_graphml(tmp_path: Path) -> None:
    graph_files.write_graphml(small(), tmp_path / "a.graphml")
    graph = networkx.read_graphml(tmp_path / "a.graphml")
    check_networkx(graph, small(), {n: n for n in graph})
    assert graph.graph["dt_ms"] == 0.25


def test_networkx_reads_gexf(tmp_path: Path) -> None:
    graph_files.write_gexf(small(), tmp_path / "a.gexf")
    graph = networkx.read_gexf(tmp_path / "a.gexf")
    check_networkx(graph, small(), {n: n for n in graph})
    for about in graph.nodes.values():
        assert about.get("viz", {}).get("position", {}) == {axis: about[axis] for axis in "xyz" if axis in about}


def test_networkx_reads_gml(tmp_path: Path) -> None:
    graph_files.write_gml(small(), tmp_path / "a.gml")
    graph = networkx.read_gml(tmp_path / "a.gml", label="id")
    check_networkx(graph, small(), {n: f"{a['region']}:{a['index']}" for n, a in graph.nodes.items()})
    assert "AVAL" in networkx.read_gml(tmp_path / "a.gml")


@pytest.mark.parametrize("name", ["graphml", "gml"])
def test_igraph_reads_graphml_and_gml(name: str, tmp_path: Path) -> None:
    label = 'q "<&>"' + " ü" * (name == "graphml")  # igraph leaves GML's references to characters as they are
    connectome = small(name=label)
    KINDS[name].write(connectome, tmp_path / f"graph.{name}")
    graph = igraph.Graph.Read(str(tmp_path / f"graph.{name}"), format=name)
    assert graph.is_directed()
    ids = [f"{r}:{i:.0f}" for r, i in zip(graph.vs["region"], graph.vs["index"], strict=True)]
    assert ids == [f"{r.name}:{i}" for r in connectome.regions.values() for i in range(r.size)]
    found = Counter((ids[e.source], ids[e.target], e["kind"], np.float32(e["weight"]), e["delay"]) for e in graph.es)
    assert found == rows(connectome)
    position = np.array([graph.vs[axis] for axis in "xyz"]).T
    np.testing.assert_allclose(position, np.concatenate([r.position_um for r in connectome.regions.values()]))
    assert graph.vs["label"] == ["AVAL", label, "x y", "AVAR", "b"]


#: What Cytoscape.js (elements JSON) and Cytoscape's export of .cyjs have in common.
CYTOSCAPE = {
    "type": "object",
    "required": ["format_version", "generated_by", "target_cytoscapejs_version", "data", "elements"],
    "properties": {
        "format_version": {"type": "string"},
        "generated_by": {"type": "string"},
        "target_cytoscapejs_version": {"type": "string"},
        "data": {"type": "object", "required": ["name"]},
        "elements": {
            "type": "object",
            "required": ["nodes", "edges"],
            "additionalProperties": False,
            "properties": {
                "nodes": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["data"],
                        "properties": {
                            "data": {
                                "type": "object",
                                "required": ["id", "name"],
                                "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
                                "additionalProperties": {"type": ["string", "number", "boolean"]},
                            },
                            "position": {
                                "type": "object",
                                "required": ["x", "y"],
                                "additionalProperties": {"type": "number"},
                            },
                        },
                    },
                },
                "edges": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["data"],
                        "properties": {
                            "data": {
                                "type": "object",
                                "required": ["id", "source", "target"],
                                "properties": {k: {"type": "string"} for k in ("id", "source", "target")},
                                "additionalProperties": {"type": ["string", "number", "boolean"]},
                            }
                        },
                    },
                },
            },
        },
    },
}


def test_cytoscape_json_is_to_its_schema(tmp_path: Path) -> None:
    connectome = small()
    graph_files.write_cytoscape(connectome, tmp_path / "a.cyjs")

    def never(constant: str) -> None:
        raise AssertionError(constant)  # NaN is not JSON

    written = json.loads((tmp_path / "a.cyjs").read_text(), parse_constant=never)
    jsonschema.validate(written, CYTOSCAPE)
    nodes, edges = ([e["data"] for e in written["elements"][k]] for k in ("nodes", "edges"))
    ids = [n["id"] for n in nodes] + [e["id"] for e in edges]
    assert len(set(ids)) == len(ids) == connectome.n_neurons + connectome.n_edges
    assert {e[end] for e in edges for end in ("source", "target")} <= {n["id"] for n in nodes}
    assert Counter((e["source"], e["target"], e["kind"], e["weight"], e["delay"]) for e in edges) == rows(connectome)
    assert [n["name"] for n in nodes][:2] == ["AVAL", 'q "<&>" ü']
    graph = networkx.cytoscape_graph(written)
    assert graph.number_of_edges() == connectome.n_edges


def test_graphml_keeps_its_schemas_rules(tmp_path: Path) -> None:
    graph_files.write_graphml(small(), tmp_path / "a.graphml")
    root = ElementTree.parse(tmp_path / "a.graphml").getroot()
    space = "{http://graphml.graphdrawing.org/xmlns}"
    assert root.tag == f"{space}graphml"
    assert {child.tag for child in root} == {f"{space}key", f"{space}graph"}
    keys = {key.get("id"): key for key in root.findall(f"{space}key")}
    assert all(key.get("attr.type") in ("boolean", "int", "long", "float", "double", "string") for key in keys.values())
    (graph,) = root.findall(f"{space}graph")
    ids = [e.get("id", "") for e in root.iter() if e.tag in (f"{space}node", f"{space}edge", f"{space}key")]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[\w.:-]+", id_) for id_ in ids)  # NMTOKEN
    for element in graph.iter():
        kind = element.tag.removeprefix(space)
        for data in element.findall(f"{space}data"):
            assert keys[data.get("key")].get("for") == kind
        assert len({d.get("key") for d in element.findall(f"{space}data")}) == len(element.findall(f"{space}data"))


def test_gexf_keeps_its_schemas_rules(tmp_path: Path) -> None:
    graph_files.write_gexf(small(), tmp_path / "a.gexf")
    root = ElementTree.parse(tmp_path / "a.gexf").getroot()
    space, viz = "{http://www.gexf.net/1.2draft}", "{http://www.gexf.net/1.2draft/viz}"
    assert (root.tag, root.get("version")) == (f"{space}gexf", "1.2")
    assert [child.tag for child in root] == [f"{space}meta", f"{space}graph"]
    graph = root[1]
    assert (graph.get("defaultedgetype"), graph.get("mode"), graph.get("idtype")) == ("directed", "static", "string")
    assert [child.tag.removeprefix(space) for child in graph] == ["attributes", "attributes", "nodes", "edges"]
    for attributes, elements, kind in ((graph[0], graph[2], "node"), (graph[1], graph[3], "edge")):
        assert attributes.get("class") == kind
        known = {a.get("id") for a in attributes}
        assert len(known) == len(attributes)
        assert {a.get("type") for a in attributes} <= {"integer", "long", "double", "float", "boolean", "string"}
        assert len({e.get("id") for e in elements}) == len(elements)
        for element in elements:
            assert element.tag == f"{space}{kind}"
            assert {child.tag for child in element} <= {f"{space}attvalues", f"{viz}position"}
            assert {v.get("for") for v in element[0]} <= known
            assert all(v.keys() == ["for", "value"] for v in element[0])
    ids = {node.get("id") for node in graph[2]}
    assert {edge.get(end) for edge in graph[3] for end in ("source", "target")} <= ids


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_what_networkx_writes_is_read_as_networkx_reads_it(name: str, directed: bool, tmp_path: Path) -> None:
    kind = networkx.MultiDiGraph if directed else networkx.MultiGraph
    graph = networkx.gnm_random_graph(12, 30, seed=1, directed=directed, create_using=None)
    graph = kind(graph)
    graph.add_edge(0, 0)
    for number, (_, _, about) in enumerate(graph.edges(data=True)):
        about["weight"] = number / 7
    for node in graph:
        graph.nodes[node].update(region="ab"[node % 2], x=node / 3)
    path = tmp_path / "graph"
    if name == "cytoscape":
        path.write_text(json.dumps(networkx.cytoscape_data(graph)))
    else:
        getattr(networkx, f"write_{name}")(graph, path)
    assert KINDS[name].read(path).digest() == from_networkx(graph).digest()


GRAPHML = """<graphml><key id="w" for="edge" attr.name="weight" attr.type="double"><default>7</default></key>
<key id="n" for="node" attr.name="x" attr.type="double"><default>5</default></key>
<graph edgedefault="undirected"><edge source="ALA" target="AVAL"/><node id="ALA"/>
<node id="AVAL"><data key="n">2</data></node>
<edge source="AVAL" target="AVAL" directed="true"><data key="w">-1</data></edge></graph></graphml>"""


def test_graphml_from_elsewhere_has_defaults_mixed_directions_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.graphml").write_text(GRAPHML)
    found = graph_readers.read_graphml(tmp_path / "a.graphml")
    assert rows(found) == Counter(
        [("all:0", "all:1", "local", 7, 0.1), ("all:1", "all:0", "local", 7, 0.1), ("all:1", "all:1", "local", -1, 0.1)]
    )
    region = found.regions["all"]
    assert region.label is not None
    assert region.label.tolist() == ["ALA", "AVAL"]
    assert region.position_um[:, 0].tolist() == [5, 2]


def test_a_layout_is_a_position_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.gexf").write_text(
        '<gexf xmlns:viz="http://gexf.net/1.3/viz"><graph defaultedgetype="directed"><nodes><node id="0" label="AVAL">'
        '<viz:position x="1.5" y="2"/><nodes><node id="1" label="AVAR"/></nodes></node></nodes><edges>'
        '<edge source="0" target="1" weight="2"/><edge source="0" target="1" type="mutual"/></edges></graph></gexf>'
    )
    (tmp_path / "a.gml").write_text(
        'Creator "x" # a remark\ngraph [ directed 1 node [ id 0 label "AVAL" graphics [ x 1.5 y 2 ] ] '
        'node [ id 1 label "AVAR" ] edge [ source 0 target 1 weight 2 ] edge [ source 0 target 1 ] '
        "edge [ source 1 target 0 ] ]"
    )
    elements = [
        {"data": {"id": "0", "name": "AVAL"}, "position": {"x": 1.5, "y": 2}}, {"data": {"id": "1", "name": "AVAR"}},
        {"data": {"source": "0", "target": "1", "weight": 2}}, {"data": {"source": "0", "target": "1"}},
        {"data": {"source": "1", "target": "0"}},
    ]  # fmt: skip
    (tmp_path / "a.cyjs").write_text(json.dumps({"elements": elements}))
    for name, ending in (("gexf", "gexf"), ("gml", "gml"), ("cytoscape", "cyjs")):
        found = KINDS[name].read(tmp_path / f"a.{ending}")
        np.testing.assert_array_equal(found.regions["all"].position_um, [[1.5, 2, np.nan], [np.nan] * 3])
        assert found.regions["all"].label is not None
        assert found.regions["all"].label.tolist() == ["AVAL", "AVAR"]
        assert [w for _, _, _, w, _ in sorted(rows(found))] == [1, 2, 1]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><graphml><graph><node id="&a;"/></graph></graphml>'
OUTSIDE = '<!DOCTYPE x SYSTEM "file:///etc/hostname"><graphml><graph/></graphml>'
ENTITY = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><graphml><graph><node id="&a;"/></graph></graphml>'
DEEP = 100_000
BROKEN = [
    ("graphml", BOMB, "no document type"),
    ("graphml", OUTSIDE, "no document type"),
    ("graphml", ENTITY, "no document type"),
    ("gexf", BOMB.replace("graphml", "gexf"), "no document type"),
    ("graphml", "<a>" * DEEP, "at most 32 deep"),
    ("graphml", "", "well formed"),
    ("graphml", "<graphml><graph><node id='&b;'/></graph></graphml>", "well formed"),
    ("graphml", "<graphml><graph><node id='a'/><node id='a'/></graph></graphml>", "line 1: node id must be given once"),
    ("graphml", "<graphml><graph><node/></graph></graphml>", "node id"),
    ("graphml", "<graphml><graph><node id='a'/><edge source='a' target='b'/></graph></graphml>", "edge target"),
    ("graphml", "<graphml><graph><node id='a'><data key='k'>1</data></node></graph></graphml>", "key of a <key>"),
    ("graphml", "<graphml><graph><node id='a'><graph/></node></graph></graphml>", "inside a graph"),
    ("graphml", "<graphml><graph/><graph/></graphml>", "one graph"),
    ("graphml", GRAPHML.replace(">-1<", ">heavy<"), "'weight' must be double"),
    ("graphml", GRAPHML.replace(">-1<", ">nan<"), "weight must be finite"),
    ("graphml", GRAPHML.replace(">-1<", ">1e999<"), "weight must be finite"),
    ("graphml", GRAPHML.replace('"double"', '"int"').replace(">-1<", f">{'9' * 5000}<"), "must be int"),
    ("gexf", "<gexf><graph><attributes class='x'/></graph></gexf>", "node or edge"),
    ("gexf", "<gexf><graph><nodes><node id='a'><attvalues><attvalue for='3'/></attvalues></node></nodes></graph>",
     "<attribute>"),
    ("gexf", "<gexf><graph><edges><edge source='a' target='b'/></edges></graph></gexf>", "edge source"),
    ("gml", "", "one graph"),
    ("gml", "graph [", "without"),
    ("gml", "graph ]", "names"),
    ("gml", "]", "end only what was begun"),
    ("gml", "graph [ node node ]", "after each its value"),
    ("gml", "graph [ node [ id 1.2.3 ] ]", "GML"),
    ("gml", "graph [ node 3 edge [ source 0 target 0 ] ]", "edge source"),
    ("gml", "a [ " * DEEP, "32 deep"),
    ("gml", 'graph [ node [ id "', "names"),
    ("cytoscape", "[", "JSON"),
    ("cytoscape", "[]", "nodes and edges"),
    ("cytoscape", "[" * DEEP, "nested too deeply"),
    ("cytoscape", '{"elements": {"nodes": [3]}}', "'data'"),
    ("cytoscape", '{"elements": {"nodes": [{"data": {"id": [1]}}]}}', "node id"),
    ("cytoscape", '{"elements": {"nodes": [{"data": {"id": "1"}}], "edges": [{"data": {"source": {}}}]}}',
     "edge source"),
    ("cytoscape", '{"data": {"dt_ms": "a"}, "elements": {"nodes": []}}', "dt_ms"),
    ("cytoscape", '{"data": {"dt_ms": -1, "regions": 3}, "elements": {"nodes": []}}', "views write"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "rule"), BROKEN)
def test_a_broken_file_is_refused_in_one_line_that_names_it(name: str, text: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(ConnectomeError, match=re.escape(rule)) as error:
        KINDS[name].read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@every
def test_what_is_no_readable_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("é".encode("latin-1") * 9)
    for path in (tmp_path, tmp_path / "none", tmp_path / "latin", Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(ConnectomeError):
            KINDS[name].read(path)


def test_a_huge_name_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    """The parser would take minutes."""
    beginning = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n<graph edgedefault="directed">\n<node id="'
    for size, where in ((2**20 + 1, "line 3"), (2**25, "line 3")):
        (tmp_path / "a.graphml").write_text(beginning + "x" * size + '"/></graph></graphml>')
        with pytest.raises(ConnectomeError, match=f"{where}: XML must have at most 1,048,576 bytes in an element"):
            KINDS["graphml"].read(tmp_path / "a.graphml")
    (tmp_path / "a.graphml").write_text(beginning + 'x"/>' + '<node id="y"/>' * 9 + " " * 2**24 + "</graph></graphml>")
    with pytest.raises(ConnectomeError, match="bytes in an element"):
        KINDS["graphml"].read(tmp_path / "a.graphml")


@every
def test_a_file_or_a_graph_too_large_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KINDS[name].write(small(), tmp_path / "graph")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # claims a terabyte
    with pytest.raises(ConnectomeError, match="at most 536,870,912 bytes"):
        KINDS[name].read(tmp_path / "huge")
    monkeypatch.setattr(graph_readers, "MAX_ITEMS", 7)
    with pytest.raises(ConnectomeError, match="at most 7"):
        KINDS[name].read(tmp_path / "graph")


@every
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(name: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("damaged") / "graph"
    KINDS[name].write(small(), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "drop", "repeat"])):
            case "flip":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at + 1 :]
            case "drop":
                del content[at : at + 20]
            case _:
                content[at:at] = content[max(0, at - 50) : at]
        if not content:
            break
    path.write_bytes(content)
    with contextlib.suppress(ConnectomeError):  # and nothing else
        KINDS[name].read(path)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    def state(name: str, value: float) -> Connectome:
        edges = EdgeSet.from_arrays(
            ("a", "local", "a"), [0], [0], n_source=1, n_target=1, dt_ms=0.1, state={name: [value]}
        )
        return Connectome.of([Region("a", 1)], [edges])

    path = tmp_path / "graph"
    for name in ("gml", "cytoscape"):
        with pytest.raises(ConnectomeError, match="finite"):
            KINDS[name].write(state("s", np.inf), path)
    with pytest.raises(ConnectomeError, match="GML"):
        KINDS["gml"].write(state("s-1", 1), path)
    assert not path.exists()
    for name in ("graphml", "gexf"):
        KINDS[name].write(state("s-1", -np.inf), path)
        assert KINDS[name].read(path).digest() == state("s-1", -np.inf).digest()
    with pytest.raises(ConnectomeError, match="writable"):
        KINDS["gml"].write(state("s", 1), tmp_path / "none" / "graph")
