"""Pictures of a development, drawn from its results."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from connectome.results import of_kind

__all__ = ["draw_development"]

#: For each kind of edge between neurons: its name, a colour of Okabe & Ito's, told apart by everyone, line and marker.
_KINDS = {"local": ("local", "#0072B2", "-", "o"), "long_range": ("long-range", "#D55E00", "--", "s")}


def draw_development(results: xr.Dataset) -> Figure:
    """Four panels to read at a glance: scores, edges over time, operations per sample, mean weights."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    stages = [str(s) for s in results.stage.values]
    figure.suptitle(f"Development through {', '.join(stages)} (seed {results.attrs.get('seed', '?')})", fontsize=13)
    _scores(axes[0, 0], results, stages)
    _edges(axes[0, 1], results, stages)
    _operations(axes[1, 0], results, stages)
    _weights(axes[1, 1], results, stages)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _scores(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    score = results.score.values
    axis.pcolormesh(score, vmin=0, vmax=1, cmap="Blues", edgecolors="white", linewidth=2)
    for (row, column), value in np.ndenumerate(score):
        text, colour = ("not yet", "0.4") if np.isnan(value) else (f"{value:.1%}", "white" if value > 0.5 else "black")
        axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=12)
    axis.invert_yaxis()
    at = np.arange(len(stages)) + 0.5
    axis.set_xticks(at, stages)
    axis.set_yticks(at, stages)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set(xlabel="task", ylabel="after stage")
    axis.set_title("What was learnt and kept: test score", loc="left")


def _edges(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    stage, update = results.history_stage.values, results.history_update.values
    length = [update[stage == n + 1].max(initial=0) for n in range(len(stages))]
    start = np.concatenate([[0], np.cumsum(length)])
    x = start[stage - 1] + update
    ends = []
    for kind, (name, colour, line, _) in _KINDS.items():
        edges = results[f"history_{kind}_edges"].values / 1e3
        if kind == "local" or edges.any():
            axis.plot(x, edges, color=colour, lw=2, ls=line)
            ends.append((name, edges))
    axis.set_ylim(0, 1.15 * max(1e-3, *(edges.max(initial=0) for _, edges in ends)))  # room for the stages' names
    for number, name in enumerate(stages):
        axis.axvline(start[number], color="0.8", lw=1, zorder=0)
        axis.annotate(
            name, (start[number], 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
            fontsize=9, color="0.3",
        )  # fmt: skip
    _name_lines(axis, x, ends)
    axis.set(xlabel="update", ylabel="edges (thousands)")
    axis.set_title("What was grown and pruned", loc="left")


def _operations(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    """A group of bars for each task, one for each stage since it was learnt."""
    operations = results.synaptic_operations.values / 1e3
    colours = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.85, len(stages)))
    for row, name in enumerate(stages):
        task = np.flatnonzero(np.isfinite(operations[row]))
        middle = (task + len(stages) - 1) / 2
        bars = axis.bar(task + 0.28 * (row - middle), operations[row, task], 0.26, color=colours[row], label=name)
        axis.bar_label(bars, fmt="{:.0f}", fontsize=9, padding=1)
    axis.set_ylim(0, 1.3 * max(1e-3, np.nanmax(operations)))  # room for the legend
    axis.set_xlim(-0.6, len(stages) - 0.4)
    axis.set_xticks(range(len(stages)), stages)
    axis.tick_params(axis="x", length=0)
    axis.set(xlabel="task", ylabel="synaptic operations\nper sample (thousands)")
    axis.legend(title="after stage", loc="upper left", ncols=3, frameon=False, fontsize=9, alignment="left")
    axis.set_title("What a sample costs", loc="left")


def _weights(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    ends = []
    for kind, (name, colour, line, marker) in _KINDS.items():
        mean = of_kind(results, kind).mean_abs_weight.values
        axis.plot(range(len(stages)), mean, marker=marker, color=colour, lw=2, ls=line)
        ends.append((name, mean))
    axis.set_ylim(0, 1.1 * max(1e-3, *(np.nan_to_num(mean).max() for _, mean in ends)))
    axis.set_xlim(-0.3, len(stages) - 0.7)
    _name_lines(axis, np.arange(len(stages)), ends)
    axis.set_xticks(range(len(stages)), stages)
    axis.set(xlabel="after stage", ylabel="mean |weight| (pA)")
    axis.set_title("How strong edges are", loc="left")


def _name_lines(axis: Any, x: Any, lines: list[tuple[str, Any]]) -> None:
    """Names beside the last points of lines, kept apart from each other."""
    last = sorted((float(y[-1]), name) for name, y in lines if len(y) and np.isfinite(y[-1]))
    apart, below = 0.06 * axis.get_ylim()[1], -np.inf
    for y, name in last:
        place = max(y, below + apart)
        below = place
        axis.annotate(
            name, (x[-1], place), (7, 0), textcoords="offset points", va="center", color="0.2", annotation_clip=False
        )
