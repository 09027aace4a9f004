"""The charts of a report in the form that Plotly's script takes: plain dictionaries of traces and layout.

Colours are names of the page's own custom properties ("--local"), which the script resolves, so that charts follow the
page into dark mode. A kind of edge has a line style and a marker besides its colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.graph.connectome import Connectome
from connectome.graph.parts import KINDS, Region

__all__ = [
    "KIND_NAMES", "Chart", "degree_bins", "degree_chart", "edges_chart", "plain", "raster_chart",
    "score_chart", "weight_bins", "weight_chart",
]  # fmt: skip

Chart = dict[str, Any]
KIND_NAMES: Final = {
    "local": "local", "long_range": "long-range", "afferent": "afferent (from sensors)",
    "efferent": "efferent (to effectors)",
}  # fmt: skip
_DASH: Final = {"local": "solid", "long_range": "dash", "afferent": "dot", "efferent": "dashdot"}
_MARKER: Final = {"local": "circle", "long_range": "square", "afferent": "diamond", "efferent": "triangle-up"}
_MAX_SPIKES: Final = 4000  # in one raster
_MAX_ROWS: Final = 400  # neurons in one raster
_MIN_ROWS: Final = 24
_BINS: Final = 40
_MAX_POINTS: Final = 1000  # of a line


def plain(text: object) -> str:
    """The text escaped so that Plotly, whose markup is a kind of HTML, shows it as it is."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(kind: str) -> dict[str, Any]:
    return {"color": f"--{kind}", "dash": _DASH[kind], "width": 2.5}


def _thin(n: int) -> NDArray[np.int64]:
    """Which of n points of a line to draw: all, or evenly spaced ones, the last among them."""
    return (
        np.unique(np.linspace(0, n - 1, min(n, _MAX_POINTS)).round().astype(np.int64)) if n else np.zeros(0, np.int64)
    )


def edges_chart(stages: Sequence[Connectome], names: Sequence[str], results: xr.Dataset | None) -> Chart:
    """Edges by kind: over the updates of training where they were recorded, otherwise by stage."""
    if results is not None and results.sizes.get("epoch"):
        x, bounds = _updates(results)
        keep = _thin(len(x))
        traces = [
            {
                "type": "scatter", "mode": "lines", "name": KIND_NAMES[kind], "line": _line(kind),
                "x": x[keep].tolist(), "y": results[f"history_{kind}_edges"].values[keep].tolist(),
                "hovertemplate": "%{y:,} edges at update %{x}<extra>" + KIND_NAMES[kind] + "</extra>",
            }
            for kind in ("local", "long_range")
        ]  # fmt: skip
        return {"data": traces, "layout": _over_updates(bounds, results, "edges")}
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": KIND_NAMES[kind], "line": _line(kind),
            "marker": {"symbol": _MARKER[kind], "size": 9, "color": f"--{kind}"}, "x": list(range(len(names))),
            "y": [c.count(kind) for c in stages],
        }
        for kind in KINDS
        if any(c.count(kind) for c in stages)
    ]  # fmt: skip
    ticks = {"tickvals": list(range(len(names))), "ticktext": [plain(name) for name in names]}
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "stage"}, **ticks},
            "yaxis": {"title": {"text": "edges"}, "rangemode": "tozero"},
        },
    }


def score_chart(results: xr.Dataset) -> Chart:
    """The score on validation data of the task that is being learnt."""
    x, bounds = _updates(results)
    stage, score = results.history_stage.values, results.history_validation_score.values
    traces = []
    for number in np.unique(stage).tolist():
        mine = np.flatnonzero(stage == number)
        mine = mine[_thin(len(mine))]
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers" if len(mine) < 3 else "lines", "showlegend": False,
                "name": _stage_name(results, number), "line": {"color": "--ink", "width": 2.5},
                "x": x[mine].tolist(), "y": [v if math.isfinite(v) else None for v in score[mine].tolist()],
                "hovertemplate": "%{y:.1%} at update %{x}",
            }
        )  # fmt: skip
    layout = _over_updates(bounds, results, "validation score")
    layout["yaxis"] |= {"range": [0, 1.03], "tickformat": ".0%"}
    return {"data": traces, "layout": layout}


def _stage_name(results: xr.Dataset, number: int) -> str:
    names = results.stage.values
    return plain(names[number - 1]) if 0 < number <= len(names) else f"stage {number}"


def _updates(results: xr.Dataset) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Updates counted through all stages, and where each stage begins."""
    stage, update = results.history_stage.values, results.history_update.values
    x, bounds, before = np.zeros(len(stage), np.int64), [], 0
    for number in np.unique(stage).tolist():
        mine = stage == number
        bounds.append((number, before))
        x[mine] = before + update[mine]
        before += int(update[mine].max())
    return x, bounds


def _over_updates(bounds: list[tuple[int, int]], results: xr.Dataset, what: str) -> dict[str, Any]:
    lines = [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": at,
            "x1": at,
            "y0": 0,
            "y1": 1,
            "line": {"color": "--line", "width": 1},
        }
        for _, at in bounds
    ]
    texts = [
        {
            "text": _stage_name(results, number), "x": at, "y": 1, "xref": "x", "yref": "paper", "xanchor": "left",
            "yanchor": "bottom", "showarrow": False, "font": {"color": "--soft", "size": 13},
        }
        for number, at in bounds
    ]  # fmt: skip
    return {
        "xaxis": {"title": {"text": "update"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": what}, "rangemode": "tozero"}, "shapes": lines, "annotations": texts,
    }  # fmt: skip


def degree_chart(c: Connectome, bins: NDArray[np.float64], reference: tuple[str, Connectome] | None) -> Chart:
    """Histograms of in- and out-degree between neurons, as fractions of the neurons."""
    in_degree, out_degree = degrees(c)
    traces = [
        _steps(bins, in_degree, "in-degree", {"color": "--local", "width": 2.5}),
        _steps(bins, out_degree, "out-degree", {"color": "--long_range", "width": 2.5, "dash": "dash"}),
    ]
    if reference is not None:
        name, other = reference
        traces.append(
            _steps(
                bins,
                np.add(*degrees(other)),
                f"{plain(name)}, in + out",
                {"color": "--soft", "width": 2, "dash": "dot"},
            )
        )
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "edges of a neuron"}},
            "yaxis": {"title": {"text": "share of neurons"}, "tickformat": ".0%", "rangemode": "tozero"},
        },
    }


def degrees(c: Connectome) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In- and out-degree of every neuron, by local and long-range edges; parallel edges and loops count."""
    inside = {n: np.zeros(r.size, np.int64) for n, r in c.regions.items() if r.role == "neuron"}
    outside = {name: column.copy() for name, column in inside.items()}
    for key, e in c.edges.items():
        if key.source in inside and key.target in inside:
            outside[key.source] += np.diff(e.indptr)
            inside[key.target] += np.bincount(e.indices, minlength=e.n_target)
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *inside.values()]), np.concatenate([empty, *outside.values()])


def degree_bins(stages: Sequence[Connectome]) -> NDArray[np.float64]:
    """Edges of the bins, whole numbers and the same for all stages."""
    top = max((int(d.max(initial=0)) for c in stages for d in degrees(c)), default=0)
    width = max(1, -(-(top + 1) // _BINS))
    return np.arange(0, top + width + 1, width, dtype=np.float64)


def _steps(bins: NDArray[np.float64], values: NDArray[np.int64], name: str, line: dict[str, Any]) -> dict[str, Any]:
    count = np.histogram(values, bins)[0] / max(values.size, 1)
    ranges = [f"{a:,.0f}" if b - a == 1 else f"{a:,.0f} to {b - 1:,.0f}" for a, b in pairwise(bins.tolist())]
    return {
        "type": "scatter", "mode": "lines", "name": name, "line": {**line, "shape": "hv"}, "x": bins.tolist(),
        "y": [*count.tolist(), 0.0], "text": [*ranges, ""],
        "hovertemplate": f"%{{y:.1%}} have %{{text}}<extra>{name}</extra>",
    }  # fmt: skip


def weight_bins(stages: Sequence[Connectome]) -> NDArray[np.float64]:
    """Edges of the bins of |weight|, evenly spaced in its logarithm and the same for all stages."""
    sizes = [np.abs(e.weight) for c in stages for e in c.edges.values()]
    low = min((float(w[w > 0].min(initial=np.inf)) for w in sizes), default=np.inf)
    high = max((float(w.max(initial=0)) for w in sizes), default=0.0)
    if not 0 < low <= high:
        return np.array([0.5, 2.0])
    # Seven decades hold what is worth seeing; the first bin takes what is smaller.
    return np.geomspace(max(low, high * 1e-7) * 0.999, high * 1.001, _BINS + 1)


def weight_chart(c: Connectome, bins: NDArray[np.float64]) -> Chart:
    """|weight| of the edges of each kind, in bins of equal width in the logarithm."""
    traces = []
    ranges = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(bins.tolist())]
    for kind in KINDS:
        mine = [np.abs(e.weight) for e in c.edges.values() if e.key.base == kind]
        count = np.histogram(np.clip(np.concatenate([np.zeros(0), *(w[w > 0] for w in mine)]), bins[0], None), bins)[0]
        if count.any():
            traces.append(
                {
                    "type": "scatter", "mode": "lines", "name": KIND_NAMES[kind], "x": bins.tolist(),
                    "y": [*count.tolist(), 0], "line": {**_line(kind), "shape": "hv"}, "text": [*ranges, ""],
                    "hovertemplate": f"%{{y:,}} edges of %{{text}}<extra>{KIND_NAMES[kind]}</extra>",
                }
            )  # fmt: skip
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "|weight|"}, "type": "log", "dtick": 1},
            "yaxis": {"title": {"text": "edges"}, "rangemode": "tozero"},
        },
    }


def raster_chart(spikes: xr.Dataset, regions: Mapping[str, Region]) -> tuple[Chart, str]:
    """A raster, with one dot a spike, one row a neuron, regions in bands from the top; and a sentence that says what
    was left out."""
    names = [str(name) for name in spikes.region.values]
    shown = [regions[name] for name in names if regions[name].role != "effector" and regions[name].size]
    everyone = sum(r.size for r in shown)
    part = min(1.0, _MAX_ROWS / max(1, everyone), _MAX_SPIKES / max(1, spikes.sizes["spike"]))
    rng = np.random.default_rng(0)
    top, ticks, lines, rows, dots = 0.0, [], [], 0, 0
    places: dict[str, tuple[list[Any], list[Any]]] = {name: ([], []) for name in _SPIKES}
    for r in shown:
        n = min(r.size, max(_MIN_ROWS, round(part * r.size)))
        drawn = np.sort(rng.choice(r.size, n, replace=False))
        drawn = drawn[np.argsort(-r.sign[drawn], kind="stable")]
        high = max(_MIN_ROWS, n)
        row = np.full(r.size, np.nan)
        row[drawn] = top + (np.arange(n) + 0.5) * high / n
        mine = spikes.spike_region.values == names.index(r.name)
        number, time = spikes.spike_neuron.values[mine], spikes.spike_time_ms.values[mine]
        for name, (role, signs, _, _) in _SPIKES.items():
            if role == r.role:
                at = np.isin(r.sign[number], signs) & np.isfinite(row[number])
                room = max(0, 2 * _MAX_SPIKES - dots)
                places[name][0].extend(np.round(time[at], 3).tolist()[:room])
                places[name][1].extend(np.round(row[number[at]], 2).tolist()[:room])
                dots += min(int(at.sum()), room)
        ticks.append((top + high / 2, plain(r.name)))
        top += high
        rows += n
        lines.append(top)
    traces = [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": x, "y": y, "hoverinfo": "skip",
            "marker": {"color": colour, "symbol": symbol, "size": 5},
        }
        for (name, (_, _, colour, symbol)), (x, y) in zip(_SPIKES.items(), places.values(), strict=True)
        if x
    ]  # fmt: skip
    total = spikes.sizes["spike"]
    left_out = (
        ""
        if (dots, rows) == (total, everyone)
        else (f" {rows:,} of {everyone:,} neurons are drawn, chosen at random, and {dots:,} of {total:,} spikes.")
    )
    return {
        "data": traces,
        "layout": {
            "xaxis": {
                "title": {"text": "time (ms)"}, "range": [0, 1.03 * spikes.attrs["duration_ms"]], "showgrid": False,
            },
            "yaxis": {
                "range": [max(top, 1), 0], "tickvals": [y for y, _ in ticks], "ticktext": [t for _, t in ticks],
                "ticks": "", "showgrid": False, "automargin": True, "zeroline": False,
            },
            "shapes": [
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y,
                    "line": {"color": "--line", "width": 1},
                }
                for y in lines[:-1]
            ],
        },
    }, left_out  # fmt: skip


#: Dots of a raster: role, signs, colour and marker.
_SPIKES: Final[Mapping[str, tuple[str, tuple[int, ...], str, str]]] = {
    "sensor": ("sensor", (-1, 0, 1), "--afferent", "diamond"),
    "excitatory": ("neuron", (1,), "--local", "circle"),
    "inhibitory": ("neuron", (-1,), "--long_range", "square"),
    "unsigned": ("neuron", (0,), "--ink", "circle"),
}
