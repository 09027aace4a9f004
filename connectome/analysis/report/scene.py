"""What a report's 3-D view is made of: positions, and a sample of neurons and edges that is the same in all stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.report.partners import strongest_partners
from connectome.analysis.report.render import packed
from connectome.analysis.report.still import LIFT, front, pair_hash, still
from connectome.analysis.simple_graph import joined_labels
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.parts import KINDS, Region

__all__ = ["MAX_EDGES", "MAX_NAMES", "MAX_NEURONS", "Scene", "all_regions", "sample_scene"]

#: Edges of one kind that are drawn for a stage, neurons that are drawn and regions that are named, at most.
MAX_EDGES: Final = 1200
MAX_NEURONS: Final = 2500
MAX_NAMES: Final = 24
_MIN_SPECTRAL: Final = 8  # neurons
_MAX_WIDENED: Final = 200  # regions
_TOGETHER: Final = 3  # names of regions that share a place
_Floats = NDArray[np.float64]


class _Bundle(NamedTuple):
    """The drawn edges of one kind: rows are (source, target) in the selection of the scene; ``stages[i]`` are the rows
    that stage i has."""

    kind: str
    pairs: NDArray[np.int64]
    stages: tuple[NDArray[np.int64], ...]


class Scene(NamedTuple):
    """``view`` is what the page's script draws; ``still`` is the last stage of the same, seen from one side, as SVG
    paths; ``drawn`` the numbers of the neurons that are drawn, among those of :func:`all_regions`, region after
    region."""

    view: dict[str, Any]
    still: dict[str, Any]
    n_edges: list[dict[str, int]]
    n_drawn: list[dict[str, int]]
    n_nodes: int
    drawn: NDArray[np.int64]
    wider: float


def all_regions(stages: Sequence[Connectome]) -> list[Region]:
    """Every region that any stage has, in order of first appearance: its latest version, or the largest if they differ
    in size."""
    found: dict[str, Region] = {}
    for c in stages:
        for name, r in c.regions.items():
            if name not in found or r.size >= found[name].size:
                found[name] = r
    return list(found.values())


def sample_scene(stages: Sequence[Connectome], wanted: NDArray[np.int64] | None = None) -> Scene:
    """Regions, neurons and edges to draw, for one stage or many of one development.

    Whether an edge is drawn depends on the pair that it joins and on nothing else, so that an edge that stays is drawn
    in every stage and one that is pruned is seen to disappear. At most :data:`MAX_EDGES` edges of a kind are drawn in a
    stage, and at most :data:`MAX_NEURONS` neurons, plus as many again of those that are ``wanted``.
    """
    regions = all_regions(stages)
    names, start, shape = [r.name for r in regions], starts(regions), _shapes(regions)
    region_of = np.repeat(np.arange(len(names)), [r.size for r in regions])
    place, wider = _places(regions, max(reversed(stages), key=lambda c: c.n_neurons))
    bundles = [_sampled(stages, kind, start, len(region_of)) for kind in KINDS]
    used, joined = np.unique(
        np.concatenate([np.zeros((0, 2), np.int64), *(b.pairs for b in bundles)]), return_inverse=True
    )
    joined = joined.reshape(-1, 2)
    drawn = _drawn_nodes(regions, wanted)
    found = strongest_partners(stages[-1], start, len(region_of), drawn)
    known = np.concatenate([drawn, found.others])
    centre, top = _outlines(place, region_of, len(names))
    edges, at = [], 0
    for bundle in bundles:
        rows = joined[at : at + len(bundle.pairs)]
        at += len(bundle.pairs)
        edges.append(
            {
                "kind": bundle.kind, "source": packed(rows[:, 0]), "target": packed(rows[:, 1]),
                "stages": [packed(s) for s in bundle.stages],
            }
        )  # fmt: skip
    # Far from the origin float32 would be coarse, and nothing here needs the origin.
    middle = (place.min(axis=0) + place.max(axis=0)) / 2 if len(place) else np.zeros(3)
    largest = sorted(range(len(names)), key=lambda i: -regions[i].size)[:MAX_NAMES]
    labels = _labels(largest, centre, top, place)
    flat = front(place)
    view = {
        "points": packed((place[used] - middle).ravel(), np.float32),
        "point_region": packed(region_of[used]),
        "n_drawn": len(drawn), "partners": found.view,
        "nodes": packed((place[known] - middle).ravel(), np.float32),
        "node_number": packed(known - np.array([start[n] for n in names], np.int64)[region_of[known]]),
        "node_region": packed(region_of[known]), "node_label": _node_labels(regions, known),
        "node_shape": packed(shape[known]), "flat": np.vstack([flat.matrix, flat(middle)]).tolist(),
        "centre": (centre - middle).round(3).tolist(), "top": (top - middle).round(3).tolist(),
        "labels": [{"regions": group, "at": (at - middle).round(3).tolist()} for group, at in labels],
        "names": names, "lift": LIFT, "together": _TOGETHER, "edges": edges,
        "present": [[name in c.regions for name in names] for c in stages],
        "extent": np.maximum(np.ptp(place, axis=0) if len(place) else np.zeros(3), 1.0).round(3).tolist(),
        "true_extent_um": _extent([r.position_um for r in regions]),
    }  # fmt: skip
    last = [(b.kind, b.pairs[b.stages[-1]]) for b in bundles]
    texts = [(_joined(names, group), at) for group, at in labels]
    return Scene(
        view, still(flat, place, region_of, centre, last, drawn, shape, texts),
        [{kind: c.count(kind) for kind in KINDS} for c in stages],
        [{b.kind: len(b.stages[i]) for b in bundles} for i in range(len(stages))],
        len(region_of), drawn, wider,
    )  # fmt: skip


def _places(regions: list[Region], last: Connectome) -> tuple[_Floats, float]:
    """(N, 3) positions to draw, and how many times wider than it is each region is drawn; 0 if the positions are made
    up.

    Regions that lie far apart are drawn wider, about their centres, so that the edges inside them can be seen. Neurons
    without a position are placed in a ball about the others of their region, or about all neurons. If nothing has a
    position, each region is a ball and the balls are on a circle; a single region is laid out by its graph.
    """
    every = np.concatenate([np.zeros((0, 3)), *(r.position_um for r in regions)])
    known = every[np.isfinite(every).all(axis=1)]
    if len(known) and (len(every) < 2 or np.ptp(known, axis=0).any()):
        given = [_completed(r.position_um, known) for r in regions]
        return _widened(np.concatenate(given), [p for p in given if len(p)])
    balls = [_ball(r.size) for r in regions]
    if len(regions) == 1:
        return 100 * (0.15 * balls[0] + _spectral(last)), 0.0
    wide = 1.6 / math.sin(math.pi / max(len(regions), 3))
    angle = 2 * math.pi * np.arange(len(regions)) / len(regions)
    middle = wide * np.stack([np.cos(angle), np.zeros(len(regions)), np.sin(angle)], 1)
    placed = [m + b for m, b in zip(middle, balls, strict=True)]
    return 100 * np.concatenate([np.zeros((0, 3)), *placed]), 0.0


def _completed(position: _Floats, known: _Floats) -> _Floats:
    """The positions, completed for those neurons of a region that have none."""
    lost = ~np.isfinite(position).all(axis=1)
    if not lost.any():
        return position
    about = position[~lost] if not lost.all() else known
    filled = position.copy()
    filled[lost] = about.mean(axis=0) + about.std(axis=0).max() * _ball(int(lost.sum()))
    return filled


def _ball(n: int) -> _Floats:
    """(n, 3) points, evenly in a ball of radius 1: a Fibonacci lattice on its skin, with depths of low discrepancy."""
    i = np.arange(n) + 0.5
    height, turn = 1 - 2 * i / max(n, 1), i * math.pi * (1 + math.sqrt(5))
    ring = np.sqrt(1 - height**2)
    depth = np.cbrt((i * 0.754877666) % 1.0)
    ball: _Floats = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], 1) * depth[:, None]
    return ball


def _spectral(c: Connectome) -> _Floats:
    """(N, 3): the three slowest modes of a walk on the undirected graph, so that joined neurons are close (Hall 1970,
    Management Science 17:219); compressed, so that loosely attached neurons are not far away."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import ArpackError, eigsh

    n = c.n_neurons
    edges = [e for e in c.edges.values() if len(e)]
    if n < _MIN_SPECTRAL or not edges:
        return np.zeros((n, 3))
    (e,) = edges
    one_way = csr_array((np.ones(len(e)), e.indices.astype(np.int32), e.indptr), shape=(n, n))
    both = one_way + one_way.T
    scale = 1 / np.sqrt(np.maximum(both.sum(axis=1), 1.0))
    try:
        _, modes = eigsh(diags_array(scale) @ both @ diags_array(scale) + diags_array(np.ones(n)), k=4, v0=1 / scale)
    except ArpackError:
        return np.zeros((n, 3))
    modes = modes[:, :3] * scale[:, None]
    modes *= np.sign(modes[np.abs(modes).argmax(axis=0), np.arange(3)])  # a mode has no sign of its own
    squashed: _Floats = np.tanh(0.8 * modes / np.maximum(modes.std(axis=0), 1e-12))
    return squashed


def _widened(place: _Floats, filled: list[_Floats]) -> tuple[_Floats, float]:
    """``filled``: the positions by region."""
    if not 2 <= len(filled) <= _MAX_WIDENED:
        return place, 1.0
    centre = np.array([p.mean(axis=0) for p in filled])
    reach = max(np.linalg.norm(p - c, axis=1).max() for p, c in zip(filled, centre, strict=True))
    gap = np.linalg.norm(centre[:, None] - centre[None], axis=2)
    near = gap[gap > reach].min(initial=np.inf)  # those that lie in one another stay so
    wider = min(2.0, 0.48 * near / reach) if reach > 0 and np.isfinite(near) else 1.0
    if wider <= 1.1:
        return place, 1.0
    middle = np.repeat(centre, [len(p) for p in filled], axis=0)
    return middle + wider * (place - middle), float(wider)


def _sampled(stages: Sequence[Connectome], kind: str, start: dict[str, int], n: int) -> _Bundle:
    """The edges of a kind to draw: those whose pair has the smallest hashes, as many as every stage has room for."""
    pairs, limit = [], np.uint64(2**64 - 1)
    for c in stages:
        chosen = [e for e in c.edges.values() if e.key.base == kind]
        pair = np.concatenate(
            [np.zeros(0, np.int64)]
            + [(e.source.astype(np.int64) + start[e.key.source]) * n + e.target + start[e.key.target] for e in chosen]
        )
        pair = np.unique(pair)
        pairs.append(pair)
        if pair.size > MAX_EDGES:
            limit = min(limit, np.partition(pair_hash(pair), MAX_EDGES - 1)[MAX_EDGES - 1])
    kept = [pair[pair_hash(pair) <= limit] for pair in pairs]
    every = np.unique(np.concatenate(kept))
    return _Bundle(kind, np.stack(np.divmod(every, max(n, 1)), 1), tuple(np.searchsorted(every, pair) for pair in kept))


def _drawn_nodes(regions: list[Region], wanted: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Neurons to draw: all, or the same fraction of every region, at least one and evenly spaced in number; and those
    that are wanted."""
    n = sum(r.size for r in regions)
    part, start, chosen = min(1.0, MAX_NEURONS / max(n, 1)), 0, [np.zeros(0, np.int64)]
    for r in regions:
        count = min(r.size, max(1, int(part * r.size)))
        chosen.append(start + (np.arange(count) * r.size) // max(count, 1))
        start += r.size
    every = np.concatenate(chosen)
    every = every if len(every) <= 2 * MAX_NEURONS else every[:: -(-len(every) // MAX_NEURONS)]
    return every if wanted is None else np.union1d(every, wanted[:: max(1, -(-len(wanted) // MAX_NEURONS))])


def _shapes(regions: list[Region]) -> NDArray[np.int64]:
    """0 excitatory or unsigned neuron, 1 inhibitory neuron, 2 sensor, 3 effector."""
    columns = [
        np.where(r.sign < 0, 1, 0) if r.role == "neuron" else np.full(r.size, {"sensor": 2, "effector": 3}[r.role])
        for r in regions
    ]
    return np.concatenate([np.zeros(0, np.int64), *columns])


def _node_labels(regions: list[Region], drawn: NDArray[np.int64]) -> list[str]:
    """Names of the drawn neurons, "" for one without a name; empty if none has one."""
    labels = joined_labels(regions)
    return [] if labels is None else labels[drawn].tolist()


def _outlines(place: _Floats, region_of: NDArray[np.int64], n: int) -> tuple[_Floats, _Floats]:
    """The centre of each region, and the place of its name, above it."""
    centre, top = np.zeros((n, 3)), np.zeros((n, 3))
    for i in range(n):
        mine = place[region_of == i]
        if len(mine):
            centre[i] = mine.mean(axis=0)
            top[i] = centre[i]
            top[i, 2] = mine[:, 2].max()
    top[:, 2] += 0.03 * (np.ptp(place, axis=0).max() if len(place) else 0.0)
    return centre, top


def _labels(regions: list[int], centre: _Floats, top: _Floats, place: _Floats) -> list[tuple[list[int], _Floats]]:
    """Names to show and where, the most important first: those of overlapping regions share a place."""
    apart = 0.12 * float(np.ptp(place, axis=0).max(initial=0)) if len(place) else 0.0
    found: list[tuple[list[int], _Floats]] = []
    for i in regions:
        for group, at in found:
            if np.linalg.norm(centre[group[0]] - centre[i]) < apart:
                group.append(i)
                at[2] = max(at[2], top[i, 2])
                break
        else:
            found.append(([i], top[i].copy()))
    return found


def _joined(names: Sequence[str], group: Sequence[int]) -> str:
    more = f" and {len(group) - _TOGETHER} more" if len(group) > _TOGETHER else ""
    return ", ".join(names[i] for i in group[:_TOGETHER]) + more


def _extent(positions: list[_Floats]) -> list[float]:
    every = np.concatenate([np.zeros((0, 3)), *positions])
    every = every[np.isfinite(every).all(axis=1)]
    return [float(x) for x in np.ptp(every, axis=0)] if len(every) else [0.0, 0.0, 0.0]
