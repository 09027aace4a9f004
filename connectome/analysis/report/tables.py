"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr

import connectome as package
from connectome.analysis.report.charts import KIND_NAMES, degrees
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import KINDS
from connectome.parameters import parse_toml
from connectome.texts import listed, percent, readable

__all__ = [
    "Sample", "Table", "citation", "configuration_tables", "course", "matrix_table", "measured_table", "metric_table",
    "rate_table", "region_table", "rule_table", "score_rows", "spread_table", "stage_table",
]  # fmt: skip

_MAX_TABLE: Final = 16  # regions of the matrix as a table
_MAX_REGIONS: Final = 200
_MAX_RULES: Final = 40
_FEW: Final = 2  # stages, of which no course is drawn
_FLAT: Final = 1e-12  # a course that only rounding moves
_CHANGES: Final = ("added", "strengthened", "inhibited", "restored", "removed")


class Sample(NamedTuple):
    """Spikes to show: a heading, what drove them, and what :func:`connectome.simulate.run` gave."""

    title: str
    drive: str
    spikes: xr.Dataset


class Table(NamedTuple):
    """A caption, column headings, and rows of text, of which the first is the row's heading; for each row a sparkline,
    an SVG path in a box of 60 x 20, or none."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    courses: Sequence[str] = ()


def stage_table(stages: Sequence[Connectome], names: Sequence[str], results: xr.Dataset | None) -> Table:
    """One row a stage: its size, the strength of its edges, and what was learnt."""
    kinds = [kind for kind in KINDS if any(c.count(kind) for c in stages)]
    head = ["stage", "regions", "neurons", *(KIND_NAMES[k].split(" (")[0] for k in kinds)]
    head += ["|w| local, pA", "|w| long-range, pA"]
    caption = "Edges by kind and mean |weight| after each stage"
    learnt = [] if results is None else [str(s) for s in results.stage.values]
    if learnt:
        head += ["own task", "operations a sample"]
        caption += "; test score on its own task, and synaptic operations (spikes times edges) for one sample of it"
    rows = []
    for name, c in zip(names, stages, strict=True):
        row = [name, f"{len(c.regions):,}", f"{c.n_neurons:,}", *(f"{c.count(k):,}" for k in kinds)]
        row += [readable(_mean_weight(c, kind), 3) for kind in ("local", "long_range")]
        if results is not None and name in learnt:
            own = results.isel(stage=learnt.index(name), task=learnt.index(name))
            row += [percent(float(own.score)), readable(round(float(own.synaptic_operations)))]
        elif learnt:
            row += ["-", "-"]
        rows.append(row)
    return Table(f"{caption}.", head, rows)


def _mean_weight(c: Connectome, kind: str) -> float:
    total = sum(float(np.abs(e.weight).sum(dtype=np.float64)) for e in c.edges.values() if e.key.base == kind)
    count = sum(len(e) for e in c.edges.values() if e.key.base == kind)
    return total / count if count else math.nan


def score_rows(results: xr.Dataset | None) -> dict[str, Any] | None:
    """The score matrix; None where a task has not yet been learnt."""
    if results is None or not results.sizes.get("stage"):
        return None
    rows = [
        (str(name), [None if v != v else min(1.0, max(0.0, float(v))) for v in row])
        for name, row in zip(results.stage.values, results.score.values, strict=True)
    ]
    return {"tasks": [str(t) for t in results.task.values], "rows": rows}


def rule_table(results: xr.Dataset | None) -> Table | None:
    """What each rule changed in each stage."""
    if results is None or not results.sizes.get("rule"):
        return None
    count = results.rule_count
    changes = [c for c in _CHANGES if c in count.change.values and int(count.sel(change=c).sum())]
    rows = [
        [
            f"{stage}, {str(rule).replace('_', ' ')}",
            *(f"{n:,}" if n else "" for n in (int(count.sel(stage=stage, rule=rule, change=c)) for c in changes)),
        ]
        for stage in results.stage.values
        for rule in results.rule.values
        if int(count.sel(stage=stage, rule=rule).sum())
    ]
    if not rows or not changes:
        return None
    return Table(
        "Changes of edges, summed over the epochs of a stage. Blank: none.",
        ["stage and rule", *changes],
        rows[:_MAX_RULES],
    )


def measured_table(results: xr.Dataset | None) -> Table | None:
    """What the diagnostics of a run say of each region after each stage."""
    if results is None or "measured" not in results:
        return None
    there = results.measured.transpose("stage", "region", "diagnostic")
    rows = [
        [f"{stage}, {region or 'all'}", *(readable(float(v), 3) for v in values)]
        for stage, of in zip(there.stage.values, there.values, strict=True)
        for region, values in zip(there.region.values, of, strict=True)
        if np.isfinite(values).any()
    ]
    names = [str(name) for name in there.diagnostic.values]
    caption = "Diagnostics, when the stage had ended. A dash: not measured of it."
    if "silencing_effect" in names:
        caption += " Silencing effect: the score with the region silent, less the score; about 0 of a void."
    if "void_samples" in names:
        caption += " Void samples: the share in which it is a void by its norm."
    head = ["stage and region", *(name.replace("_", " ") for name in names)]
    return Table(caption, head, rows[:_MAX_REGIONS])


def matrix_table(c: Connectome, regions: Sequence[str], name: str) -> Table | None:
    """Edges region by region, where they are few enough for a table."""
    if len(regions) > _MAX_TABLE:
        return None
    count = {(s, t): 0 for s in regions for t in regions}
    for key, e in c.edges.items():
        count[key.source, key.target] += len(e)
    rows = [[s, *(f"{count[s, t]:,}" if count[s, t] else "" for t in regions)] for s in regions]
    return Table(f"Edges from each region (rows) to each region (columns) after {name}.", ["from", *regions], rows)


def region_table(c: Connectome) -> Table | None:
    """Every region with its cells and edges, if there are several."""
    if len(c.regions) < 2:
        return None
    into, out = dict.fromkeys(c.regions, 0), dict.fromkeys(c.regions, 0)
    for key, e in c.edges.items():
        out[key.source] += len(e)
        into[key.target] += len(e)
    rows = [[r.name, r.role, f"{r.size:,}", f"{into[r.name]:,}", f"{out[r.name]:,}"] for r in c.regions.values()]
    more = f"; {len(rows) - _MAX_REGIONS:,} more are not listed" if len(rows) > _MAX_REGIONS else ""
    head = ["region", "role", "cells", "edges into it", "edges out of it"]
    return Table(f"Regions, edges inside one counted both ways{more}.", head, rows[:_MAX_REGIONS])


def spread_table(c: Connectome, name: str, kinds: Sequence[str]) -> Table:
    """Mean and quantiles of degrees and weights."""
    columns: list[tuple[str, Any]] = [
        (f"{which}-degree of neurons", values) for which, values in zip(("in", "out"), degrees(c), strict=True)
    ]
    for kind in kinds:
        mine = [np.abs(e.weight) for e in c.edges.values() if e.key.base == kind]
        columns.append((f"|weight|, {KIND_NAMES[kind].split(' (')[0]} (pA)", np.concatenate([np.zeros(0), *mine])))
    rows = [
        [what, f"{v.size:,}", *(readable(float(x), 3) for x in (v.mean(), *np.quantile(v, (0, 0.5, 0.95, 1))))]
        for what, v in columns
        if v.size
    ]
    return Table(
        f"Spread after {name}." if name else "Spread.", ["", "number", "mean", "least", "median", "95 %", "most"], rows
    )


def rate_table(samples: Sequence[Sample], last: Connectome) -> Table | None:
    """Mean rate and spikes of each region in each sample."""
    if not samples:
        return None
    rows = []
    for name, region in last.regions.items():
        if region.role == "effector" or not region.size:
            continue
        row = [name]
        for s in samples:
            here = [str(n) for n in s.spikes.region.values]
            if name in here:
                count = int(s.spikes.n_spikes.values[here.index(name)])
                row.append(f"{1000 * count / region.size / s.spikes.attrs['duration_ms']:.3g} ({count:,})")
            else:
                row.append("silent")
        rows.append(row)
    return Table(
        "Mean rate of each region in Hz, and its spikes in brackets.", ["region", *(s.title for s in samples)], rows
    )


def metric_table(measured: xr.Dataset, reference: str | None, left_out: Sequence[str]) -> dict[str, Any]:
    """Metrics by stage, the reference last, and their definitions, from the result of ``measure`` for the whole
    graphs."""
    shown = {
        str(n): v for n, v in measured.data_vars.items() if v.dims == ("stage", "region") and "definition" in v.attrs
    }
    rows = [
        [
            name.replace("_", " ") + _units(name, v.attrs["units"]),
            *(readable(float(x)) for x in v.values[:, 0]),
        ]
        for name, v in shown.items()
    ]  # fmt: skip
    about = "On the graph of neurons: local and long-range edges, parallel ones merged, self-loops left out."
    about += " The last column is the reference." if reference else ""
    about += f" Left out, as they take long on a graph of this size: {listed(left_out)}." if left_out else ""
    head = ["metric", *map(str, measured.stage.values)]
    n = len(head) - 1 - bool(reference)
    courses = [course(v.values[:n, 0].tolist()) for v in shown.values()] if n > _FEW else []
    return {
        "about": about, "table": Table("Metrics of the graph. A dash: not defined for it.", head, rows, courses),
        "definitions": [(n.replace("_", " "), v.attrs["definition"], v.attrs["source"]) for n, v in shown.items()],
    }  # fmt: skip


def _units(name: str, units: str) -> str:
    return "" if units == "1" or units in name else f" ({units.replace('um', 'µm')})"


def course(values: Sequence[float]) -> str:
    """A line through the values, scaled from the least to the greatest."""
    there = [(i, v) for i, v in enumerate(values) if math.isfinite(v)]
    low, high = (min(v for _, v in there), max(v for _, v in there)) if there else (0.0, 0.0)
    step, scale = 56 / (len(values) - 1), 16 / (high - low) if high - low > _FLAT else 0.0
    return (
        "M" + "L".join(f"{2 + step * i:.1f} {18 - scale * (v - low) if scale else 10:.1f}" for i, v in there)
        if there
        else ""
    )


def configuration_tables(text: str) -> dict[str, Any] | None:
    """A TOML text as tables, any other text as it is."""
    if not text.strip():
        return None
    try:
        return {"tables": list(_flat("", parse_toml(text, "configuration"))), "text": None}
    except (ConnectomeError, ValueError, RecursionError):  # no TOML, or numbers and depths that Python cannot print
        return {"tables": None, "text": text}


def _flat(name: str, table: Mapping[str, Any]) -> Any:
    """Each of the nested tables, under its dotted name, with its own keys and values."""
    rows = [
        (k, v if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else str(v))
        for k, v in table.items()
        if not isinstance(v, Mapping)
    ]
    if rows:
        yield name or "general", [(k, v or "(none)") for k, v in rows]
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{name}.{key}" if name else key, value)


def citation(c: Connectome, source: str) -> dict[str, Any]:
    """What to cite, and what identifies the graph."""
    version, p = package.__version__, c.provenance
    bibtex = (
        "@software{connectome,\n"
        "  title   = {connectome: a graph-based connectome simulation engine},\n"
        "  author  = {{the connectome developers}},\n"
        f"  version = {{{version}}}\n"
        "}"
    )
    rows = [["file or folder", source], ["digest of the last graph (SHA-256)", c.digest()]]
    if p.seed is not None:
        rows.append(["seed", str(p.seed)])
    rows += [[f"version of {name}", value] for name, value in p.versions.items()]
    return {
        "bibtex": bibtex, "facts": Table("What identifies this network.", [], rows),
        "methods": "Neurons and synapses are NEST's iaf_psc_exp, integrated exactly (Rotter & Diesmann 1999, Biol. "
        "Cybern. 81:381). Files are SONATA (Dai et al. 2020, PLoS Comput. Biol. 16:e1007696).",
    }  # fmt: skip
