"""One page about an experiment: each condition beside the one that it builds on, over time, and what it changes.

Self-contained HTML, to read on a screen or a phone and to print; it shares colours, tables and the drawing script with
:mod:`connectome.analysis.report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import xarray as xr

import connectome as package
from connectome.analysis.report.render import rendered
from connectome.analysis.report.tables import Table
from connectome.experiment.charts import (
    MOST_LINES,
    change_chart,
    changes,
    course_chart,
    effect_chart,
    raster_chart,
    shown_populations,
    sweep_chart,
)
from connectome.experiment.descriptions import condition_rows, notes
from connectome.experiment.effects import rows_of
from connectome.experiment.readouts import READOUTS
from connectome.experiment.trials import Setup
from connectome.texts import listed, percent, plural, readable

if TYPE_CHECKING:
    import pandas

__all__ = ["page"]

_MOST_PANELS: Final = 9
_MOST_EFFECTS: Final = 15
_MOST_TABLES: Final = 12
_MOST_CELLS: Final = 15
_TESTS: Final = {
    "t": "Student's paired t-test", "permutation": "a permutation of the signs of the differences",
    "wilcoxon": "Wilcoxon's signed-rank test",
}  # fmt: skip
_CORRECTIONS: Final = {
    "holm": "corrected by Holm's method", "fdr_bh": "corrected by Benjamini and Hochberg's method",
    "none": "not corrected",
}  # fmt: skip
_NAMES: Final = {"rate_hz": "rate", "active": "active share", "latency_ms": "latency"}
_CONTROLS: Final = {"measured": "measured", "shuffled": "shuffled wiring", "random-targets": "random targets"}


def page(setup: Setup, results: xr.Dataset, tables: Mapping[str, pandas.DataFrame], *, source: str) -> str:
    """The page, as HTML. The same input gives the same text.

    Parameters
    ----------
    results : what :func:`connectome.experiment.trials.assemble` gives
    tables : ``effects`` and ``cells``, and ``sweep``, ``paths`` and ``structure`` if there are any, as
        :mod:`connectome.experiment.effects` and :mod:`connectome.experiment.activation` give them
    source : the name of the connectome
    """
    from tomli_w import dumps

    e = setup.experiment
    compared = [name for name in e.conditions if e.against(name)] or list(e.conditions)
    sweep = _sweep(tables.get("sweep"))
    charts = _charts(setup, results, tables, compared)
    if sweep:
        charts["sweep"] = {"all": [sweep_chart(sweep["rows"], sweep["units"])]}
    pairs = [{"here": name, "base": e.against(name)} for name in compared]
    payload = {"charts": charts, "n_stages": len(pairs), "measure": _first_by(setup), "pairs": pairs}
    parts: dict[str, Any] = {
        "source": source, "title": e.title or f"An experiment on {source}",
        "lede": _lede(setup), "tiles": _tiles(setup), "notes": list(notes(setup)), "pairs": pairs, "by": e.readouts.by,
        "first_by": _first_by(setup), "side_by_side": list(e.conditions)[:_MOST_PANELS],
        "more": max(0, len(e.conditions) - _MOST_PANELS),
        "has_base": bool(e.against(compared[-1])), "has_raster": "raster1" in charts, "most_lines": MOST_LINES,
        "seed": e.first_seed, "about": setup.about, "bin_ms": readable(e.readouts.bin_ms),
        "conditions": Table("Conditions and what each does beyond its base.", ["condition", "builds on", ""],
                            condition_rows(setup)),
        "effects": [_effects(setup, tables["effects"], name) for name in list(e.conditions)[:_MOST_TABLES]],
        "left_out": max(0, len(e.conditions) - _MOST_TABLES),
        "cells": [t for name in compared[:_MOST_TABLES] if (t := _cells(setup, tables["cells"], name))],
        "sweep": sweep["table"] if sweep else None, "sweep_about": sweep["about"] if sweep else "",
        "paths": _paths(tables.get("paths")), "structure": _structure(tables.get("structure")),
        "test": _TESTS[e.test], "correction": _CORRECTIONS[e.correction],
        "specification": dumps(e.table()),
        "facts": Table("What identifies this experiment.", [], [
            ["connectome", source], ["digest of the network (SHA-256)", results.attrs["network"]],
            ["seeds", f"{e.first_seed} to {e.first_seed + e.seeds - 1}"], ["version", package.__version__],
        ]),
    }  # fmt: skip
    sections = [
        ("conditions", "Conditions", True), ("time", "Over time", True), ("effects", "Effects", True),
        ("sweep", "Sweep", sweep), ("paths", "Paths", parts["paths"]), ("how", "How", True),
    ]  # fmt: skip
    return rendered("experiment", parts, payload, sections)


def _charts(
    setup: Setup, results: xr.Dataset, tables: Mapping[str, pandas.DataFrame], compared: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Chart -> attribute, or "all" -> a chart for each pair of conditions."""
    e = setup.experiment
    side_by_side = list(e.conditions)[:_MOST_PANELS]
    has_base = bool(e.against(compared[-1]))
    names = [*(f"course{i}" for i in range(len(side_by_side))), *(["change"] if has_base else []), "effect"]
    charts: dict[str, dict[str, Any]] = {name: {} for name in names}
    for by in e.readouts.by:
        of = shown_populations(setup, results, by)
        course = results.course_hz.sel(control="measured").values[:, :, of].astype(np.float64).mean(1)
        top = 1.05 * float(np.nan_to_num(course).max(initial=0.0)) or 1.0
        for i, name in enumerate(side_by_side):
            charts[f"course{i}"][by] = [course_chart(setup, results, name, of, top)]
        if has_base:
            each = [d for c in compared for d in changes(setup, results, c, of).values()]
            far = [d.mean + s * np.nan_to_num(d.half) for d in each for s in (-1, 1)]
            values = np.nan_to_num(np.concatenate([np.zeros(1), *far]))
            span = float(np.ptp(values)) or 1.0
            ends = float(values.min()) - 0.05 * span, float(values.max()) + 0.05 * span
            charts["change"][by] = [change_chart(setup, results, c, of, ends) for c in compared]
        charts["effect"][by] = [effect_chart(tables["effects"], c, by) for c in compared]
    if "raster_cells" in results and results.raster_cells.size:
        by = _first_by(setup)
        charts["raster0"] = {"all": [raster_chart(setup, results, e.against(c) or c, by) for c in compared]}
        charts["raster1"] = {"all": [raster_chart(setup, results, c, by) for c in compared]}
    return charts


def _first_by(setup: Setup) -> str:
    """The attribute shown first: the first that tells cells apart."""
    by = [p.by for p in setup.populations]
    return next((name for name in setup.experiment.readouts.by if by.count(name) > 1), by[0])


def _lede(setup: Setup) -> str:
    e, network = setup.experiment, setup.network
    named = [_CONTROLS[name] for name in e.controls.names if name != "measured"]
    controls = f", compared with {listed(named)}" if named else ""
    sweep = f" {plural(setup.swept.size, 'cell')} silenced one at a time." if e.sweep else ""
    return (
        f"{plural(network.n_neurons, 'neuron')} and {plural(network.n_edges, 'edge')}; "
        f"{plural(len(e.conditions), 'condition')}, {plural(e.seeds, 'seed')}{controls}.{sweep}"
    )


def _tiles(setup: Setup) -> list[dict[str, str]]:
    e = setup.experiment
    return [
        {"what": "neurons", "value": f"{setup.network.n_neurons:,}"},
        {"what": "edges", "value": f"{setup.network.n_edges:,}"},
        {"what": f"trials of {e.duration_ms:g} ms", "value": f"{len(setup.trials()):,}"},
        {"what": f"populations, by {listed(list(e.readouts.by))}", "value": f"{len(setup.populations):,}"},
    ]


def _effects(setup: Setup, table: pandas.DataFrame, condition: str) -> Table:
    """The largest effects of a condition, beside those of the controls."""
    e = setup.experiment
    mine = table[(table.condition == condition) & table.effect.notna()]
    measured = mine[(mine.control == "measured") & (mine.effect != 0)]
    size = measured.effect.abs() / measured.groupby("readout").effect.transform(lambda x: x.abs().max() or 1.0)
    measured = measured.loc[size.sort_values(ascending=False, kind="stable").index[:_MOST_EFFECTS]].sort_index()
    others = [name for name in e.controls.names if name != "measured" and (mine.control == name).any()]
    head = ["", condition, f"minus {e.against(condition)}" if e.against(condition) else "itself", "95 %", "p"]
    head += [f"beyond {_CONTROLS[name]} (p)" for name in others]
    at = {(r.control, r.readout, r.by, r.value): r for r in rows_of(mine)}
    rows = []
    for r in rows_of(measured):
        row = [
            f"{r.value}, {_NAMES[r.readout]}" + (f" ({r.units})" if r.units != "1" else ""), readable(r.mean, 3),
            _signed(r.effect), f"{_signed(r.effect_low)} to {_signed(r.effect_high)}", _p(r.p_corrected),
        ]  # fmt: skip
        for name in others:
            o = at.get((name, r.readout, r.by, r.value))
            there = o is not None and o.beyond == o.beyond
            row.append(f"{_signed(o.beyond)} ({_p(o.p_beyond_corrected)})" if o is not None and there else "-")
        rows.append(row)
    more = len(mine[mine.control == "measured"]) - len(rows)
    caption = f"Effects of {condition}" + (f" against {e.against(condition)}" if e.against(condition) else "")
    caption += f"; the largest, {plural(more, 'other')} in effects.csv." if more > 0 else "."
    return Table(caption, head, rows)


def _cells(setup: Setup, table: pandas.DataFrame, condition: str) -> Table | None:
    """The cells that a condition changes most."""
    base = setup.experiment.against(condition)
    mine = table[(table.condition == condition) & table.effect.notna() & (table.effect != 0)]
    if not base or mine.empty:
        return None
    mine = mine.loc[mine.effect.abs().sort_values(ascending=False, kind="stable").index[:_MOST_CELLS]]
    rows = [
        [r.label or f"{r.region} {r.number}", readable(r.rate_hz, 3), _signed(r.effect),
         f"{_signed(r.effect_low)} to {_signed(r.effect_high)}", _p(r.p_corrected), readable(r.latency_ms, 3)]
        for r in rows_of(mine)
    ]  # fmt: skip
    head = ["cell", "rate (Hz)", f"minus {base}", "95 %", "p", "first spike (ms)"]
    return Table(f"Cells that {condition} changes most.", head, rows)


def _sweep(table: pandas.DataFrame | None) -> dict[str, Any] | None:
    """The cells that matter most, judged by the population whose rate they change most."""
    if table is None or table.effect.isna().all():
        return None
    rates = table[table.readout == "rate_hz"]
    most: Any = rates.groupby(["by", "value"], sort=False).effect.apply(lambda x: x.abs().max()).idxmax()
    by, value = most
    rows = rates[(rates.by == by) & (rates.value == value)].dropna(subset=["effect"])
    other_than_zero = rows[rows.effect != 0]
    largest = other_than_zero.loc[
        other_than_zero.effect.abs().sort_values(ascending=False, kind="stable").index[:_MOST_CELLS]
    ]
    shown = [
        [r.cell, _signed(r.effect), f"{_signed(r.effect_low)} to {_signed(r.effect_high)}", _p(r.p_corrected)]
        for r in rows_of(largest)
    ]  # fmt: skip
    base = str(rows.against.iloc[0])
    about = f"The rate of {value} ({by}) in {base} when a cell is silent, minus the rate when none is; all other "
    about += "populations and read-outs are in sweep.csv."
    head = ["silenced cell", "effect (Hz)", "95 %", "p"]
    return {"rows": rows, "units": READOUTS["rate_hz"], "about": about,
            "table": Table("The cells that matter most.", head, shown)}  # fmt: skip


def _paths(table: pandas.DataFrame | None) -> Table | None:
    if table is None:
        return None
    rows = []
    for key, path in table.groupby(["kind", "path"], sort=False):
        kind, rank = cast(tuple[str, int], key)
        times = path.latency_ms.to_numpy()
        known = times[~np.isnan(times)]
        order = "-" if known.size < 2 else "yes" if (np.diff(known) > 0).all() else "no"
        rows.append([
            f"{kind} {rank}", " \N{RIGHTWARDS ARROW} ".join(path.cell),
            ", ".join(percent(share) for share in path.input_share[1:]), f"{100 * float(path.strength.iloc[0]):.3g} %",
            ", ".join("-" if t != t else f"{t:.1f}" for t in times.tolist()), order,
        ])  # fmt: skip
    head = ["path", "cells", "share of input", "product", "first spikes (ms)", "in order"]
    return Table("Strongest and shortest paths. A dash: the cell did not fire in any seed.", head, rows)


def _structure(table: pandas.DataFrame | None) -> Table | None:
    if table is None:
        return None
    rows = [
        [r.what, readable(r.value, 3), f"{readable(r.mean, 3)} ± {readable(r.sd, 2)}", readable(r.z, 3), _p(r.p)]
        for r in rows_of(table)
    ]  # fmt: skip
    n = int(table.n.iloc[0])
    caption = f"How the ends are joined, against {plural(n, 'shuffled wiring')} (mean ± standard deviation)."
    return Table(caption, ["", "measured", "shuffled", "z", "p"], rows)


def _signed(value: float) -> str:
    text = readable(value, 3)
    return f"{'+' * (value > 0 and text != '0')}{text}".replace("-", "\N{MINUS SIGN}") if value == value else text


def _p(p: float) -> str:
    return "-" if p != p else "< 0.001" if p < 0.001 else f"{p:.2g}"
