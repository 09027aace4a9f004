"""Regions of a development that are taken from a measured connectome: its cells, its wiring, its border.

Which cells are a region, which of them hear sensors and which drive effectors, queries of an
:class:`~connectome.development.birth.Anatomy` say. What is taken is a connectome itself, whose regions have the
development's names: the local edges among their cells and, between two regions that share no cell, the long-range ones.
Regions may also be copies of the same cells: links between copies are drawn, as are those with a region that is not
taken from the wiring. Weights are relative: birth scales them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.development.birth import NEURON, OUTPUT, SENSORY, Anatomy, is_unsigned
from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute, joined_attributes
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.partition import FORMER_REGION
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.region_edits import join_regions
from connectome.learning.task import Task
from connectome.texts import plural

__all__ = ["account_of", "measured_regions"]

Mask = NDArray[np.bool_]


def measured_regions(wiring: Connectome, tasks: Sequence[Task], anatomies: Mapping[str, Anatomy]) -> Connectome:
    """What a development through these tasks takes from a wiring, by the anatomy of each region; regions whose anatomy
    names no wiring are left out.

    Sensors and effectors of the wiring are left out, and so are state and models of its neurons. In which of its
    regions a cell was, if there were several, is the attribute ``former_region``; the flags ``is_sensory`` and
    ``is_output`` are attributes too. Raises :class:`ConnectomeError` for a query that cannot be read or holds for no
    cell, for regions that share some of their cells, and where no spike could go from a region's sensors to its
    effectors.
    """
    parts = [_bare(r) for r in wiring.regions.values() if r.role == "neuron" and r.size]
    if not parts:
        raise ConnectomeError("anatomy.wiring", "must have neurons", repr(wiring))
    if len(parts) > 1:
        parts = [
            replace(r, attributes={**r.attributes, FORMER_REGION: Attribute.of(FORMER_REGION, r.name, r.size)})
            for r in parts
        ]
    whole, every = join_regions(parts, "whole"), _flat(wiring, parts)
    taken = {task.name: anatomies[task.name] for task in tasks if anatomies[task.name].wiring}
    masks: dict[str, Mask] = {}
    for name, a in taken.items():
        masks[name] = _where(wiring, parts, a.cells, f"cells of {name}") if a.cells else np.ones(whole.size, bool)
        if not masks[name].any():
            raise ConnectomeError(f"cells of {name}", f"must hold for some of {whole.size:,} neurons", repr(a.cells))
    regions, edges = [], []
    for task in tasks:
        if task.name in taken:
            mask = masks[task.name]
            local = _between(every, (task.name, "local", task.name), mask, mask)
            regions.append(_bordered(whole, mask, task, taken[task.name], local, wiring, parts))
            edges.append(local)
    for (one, here), (other, there) in itertools.permutations(masks.items(), 2):
        if not (here & there).any():
            edges.append(_between(every, (one, "long_range", other), here, there))
        elif (here != there).any():
            raise ConnectomeError(
                f"cells of {other}", f"must be none of {one}'s, or all of them",
                f"{plural(int((here & there).sum()), 'cell')} in both",
            )  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=wiring.dt_ms, provenance=wiring.provenance)


def account_of(wiring: Connectome) -> list[str]:
    """What was taken, a line for each region, and one about signs, to read."""
    lines = []
    for r in wiring.regions.values():
        flags = [
            f", {int((r.attributes[flag].values == 1).sum()):,} {word}"
            for flag, word in ((SENSORY, "sensory"), (OUTPUT, "output")) if flag in r.attributes
        ]  # fmt: skip
        sets = [f"{len(e):,} {e.key.kind} to {e.key.target}" for e in wiring.edges.values() if e.key.source == r.name]
        lines.append(f"{r.name}: {plural(r.size, 'cell')}{''.join(flags)}; edges: {', '.join(sets)}")
    edges = np.concatenate([np.sign(e.weight) for e in wiring.edges.values()])
    known = f"{int((edges > 0).sum()):,} edges excite, {int((edges < 0).sum()):,} inhibit"
    return [*lines, "Signs are not known: they are drawn at birth." if is_unsigned(wiring) else f"Signs: {known}."]


def _bare(r: Region) -> Region:
    return replace(r, neuron=NEURON, state={})


def _flat(wiring: Connectome, parts: Sequence[Region]) -> EdgeSet:
    """Every edge between neurons as one set, neurons numbered region after region."""
    start, n = starts(parts), sum(r.size for r in parts)
    sets = [e for key, e in wiring.edges.items() if key.source in start and key.target in start]
    none = [np.zeros(0)] * 4
    source, target, weight, delay = (
        np.concatenate([*columns]) for columns in zip(
            none, *((e.source + start[e.key.source], e.target + start[e.key.target], e.weight, e.delay) for e in sets),
            strict=True,
        )
    )  # fmt: skip
    return EdgeSet.from_arrays(
        ("whole", "local", "whole"), source.astype(np.int64), target.astype(np.int64), weight, n_source=n, n_target=n,
        dt_ms=wiring.dt_ms, delay_ms=np.maximum(delay, wiring.dt_ms),
        attributes=joined_attributes("anatomy.wiring", [(e.attributes, len(e)) for e in sets]),
    )  # fmt: skip


def _between(every: EdgeSet, key: tuple[str, str, str], here: Mask, there: Mask) -> EdgeSet:
    source, target = every.source, every.target
    which = np.flatnonzero(here[source] & there[target])
    numbers = [np.cumsum(mask) - 1 for mask in (here, there)]
    return EdgeSet.from_arrays(
        key, numbers[0][source[which]], numbers[1][target[which]], every.weight[which], n_source=int(here.sum()),
        n_target=int(there.sum()), dt_ms=every.dt_ms, delay_ms=every.delay[which],
        attributes={name: a.take(which) for name, a in every.attributes.items()},
    )  # fmt: skip


def _where(wiring: Connectome, parts: Sequence[Region], query: str, what: str) -> Mask:
    """(n,) the neurons of these regions, one after the other, for which a query holds."""
    try:
        masks = wiring.select(query).masks
    except ConnectomeError as error:
        raise error.within(what) from None
    return np.concatenate([masks[r.name] for r in parts])


def _bordered(
    whole: Region, mask: Mask, task: Task, anatomy: Anatomy, local: EdgeSet, wiring: Connectome, parts: Sequence[Region]
) -> Region:
    """A region of these cells, with flags of those at the border, if the task has sensors and effectors."""
    region = whole.take(mask)
    known: dict[str, Any] = {name: a for name, a in region.attributes.items() if name not in (SENSORY, OUTPUT)}
    first = last = np.ones(region.size, bool)
    if anatomy.sensory and task.sensors:
        known[SENSORY] = first = _border(wiring, parts, mask, anatomy.sensory, f"sensory cells of {task.name}")
    if anatomy.output and task.effectors:
        known[OUTPUT] = last = _border(wiring, parts, mask, anatomy.output, f"output cells of {task.name}")
    if task.sensors and task.effectors and not (_reached(local, first) & last).any():
        raise ConnectomeError(
            f"output cells of {task.name}", "must have some that edges lead to from sensory ones",
            f"none of {plural(int(last.sum()), 'cell')}", "Name others, or take the cells between them too.",
        )  # fmt: skip
    return replace(region, name=task.name, attributes=known)


def _border(wiring: Connectome, parts: Sequence[Region], mask: Mask, query: str, what: str) -> Mask:
    """Those of a region's cells for which a query holds."""
    found = _where(wiring, parts, query, what)[mask]
    if not found.any():
        raise ConnectomeError(what, f"must be some of its {plural(found.size, 'cell')}", repr(query))
    return found


def _reached(local: EdgeSet, first: Mask) -> Mask:
    """(n,) those that edges lead to from the first ones, these included."""
    reached, source, target = first.copy(), local.source, local.target
    while True:
        new = reached.copy()
        new[target[reached[source]]] = True
        if (new == reached).all():
            return reached
        reached = new
