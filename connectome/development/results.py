"""What a development showed, as one xarray Dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome.development.stage import Progress, StageOutcome
    from connectome.graph.connectome import RuleRecord
    from connectome.graph.parts import EdgeSet

__all__ = ["KindOfEdge", "checked_results", "of_kind", "tabulate"]

_HINT = "Is it of another program, or another version?"
_CHANGES = ("added", "inhibited", "restored", "removed", "strengthened")


class KindOfEdge(NamedTuple):
    """All edge sets of one kind together, by stage: edges, and their mean |weight| in pA (nan where there is none)."""

    edges: xr.DataArray
    mean_abs_weight: xr.DataArray


def of_kind(results: xr.Dataset, kind: str) -> KindOfEdge:
    """The edges of a kind after each stage, from what :func:`tabulate` gives."""
    chosen = results.sel(edge_set=results.edge_kind == kind)
    edges = chosen.edges.sum("edge_set")
    total = (chosen.mean_abs_weight.fillna(0) * chosen.edges).sum("edge_set")
    return KindOfEdge(edges, total / edges.where(edges > 0))


def tabulate(outcomes: Sequence[StageOutcome], history: Sequence[Progress], attrs: dict[str, str | int]) -> xr.Dataset:
    """The results of the stages so far.

    Without stages it has every variable, of no values.
    ``score[stage, task]`` is the matrix R: test score on each task after each stage, nan for tasks not learnt yet.
    ``history_*[epoch]`` is the course of training. Every variable says its unit.
    """
    stages = [o.connectome.provenance.stage_name for o in outcomes]
    keys = sorted({key for o in outcomes for key in o.connectome.edges})
    rules = sorted({r.rule for r in outcomes[-1].connectome.provenance.rule_log}) if outcomes else []
    links = sorted({(k.source, k.target) for o in outcomes for k in o.links})

    def matrix(attribute: str, source: str = "scores") -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        rows = [getattr(o, source) for o in outcomes]
        found = [[getattr(row[t], attribute) if t in row else math.nan for t in stages] for row in rows]
        return np.array(found, float).reshape(len(stages), len(stages))  # also when there are none

    def whole(numbers: object) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.array(numbers, np.int64)

    def real(numbers: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array(numbers, np.float64)

    def texts(names: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.str_]]:
        return np.array(names, str)

    edges = [[o.connectome.edges.get(key) for key in keys] for o in outcomes]
    n_edges = [[0 if e is None else len(e) for e in row] for row in edges]
    weights = [[_mean_abs_weight(e) for e in row] for row in edges]
    shape = len(stages), len(keys)
    records: list[RuleRecord] = list(outcomes[-1].connectome.provenance.rule_log) if outcomes else []
    counts = np.zeros((len(stages), len(rules), len(_CHANGES)), np.int64)
    for r in records:
        counts[r.stage - 1, rules.index(r.rule)] += [getattr(r, change) for change in _CHANGES]
    probability = np.full((len(outcomes), len(links)), math.nan)
    for row, o in enumerate(outcomes):
        for k in o.links:
            probability[row, links.index((k.source, k.target))] = k.probability
    by_task, by_set = ("stage", "task"), ("stage", "edge_set")
    per_sample = {"units": "1 / sample"}
    results = xr.Dataset(
        {
            "score": (by_task, matrix("value"), {"long_name": "test score: the matrix R", "units": "1"}),
            "score_at_end": (
                by_task, matrix("at_end"), {"long_name": "test score of being done when time was up", "units": "1"},
            ),
            "score_all_recruited": (
                by_task, matrix("value", "scores_all_recruited"),
                {"long_name": "test score while every region is active, needed or not", "units": "1"},
            ),
            "synaptic_operations": (
                by_task, matrix("operations"), {"long_name": "spikes x edges delivered over", **per_sample},
            ),
            "spikes": (by_task, matrix("spikes"), {"long_name": "spikes, sensors' included", **per_sample}),
            "edges": (by_set, whole(n_edges).reshape(shape), {"units": "1"}),
            "mean_abs_weight": (by_set, real(weights).reshape(shape), {"units": "pA"}),
            "peak_local_edges": (
                "stage", whole([o.peak_local_edges for o in outcomes]), {"long_name": "so far", "units": "1"},
            ),
            "rule_count": (
                ("stage", "rule", "change"), counts, {"units": "edges", "long_name": "changes, summed over epochs"},
            ),
            "link_probability": (("stage", "link"), probability, {"units": "1"}),
            "history_stage": ("epoch", whole([p.stage for p in history]), {"units": "1"}),
            "history_update": (
                "epoch", whole([p.update for p in history]), {"long_name": "within the stage", "units": "1"},
            ),
            "history_loss": ("epoch", real([p.loss for p in history]), {"units": "1"}),
            "history_validation_score": ("epoch", real([p.score for p in history]), {"units": "1"}),
            "history_operations": (
                "epoch", real([p.operations for p in history]),
                {"long_name": "of the last validation", "units": "1 / sample"},
            ),
            "history_edges": ("epoch", whole([p.edges for p in history]), {"units": "1"}),
            "history_local_edges": ("epoch", whole([p.local_edges for p in history]), {"units": "1"}),
            "history_long_range_edges": ("epoch", whole([p.long_range_edges for p in history]), {"units": "1"}),
        },
        coords={
            "stage": texts(stages), "task": texts(stages), "edge_set": texts([str(k) for k in keys]),
            "edge_kind": ("edge_set", texts([k.kind for k in keys])), "rule": texts(rules), "change": list(_CHANGES),
            "link": texts([f"{source} -> {target}" for source, target in links]),
        },
        attrs=attrs,
    )  # fmt: skip
    measured = [
        (stage, name, region) for stage, o in enumerate(outcomes) for name, of in o.diagnostics.items() for region in of
    ]
    if not measured:
        return results
    names, regions = (sorted({m[k] for m in measured}) for k in (1, 2))
    values = np.full((len(stages), len(names), len(regions)), math.nan)
    for stage, name, region in measured:
        values[stage, names.index(name), regions.index(region)] = outcomes[stage].diagnostics[name][region]
    about = {"long_name": 'measured when the stage had ended; region "": of all', "units": "1"}
    by_region = ("stage", "diagnostic", "region")
    return results.assign(measured=(by_region, values, about)).assign_coords(diagnostic=names, region=regions)


def checked_results(results: xr.Dataset) -> xr.Dataset:
    """The same, if it is what :func:`tabulate` gives: every variable with its dimensions and its type, stages each
    once, counts that are none below zero. What is in it besides is left alone. Raises :class:`ConnectomeError`."""
    for name, known in tabulate([], [], {}).variables.items():
        if name not in results.variables:
            raise ConnectomeError(str(name), "must be in the results of a development", "not there", _HINT)
        found = results.variables[name]
        if found.dims != known.dims or _type(found.dtype) != _type(known.dtype):
            rule = f"must be {_type(known.dtype)} by {', '.join(map(str, known.dims))}"
            raise ConnectomeError(str(name), rule, f"{_type(found.dtype)} by {', '.join(map(str, found.dims))}", _HINT)
        if known.dtype.kind == "i" and (found.values < 0).any():
            raise ConnectomeError(str(name), "must be 0 or more", found.values.min(), _HINT)
    stages = [str(s) for s in results.stage.values]
    if len(set(stages)) < len(stages) or stages != [str(s) for s in results.task.values]:
        raise ConnectomeError("stage, task", "must be the same, each once", f"{stages}, {results.task.values}", _HINT)
    if not np.isin(results.history_stage, np.arange(1, len(stages) + 2)).all():
        raise ConnectomeError(
            "history_stage", f"must be 1 .. {len(stages) + 1}", results.history_stage.values.max(), _HINT
        )
    return results


def _type(dtype: np.dtype[Any]) -> str:
    return {"f": "numbers", "i": "integers", "u": "integers", "U": "texts", "O": "texts"}.get(dtype.kind, str(dtype))


def _mean_abs_weight(edges: EdgeSet | None) -> float:
    return float(np.abs(edges.weight).mean()) if edges is not None and len(edges) else math.nan
