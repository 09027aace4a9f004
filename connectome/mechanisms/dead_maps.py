"""Dead maps: maps that nothing reaches, or that reach nothing, leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeSet
from connectome.parameters import Parameters
from connectome.rules import Context

__all__ = ["DeadMaps"]

Masks = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class DeadMaps(Parameters):
    """When a stage ends, maps of neurons leave that no kernel or edge reaches, or none leaves from, with what they have
    of kernels and edges; then those that are dead without these, and so on. A layer keeps its maps if all of them are
    dead. As long as neurons that hear nothing are silent, the network does what it did before, and a step costs less,
    in proportion to the maps (DSD-SNN prunes filters, Han et al. 2023, arXiv 2308.04749)."""

    paper: ClassVar = "Han et al. 2023, IJCAI, arXiv 2308.04749"
    when: ClassVar = frozenset({"end"})

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        alive = {r.name: np.ones(r.size, bool) for r in connectome.regions.values()}
        layers = {r.name: r.maps for r in connectome.regions.values() if r.maps is not None and r.role == "neuron"}
        before = -1
        while before != sum(int(mask.sum()) for mask in alive.values()):
            before = sum(int(mask.sum()) for mask in alive.values())
            live = [e.take(_lives(e, alive)) for e in connectome.edges.values()]
            for name, maps in layers.items():
                heard = sum(e.in_degree for e in live if e.key.target == name)
                sends = sum(e.out_degree for e in live if e.key.source == name)
                used = (heard * np.ones(maps.size) > 0).reshape(maps.count, -1).any(1)
                used &= (sends * np.ones(maps.size) > 0).reshape(maps.count, -1).any(1)
                if used.any():
                    alive[name] &= np.repeat(used, maps.places)
        gone = {key: int((~_lives(e, alive)).sum()) for key, e in connectome.edges.items()}
        return Edit(
            neurons={name: alive[name] for name in layers if not alive[name].all()},
            records=tuple(context.record("dead_maps", key, removed=n) for key, n in gone.items() if n),
        )


def _lives(edges: EdgeSet, alive: Masks) -> NDArray[np.bool_]:
    """(E,) those whose ends are both alive."""
    ends: NDArray[np.bool_] = edges.at_source(alive[edges.key.source]) & edges.at_target(alive[edges.key.target])
    return ends
