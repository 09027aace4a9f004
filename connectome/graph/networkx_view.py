"""The connectome as a networkx graph, and back."""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS
from connectome.graph.connectome import Connectome
from connectome.graph.parts import is_kind
from connectome.graph.tables import (
    DEFAULT_WEIGHT_PA,
    STATE,
    connect,
    header_of,
    loose_attributes,
    make_regions,
    read_header,
)
from connectome.memory import refuse_edges

if TYPE_CHECKING:
    import networkx

__all__ = ["from_networkx", "to_networkx"]

_NUMBERED: Final = re.compile(r"[A-Za-z]?\d+")


def to_networkx(connectome: Connectome) -> networkx.MultiDiGraph:
    """A directed multigraph of plain Python values, so that networkx's own writers (GraphML, GEXF, JSON) take it.

    A node is ``(region, index)`` with the attributes region, index, role, sign, x, y, z (micrometres), birth_stage,
    ``state_<name>`` for each state of its region and, if it has one, label.
    An edge has kind, weight (pA), delay (ms), birth_stage and ``state_<name>`` for each state of its set. Attributes
    are attributes here too; where one is missing, or a coordinate, it is left out. The graph has ``dt_ms``, and
    ``regions``, ``edge_sets`` and ``provenance`` as JSON text, because GraphML takes only scalars there.
    """
    refuse_edges("a networkx graph", connectome.n_connections, 700)
    with _nothing_collected():
        return _graph(connectome.expanded())


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Pause Python's search for garbage: it would go through a million dictionaries, all of them to stay, again and
    again while they are made."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _graph(connectome: Connectome) -> networkx.MultiDiGraph:
    import networkx

    header = header_of(connectome)
    graph = networkx.MultiDiGraph(dt_ms=header.pop("dt_ms"), **{k: json.dumps(v) for k, v in header.items()})
    node = {}
    for r in connectome.regions.values():
        node[r.name] = [(r.name, i) for i in range(r.size)]
        constant = {"role": r.role, "birth_stage": r.birth_stage}
        own = ("sign", "x", "y", "z", *(STATE + name for name in r.state))
        columns: list[NDArray[Any]] = [r.sign, *r.position_um.T, *r.state.values()]
        rows = zip(node[r.name], *(c.tolist() for c in columns), strict=True)
        graph.add_nodes_from(
            (n, {"region": n[0], "index": n[1], **constant, **dict(zip(own, row, strict=True))}) for n, *row in rows
        )
        for axis, column in zip("xyz", r.position_um.T, strict=True):
            for place in np.flatnonzero(np.isnan(column)).tolist():
                del graph.nodes[node[r.name][place]][axis]
        known = {k: a.tolist() for k, a in r.attributes.items()}
        if r.label is not None:
            known["label"] = [label or None for label in r.label.tolist()]
        for name, values in known.items():
            graph.add_nodes_from((n, {name: v}) for n, v in zip(node[r.name], values, strict=True) if v is not None)
    for key, e in connectome.edges.items():
        names = ("weight", "delay", "birth_stage", *(STATE + name for name in e.state))
        columns = [e.weight, e.delay, e.birth_stage, *e.state.values()]
        rows = zip(*(c.tolist() for c in columns), strict=True)
        about = [{"kind": key.kind, **dict(zip(names, row, strict=True))} for row in rows]
        for name, attribute in e.attributes.items():
            for edge, value in zip(about, attribute.tolist(), strict=True):
                if value is not None:
                    edge[name] = value
        ends = zip(e.source.tolist(), e.target.tolist(), about, strict=True)
        _add_edges(graph, node[key.source], node[key.target], ends)
    return graph


def _add_edges(
    graph: networkx.MultiDiGraph, source: Sequence[Any], target: Sequence[Any],
    ends: Iterable[tuple[int, int, dict[str, Any]]],
) -> None:  # fmt: skip
    """What ``add_edges_from`` does, for nodes that are there and edges without keys: three times as fast."""
    after, before = graph._succ, graph._pred
    for i, j, about in ends:
        a, b = source[i], target[j]
        parallel = after[a].get(b)
        if parallel is None:
            after[a][b] = before[b][a] = {0: about}
        else:
            parallel[len(parallel)] = about


def from_networkx(graph: networkx.Graph, *, weight: str = "weight", dt_ms: float | None = None) -> Connectome:
    """A connectome from :func:`to_networkx`, from a file that networkx wrote and read, or from any networkx graph.

    Parameters
    ----------
    graph : an undirected edge becomes one edge each way
    weight : the edge attribute that holds the weight, pA
    dt_ms : the resolution of delays; default the graph's own ``dt_ms``, else 0.1 ms

    Defaults for a graph that does not say: all nodes are in one region ``"all"``, numbered in the graph's order; role
    neuron, sign 0, position unknown; weight 1 pA; delay one step. A node attribute ``region`` makes regions in order of
    first appearance. A node attribute ``label`` that is not the node itself is its label; where no node has one, nodes
    that are texts but no numbers (``7``, ``n7``) are their own. A node attribute ``state_<name>`` that is a number
    wherever there is one is state of the neurons, nan where there is none.
    All other attributes of nodes and edges that are numbers, flags or texts are attributes here, under names that
    :func:`~connectome.graph.attributes.attribute_name` makes of theirs. Raises :class:`ConnectomeError`.
    """
    if not hasattr(graph, "nodes") or not hasattr(graph, "is_directed"):
        raise ConnectomeError("graph", "must be a networkx graph", type(graph).__name__)
    header = read_header(graph.graph, "graph", dt_ms)
    labels, data = list(graph.nodes), [d for _, d in graph.nodes(data=True)]
    nodes: dict[str, list[Any]] = {k: [d.get(k, math.nan) for d in data] for k in "xyz"}
    nodes["sign"] = [d.get("sign", 0) for d in data]
    for name in ("region", "index", "role", "birth_stage"):
        lack = [label for label, d in zip(labels, data, strict=True) if name not in d]
        if not lack:
            nodes[name] = [d[name] for d in data]
        elif len(lack) < len(labels):
            raise ConnectomeError(f"graph.nodes[{name}]", "must be given for all or none", f"none: {lack[0]!r}")
    nodes["label"] = _names(labels, data)
    keys = dict.fromkeys(k for d in data for k in d if isinstance(k, str))
    for name in keys:
        if name.startswith(STATE):
            nodes[name] = [d.get(name, math.nan) for d in data]
    others = {k: [d.get(k) for d in data] for k in keys if k not in nodes}
    known = loose_attributes(others, ("region", "index", "role", "birth_stage"), NODE_WORDS)
    regions, code, index = make_regions("graph.nodes", len(labels), nodes, header, known)
    place = {label: i for i, label in enumerate(labels)}
    triples = list(graph.edges(data=True))
    source = np.array([place[u] for u, _, _ in triples], np.int64)
    target = np.array([place[v] for _, v, _ in triples], np.int64)
    data = [d for _, _, d in triples]
    if not graph.is_directed():
        back = np.flatnonzero(source != target)
        source, target = np.concatenate([source, target[back]]), np.concatenate([target, source[back]])
        data += [data[i] for i in back]
    columns = {
        "weight": [d.get(weight, DEFAULT_WEIGHT_PA) for d in data],
        "delay": [d.get("delay", header.dt_ms) for d in data],
        "birth_stage": [d.get("birth_stage", 0) for d in data],
    }
    if all(is_kind(d.get("kind")) for d in data):  # the word may mean something else elsewhere
        columns["kind"] = [d.get("kind") for d in data]
    keys = dict.fromkeys(k for d in data for k in d if isinstance(k, str))
    for name in keys:
        if name.startswith(STATE):
            columns[name] = [d.get(name, math.nan) for d in data]
    others = {k: [d.get(k) for d in data] for k in keys if k not in columns}
    known = loose_attributes(others, (weight,), EDGE_WORDS)
    ends = [(code[end], index[end]) for end in (source, target)]
    return connect("graph.edges", regions, ends[0], ends[1], columns, header, known)


def _names(nodes: Sequence[Any], data: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What each node is called; an empty text if that is only its number."""
    given = [d.get("label", "") for d in data]
    names = ["" if name == str(node) else str(name) for node, name in zip(nodes, given, strict=True)]
    if any(names) or not any(isinstance(node, str) and not _NUMBERED.fullmatch(node) for node in nodes):
        return names
    if all("region" in d and "index" in d for d in data):  # as to_networkx makes them, and a file turns into text
        return names
    return [str(node) for node in nodes]
