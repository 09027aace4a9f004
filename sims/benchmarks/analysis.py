"""Clustering, path length, betweenness and communities: ours, igraph's and networkx's, of the same graphs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from connectome.analysis.clustering import clustering_binary_undirected
from connectome.analysis.communities import communities
from connectome.analysis.paths import betweenness, characteristic_path_length
from connectome.analysis.simple_graph import SimpleGraph
from sims.benchmarks.bench import Bench, Spread, Table, digits

__all__ = ["analysis", "modular"]

_LARGE: Final = 200_000, 9_800_000


def analysis(bench: Bench) -> Iterator[Table]:
    """The four in turns with igraph, where it is installed, and once with networkx; then ours of a large graph."""
    compared, small = ((400, 3000), (100, 500)) if bench.quick else ((5000, 250_000), (500, 10_000))
    with_igraph = not bench.quick and find_spec("igraph") is not None
    graphs = modular(*compared), modular(*small)
    rows = [_compare(bench, task, *graphs, with_igraph) for task in _TASKS]
    yield Table(
        f"{graphs[0].n:,} nodes, {graphs[0].n_edges:,} directed edges" + ("" if with_igraph else "; igraph left out"),
        "Seconds of CPU time from the same graph, each in its own form. ratio: their time over ours. communities: of "
        f"the undirected graph; ours and igraph's by Leiden until nothing changes, networkx's by Louvain. networkx: "
        "once, clustering and communities of the same graph, the others of "
        f"{graphs[1].n:,} nodes and {graphs[1].n_edges:,} edges.",
        rows,
    )  # fmt: skip
    bench.say("making the large graph")
    n, n_edges = (2000, 20_000) if bench.quick else _LARGE
    ends = _modular_ends(n, n_edges)
    seconds, large = _timed(lambda: SimpleGraph.from_arrays(n, *ends))
    found = [{"what": "making the graph", "seconds": seconds}]
    for task in _TASKS:
        if task.large:
            bench.say(f"{task.name} of the large graph")
            found.append({"what": task.name, "seconds": _timed(partial(task.ours, large))[0]})
    yield Table(f"{large.n:,} nodes, {large.n_edges:,} directed edges", "Seconds of CPU time, ours, once.", found)


def modular(n: int, n_edges: int, seed: int = 0) -> SimpleGraph:
    """Exactly so many edges: half of them within 20 modules of nodes, the rest anywhere; weights of 0.1 to 1."""
    source, target = _modular_ends(n, 2 * n_edges, seed)
    pair = np.unique(source.astype(np.int64) * n + target)
    pair = pair[pair // n != pair % n]
    rng = np.random.default_rng(seed + 1)
    pair = np.sort(rng.choice(pair, n_edges, replace=False))
    return SimpleGraph.from_arrays(n, pair // n, pair % n, rng.uniform(0.1, 1.0, n_edges))


def _modular_ends(n: int, n_edges: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, n, (2, n_edges))
    size = -(-n // 20)
    inside = np.minimum(source // size * size + rng.integers(0, size, n_edges), n - 1)
    return source.astype(np.int32), np.where(rng.random(n_edges) < 0.5, inside, target).astype(np.int32)


class _Task(NamedTuple):
    """One metric, three ways; ``agree`` says in words how near ours and igraph's are, given igraph's graph too."""

    name: str
    ours: Callable[[SimpleGraph], Any]
    igraph: Callable[[Any], Any]
    networkx: Callable[[Any], Any]
    agree: Callable[[Any, Any, Any], str]
    whole: bool = False  # networkx finishes the whole graph
    large: bool = False  # ours finishes the large one in seconds


def _compare(bench: Bench, task: _Task, graph: SimpleGraph, small: SimpleGraph, with_igraph: bool) -> dict[str, Any]:
    peer = _igraph_of(graph) if with_igraph else None
    task.ours(replace(small))  # compiles
    ours, theirs, agrees = [], [], "-"
    for r in range(bench.repeats):
        bench.say(f"{task.name}, round {r + 1} of {bench.repeats}")
        seconds, found = _timed(lambda: task.ours(replace(graph)))  # a new one: a graph keeps what was found
        ours.append(seconds)
        if peer is not None:
            seconds, by_igraph = _timed(lambda: task.igraph(peer))
            theirs.append(seconds)
            agrees = task.agree(found, by_igraph, peer)
    row: dict[str, Any] = {"metric": task.name, "ours_s": Spread.of(ours)}
    if peer is not None:
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        row |= {"igraph_s": Spread.of(theirs), "igraph_ratio": Spread.of(ratios), "agree": agrees}
    same = graph if task.whole else small
    bench.say(f"{task.name}, networkx")
    other = _networkx_of(same)
    seconds, _ = _timed(lambda: task.networkx(other))
    again = [_timed(lambda: task.ours(replace(same)))[0] for _ in range(bench.repeats)]
    return row | {"networkx_s": seconds, "networkx_ratio": Spread.of([seconds / s for s in again])}


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def _igraph_of(graph: SimpleGraph) -> Any:
    """The directed graph, and the undirected one with it, made here so that it is not timed."""
    import igraph

    whole = igraph.Graph(graph.n, np.stack([graph.source, graph.target], 1), directed=True)
    und = graph.undirected
    once = und.source < und.target
    whole["undirected"] = igraph.Graph(graph.n, np.stack([und.source, und.target], 1)[once])
    whole["weight"] = und.weight[once]
    return whole


def _networkx_of(graph: SimpleGraph) -> Any:
    import networkx as nx

    whole = nx.DiGraph()
    whole.add_nodes_from(range(graph.n))
    whole.add_weighted_edges_from(zip(*(a.tolist() for a in (graph.source, graph.target, graph.weight)), strict=True))
    return whole


def _networkx_path_length(graph: Any) -> float:
    import networkx as nx

    lengths = (d for _, of in nx.all_pairs_shortest_path_length(graph) for d in of.values() if d)
    return float(np.mean(np.fromiter(lengths, float)))


def _networkx(name: str, undirected: bool = False, **options: Any) -> Callable[[Any], Any]:
    def call(graph: Any) -> Any:
        import networkx as nx

        return attrgetter(name)(nx)(graph.to_undirected() if undirected else graph, **options)

    return call


def _difference(ours: Any, theirs: Any, peer: Any) -> str:
    del peer
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    return f"to {np.max(np.abs(a - b)) / max(np.abs(b).max(), 1):.0e}"


def _modularities(ours: Any, theirs: Any, peer: Any) -> str:
    values = (peer["undirected"].modularity(labels, weights=peer["weight"]) for labels in (ours, theirs.membership))
    return "modularity {} and {}".format(*(digits(q) for q in values))


_TASKS: Final = (
    _Task(
        "clustering", clustering_binary_undirected, lambda g: g.transitivity_local_undirected(mode="zero"),
        _networkx("clustering", undirected=True), _difference, whole=True, large=True,
    ),
    _Task(
        "mean path length", characteristic_path_length, lambda g: g.average_path_length(), _networkx_path_length,
        _difference,
    ),
    _Task(
        "betweenness", betweenness, lambda g: g.betweenness(), _networkx("betweenness_centrality", normalized=False),
        _difference,
    ),
    _Task(
        "communities", lambda g: communities(g.undirected, 0),
        lambda g: g["undirected"].community_leiden("modularity", weights=g["weight"], n_iterations=-1),
        _networkx("community.louvain_communities", undirected=True, seed=0), _modularities, whole=True,
        large=True,
    ),
)  # fmt: skip
