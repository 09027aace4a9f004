"""Controls for a condition: the same number of other cells or edges, drawn at random.

(Shuffled wiring, the other control, is :mod:`connectome.analysis.shuffled`.)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from connectome.experiment.conditions import Edges, Manipulation, union
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, Role
from connectome.graph.selection import NodeSet

__all__ = ["generator", "random_targets"]


def generator(seed: int, *words: str) -> np.random.Generator:
    """A random generator for a seed and one purpose, which the words name."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])


def random_targets(
    connectome: Connectome, own: Manipulation, whole: Manipulation, rng: np.random.Generator
) -> Manipulation | None:
    """The same manipulation of as many other cells of each region, and other edges of each set; None if there are too
    few.

    No cell or edge that the whole condition names is drawn, whether named by itself or by the conditions it builds on.
    If a region has too few other cells, the rest are drawn from other regions of the same role.
    """
    named = union(connectome, whole.cells)
    drawn: dict[tuple[bytes, ...], NodeSet] = {}

    def other(nodes: NodeSet) -> NodeSet:
        key = tuple(mask.tobytes() for mask in nodes.masks.values())
        if key not in drawn:  # what is done to the same cells goes on being done to the same
            drawn[key] = _others(connectome, nodes, named, rng)
        return drawn[key]

    taken = _taken([*whole.cut, *(masks for _, masks in whole.scale)])
    try:
        return Manipulation(
            tuple((part, other(nodes)) for part, nodes in own.stimulate),
            tuple((part, other(nodes)) for part, nodes in own.silence),
            tuple((part, other(nodes)) for part, nodes in own.hold),
            tuple(other(nodes) for nodes in own.lesion),
            tuple(_other_edges(masks, taken, rng) for masks in own.cut),
            tuple((by, _other_edges(masks, taken, rng)) for by, masks in own.scale),
        )
    except _TooFewError:
        return None


class _TooFewError(Exception):
    """There are not enough other cells or edges."""


def _others(
    connectome: Connectome, nodes: NodeSet, named: Mapping[str, NDArray[np.bool_]], rng: np.random.Generator
) -> NodeSet:
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
            raise _TooFewError
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


def _other_edges(masks: Edges, taken: Edges, rng: np.random.Generator) -> Edges:
    found = {}
    for key, mask in masks.items():
        free = np.flatnonzero(~taken[key])
        if free.size < mask.sum():
            raise _TooFewError
        found[key] = np.zeros(mask.size, bool)
        found[key][rng.choice(free, int(mask.sum()), replace=False)] = True
    return found
