"""What a condition does to a network: a changed connectome, and clamps and stimuli for each stretch of time.

A lesioned cell keeps its number but has no edges, does not fire, and is not read out. So a seed means the same random
events at the same cells in every condition, and conditions differ only in what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.experiment.animation import while_stimulated
from connectome.experiment.parts import Condition, Held, Silencing, Stimulation
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey
from connectome.graph.selection import NodeSet, node_set
from connectome.simulate.clamp import Clamp
from connectome.simulate.stimulus import Poisson, Stimulus

__all__ = [
    "Drive", "Edges", "Manipulation", "Stretch", "cells_where", "clamps", "manipulated", "not_counted", "resolve",
    "stimulus", "stretches", "union",
]  # fmt: skip

Edges = Mapping[EdgeKey, NDArray[np.bool_]]
T = TypeVar("T", Stimulation, Silencing, Held)


class Drive(NamedTuple):
    """What a physiology says about stimulated cells: the weight of an event, None if each stimulation gives its own,
    and the neuron parameters that they have while stimulated."""

    weight: float | None = None
    parameters: Mapping[str, float] = {}


class Stretch(NamedTuple):
    """A part of a trial in which nothing is switched on or off."""

    from_ms: float
    to_ms: float


@dataclass(frozen=True, eq=False)
class Manipulation(ReadOnly):
    """A condition for one connectome: the cells and edges that its queries find."""

    stimulate: tuple[tuple[Stimulation, NodeSet], ...] = ()
    silence: tuple[tuple[Silencing, NodeSet], ...] = ()
    hold: tuple[tuple[Held, NodeSet], ...] = ()
    lesion: tuple[NodeSet, ...] = ()
    cut: tuple[Edges, ...] = ()
    scale: tuple[tuple[float, Edges], ...] = ()

    def after(self, base: Manipulation) -> Manipulation:
        """The manipulation that combines this one with ``base``."""
        return Manipulation(**{k: v + getattr(self, k) for k, v in vars(base).items()})

    @property
    def cells(self) -> list[NodeSet]:
        """Every set of cells that it names."""
        return [nodes for _, nodes in (*self.stimulate, *self.silence, *self.hold)] + list(self.lesion)

    @property
    def names_anything(self) -> bool:
        """Whether it does anything at all."""
        return bool(self.cells or self.cut or self.scale)


def resolve(connectome: Connectome, condition: Condition, where: str, *, strict: bool = True) -> Manipulation:
    """The cells and edges that a condition's queries find. Raises :class:`ConnectomeError` for an invalid query, for
    cells to which the manipulation cannot be applied and, if ``strict``, for a query that finds nothing."""

    def cells(query: str, key: str, roles: Sequence[str], what: str) -> NodeSet:
        found: NodeSet = _asked(lambda: connectome.select(query), f"{where}.{key}")
        fits = {n: np.full(r.size, r.role in roles) for n, r in connectome.regions.items()}
        fitting = found & NodeSet(fits)
        if len(found) and not len(fitting):
            named = ", ".join(f"{name} ({connectome.regions[name].role})" for name in found.neurons)
            raise ConnectomeError(f"{where}.{key}", f"must find {what}", f"cells of {named} for {query!r}")
        if strict and not len(fitting):
            raise ConnectomeError(f"{where}.{key}", "must find at least one cell", f"none for {query!r}")
        return fitting

    def edges(query: str, key: str) -> Edges:
        found = _asked(lambda: connectome.select_edges(query), f"{where}.{key}")
        if strict and not any(mask.any() for mask in found.values()):
            raise ConnectomeError(f"{where}.{key}", "must find at least one edge", f"none for {query!r}")
        return {k: mask for k, mask in found.items() if mask.any()}

    fires, membrane, anyone = ("neuron", "sensor"), ("neuron", "effector"), ("neuron", "sensor", "effector")
    by_rate = "neurons or sensors, which can be stimulated at a rate"
    return Manipulation(
        tuple(
            (s, cells(s.cells, "stimulate", *((membrane, "cells that a current can flow into: no sensors")
                                              if s.rate_hz is None else (fires, by_rate))))
            for s in condition.stimulate
        ),
        tuple((s, cells(s.cells, "silence", fires, "cells that fire: no effectors")) for s in condition.silence),
        tuple((h, cells(h.cells, "hold", membrane, "cells with a membrane: no sensors")) for h in condition.hold),
        tuple(cells(query, "lesion", anyone, "cells") for query in condition.lesion),
        tuple(edges(query, "cut") for query in condition.cut),
        tuple((s.by, edges(s.edges, "scale")) for s in condition.scale),
    )  # fmt: skip


def cells_where(connectome: Connectome, query: str, where: str) -> NodeSet:
    """The cells that a query finds. Raises :class:`ConnectomeError`, naming the key ``where``, for an invalid query and
    if there are none."""
    found: NodeSet = _asked(lambda: connectome.select(query), where)
    if not len(found):
        raise ConnectomeError(where, "must find at least one cell", f"none for {query!r}")
    return found


def _asked(ask: Callable[[], Any], where: str) -> Any:
    """What a query finds; an error in it is reported under the key."""
    try:
        return ask()
    except ConnectomeError as error:
        raise error.within(where) from None


def manipulated(connectome: Connectome, m: Manipulation) -> Connectome:
    """The connectome without the edges that are cut, or that join lesioned cells, and with scaled weights where a
    condition scales them."""
    gone = union(connectome, m.lesion)
    edges = {}
    for key, e in connectome.edges.items():
        weight = e.weight
        for by, masks in m.scale:
            if key in masks:
                weight = np.where(masks[key], weight * np.float32(by), weight)
        changed = e if weight is e.weight else replace(e, weight=weight)
        lost = np.zeros(len(e), bool)
        for masks in m.cut:
            lost |= masks.get(key, False)
        if gone[key.source].any() or gone[key.target].any():
            lost |= gone[key.source][e.source] | gone[key.target][e.target]
        edges[key] = changed.take(~lost) if lost.any() else changed
    return replace(connectome, edges=edges)


def not_counted(connectome: Connectome, m: Manipulation) -> NodeSet:
    """Cells that read-outs leave out: those that are lesioned, and those that are silenced or held at any time, as a
    manipulation is not an effect."""
    fixed = [nodes for _, nodes in (*m.silence, *m.hold)]
    return node_set(connectome, union(connectome, [*m.lesion, *fixed]))


def stretches(m: Manipulation, duration_ms: float, dt_ms: float) -> list[Stretch]:
    """The parts of a trial between switching times, on the grid of steps."""
    times = {0, round(duration_ms / dt_ms)}
    for part, _ in (*m.stimulate, *m.silence, *m.hold):
        times |= {round(part.from_ms / dt_ms), round((duration_ms if part.to_ms is None else part.to_ms) / dt_ms)}
    return [Stretch(a * dt_ms, b * dt_ms) for a, b in pairwise(sorted(t for t in times if t * dt_ms <= duration_ms))]


def stimulus(connectome: Connectome, m: Manipulation, during: Stretch, drive: Drive) -> tuple[Connectome, Stimulus]:
    """The stimulus of a stretch, and the connectome with the parameters that stimulated cells have during it. Sensors
    that are silenced or lesioned get no events, as they have no membrane that could be clamped instead. Raises
    :class:`ConnectomeError` for a cell that gets events of two weights at once."""
    rate, weight, current = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for s, nodes in _during(m.stimulate, during):
        for name, mask in nodes.masks.items():
            if not mask.any():
                continue
            if s.rate_hz is None:
                current[name] = current.get(name, 0.0) + mask * float(s.current_pa or 0.0)
                continue
            one = s.weight if s.weight is not None else drive.weight
            if connectome.regions[name].role != "sensor" and one is None:
                rule = "must be given if no physiology gives the weight of an event"
                raise ConnectomeError("stimulate.weight", rule, f"none for {s.cells!r}")
            before = rate.get(name, np.zeros(mask.size)) > 0
            kept = weight.setdefault(name, np.zeros(mask.size))
            one = 0.0 if one is None else one
            if (before & mask & (kept != one)).any():
                rule = "must be one number for a cell at a time"
                raise ConnectomeError("stimulate.weight", rule, f"{one:g} and another for {s.cells!r}")
            rate[name] = rate.get(name, 0.0) + mask * s.rate_hz
            kept[mask] = one
    quiet = union(connectome, [*m.lesion, *(nodes for _, nodes in _during(m.silence, during))])
    poisson, regions = {}, dict(connectome.regions)
    for name, hz in rate.items():
        r = regions[name]
        if r.role == "sensor":
            poisson[name] = Poisson(np.where(quiet[name], 0.0, hz))
            continue
        poisson[name] = Poisson(hz, weight[name])
        regions[name] = while_stimulated(r, hz > 0, drive.parameters)
    return replace(connectome, regions=regions), Stimulus(current_pa=current, poisson=poisson)


def clamps(connectome: Connectome, m: Manipulation, during: Stretch) -> dict[str, list[Clamp]]:
    """The clamps of silenced and held cells in a stretch: region -> clamps, no two of which share a cell. A cell that
    is to be both is held; of two potentials the later one counts."""
    quiet = union(connectome, [*m.lesion, *(nodes for _, nodes in _during(m.silence, during))])
    held = {name: np.full(r.size, np.nan) for name, r in connectome.regions.items()}
    for h, nodes in _during(m.hold, during):
        for name, mask in nodes.masks.items():
            held[name][mask] = h.v_mv
    found = {}
    for name, r in connectome.regions.items():
        fixed = ~np.isnan(held[name])
        silent = quiet[name] & ~fixed if r.role == "neuron" and r.neuron.fires else np.zeros(r.size, bool)
        parts = [Clamp(np.flatnonzero(silent))] if silent.any() else []
        parts += [Clamp(np.flatnonzero(fixed), v_mv=held[name][fixed])] if fixed.any() else []
        if parts:
            found[name] = parts
    return found


def _during(parts: Sequence[tuple[T, NodeSet]], during: Stretch) -> list[tuple[T, NodeSet]]:
    """Those parts that are on during a stretch; stretches begin and end where parts do, up to rounding to the grid of
    steps."""
    middle = (during.from_ms + during.to_ms) / 2
    return [(p, nodes) for p, nodes in parts if p.from_ms < middle < (np.inf if p.to_ms is None else p.to_ms)]


def union(connectome: Connectome, sets: Sequence[NodeSet]) -> dict[str, NDArray[np.bool_]]:
    """Region -> (N,) whether a neuron is in any of some sets."""
    found = {name: np.zeros(r.size, bool) for name, r in connectome.regions.items()}
    for nodes in sets:
        for name, mask in nodes.masks.items():
            found[name] |= mask
    return found
