"""Development as data: what changed between two connectomes, and the life of every edge over the stages.

Two edges of different connectomes are the same edge if they are of one edge set, join the same neurons, were born at
the same stage, and have the same place among such edges. An edge that was pruned and one that later grew between the
same neurons are two edges. Parallel edges of one birth cannot be told apart: where one of them goes, the last counts as
gone. For the course of a metric over the stages, give :func:`connectome.analysis.measure.measure` the list of stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.measure import stage_names
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet

__all__ = ["CHANGES", "Difference", "difference", "lives"]

#: What can have happened to an edge. One that was there before and after is one of ``strengthened``, ``weakened`` (its
#: |weight| rose, or fell) and ``unchanged``; it may be ``inhibited`` besides (more of its weight is held back).
CHANGES: Final = ("born", "died", "strengthened", "weakened", "unchanged", "inhibited")
_INHIBITION: Final = "inhibition"
_SET: Final = ("source_region", "kind", "target_region")
_NO_KEY: Final = EdgeKey("", "local", "")


class Difference(NamedTuple):
    """What changed, edge by edge and counted.

    ``edges``: a row for every edge that is in either, with columns source_region, kind, target_region, source, target,
    birth_stage, change (one of :data:`CHANGES` except the last), inhibited, weight_before_pa, weight_after_pa (nan
    where it is not there), inhibition_before, inhibition_after. ``counts``: ``edges (edge_set, change)``, and
    ``abs_weight_change_pa (edge_set)``, the sum of changes of |weight|, births and deaths included.
    """

    edges: pd.DataFrame
    counts: xr.Dataset


def difference(before: Connectome, after: Connectome) -> Difference:
    """Which edges were born, died, grew stronger or weaker, or became inhibited between one connectome and a later
    one."""
    before, after = before.expanded(), after.expanded()
    keys = sorted({*before.edges, *after.edges})
    tables = {key: _changes(_Joined.of(key, [before.edges.get(key), after.edges.get(key)])) for key in keys}
    counts = np.zeros((len(keys), len(CHANGES)), np.int64)
    moved = np.zeros(len(keys))
    for row, table in enumerate(tables.values()):
        counts[row] = [*np.bincount(table.change.cat.codes, minlength=len(CHANGES) - 1), table.inhibited.sum()]
        moved[row] = table.weight_after_pa.abs().sum() - table.weight_before_pa.abs().sum()
    edges = "sum of |weight| after less that before, births and deaths included"
    return Difference(
        _together(list(tables.values()) or [_changes(_Joined.of(_NO_KEY, [None, None]))]),
        xr.Dataset(
            {
                "edges": (("edge_set", "change"), counts, {"units": "edges"}),
                "abs_weight_change_pa": ("edge_set", moved, {"units": "pA", "definition": edges}),
            },
            {
                "edge_set": np.array([str(k) for k in keys], str), "change": list(CHANGES),
                "edge_kind": ("edge_set", np.array([k.kind for k in keys], str)),
            },
        ),
    )  # fmt: skip


def _changes(edges: _Joined) -> pd.DataFrame:
    weight, held = edges.column("weight", math.nan), edges.column(_INHIBITION, 0.0)
    there, size = ~np.isnan(weight), np.abs(weight)
    change = np.select([~there[0], ~there[1], size[1] > size[0], size[1] < size[0]], [0, 1, 2, 3], default=4)
    return edges.table().assign(
        change=_named(change, CHANGES[:-1]), inhibited=there.all(axis=0) & (held[1] > held[0]),
        weight_before_pa=weight[0], weight_after_pa=weight[1], inhibition_before=held[0], inhibition_after=held[1],
    )  # fmt: skip


def lives(stages: Sequence[Connectome], names: Sequence[str] | None = None) -> pd.DataFrame:
    """The life of every edge that ever existed, one row each, by edge set, source and target.

    Columns source_region, kind, target_region, source, target, birth_stage; ``born_at`` the first stage that has it,
    ``died_at`` the first one after its last (none if the last stage has it), ``inhibited_at`` the first in which part
    of its weight is held back (none if never); and for each stage ``weight_NAME``, pA, nan where it is not there.
    ``names`` are those of the stages (default: from their provenance). Raises :class:`ConnectomeError` if two names are
    equal, or if there is no stage.
    """
    called = stage_names(stages) if names is None else list(names)
    if not stages or len(called) != len(stages) or len(set(called)) != len(called):
        raise ConnectomeError("stages", "must be one or more, with different names", called, "Give names.")
    stages = [c.expanded() for c in stages]
    keys = sorted({key for c in stages for key in c.edges})
    return _together(
        [_lives(_Joined.of(key, [c.edges.get(key) for c in stages]), called) for key in keys]
        or [_lives(_Joined.of(_NO_KEY, [None] * len(stages)), called)]
    )


def _lives(edges: _Joined, names: Sequence[str]) -> pd.DataFrame:
    weight, held = edges.column("weight", math.nan), edges.column(_INHIBITION, 0.0) > 0
    there = ~np.isnan(weight)
    gone = len(names) - there[::-1].argmax(axis=0)
    return edges.table().assign(
        born_at=_named(there.argmax(axis=0), names), died_at=_named(np.where(gone < len(names), gone, -1), names),
        inhibited_at=_named(np.where(held.any(axis=0), held.argmax(axis=0), -1), names),
        **{f"weight_{name}": row for name, row in zip(names, weight, strict=True)},
    )  # fmt: skip


def _named(code: NDArray[Any], names: Sequence[str]) -> pd.Categorical:
    """The name of each number; none for -1."""
    return pd.Categorical.from_codes(code.astype(np.int64), pd.Index(list(names), dtype=object))


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True).astype(dict.fromkeys(_SET, "category"))


class _Joined(NamedTuple):
    """The edges of one set in several connectomes: M different ones, ``number[s]`` those of connectome s, in its order.
    ``source``, ``target`` and ``birth`` are (M,)."""

    key: EdgeKey
    sets: Sequence[EdgeSet | None]
    number: Sequence[NDArray[np.int64]]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    birth: NDArray[np.int64]

    @classmethod
    def of(cls, key: EdgeKey, sets: Sequence[EdgeSet | None]) -> _Joined:
        """Number the edges by source, target, stage of birth, place among parallel ones."""
        there = [e for e in sets if e is not None]

        def joined(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
            return np.concatenate([np.zeros(0, np.int64), *columns])

        source, target = joined([e.source for e in there]), joined([e.target for e in there])
        birth = joined([e.birth_stage for e in there])
        pair = _codes(source * (int(target.max(initial=0)) + 1) + target)
        alike = pair * (int(birth.max(initial=0)) - int(birth.min(initial=0)) + 1) + birth - birth.min(initial=0)
        ends = np.cumsum([0, *(len(e) for e in there)])
        parts = [alike[a:b] for a, b in pairwise(ends)]
        place = joined([_place_among_equals(p) for p in parts])
        edge = alike * (int(place.max(initial=0)) + 1) + place
        _, first, number = np.unique(edge, return_index=True, return_inverse=True)
        numbers = iter([number[a:b] for a, b in pairwise(ends)])
        return cls(
            key, sets, [np.zeros(0, np.int64) if e is None else next(numbers) for e in sets], source[first],
            target[first], birth[first],
        )  # fmt: skip

    def column(self, name: str, missing: float) -> NDArray[np.float64]:
        """(connectomes, M) weights, or a state; ``missing`` where there is none."""
        table = np.full((len(self.sets), self.source.size), missing)
        for row, edges, number in zip(table, self.sets, self.number, strict=True):
            if edges is not None and (name == "weight" or name in edges.state):
                row[number] = edges.weight if name == "weight" else edges.state[name]
        return table

    def table(self) -> pd.DataFrame:
        """The neurons they join, and their stage of birth."""
        same = {name: np.full(self.source.size, value, object) for name, value in zip(_SET, self.key, strict=True)}
        return pd.DataFrame(same | {"source": self.source, "target": self.target, "birth_stage": self.birth})


def _codes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of each value among the different ones: small numbers of the same order."""
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)


def _place_among_equals(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal values come before each."""
    order = np.argsort(values, kind="stable")
    place = np.arange(values.size)
    starts = np.append(True, values[order][1:] != values[order][:-1])[: values.size]
    found = np.empty(values.size, np.int64)
    found[order] = place - np.maximum.accumulate(np.where(starts, place, 0)) if values.size else place
    return found
