"""Graphs as text for the tools of network science: GraphML, GEXF, GML and Cytoscape JSON, written and read back.

A node is a neuron, with the id ``region:index`` and the attributes of :func:`connectome.graph.views.to_networkx`. An
edge has those attributes too, and an id of its own, so that parallel edges stay separate. What belongs to the whole
graph (dt_ms, parameters of regions, empty sets, provenance) is a graph attribute, in GEXF the description. Missing
values are left out; flags are numbers in GML, which has no flags.

The writers are our own, since networkx's give all edges the same id, drop a GEXF graph's attributes and write the date;
here equal graphs make equal bytes, and memory does not grow with the graph. The readers are in
:mod:`connectome.io.graph_readers`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.tables import STATE, header_of
from connectome.io.files import write_lines

__all__ = ["write_cytoscape", "write_gexf", "write_gml", "write_graphml"]

_NODE_TYPES: Final[Mapping[str, type]] = {
    "region": str, "index": int, "label": str, "role": str, "birth_stage": int, "sign": int, "x": float, "y": float,
    "z": float,
}  # fmt: skip
_EDGE_TYPES: Final[Mapping[str, type]] = {"kind": str, "weight": float, "delay": float, "birth_stage": int}
_GRAPHML_TYPES: Final = {str: "string", int: "int", float: "double", bool: "boolean", np.int64: "long"}
_GEXF_TYPES: Final = {str: "string", int: "integer", float: "double", bool: "boolean", np.int64: "long"}
_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>'
_GML_KEY: Final = re.compile(r"[A-Za-z][0-9A-Za-z_]*")
_NOT_ASCII: Final = re.compile("[^ -~]")


def write_graphml(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write GraphML (http://graphml.graphdrawing.org), for igraph, networkx, Gephi, yEd, Cytoscape, R.

    Raises :class:`ConnectomeError` if it cannot be written; an existing file is then unchanged.
    """
    write_lines(path, _graphml(connectome.expanded()))


def write_gexf(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write GEXF 1.2, for Gephi and networkx, with positions for its layout. Raises as :func:`write_graphml`."""
    write_lines(path, _gexf(connectome.expanded()))


def write_gml(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write GML (Himsolt 1997), for networkx, igraph and Gephi. Raises as :func:`write_graphml`, and for a state whose
    name or value GML cannot hold."""
    write_lines(path, _gml(connectome.expanded()))


def write_cytoscape(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write Cytoscape's JSON (.cyjs), for Cytoscape and Cytoscape.js, with x and y as the layout. Raises as
    :func:`write_graphml`, and for a number that is infinite."""
    write_lines(path, _cytoscape(connectome.expanded()))


def _nodes(connectome: Connectome) -> Iterator[tuple[str, dict[str, Any]]]:
    """The id and the attributes of each node, in order."""
    for r in connectome.regions.values():
        own = ("sign", "x", "y", "z", *(STATE + name for name in r.state))
        columns = (
            r.labels.tolist(),
            r.sign.tolist(),
            *r.position_um.T.tolist(),
            *(s.tolist() for s in r.state.values()),
        )
        known = _rows(r.attributes, slice(None), r.size)
        for i, (attributes, label, *row) in enumerate(zip(known, *columns, strict=True)):
            about = {"region": r.name, "index": i, "role": r.role, "birth_stage": r.birth_stage}
            about |= dict(zip(own, row, strict=True)) | ({"label": label} if label else {}) | attributes
            yield f"{r.name}:{i}", {k: v for k, v in about.items() if not _is_nan(v)}


def _rows(attributes: Mapping[str, Attribute], part: slice, n: int) -> Iterable[dict[str, Any]]:
    """The attributes present for each neuron or edge in a part of them."""
    if not attributes:
        return ({} for _ in range(n)[part])
    places = np.arange(n)[part]
    columns = zip(*(a.take(places).tolist() for a in attributes.values()), strict=True)
    return ({k: v for k, v in zip(attributes, row, strict=True) if v is not None} for row in columns)


def _edges(connectome: Connectome) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The ids of source and target and the attributes of each edge."""
    for key, e in connectome.edges.items():
        names = ("weight", "delay", "birth_stage", *(STATE + name for name in e.state))
        columns: list[NDArray[Any]] = [e.source, e.target, e.weight, e.delay, e.birth_stage, *e.state.values()]
        for part in _parts(e):
            known = _rows(e.attributes, part, len(e))
            for attributes, source, target, *row in zip(known, *(c[part].tolist() for c in columns), strict=True):
                about = {"kind": key.kind, **dict(zip(names, row, strict=True)), **attributes}
                about = {k: v for k, v in about.items() if not _is_nan(v)}
                yield f"{key.source}:{source}", f"{key.target}:{target}", about


def _parts(edges: EdgeSet, rows: int = 1 << 16) -> Iterable[slice]:
    """Python's numbers take several times the room of NumPy's: a part at a time."""
    return (slice(first, first + rows) for first in range(0, len(edges), rows))


def _own(parts: Collection[Region] | Collection[EdgeSet]) -> dict[str, type]:
    """The types of states and attributes."""
    types = {name: a.type for part in parts for name, a in part.attributes.items()}
    python = {"text": str, "flag": bool, "float32": float, "float64": float, "int64": np.int64}
    return {STATE + name: float for name in sorted({name for part in parts for name in part.state})} | {
        name: python.get(types[name], np.int64 if "int64" in types[name] else int) for name in sorted(types)
    }


def _header(connectome: Connectome) -> dict[str, Any]:
    """What belongs to the whole graph: a number and JSON texts."""
    return {k: v if k == "dt_ms" else json.dumps(v, sort_keys=True) for k, v in header_of(connectome).items()}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _xml_text(value: Any) -> str:
    """A value as XML's text; XML Schema's words for infinity and truth. No text of a connectome has a control
    character."""
    if isinstance(value, str):
        return escape(value)
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("inf", "INF")


def _graphml(connectome: Connectome) -> Iterator[str]:
    yield _XML
    yield (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns '
        'http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">'
    )
    header = _header(connectome)
    of_graph = {name: type(value) for name, value in header.items()}
    of_node = {**_NODE_TYPES, **_own(connectome.regions.values())}
    of_edge = {**_EDGE_TYPES, **_own(connectome.edges.values())}
    for letter, domain, types in (("g", "graph", of_graph), ("v", "node", of_node), ("e", "edge", of_edge)):
        for name, kind in types.items():
            yield (f'<key id="{letter}_{name}" for="{domain}" attr.name="{name}" attr.type="{_GRAPHML_TYPES[kind]}"/>')

    def data(letter: str, values: Mapping[str, Any]) -> str:
        return "".join(f'<data key="{letter}_{k}">{_xml_text(v)}</data>' for k, v in values.items())

    yield f'<graph id="connectome" edgedefault="directed">{data("g", header)}'
    for node, about in _nodes(connectome):
        yield f'<node id="{node}">{data("v", about)}</node>'
    for number, (source, target, about) in enumerate(_edges(connectome)):
        yield f'<edge id="e{number}" source="{source}" target="{target}">{data("e", about)}</edge>'
    yield "</graph></graphml>"


def _gexf(connectome: Connectome) -> Iterator[str]:
    yield _XML
    yield (
        '<gexf xmlns="http://www.gexf.net/1.2draft" xmlns:viz="http://www.gexf.net/1.2draft/viz" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.gexf.net/1.2draft http://www.gexf.net/1.2draft/gexf.xsd" version="1.2">'
    )
    header = json.dumps(header_of(connectome), sort_keys=True)
    yield f"<meta><creator>connectome</creator><description>{_xml_text(header)}</description></meta>"
    yield '<graph defaultedgetype="directed" idtype="string" mode="static">'
    of_node = {name: kind for name, kind in _NODE_TYPES.items() if name != "label"}
    of_node |= _own(connectome.regions.values())
    of_edge = {name: kind for name, kind in _EDGE_TYPES.items() if name != "weight"}
    of_edge |= _own(connectome.edges.values())
    for domain, types in (("node", of_node), ("edge", of_edge)):
        yield f'<attributes class="{domain}" mode="static">'
        for name, kind in types.items():
            yield f'<attribute id="{name}" title="{name}" type="{_GEXF_TYPES[kind]}"/>'
        yield "</attributes>"

    def data(values: Mapping[str, Any]) -> str:
        some = {k: v for k, v in values.items() if k not in ("label", "weight")}
        rows = (f'<attvalue for="{k}" value={_attribute(v)}/>' for k, v in some.items())
        return f"<attvalues>{''.join(rows)}</attvalues>"

    yield "<nodes>"
    for node, about in _nodes(connectome):
        label = _attribute(about.get("label", node))
        place = ""
        if about.keys() >= {"x", "y", "z"}:
            position = " ".join(f'{axis}="{about[axis]!r}"' for axis in "xyz")
            place = f"<viz:position {position}/>"
        yield f'<node id="{node}" label={label}>{data(about)}{place}</node>'
    yield "</nodes><edges>"
    for number, (source, target, about) in enumerate(_edges(connectome)):
        ends = f'id="{number}" source="{source}" target="{target}" weight="{about["weight"]!r}"'
        yield f"<edge {ends}>{data(about)}</edge>"
    yield "</edges></graph></gexf>"


def _attribute(value: Any) -> str:
    """A value as XML's attribute, in quotes."""
    return '"' + _xml_text(value).replace('"', "&quot;") + '"'


def _gml(connectome: Connectome) -> Iterator[str]:
    for name in (*_own(connectome.regions.values()), *_own(connectome.edges.values())):
        if not _GML_KEY.fullmatch(name):
            raise ConnectomeError(f"state {name.removeprefix(STATE)!r}", "must be letters, digits, '_' for GML", name)

    def pairs(values: Mapping[str, Any]) -> str:
        return " ".join(f"{k} {_gml_value(k, v)}" for k, v in values.items())

    yield f"graph [\ndirected 1\nmultigraph 1\n{pairs(_header(connectome))}"
    # networkx wants labels, and no two the same: names where they are, else ids.
    labels = [label for r in connectome.regions.values() for label in r.labels.tolist()]
    named = all(labels) and len(set(labels)) == len(labels)
    place = {}
    for number, (node, about) in enumerate(_nodes(connectome)):
        place[node] = number
        label = about.pop("label", "")
        about |= {"label": label} if named else {"label": node, **({"name": label} if label else {})}
        yield f"node [ id {number} {pairs(about)} ]"
    for source, target, about in _edges(connectome):
        yield f"edge [ source {place[source]} target {place[target]} {pairs(about)} ]"
    yield "]"


def _gml_value(name: str, value: Any) -> str:
    """A value as GML has it: text in ASCII with XML's references, numbers with a point."""
    if isinstance(value, str):
        named = escape(value, {'"': "&quot;"})  # igraph knows no reference by number
        return '"' + _NOT_ASCII.sub(lambda found: f"&#{ord(found[0])};", named) + '"'
    if isinstance(value, int):
        return str(int(value))
    if math.isinf(value):
        raise ConnectomeError(name, "must be finite for GML", value)
    mantissa, _, exponent = repr(value).partition("e")
    mantissa += "" if "." in mantissa else ".0"
    return f"{mantissa}E{exponent}" if exponent else mantissa


def _cytoscape(connectome: Connectome) -> Iterator[str]:
    def data(values: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, float) and math.isinf(value):
                raise ConnectomeError(name, "must be finite for JSON", value)
        return dict(values)

    about = header_of(connectome) | {"name": connectome.provenance.stage_name or "connectome"}
    yield '{"format_version": "1.0", "generated_by": "connectome", "target_cytoscapejs_version": "~2.1",'
    yield f'"directed": true, "multigraph": true, "data": {json.dumps(about, sort_keys=True)}, "elements": {{"nodes": ['
    yield from _listed(
        {
            "data": {"id": node, "value": node, "name": about.get("label", node), **data(about)},
            **({"position": {"x": about["x"], "y": about["y"]}} if about.keys() >= {"x", "y"} else {}),
        }
        for node, about in _nodes(connectome)
    )
    yield '], "edges": ['
    yield from _listed(
        {
            "data": {
                "id": f"e{number}",
                "source": source,
                "target": target,
                "key": number,
                "interaction": about["kind"],
                **data(about),
            }
        }
        for number, (source, target, about) in enumerate(_edges(connectome))
    )
    yield "]}}"


def _listed(values: Iterable[Any]) -> Iterator[str]:
    """One a line, with commas between."""
    comma = ""
    for value in values:
        yield comma + json.dumps(value, allow_nan=False)
        comma = ","
