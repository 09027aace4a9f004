"""GraphML, GEXF, GML and Cytoscape JSON from anywhere, read without trust.

Every node and edge is checked as it is read: unique ids, ends that exist, one graph. XML may declare nothing (no DTD,
so no entities and nothing external). The size of files and the numbers of nodes and edges are limited, so that memory
stays within about 2 kB for each of these. Attributes have the names of :func:`connectome.graph.views.to_networkx`;
those that a file leaves out have the defaults of :func:`connectome.graph.views.from_networkx`. An undirected edge
becomes one in each direction.

networkx's own readers merge nodes and edges with the same id, turn misspelt ends into nodes and ignore the defaults of
attributes.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from xml.parsers import expat

import numpy as np

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.views import from_networkx
from connectome.io.files import naming, read_bytes

__all__ = ["read_cytoscape", "read_gexf", "read_gml", "read_graphml"]

MAX_ITEMS: Final = 1 << 22
MAX_DEPTH: Final = 32
#: Attributes of one node or edge; brackets and commas of a JSON file.
MAX_ATTRIBUTES: Final = 1000
MAX_VALUES: Final = 1 << 25
#: Bytes of XML from one "<" to the next.
MAX_ELEMENT: Final = 1 << 20
_PART: Final = 1 << 24
_XML_TYPES: Final[Mapping[str, Callable[[str], Any]]] = {
    "boolean": lambda text: text.strip().lower() in ("true", "1"), "int": int, "integer": int, "long": int,
    "short": int, "byte": int, "float": float, "double": float,
}  # fmt: skip
#: What Cytoscape and networkx write for themselves, of a node or an edge.
_THEIRS: Final = ("key", "networkx_key", "interaction", "SUID", "selected", "shared_name", "shared_interaction")
_GML_TOKEN: Final = re.compile(
    r"(?P<space>\s+|#[^\n]*)|(?P<key>[A-Za-z_][0-9A-Za-z_]*)|(?P<number>[+-]?[0-9.][0-9.]*(?:[Ee][+-]?[0-9]+)?)"
    r'|(?P<text>"[^"]*")|(?P<open>\[)|(?P<close>\])'
)


def read_graphml(path: str | os.PathLike[str]) -> Connectome:
    """Read GraphML. Raises :class:`ConnectomeError` naming the file and the line."""
    return _read(path, "a GraphML file", lambda data, found: _GraphML(found).parse(data))


def read_gexf(path: str | os.PathLike[str]) -> Connectome:
    """Read GEXF, 1.1 to 1.3. Nodes without x, y and z take their positions from the layout. Raises as
    :func:`read_graphml`."""
    return _read(path, "a GEXF file", lambda data, found: _Gexf(found).parse(data))


def read_gml(path: str | os.PathLike[str]) -> Connectome:
    """Read GML. Raises as :func:`read_graphml`."""
    return _read(path, "a GML file", _gml)


def read_cytoscape(path: str | os.PathLike[str]) -> Connectome:
    """Read JSON of Cytoscape, of Cytoscape.js or of networkx. Edges are directed unless the file says that the graph is
    undirected. Raises :class:`ConnectomeError` naming the file."""
    return _read(path, "Cytoscape's JSON", _cytoscape)


class _Found:
    """The nodes, edges and attributes of a file so far."""

    def __init__(self) -> None:
        self.nodes: dict[Any, dict[str, Any]] = {}
        self.edges: list[tuple[Any, Any, dict[str, Any]]] = []
        self.about: dict[str, Any] = {}

    def node(self, name: Any, about: dict[str, Any]) -> None:
        """Add a node. Raises :class:`ConnectomeError`."""
        if type(name) not in (str, int) or name in self.nodes:
            rule = "must be a text or an integer" if type(name) not in (str, int) else "must be given once"
            raise ConnectomeError("node id", rule, repr(name))
        self._count(about)
        self.nodes[name] = about

    def edge(self, source: Any, target: Any, about: dict[str, Any], *, directed: bool) -> None:
        """Add an edge, or one in each direction. It may come before its nodes. Raises :class:`ConnectomeError`."""
        self._count(about)
        self.edges.append((source, target, about))
        if not directed and source != target:
            self.edges.append((target, source, about))

    def _count(self, about: dict[str, Any]) -> None:
        if len(about) > MAX_ATTRIBUTES:
            raise ConnectomeError("attributes", f"must be at most {MAX_ATTRIBUTES} of a node or an edge", len(about))
        if len(self.nodes) + len(self.edges) >= MAX_ITEMS:
            raise ConnectomeError(
                "graph", f"must have at most {MAX_ITEMS:,} nodes and edges", "more",
                "A snapshot (.h5) or a parquet table holds a large graph better.",
            )  # fmt: skip

    def connectome(self) -> Connectome:
        """What was found. Raises :class:`ConnectomeError`."""
        import networkx

        for ends in self.edges:
            for name, end in zip(("source", "target"), ends[:2], strict=True):
                if type(end) not in (str, int) or end not in self.nodes:
                    raise ConnectomeError(f"edge {name}", "must be the id of a node", repr(end))
        ours = all("region" in about and "index" in about for about in self.nodes.values())
        keys = {}
        for place, (name, about) in enumerate(self.nodes.items()):
            # Our writers give a node without a name its id. The id of another's node may be its name.
            no_name = f"{about['region']}:{about['index']}" if ours else str(name)
            given = (str(about[k]) for k in ("label", "name") if about.get(k) is not None)
            about["label"] = next((text for text in given if text != no_name), "")
            if str(about.get("name")) in (about["label"], no_name):
                del about["name"]  # said by the label
            keys[name] = (place,) if ours else name
        graph = networkx.MultiDiGraph(**self.about)
        graph.add_nodes_from((keys[name], about) for name, about in self.nodes.items())
        graph.add_edges_from((keys[source], keys[target], about) for source, target, about in self.edges)
        return from_networkx(graph)


def _read(path: str | os.PathLike[str], what: str, parse: Callable[[bytes, _Found], None]) -> Connectome:
    found, data = _Found(), read_bytes(path)
    with naming(path, what):
        parse(data, found)
        return found.connectome()


class _Xml:
    """Calls ``start`` and ``end`` for each element, with its name and its parents' names, without namespaces."""

    def __init__(self, found: _Found) -> None:
        self.found, self.parents, self.text = found, list[str](), list[str]()

    def parse(self, data: bytes) -> None:
        """Parse a document. Raises :class:`ConnectomeError` with the line where it is wrong."""
        _refuse_long(data)
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True

        def doctype(*_: object) -> None:
            raise ConnectomeError("XML", "must declare no document type", "a DTD", "Remove the line <!DOCTYPE ...>.")

        def start(tag: str, attributes: dict[str, str]) -> None:
            if len(self.parents) >= MAX_DEPTH:
                raise ConnectomeError("XML", f"must be nested at most {MAX_DEPTH} deep", "more")
            self.text.clear()
            name = tag.rpartition(" ")[2]
            self.start(name, attributes)
            self.parents.append(name)

        def end(tag: str) -> None:
            self.end(self.parents.pop(), "".join(self.text))
            self.text.clear()

        parser.StartDoctypeDeclHandler, parser.CharacterDataHandler = doctype, self.text.append
        parser.StartElementHandler, parser.EndElementHandler = start, end
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ConnectomeError("XML", "must be well formed", error) from None
        except ConnectomeError as error:
            where = f"line {parser.CurrentLineNumber}: {error.field}"
            raise ConnectomeError(where, error.rule, error.found, error.hint) from None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins; ``parents`` does not hold it yet."""

    def end(self, name: str, text: str) -> None:
        """An element ends; ``parents`` no longer holds it."""

    @property
    def parent(self) -> str:
        """The name of the element around this one."""
        return self.parents[-1] if self.parents else ""


def _refuse_long(data: bytes) -> None:
    """An element with its attributes, or a text, of a size that takes the parser minutes. Raises
    :class:`ConnectomeError`."""
    before = 0
    for first in range(0, len(data), _PART):
        part = np.frombuffer(data, np.uint8, min(_PART, len(data) - first), first)
        begins = np.concatenate([[before], first + np.flatnonzero(part == ord("<")), [first + part.size]])
        long = np.flatnonzero(np.diff(begins) > MAX_ELEMENT)
        if long.size:
            line = data[: begins[long[0]]].count(b"\n") + 1
            rule = f"must have at most {MAX_ELEMENT:,} bytes in an element's tag or text"
            raise ConnectomeError(f"line {line}: XML", rule, "more")
        before = begins[-2]


def _typed(name: str, kind: str | None, text: str) -> Any:
    """The value of an attribute of this type; a text for a type that is none."""
    try:
        return _XML_TYPES.get(kind or "", str)(text)
    except ValueError:
        raise ConnectomeError(f"attribute {name!r}", f"must be {kind}", repr(text[:80])) from None


class _GraphML(_Xml):
    """GraphML: keys declare attributes, data holds their values."""

    def __init__(self, found: _Found) -> None:
        super().__init__(found)
        self.keys: dict[str, tuple[str, str | None]] = {}
        self.defaults: dict[str, dict[str, Any]] = {"graph": {}, "node": {}, "edge": {}}
        self.key, self.domain = "", ""
        self.directed, self.graphs = True, 0
        self.about: dict[str, Any] = {}
        self.element: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name, self.parent:
            case "key", _:
                self.key, self.domain = attributes.get("id", ""), attributes.get("for", "all")
                self.keys[self.key] = (attributes.get("attr.name", self.key), attributes.get("attr.type"))
            case "graph", "graphml":
                self.directed, self.graphs = attributes.get("edgedefault") != "undirected", self.graphs + 1
                self.found.about.update(self.defaults["graph"])
            case (("node" | "edge"), "graph"):
                self.element, self.about = attributes, dict(self.defaults[name])
            case "data", _:
                self.key = attributes.get("key", "")
            case ("graph", _) | ("hyperedge", _):
                raise ConnectomeError(f"<{name}>", "must not be inside a graph", name, "Nested graphs are not read.")
        if self.graphs > 1:
            raise ConnectomeError("<graphml>", "must have one graph", "another")

    def end(self, name: str, text: str) -> None:
        match name, self.parent:
            case "default", "key":
                attribute, kind = self.keys[self.key]
                for domain in self.defaults if self.domain == "all" else {self.domain} & self.defaults.keys():
                    self.defaults[domain][attribute] = _typed(attribute, kind, text)
            case "data", ("graph" | "node" | "edge") as parent:
                if self.key not in self.keys:
                    raise ConnectomeError("<data>", "must have the key of a <key>", repr(self.key))
                attribute, kind = self.keys[self.key]
                about = self.found.about if parent == "graph" else self.about
                about[attribute] = _typed(attribute, kind, text)
            case "node", "graph":
                self.found.node(self.element.get("id"), self.about)
            case "edge", "graph":
                default = "true" if self.directed else "false"
                directed = self.element.get("directed", default) == "true"
                ends = self.element.get("source", ""), self.element.get("target", "")
                self.found.edge(*ends, self.about, directed=directed)


class _Gexf(_Xml):
    """GEXF: attributes are declared, attvalues hold their values, viz:position the layout."""

    def __init__(self, found: _Found) -> None:
        super().__init__(found)
        self.keys: dict[str, dict[str, tuple[str, str | None]]] = {"node": {}, "edge": {}}
        self.defaults: dict[str, dict[str, Any]] = {"node": {}, "edge": {}}
        self.key, self.domain = "", ""
        self.default, self.graphs = "undirected", 0
        self.open: list[dict[str, Any]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name, self.parent:
            case "graph", _:
                self.default, self.graphs = attributes.get("defaultedgetype", "undirected"), self.graphs + 1
                if self.graphs > 1:
                    raise ConnectomeError("<gexf>", "must have one graph", "another")
            case "attributes", "graph":
                self.domain = attributes.get("class", "")
                if self.domain not in self.keys:
                    raise ConnectomeError("<attributes>", "must be of class node or edge", repr(self.domain))
            case "attribute", "attributes":
                self.key = attributes.get("id", "")
                self.keys[self.domain][self.key] = (attributes.get("title", self.key), attributes.get("type"))
            case "node", "nodes":  # of a hierarchy too: it is read flat
                about = dict(self.defaults["node"]) | {k: v for k, v in attributes.items() if k == "label"}
                self.found.node(attributes.get("id"), about)
                self.open.append(about)
            case "edge", "edges":
                about = dict(self.defaults["edge"])
                if "weight" in attributes:
                    about["weight"] = _typed("weight", "float", attributes["weight"])
                directed = attributes.get("type", self.default) == "directed"
                self.found.edge(attributes.get("source", ""), attributes.get("target", ""), about, directed=directed)
                self.open.append(about)
            case "attvalue", "attvalues" if self.open:
                key, domain = attributes.get("for", attributes.get("id", "")), self.parents[-2]
                if key not in self.keys.get(domain, {}):
                    raise ConnectomeError("<attvalue>", "must be for an <attribute>", repr(key))
                attribute, kind = self.keys[domain][key]
                self.open[-1][attribute] = _typed(attribute, kind, attributes.get("value", ""))
            case "position", "node":
                for axis in {"x", "y", "z"} & attributes.keys() - self.open[-1].keys():
                    self.open[-1][axis] = _typed(axis, "float", attributes[axis])

    def end(self, name: str, text: str) -> None:
        match name, self.parent:
            case "default", "attribute":
                attribute, kind = self.keys[self.domain][self.key]
                self.defaults[self.domain][attribute] = _typed(attribute, kind, text)
            case ("node", "nodes") | ("edge", "edges"):
                self.open.pop().pop("networkx_key", None)
            case "description", "meta" if text.startswith('{"dt_ms"'):
                self.found.about.update(json.loads(text))


def _gml(data: bytes, found: _Found) -> None:
    """Records are built from the inside out; those of nodes and edges are taken as they end."""
    records: list[dict[str, Any]] = [{}]
    names: list[str] = []
    edges: list[dict[str, Any]] = []
    key, at, text = "", 0, data.decode()

    def refuse(rule: str) -> ConnectomeError:
        return ConnectomeError(f"line {text.count(chr(10), 0, at) + 1}", rule, repr(text[at : at + 30]))

    while at < len(text):
        token = _GML_TOKEN.match(text, at)
        kind = token.lastgroup if token else None
        if token is None or (kind != "space" and (kind in ("key", "close")) == bool(key)):
            raise refuse("must have names, and after each its value")
        if kind == "key":
            key = token["key"]
        elif kind == "open":
            if len(records) >= MAX_DEPTH:
                raise refuse(f"must be nested at most {MAX_DEPTH} deep")
            records.append({})
            names.append(key)
            key = ""
        elif kind == "close":
            if not names:
                raise refuse("must end only what was begun")
            record, name = records.pop(), names.pop()
            if names == ["graph"] and name == "node":
                layout = record.get("graphics", {})
                record |= {k: layout[k] for k in {"x", "y", "z"} & layout.keys() - record.keys()}
                found.node(record.pop("id", None), record)
            elif names == ["graph"] and name == "edge":
                edges.append(record)
                if len(edges) > MAX_ITEMS:
                    raise refuse(f"must have at most {MAX_ITEMS:,} edges")
            else:
                records[-1][name] = record
        elif kind != "space":
            records[-1][key] = _gml_value(kind, token[0])
            key = ""
        if len(records[-1]) > MAX_ATTRIBUTES:
            raise refuse(f"must have at most {MAX_ATTRIBUTES} names in one record")
        at = token.end()
    graph = records[0].get("graph")
    if names or key or not isinstance(graph, dict):
        raise ConnectomeError("GML", "must have one graph [ ... ]", f"{names[-1]} [ without ]" if names else "none")
    for record in edges:
        ends = record.pop("source", None), record.pop("target", None)
        record.pop("key", None)  # networkx's
        found.edge(*ends, record, directed=graph.get("directed") == 1)
    found.about.update(graph)


def _gml_value(kind: str | None, token: str) -> Any:
    if kind == "text":
        return html.unescape(token[1:-1])
    return int(token) if token.lstrip("+-").isdigit() else float(token)


def _cytoscape(data: bytes, found: _Found) -> None:
    if sum(data.count(mark) for mark in (b"{", b"[", b",")) > MAX_VALUES:
        raise ConnectomeError("JSON", f"must have at most {MAX_VALUES:,} values", "more")
    given = json.loads(data)
    elements = given.get("elements") if isinstance(given, dict) else None
    if isinstance(elements, list):  # Cytoscape.js takes them in one list too
        edges = [e for e in elements if isinstance(e, dict) and "source" in e.get("data", {})]
        elements = {"nodes": [e for e in elements if "source" not in e.get("data", {})], "edges": edges}
    if not isinstance(elements, dict):
        raise ConnectomeError("elements", "must hold nodes and edges", type(elements).__name__)
    about = given.get("data", {})
    found.about.update(dict(about) if isinstance(about, list) else about)  # networkx writes pairs
    for place, node in enumerate(elements.get("nodes", [])):
        record = _record(f"nodes[{place}]", node)
        position = node.get("position", {})
        for axis in {"x", "y"} & position.keys() - record.keys():
            record[axis] = position[axis]
        found.node(_identity(record.pop("id", None)), record)
    directed = given.get("directed", True) is not False
    for place, edge in enumerate(elements.get("edges", [])):
        record = _record(f"edges[{place}]", edge)
        ends = _identity(record.pop("source", None)), _identity(record.pop("target", None))
        record.pop("id", None)
        found.edge(*ends, record, directed=directed)


def _identity(given: Any) -> Any:
    """An id: networkx writes the same one as a text and as a number."""
    return str(given) if type(given) is int else given


def _record(where: str, element: Any) -> dict[str, Any]:
    record = element.get("data") if isinstance(element, dict) else None
    if not isinstance(record, dict):
        raise ConnectomeError(f"elements.{where}", "must have an object 'data'", repr(record)[:80])
    again = {"value"} if str(record.get("value", "")) == str(record.get("id")) else set()
    return {k: v for k, v in record.items() if k not in _THEIRS and k not in again}
