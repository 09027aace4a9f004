"""What a condition is held against: as many other cells or edges, drawn at random.

(Shuffled wiring, the other control, is :mod:`connectome.analysis.shuffled`.)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from connectome.experiment.conditions import Edges, Manipulation
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, Role
from connectome.graph.selection import NodeSet

__all__ = ["generator", "random_targets"]


def generator(seed: int, *words: str) -> np.random.Generator:
    """Random numbers of a seed for one purpose, which the words name."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])


def random_targets(
    connectome: Connectome, own: Manipulation, whole: Manipulation, rng: np.random.Generator
) -> Manipulation | None:
    """The same done to as many other cells of each region, and other edges of each set; None where there are too few.

    Nothing that the whole condition names is drawn, neither what it does itself nor what those do that it builds on.
    Where a region has too few others, the rest is drawn from other regions of the same role.
    """
    named = {name: np.zeros(r.size, bool) for name, r in connectome.regions.items()}
    for nodes in whole.cells:
        for name, mask in nodes.masks.items():
            named[name] |= mask
    drawn: dict[tuple[bytes, ...], NodeSet | None] = {}

    def other(nodes: NodeSet) -> NodeSet | None:
        key = tuple(mask.tobytes() for mask in nodes.masks.values())
        if key not in drawn:  # what is done to the same cells goes on being done to the same
            drawn[key] = _others(connectome, nodes, named, rng)
        return drawn[key]

    taken = _taken([*whole.cut, *(masks for _, masks in whole.scale)])
    cells = [[(part, other(nodes)) for part, nodes in parts] for parts in (own.stimulate, own.silence, own.hold)]
    lesion = [other(nodes) for nodes in own.lesion]
    cut = [_other_edges(masks, taken, rng) for masks in own.cut]
    scale = [(by, _other_edges(masks, taken, rng)) for by, masks in own.scale]
    everything = [nodes for parts in cells for _, nodes in parts] + lesion + cut + [masks for _, masks in scale]
    if any(one is None for one in everything):
        return None
    stimulate, silence, hold = (tuple(parts) for parts in cells)
    return Manipulation(stimulate, silence, hold, tuple(lesion), tuple(cut), tuple(scale))  # type: ignore[arg-type]


def _others(
    connectome: Connectome, nodes: NodeSet, named: Mapping[str, NDArray[np.bool_]], rng: np.random.Generator
) -> NodeSet | None:
    found = {name: np.zeros(r.size, bool) for name, r in connectome.regions.items()}
    lacking = dict[Role, int]()
    for name, mask in nodes.masks.items():
        free = np.flatnonzero(~named[name])
        n = min(int(mask.sum()), free.size)
        found[name][rng.choice(free, n, replace=False)] = True
        role = connectome.regions[name].role
        lacking[role] = lacking.get(role, 0) + int(mask.sum()) - n
    for role, n in lacking.items():
        regions = [name for name, r in connectome.regions.items() if r.role == role]
        free = np.concatenate([~named[name] & ~found[name] for name in regions])
        if n > free.sum():
            return None
        chosen = np.zeros(free.size, bool)
        chosen[rng.choice(np.flatnonzero(free), n, replace=False)] = True
        ends = np.cumsum([connectome.regions[name].size for name in regions])[:-1]
        for name, mask in zip(regions, np.split(chosen, ends), strict=True):
            found[name] |= mask
    return NodeSet(found)


def _taken(every: Sequence[Edges]) -> dict[EdgeKey, NDArray[np.bool_]]:
    found: dict[EdgeKey, NDArray[np.bool_]] = {}
    for masks in every:
        for key, mask in masks.items():
            found[key] = found[key] | mask if key in found else mask
    return found


def _other_edges(masks: Edges, taken: Edges, rng: np.random.Generator) -> Edges | None:
    found = {}
    for key, mask in masks.items():
        free = np.flatnonzero(~taken[key])
        if free.size < mask.sum():
            return None
        found[key] = np.zeros(mask.size, bool)
        found[key][rng.choice(free, int(mask.sum()), replace=False)] = True
    return found
