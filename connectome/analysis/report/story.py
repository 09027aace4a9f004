"""What a page says first about a development: what was learnt, kept, grown and pruned, and what a sample costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from connectome.analysis.report.charts import KIND_NAMES
from connectome.analysis.report.tables import course
from connectome.development.results import of_kind
from connectome.graph.connectome import Connectome
from connectome.graph.parts import ROLES, Kind
from connectome.texts import listed, percent, plural, readable

__all__ = ["tiles"]

_MOST_LINES: Final = 4  # tasks named in a tile


def tiles(last: Connectome, results: xr.Dataset | None, kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    """A tile has ``what`` it is about, a ``value`` or ``lines`` (name and value), and ``course``, the path of a small
    line, or none."""
    if results is not None and results.sizes.get("stage"):
        return [_learnt(results), _kept(results), *_edges(results), _cost(results)]
    found = [
        {"what": _roles(last), "value": f"{last.n_neurons:,}"},
        {"what": plural(len(last.edges), "edge set") + ", edges in all", "value": f"{last.n_edges:,}"},
    ]
    return found + [{"what": f"{KIND_NAMES[kind]} edges", "value": f"{last.count(kind):,}"} for kind in kinds]


def _roles(c: Connectome) -> str:
    roles = {r.role for r in c.regions.values()}
    return listed([f"{role}s" for role in ROLES if role in roles or role == "neuron"])


def _learnt(results: xr.Dataset) -> dict[str, Any]:
    lines = [(name, _percent(first)) for name, first, _ in _scores(results)]
    return {"what": "Learnt", "about": "test score after its own stage", "lines": _few(lines), "course": ""}


def _kept(results: xr.Dataset) -> dict[str, Any]:
    """What was kept to the end of each task but the last, which no stage follows."""
    lines = [(name, f"{_percent(last)} {_points(last - first)}".strip()) for name, first, last in _scores(results)[:-1]]
    lines = lines or [("no stage followed", "")]
    return {"what": "Kept", "about": "score at the end (change in points)", "lines": _few(lines), "course": ""}


def _scores(results: xr.Dataset) -> list[tuple[str, float, float]]:
    """For each task whose stage has passed: the test score after that stage, and after the last one."""
    score, tasks = results.score, [str(name) for name in results.task.values]
    learnt = [str(name) for name in results.stage.values if str(name) in tasks]
    return [(name, float(score.sel(stage=name, task=name)), float(score.sel(task=name)[-1])) for name in learnt]


def _edges(results: xr.Dataset) -> list[dict[str, Any]]:
    """Long-range edges, which grow, and local ones, which are pruned: their maximum, and their number at the end."""
    found = []
    for kind, what, of in (("long_range", "Grown", "long-range edges"), ("local", "Pruned", "local edges")):
        last = int(of_kind(results, kind).edges[-1])
        history = results[f"history_{kind}_edges"].values
        most = max(last, int(results.peak_local_edges[-1]) if kind == "local" else int(history.max(initial=0)))
        share = f" ({percent(last / most, 0)})" if most else ""
        lines = [("at most", f"{most:,}"), ("left", f"{last:,}{share}")]
        found.append(
            {"what": what, "about": of, "lines": lines, "course": course(history.tolist()) if history.size > 1 else ""}
        )
    return found


def _cost(results: xr.Dataset) -> dict[str, Any]:
    operations, lines = results.synaptic_operations, []
    for name, *_ in _scores(results):
        first, last = float(operations.sel(stage=name, task=name)), float(operations.sel(task=name)[-1])
        change = f" ({100 * (last / first - 1):+.0f}\N{NO-BREAK SPACE}%)" if first and last != first else ""
        lines.append((name, readable(round(last, -1) if np.isfinite(last) else last) + change))
    return {"what": "Cost", "about": "synaptic operations a sample (change)", "lines": _few(lines), "course": ""}


def _few(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Only the last lines, if there are more tasks than there is room for."""
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else [*lines[more + 1 :], (f"and {more + 1} before", "see below")]


def _percent(part: float) -> str:
    return "-" if math.isnan(part) else percent(part)


def _points(change: float) -> str:
    """The change in points; empty if there is none, or if it is not known."""
    points = round(100 * change, 1) if math.isfinite(change) else 0.0
    return f"({points:+.1f})" if points else ""
