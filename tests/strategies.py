"""Hypothesis strategies for the data model: small, quick, and fond of the corners.

Empty regions, empty edge sets, autapses, several edges between one pair, constant and per-edge columns, every kind of
edge. Hypothesis chooses the structure; what fills the arrays comes from a generator whose seed it chooses, so that
examples stay cheap and large ones are not rare.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import (
    Connectome,
    EdgeKey,
    EdgeSet,
    Edit,
    KernelSet,
    Maps,
    NeuronParameters,
    Provenance,
    Region,
    RuleRecord,
)
from connectome.analysis.simple_graph import SimpleGraph

__all__ = [
    "connectomes", "edge_deltas", "edge_sets", "kernel_sets", "neuron_parameters", "provenances", "regions",
    "simple_graphs",
]  # fmt: skip

DT_MS = st.sampled_from([0.1, 0.25, 1.0])
STATE_NAMES = ("survival", "inhibition", "trace")
REGION_STATE_NAMES = ("gain", "trace")
_times = st.sampled_from([0.5, 2.0, 5.0, 10.0, 20.0])
_seeds = st.integers(0, 2**32 - 1)


def neuron_parameters() -> st.SearchStrategy[NeuronParameters]:
    """Any that are valid, time constants that are equal among them."""
    return st.builds(
        NeuronParameters, tau_m_ms=_times, c_m_pf=st.sampled_from([1.0, 250.0]), t_ref_ms=st.sampled_from([0.0, 2.0]),
        v_th_mv=st.floats(-60, -40), v_reset_mv=st.floats(-80, -61), e_l_mv=st.floats(-80, -61), tau_syn_ex_ms=_times,
        tau_syn_in_ms=_times, i_e_pa=st.floats(-100, 500),
    )  # fmt: skip


@st.composite
def regions(draw: st.DrawFn, name: str = "a", role: Any = "neuron", max_size: int = 6) -> Region:
    """One region, perhaps empty."""
    size = draw(st.sampled_from([*range(1, max_size + 1), 0]))  # uniform, where integers would mostly be small
    rng = np.random.default_rng(draw(_seeds))
    position = rng.normal(scale=100, size=(size, 3))
    position[rng.random((size, 3)) < draw(st.sampled_from([0, 0, 0.3, 1]))] = np.nan
    return Region(
        name, size, role, draw(neuron_parameters()),
        position_um=position,
        sign=rng.choice(draw(st.sampled_from([[0], [1], [-1, 1], [-1, 0, 1]])), size).astype(np.int8),
        birth_stage=draw(st.integers(0, 3)),
        label=rng.choice(np.array(draw(st.sampled_from([[""], ["AVAL", "é <1>", ""], ["0", "x"]]))), size),
        state={name: _column(rng, size, draw(st.booleans())) for name in draw(_region_states)},
        attributes={name: attribute(rng, name, size) for name in draw(_attributes)},
    )  # fmt: skip


@st.composite
def edge_sets(
    draw: st.DrawFn, key: EdgeKey | tuple[str, str, str] = ("a", "local", "a"), n_source: int | None = None,
    n_target: int | None = None, dt_ms: float = 0.1, sign: NDArray[np.int8] | None = None, max_edges: int = 24,
) -> EdgeSet:  # fmt: skip
    """One edge set. ``sign``, one for each source neuron, is what Dale's rule asks of the weights."""
    rows = draw(st.integers(0, 6)) if n_source is None else n_source
    columns = (rows if key[0] == key[2] else draw(st.integers(0, 6))) if n_target is None else n_target
    n = draw(st.sampled_from([*range(max_edges + 1)])) if rows and columns else 0
    rng = np.random.default_rng(draw(_seeds))
    source, target = rng.integers(0, max(rows, 1), n), rng.integers(0, max(columns, 1), n)
    weight = _values(rng, n) if sign is None else _signed(_values(rng, n), sign[source])
    return EdgeSet.from_arrays(
        key, source, target, weight, n_source=rows, n_target=columns, dt_ms=dt_ms,
        delay_ms=rng.integers(1, 40, draw(_rows(n))) * dt_ms,
        birth_stage=rng.integers(0, 4, draw(_rows(n))),
        state={name: _values(rng, draw(_rows(n))) for name in draw(st.sets(st.sampled_from(STATE_NAMES)))},
        attributes={name: attribute(rng, name, n) for name in draw(_attributes)},
    )  # fmt: skip


@st.composite
def connectomes(draw: st.DrawFn, max_regions: int = 3, borders: bool = True, max_size: int = 6) -> Connectome:
    """Neuron regions, with a sensor and an effector if ``borders``, and any of the edge sets that may join them."""
    dt_ms = draw(DT_MS)
    n_regions = draw(st.sampled_from([*range(1, max_regions + 1)] * 2 + [0]))
    inner = [draw(regions(name, max_size=max_size)) for name in ("a", "b", "c")[:n_regions]]
    outer = [draw(regions("eye", "sensor", max_size)), draw(regions("hand", "effector", max_size))] if borders else []
    nodes = draw(st.permutations([*inner, *(r for r in outer if draw(st.booleans()))]))
    sets = []
    for s in nodes:
        for t in nodes:
            kind = _kind(s, t)
            if kind and draw(st.sampled_from([True, True, False])):
                key = (s.name, kind, t.name)
                sets.append(draw(edge_sets(key, s.size, t.size, dt_ms, s.sign)))
    return Connectome.of(nodes, sets, dt_ms=dt_ms, provenance=draw(provenances()))


@st.composite
def kernel_sets(draw: st.DrawFn, most_maps: int = 3, dt_ms: float = 0.5) -> KernelSet:
    """Convolutions on square and hexagonal grids: strides, offsets beyond the border, maps and kernels that are dead,
    channels of one vector and more. Weights are pA that make neurons fire."""
    rng, side = np.random.default_rng(draw(_seeds)), st.integers(1, 5)
    every, stride = st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]), draw(st.integers(1, 3))
    if draw(st.booleans()):
        maps = [Maps.hexagon(draw(st.integers(1, most_maps)), draw(st.integers(0, 2)), draw(every)) for _ in range(2)]
    else:
        maps = [Maps(draw(st.integers(1, most_maps)), draw(side), draw(side), False, draw(every)) for _ in range(2)]
    place = np.indices((maps[1].count, maps[0].count, draw(st.integers(1, 4)), draw(st.integers(1, 4)))).reshape(4, -1)
    place = place[:, rng.random(place.shape[1]) < draw(st.sampled_from([1.0, 1.0, 0.5, 0.1, 0.0]))]
    dead = rng.random(maps[0].count) < draw(st.sampled_from([0.0, 0.5]))
    out_map, in_map, dy, dx = place[:, ~dead[place[1]]]
    first = rng.integers(-3, 2, 2)
    return KernelSet.from_arrays(
        ("a", "long_range", "b"), in_map, out_map, dy + first[0], dx + first[1], rng.normal(200, 600, in_map.size),
        source_maps=maps[0], target_maps=maps[1], stride=stride, dt_ms=dt_ms, delay_ms=draw(st.integers(1, 3)) * dt_ms,
        birth_stage=rng.integers(0, 4, in_map.size), state={"memory": rng.random(in_map.size)},
    )  # fmt: skip


@st.composite
def edge_deltas(draw: st.DrawFn, connectome: Connectome) -> Edit:
    """An edit that fits: any mixture of new weights, new state, edges removed and edges added."""
    reweight, state, remove, add = {}, {}, {}, []
    for key, edges in connectome.edges.items():
        sign = connectome.regions[key.source].sign
        rng = np.random.default_rng(draw(_seeds))
        if draw(st.booleans()):
            reweight[key] = _signed(_values(rng, len(edges)), sign[edges.source])
        if draw(st.booleans()):
            state[key] = {draw(st.sampled_from(STATE_NAMES)): _values(rng, len(edges))}
        if draw(st.booleans()):
            remove[key] = rng.random(len(edges)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    for s in connectome.regions.values():
        for t in connectome.regions.values():
            kind = _kind(s, t)
            if kind and draw(st.booleans()):
                key = EdgeKey(s.name, kind, t.name)
                add.append(draw(edge_sets(key, s.size, t.size, connectome.dt_ms, s.sign, max_edges=8)))
    return Edit(reweight, state, remove, tuple(add), draw(_records))


@st.composite
def simple_graphs(draw: st.DrawFn, signed: bool = False, min_nodes: int = 0, max_nodes: int = 12) -> SimpleGraph:
    """A directed weighted graph: none or one node, no edges to complete, mostly in parts that no path joins.

    Weights are all 1, powers of 2 (whose paths tie, exactly) or any in 0.1 .. 2; none is 0. With ``signed``, that of a
    node's edges is one. Loops and duplicates are among the edges that it is made from; the nodes are in two regions.
    """
    n = draw(st.sampled_from([m for m in (0, 1, 2, 3, *range(4, max_nodes + 1)) if min_nodes <= m <= max_nodes]))
    rng = np.random.default_rng(draw(_seeds))
    e = draw(st.sampled_from([0, 1, n // 2, n, 2 * n, 4 * n, 2 * n * n])) if n else 0
    part = rng.integers(0, draw(st.integers(1, 3)), n)
    source, target = rng.integers(0, max(n, 1), (2, e))
    joined = part[source] == part[target]
    source, target = source[joined], target[joined]
    kind = draw(st.sampled_from(["one", "powers", "any"]))
    if kind == "any":
        weight = rng.uniform(0.1, 2.0, source.size)
    else:
        weight = 2.0 ** (rng.integers(-2, 3, source.size) if kind == "powers" else np.zeros(source.size))
        _, place = np.unique(source * n + target, return_index=True)  # a sum of duplicates would be neither
        source, target, weight = source[place], target[place], weight[place]
    return SimpleGraph.from_arrays(
        n, source, target, weight * np.where(source % 3 == 1, -1 if signed else 1, 1),
        position_um=rng.normal(scale=100, size=(n, 3)), region=rng.integers(0, 2, n), regions=("a", "b"),
    )  # fmt: skip


def provenances() -> st.SearchStrategy[Provenance]:
    """Any, names beyond ASCII among them."""
    return st.builds(
        Provenance, seed=st.none() | st.integers(0, 2**63 - 1), stage=st.integers(0, 3),
        stage_name=st.sampled_from(["", "perception", "étape 2"]), parents=st.lists(_digests, max_size=2).map(tuple),
        versions=st.dictionaries(st.sampled_from(["connectome", "numpy"]), st.just("1.0")), rule_log=_records,
    )  # fmt: skip


def _kind(source: Region, target: Region) -> Any:
    """The kind of edge that may join two regions, or None."""
    match source.role, target.role:
        case "neuron", "neuron":
            return "local" if source.name == target.name else "long_range"
        case "sensor", "neuron":
            return "afferent"
        case "neuron", "effector":
            return "efferent"
    return None


def _rows(n: int) -> st.SearchStrategy[int | None]:
    """The size of a column: a value for each edge, or one for all."""
    return st.sampled_from([n, None])


def _column(rng: np.random.Generator, n: int, varies: bool) -> NDArray[np.float32]:
    """(n,) numbers, or one for all."""
    return _values(rng, n) if varies else np.broadcast_to(_values(rng, None), n)


def _values(rng: np.random.Generator, size: int | None) -> NDArray[np.float32]:
    """Numbers of both signs, some of them 0."""
    return np.asarray(rng.normal(scale=100, size=size) * (rng.random(size) < 0.9), np.float32)


#: Of every type.
ATTRIBUTES = ("class", "nt_type", "notes", "traced", "n_sites", "root_id", "volume", "share")


def attribute(rng: np.random.Generator, name: str, n: int) -> Any:
    """(n,) values of the kind that has this name, or one for all, some of them missing."""
    lost = rng.random(n) < rng.choice([0, 0.3, 1], p=[0.4, 0.5, 0.1])
    if rng.random() < 0.2 and n:
        lost[:] = lost[0]
    texts = {
        "class": ["KC", "PN", 'é <1>, "x"; y'],
        "nt_type": ["ACH", "NA", "7", "nan"],
        "notes": [f"n {i}" for i in range(n)],
    }
    match name:
        case "class" | "nt_type" | "notes":
            values = rng.choice(np.array(texts[name] or [""], object), n)
            return [None if is_lost else value for value, is_lost in zip(values, lost, strict=True)]
        case "traced":
            return _masked(rng.random(n) < 0.5, lost)
        case "n_sites":
            return _masked(rng.integers(-100, 100, n).astype(np.int16), lost)
        case "root_id":
            return _masked(rng.integers(2**62, 2**63 - 1, n), lost)
        case "volume":
            return np.where(lost, np.nan, rng.normal(scale=1e6, size=n))
    return np.where(lost, np.nan, rng.random(n)).astype(np.float32)


def _masked(values: Any, lost: Any) -> Any:
    return np.ma.masked_array(values, lost)  # type: ignore[no-untyped-call]


def _signed(weight: NDArray[np.float32], sign: NDArray[np.int8]) -> NDArray[np.float32]:
    """What Dale's rule makes of the weights."""
    return np.where(sign == 0, weight, sign * np.abs(weight)).astype(np.float32)


_attributes: st.SearchStrategy[set[str]] = st.one_of(st.just(set()), st.sets(st.sampled_from(ATTRIBUTES)))
_region_states = st.sets(st.sampled_from(REGION_STATE_NAMES))
_digests = st.text("0123456789abcdef", min_size=64, max_size=64)
_records: st.SearchStrategy[tuple[RuleRecord, ...]] = st.lists(
    st.builds(
        RuleRecord, stage=st.integers(0, 3), step=st.integers(0, 100), rule=st.sampled_from(["prune", "grow"]),
        source=st.just("a"), kind=st.just("local"), target=st.just("a"), added=st.integers(0, 9),
        removed=st.integers(0, 9),
    ),
    max_size=2,
).map(tuple)  # fmt: skip
