"""What a report's 3-D view is made of: places, and a sample of neurons and edges that is the same over all stages."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.parts import KINDS, Region

__all__ = ["MAX_EDGES", "MAX_NAMES", "MAX_NEURONS", "Scene", "sample_scene"]

#: Edges of one kind that are drawn for a stage, neurons that are drawn and regions that are named, at most.
MAX_EDGES: Final = 1200
MAX_NEURONS: Final = 2500
MAX_NAMES: Final = 24
_MAX_STILL: Final = 600  # edges of one kind in the picture that does not turn
_MIN_SPECTRAL: Final = 8  # neurons
_MAX_WIDENED: Final = 200  # regions
_LIFT: Final = 0.22  # how far a bundle of edges bends to its side, of its length: the two directions stay apart
_WIDTH: Final = 1000.0
_Floats = NDArray[np.float64]


class _Bundle(NamedTuple):
    """The drawn edges of one kind: rows are (source, target) in the selection of the scene; ``stages[i]`` are the rows
    that stage i has."""

    kind: str
    pairs: NDArray[np.int64]
    stages: tuple[NDArray[np.int64], ...]


class Scene(NamedTuple):
    """``view`` is what the page's script draws; ``still`` the same, last stage, seen from the side, as SVG paths."""

    view: dict[str, Any]
    still: dict[str, Any]
    n_edges: list[dict[str, int]]
    n_drawn: list[dict[str, int]]
    n_nodes: int
    n_nodes_drawn: int
    wider: float


def sample_scene(stages: Sequence[Connectome]) -> Scene:
    """Regions, neurons and edges to draw, for one stage or many of one development.

    Whether an edge is drawn depends on the pair that it joins and on nothing else, so that one that stays is drawn in
    every stage and one that is pruned is seen to go. At most :data:`MAX_EDGES` of a kind are drawn for a stage, and
    :data:`MAX_NEURONS` neurons.
    """
    regions: dict[str, Region] = {}
    for c in stages:
        regions |= c.regions  # the latest of each name, in order of first appearance
    names = list(regions)
    start = starts(regions.values())
    region_of = np.repeat(np.arange(len(names)), [r.size for r in regions.values()])
    place, wider = _places(list(regions.values()), stages[-1])
    bundles = [_sampled(stages, kind, start, len(region_of)) for kind in KINDS]
    used, joined = np.unique(
        np.concatenate([np.zeros((0, 2), np.int64), *(b.pairs for b in bundles)]), return_inverse=True
    )
    joined = joined.reshape(-1, 2)
    drawn = _drawn_nodes(list(regions.values()))
    centre, top = _outlines(place, region_of, len(names))
    edges, at = [], 0
    for bundle in bundles:
        rows = joined[at : at + len(bundle.pairs)]
        at += len(bundle.pairs)
        edges.append(
            {
                "kind": bundle.kind, "source": _packed(rows[:, 0], np.int32), "target": _packed(rows[:, 1], np.int32),
                "stages": [_packed(s, np.int32) for s in bundle.stages],
            }
        )  # fmt: skip
    # Far from the origin float32 would be coarse, and nothing here needs the origin.
    middle = (place.min(axis=0) + place.max(axis=0)) / 2 if len(place) else np.zeros(3)
    largest = sorted(range(len(names)), key=lambda i: -regions[names[i]].size)[:MAX_NAMES]
    labels = _labels(sorted(largest), centre, top, place)
    view = {
        "points": _packed((place[used] - middle).ravel(), np.float32),
        "point_region": _packed(region_of[used], np.int32),
        "nodes": _packed((place[drawn] - middle).ravel(), np.float32),
        "node_number": _packed(drawn - np.array([start[n] for n in names], np.int64)[region_of[drawn]], np.int32),
        "node_region": _packed(region_of[drawn], np.int32),
        "node_label": _node_labels(list(regions.values()), drawn),
        "node_shape": _packed(_shapes(list(regions.values()))[drawn], np.int32),
        "centre": (centre - middle).round(3).tolist(), "top": (top - middle).round(3).tolist(),
        "labels": [{"regions": group, "at": (at - middle).round(3).tolist()} for group, at in labels],
        "names": names, "lift": _LIFT, "edges": edges,
        "present": [[name in c.regions for name in names] for c in stages],
        "extent": np.maximum(np.ptp(place, axis=0) if len(place) else np.zeros(3), 1.0).round(3).tolist(),
        "true_extent_um": _extent([r.position_um for r in regions.values()]),
    }  # fmt: skip
    return Scene(
        view, _still(place, region_of, centre, top, bundles, drawn, _shapes(list(regions.values())), names, labels),
        [{kind: c.count(kind) for kind in KINDS} for c in stages],
        [{b.kind: len(b.stages[i]) for b in bundles} for i in range(len(stages))],
        len(region_of), len(drawn), wider,
    )  # fmt: skip


def _places(regions: list[Region], last: Connectome) -> tuple[_Floats, float]:
    """(N, 3) places to draw, and how many times wider than it is each region is drawn; 0 if places are invented.

    Regions that lie far apart are drawn wider, about their middles, so that the edges inside them can be seen. Neurons
    without a position are in a ball about the others of their region, or about all. Where nothing has a position, each
    region is a ball and the balls are on a circle; a lone region shows its graph.
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
    """With places for those of a region that have none."""
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
    """(N, 3): the three slowest modes of a walk on the undirected graph, so that what is joined is near (Hall 1970,
    Management Science 17:219); squashed, so that what hangs on by a thread is not far away."""
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
    """``filled``: the places by region."""
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
            limit = min(limit, np.partition(_hash(pair), MAX_EDGES - 1)[MAX_EDGES - 1])
    kept = [pair[_hash(pair) <= limit] for pair in pairs]
    every = np.unique(np.concatenate(kept))
    return _Bundle(kind, np.stack(np.divmod(every, max(n, 1)), 1), tuple(np.searchsorted(every, pair) for pair in kept))


def _hash(x: NDArray[np.int64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, one to one: numbers that look random and depend on the pair alone."""
    z = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _drawn_nodes(regions: list[Region]) -> NDArray[np.int64]:
    """Neurons to draw: all, or the same part of every region, evenly through its numbers and at least one."""
    n = sum(r.size for r in regions)
    part, start, chosen = min(1.0, MAX_NEURONS / max(n, 1)), 0, [np.zeros(0, np.int64)]
    for r in regions:
        count = min(r.size, max(1, int(part * r.size)))
        chosen.append(start + (np.arange(count) * r.size) // max(count, 1))
        start += r.size
    every = np.concatenate(chosen)
    return every if len(every) <= 2 * MAX_NEURONS else every[:: -(-len(every) // MAX_NEURONS)]


def _shapes(regions: list[Region]) -> NDArray[np.int64]:
    """0 excitatory or unsigned neuron, 1 inhibitory neuron, 2 sensor, 3 effector."""
    columns = [
        np.where(r.sign < 0, 1, 0) if r.role == "neuron" else np.full(r.size, {"sensor": 2, "effector": 3}[r.role])
        for r in regions
    ]
    return np.concatenate([np.zeros(0, np.int64), *columns])


def _node_labels(regions: list[Region], drawn: NDArray[np.int64]) -> list[str]:
    """What the drawn neurons are called, "" for one without a name; nothing if none has one."""
    if all(r.label is None for r in regions):
        return []
    every = np.concatenate([np.full(r.size, "") if r.label is None else r.label for r in regions])
    return [str(label) for label in every[drawn]]


def _outlines(place: _Floats, region_of: NDArray[np.int64], n: int) -> tuple[_Floats, _Floats]:
    """The middle of each region, and where its name goes: above it."""
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
    """Names to show and where: those of regions that lie in one another share a place."""
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


def _still(
    place: _Floats, region_of: NDArray[np.int64], centre: _Floats, top: _Floats, bundles: list[_Bundle],
    drawn: NDArray[np.int64], shape: NDArray[np.int64], names: list[str], labels: list[tuple[list[int], _Floats]],
) -> dict[str, Any]:  # fmt: skip
    """SVG paths of the last stage, seen from the front and a little from above: for print, and where nothing turns."""
    elevation = 0.35
    along, deep = [1.0, 0.0], [0.25, -math.sin(elevation)]
    extent = np.ptp(place, axis=0) if len(place) else np.zeros(3)
    across = [deep, along] if extent[1] > extent[0] else [along, deep]  # the longer one from left to right
    project = np.array([*across, [0.0, -math.cos(elevation)]])
    flat, control = place @ project, centre @ project
    low, high = (flat.min(axis=0), flat.max(axis=0)) if len(flat) else (np.zeros(2), np.ones(2))
    scale = _WIDTH / max(high[0] - low[0], (high[1] - low[1]) * 1.4, 1e-9)
    height = max(200.0, (high[1] - low[1]) * scale)
    shift = np.array([(_WIDTH - (high[0] - low[0]) * scale) / 2, 0.0]) - low * scale
    flat, control = flat * scale + shift, control * scale + shift
    lines = []
    for bundle in bundles:
        rows = bundle.pairs[bundle.stages[-1]]
        rows = rows[np.argsort(_hash(rows[:, 0] * len(place) + rows[:, 1]), kind="stable")][:_MAX_STILL]
        path = []
        for a, b in rows.tolist():
            (x0, y0), (x1, y1) = flat[a], flat[b]
            i, j = region_of[a], region_of[b]
            bend = ""
            if i != j:
                d = control[j] - control[i]
                x, y = (
                    0.8 * (control[i] + control[j]) / 2
                    + 0.1 * (flat[a] + flat[b])
                    + 0.8 * _LIFT * np.array([d[1], -d[0]])
                )
                bend = f"Q{x:.0f} {y:.0f} "
            path.append(f"M{x0:.0f} {y0:.0f}{bend or 'L'}{x1:.0f} {y1:.0f}")
        lines.append((bundle.kind, "".join(path)))
    dots = [
        (number, "".join(f"M{x:.0f} {y:.0f}h0" for x, y in flat[drawn[shape[drawn] == number]].tolist()))
        for number in range(4)
    ]
    texts = [
        (", ".join(names[i] for i in group), *(float(v) for v in (at @ project * scale + shift).round(0)))
        for group, at in labels
    ]
    return {"lines": lines, "dots": dots, "labels": texts, "width": _WIDTH, "height": round(height)}


def _extent(positions: list[_Floats]) -> list[float]:
    every = np.concatenate([np.zeros((0, 3)), *positions])
    every = every[np.isfinite(every).all(axis=1)]
    return [float(x) for x in np.ptp(every, axis=0)] if len(every) else [0.0, 0.0, 0.0]


def _packed(values: Any, dtype: type) -> dict[str, str]:
    """Numbers for the page's script: little-endian, in base64."""
    array = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return {"type": np.dtype(dtype).name, "data": base64.b64encode(array.tobytes()).decode("ascii")}
