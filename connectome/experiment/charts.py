"""The charts of an experiment's page, in the form that Plotly's script takes (as in
:mod:`connectome.analysis.report.charts`).

Each population has a colour that colour-blind people can tell apart, and a line style; each control has its own marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.report.charts import Chart, plain
from connectome.experiment.conditions import not_counted
from connectome.experiment.effects import Differences, differences
from connectome.experiment.trials import Setup

if TYPE_CHECKING:
    import pandas

__all__ = [
    "MOST_LINES", "change_chart", "changes", "course_chart", "effect_chart", "raster_chart", "shown_populations",
    "sweep_chart",
]  # fmt: skip

MOST_LINES: Final = 6
_MOST_ROWS: Final = 24
_MOST_DRIVEN: Final = 0.1
_MOST_DOTS: Final = 8000
_LINES: Final = (
    ("--local", "solid"), ("--long_range", "dash"), ("--afferent", "dot"), ("--efferent", "dashdot"),
    ("--ink", "solid"), ("--soft", "dash"),
)  # fmt: skip
_CONTROLS: Final = {
    "measured": ("measured wiring", "--local", "circle"),
    "shuffled": ("shuffled wiring", "--long_range", "square-open"),
    "random-targets": ("random targets", "--afferent", "diamond-open"),
}  # fmt: skip


def shown_populations(setup: Setup, results: xr.Dataset, by: str) -> NDArray[np.int64]:
    """The populations of one attribute to draw as lines: the most active ones in any condition, except those of which a
    tenth or more is stimulated, as all others would look silent beside them."""
    driven = np.zeros(len(setup.cells), bool)
    for name in setup.experiment.conditions:
        for _, nodes in setup.own(name).stimulate:
            driven |= setup.cells.mask(nodes)
    every = np.flatnonzero(results.by.values == by)
    share = np.array([driven[setup.populations[k].cells].mean() for k in every.tolist()])
    mine = every[share < _MOST_DRIVEN] if (share < _MOST_DRIVEN).any() else every
    rate = results.rate_hz.sel(control="measured").values[..., mine]
    most = np.nan_to_num(rate, nan=-1.0).max(axis=(0, 1))
    return np.sort(mine[np.argsort(-most, kind="stable")[:MOST_LINES]])


def course_chart(setup: Setup, results: xr.Dataset, condition: str, of: NDArray[np.int64], top: float) -> Chart:
    """Rates over time, averaged over seeds, on the measured wiring; times of stimulation are shaded."""
    x = results.bin.values.tolist()
    mean = results.course_hz.sel(condition=condition, control="measured").values.astype(np.float64).mean(0)
    traces = []
    for k, (colour, dash) in zip(of.tolist(), _LINES, strict=False):
        name = plain(results.value.values[k])
        traces.append({
            "type": "scatter", "mode": "lines", "name": name, "line": {"color": colour, "dash": dash, "width": 2.5},
            "x": x, "y": [None if v != v else round(v, 4) for v in mean[k].tolist()],
            "hovertemplate": f"%{{y:.3g}} Hz at %{{x:.4g}} ms<extra>{name}</extra>",
        })  # fmt: skip
    return _over_time(setup, condition, traces, {"title": {"text": "rate (Hz)"}, "range": [0, top]})


def _over_time(setup: Setup, condition: str, traces: list[Any], y: dict[str, Any]) -> Chart:
    """Traces over time, all on one axis; times of stimulation are shaded."""
    e = setup.experiment
    on = [
        {
            "type": "rect", "xref": "x", "yref": "paper", "x0": s.from_ms,
            "x1": e.duration_ms if s.to_ms is None else s.to_ms, "y0": 0, "y1": 1, "layer": "below",
            "fillcolor": "--line", "opacity": 0.35, "line": {"width": 0},
        }
        for s in e.whole(condition).stimulate
    ]  # fmt: skip
    bins = setup.counted(condition).bins
    x = {"title": {"text": "time (ms)"}, "range": [float(bins[0]), float(bins[-1])], "showgrid": False}
    return {"data": traces, "layout": {"showlegend": True, "shapes": on, "xaxis": x, "yaxis": y}}


def changes(setup: Setup, results: xr.Dataset, condition: str, of: NDArray[np.int64]) -> dict[int, Differences]:
    """The effect of a condition on the rate of populations in each bin, with its interval over seeds, on the measured
    wiring; only for populations of which the same cells count in the condition and in its base."""
    e = setup.experiment
    here, base = (
        setup.cells.mask(not_counted(setup.network, setup.manipulation(setup.network, name)))
        for name in (condition, e.against(condition))
    )
    course = results.course_hz.sel(control="measured")
    found = {}
    for k in of.tolist():
        cells = setup.populations[k].cells
        if np.array_equal(here[cells], base[cells]):
            both = (
                course.sel(condition=name).values[:, k].astype(np.float64) for name in (condition, e.against(condition))
            )
            found[k] = differences((next(both) - next(both)).T)
    return found


def change_chart(
    setup: Setup, results: xr.Dataset, condition: str, of: NDArray[np.int64], ends: tuple[float, float]
) -> Chart:
    """The effect on the rate over time, with 95 % intervals as bands; no effect is a line."""
    x = results.bin.values.tolist()
    found = changes(setup, results, condition, of)
    bands, traces = [], []
    for k, (colour, dash) in zip(of.tolist(), _LINES, strict=False):
        if k not in found:
            continue
        name, d = plain(results.value.values[k]), found[k]
        mean, half = d.mean.tolist(), d.half.tolist()
        low, high = ([None if v != v else round(v, 4) for v in (d.mean + s * d.half).tolist()] for s in (-1, 1))
        if np.isfinite(d.half).any():
            band = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "hoverinfo": "skip",
                    "showlegend": False, "name": name}  # fmt: skip
            bands += [{**band, "y": low}, {**band, "y": high, "fill": "tonexty", "fillcolor": f"{colour}-band"}]
        traces.append({
            "type": "scatter", "mode": "lines", "name": name, "line": {"color": colour, "dash": dash, "width": 2.5},
            "x": x, "y": [None if v != v else round(v, 4) for v in mean],
            "text": ["" if h != h else f" ± {h:.2g}" for h in half],
            "hovertemplate": f"%{{y:.3g}}%{{text}} Hz at %{{x:.4g}} ms<extra>{name}</extra>",
        })  # fmt: skip
    y = {"title": {"text": "effect on the rate (Hz)"}, "range": list(ends)}
    chart = _over_time(setup, condition, [*bands, *traces], y | {"zeroline": True})
    if not traces:
        chart["layout"]["annotations"] = [{
            "text": "Each population loses cells:<br>see the table of effects.", "x": 0.5, "y": 0.5, "xref": "paper",
            "yref": "paper", "showarrow": False, "font": {"color": "--soft", "size": 14},
        }]  # fmt: skip
    return chart


def raster_chart(setup: Setup, results: xr.Dataset, condition: str, by: str) -> Chart:
    """A raster of the first seed, one dot a spike, one row a cell; the same cells in every condition, sorted by the
    populations of an attribute."""
    rows = results.raster_cells.values
    first = [p for p in setup.populations if p.by == by]
    group = np.full(len(setup.cells), len(first))
    for k, population in enumerate(first):
        group[population.cells] = k
    order = np.argsort(group[rows], kind="stable")
    place = {int(cell): k for k, cell in enumerate(rows[order].tolist())}
    mine = np.flatnonzero(results.raster_condition.values == list(setup.experiment.conditions).index(condition))
    mine = mine[np.linspace(0, mine.size - 1, min(mine.size, _MOST_DOTS)).round().astype(int)] if mine.size else mine
    y = [place[int(cell)] for cell in results.raster_cell.values[mine].tolist()]
    ticks, lines, at = [], [], 0
    for k in sorted(set(group[rows].tolist())):
        n = int((group[rows] == k).sum())
        ticks.append((at + (n - 1) / 2, plain(first[k].value) if k < len(first) else "-"))
        at += n
        lines.append(at - 0.5)
    bins = setup.counted(condition).bins
    return {
        "data": [{
            "type": "scattergl" if len(y) > 2000 else "scatter", "mode": "markers", "name": "spikes",
            "hoverinfo": "skip",
            "x": np.round(results.raster_time_ms.values[mine].astype(np.float64), 2).tolist(), "y": y,
            "marker": {"color": "--ink", "symbol": "circle", "size": 4},
        }],
        "layout": {
            "showlegend": False,
            "xaxis": {"title": {"text": "time (ms)"}, "range": [float(bins[0]), float(bins[-1])], "showgrid": False},
            "yaxis": {
                "range": [max(at, 1) - 0.5, -0.5], "tickvals": [t for t, _ in ticks], "ticktext": [t for _, t in ticks],
                "ticks": "", "showgrid": False, "zeroline": False,
            },
            "shapes": [
                {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y_, "y1": y_,
                 "line": {"color": "--line", "width": 1}}
                for y_ in lines[:-1]
            ],
        },
    }  # fmt: skip


def effect_chart(table: pandas.DataFrame, condition: str, by: str) -> Chart:
    """The effect on rates of each population with its interval, on the measured wiring and the controls."""
    mine = table[(table.condition == condition) & (table.by == by) & (table.readout == "rate_hz")]
    measured = mine[mine.control == "measured"].dropna(subset=["effect"])
    names = measured.reindex(measured.effect.abs().sort_values(ascending=False, kind="stable").index).value[:_MOST_ROWS]
    shown = [name for name in measured.value if name in set(names)]
    traces = []
    for k, (control, (title, colour, symbol)) in enumerate(_CONTROLS.items()):
        here = mine[mine.control == control].set_index("value")
        rows = [(i, here.loc[name]) for i, name in enumerate(shown) if name in here.index]
        rows = [(i, row) for i, row in rows if row.effect == row.effect]
        if rows:
            half = [row.effect - row.effect_low for _, row in rows]
            traces.append({
                "type": "scatter", "mode": "markers", "name": title, "x": [row.effect for _, row in rows],
                "y": [i + 0.22 * (k - 1) for i, _ in rows],
                "error_x": {
                    "type": "data", "array": [0.0 if h != h else h for h in half], "color": colour, "thickness": 2,
                    "width": 4,
                },
                "marker": {"color": colour, "symbol": symbol, "size": 9},
                "text": [plain(shown[i]) for i, _ in rows],
                "hovertemplate": f"%{{text}}: %{{x:.3g}} Hz<extra>{title}</extra>",
            })  # fmt: skip
    return {
        "data": traces,
        "layout": {
            "showlegend": True,
            "xaxis": {"title": {"text": "effect on the rate (Hz)"}, "rangemode": "tozero"},
            "yaxis": {
                "tickvals": list(range(len(shown))), "ticktext": [plain(name) for name in shown],
                "range": [max(len(shown), 1) - 0.5, -0.5], "showgrid": False, "zeroline": False,
            },
        },
    }  # fmt: skip


def sweep_chart(rows: pandas.DataFrame, units: str) -> Chart:
    """The effect of each silenced cell with its interval, in order."""
    ordered = rows.sort_values("effect", kind="stable")
    half = (ordered.effect - ordered.effect_low).fillna(0.0)
    return {
        "data": [{
            "type": "scatter", "mode": "markers", "name": "silenced cell", "x": list(range(1, len(ordered) + 1)),
            "y": ordered.effect.round(6).tolist(), "text": [plain(name) for name in ordered.cell],
            "error_y": {"type": "data", "array": half.round(6).tolist(), "color": "--soft", "thickness": 1, "width": 0},
            "marker": {"color": "--local", "symbol": "circle", "size": 5},
            "hovertemplate": f"%{{text}}: %{{y:.3g}} {units}<extra></extra>",
        }],
        "layout": {
            "showlegend": False, "xaxis": {"title": {"text": "silenced cells, in order of the effect"}},
            "yaxis": {"title": {"text": f"effect ({units})"}, "rangemode": "tozero"},
        },
    }  # fmt: skip
