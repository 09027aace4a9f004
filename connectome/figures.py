"""Pictures of a development, drawn from its results."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

__all__ = ["draw_development"]

#: Okabe & Ito's colours, told apart by everyone.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def draw_development(results: xr.Dataset) -> Figure:
    """Four panels to read at a glance: scores, edges over time, operations per sample, long-range weights."""
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
    axis.imshow(score, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(score):
        text = "not yet" if np.isnan(value) else f"{value:.1%}"
        axis.text(column, row, text, ha="center", va="center", color="white" if value > 0.6 else "0.4", fontsize=12)
    axis.set(xticks=range(len(stages)), yticks=range(len(stages)), xlabel="task", ylabel="after stage")
    axis.set_xticklabels(stages)
    axis.set_yticklabels(stages)
    axis.set_title("What was learnt and kept: test score", loc="left")


def _edges(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    stage, update = results.history_stage.values, results.history_update.values
    length = [update[stage == n + 1].max(initial=0) for n in range(len(stages))]
    start = np.concatenate([[0], np.cumsum(length)])
    x = start[stage - 1] + update
    axis.plot(x, results.history_local_edges / 1e3, color=_COLOURS[0], lw=2)
    axis.plot(x, results.history_long_range_edges / 1e3, color=_COLOURS[1], lw=2, ls="--")
    for name, series, colour in (
        ("local", results.history_local_edges, _COLOURS[0]), ("long-range", results.history_long_range_edges, _COLOURS[1]),
    ):  # fmt: skip
        if len(x):
            axis.annotate(name, (x[-1], series.values[-1] / 1e3), (-4, 6), textcoords="offset points", ha="right", color=colour)
    for number, name in enumerate(stages):
        axis.axvline(start[number], color="0.8", lw=1, zorder=0)
        axis.text(start[number], 1.0, f" {name}", transform=axis.get_xaxis_transform(), va="bottom", fontsize=9, color="0.4")
    axis.set(xlabel="update", ylabel="edges (thousands)", ylim=(0, None))
    axis.set_title("What was grown and pruned", loc="left", pad=18)


def _operations(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    width = 0.8 / len(stages)
    for number, name in enumerate(stages):
        values = results.synaptic_operations.sel(stage=name).values / 1e3
        bars = axis.bar(np.arange(len(stages)) + (number - (len(stages) - 1) / 2) * width, np.nan_to_num(values), width * 0.9,
                        color=_COLOURS[number % len(_COLOURS)], label=f"after {name}")  # fmt: skip
        labels = ["" if np.isnan(v) else f"{v:.0f}" for v in values]
        axis.bar_label(bars, labels, fontsize=8, padding=1)
    axis.set(xticks=range(len(stages)), xlabel="task", ylabel="synaptic operations\nper sample (thousands)")
    axis.set_xticklabels(stages)
    axis.legend(frameon=False, fontsize=9)
    axis.set_title("What it costs", loc="left")


def _weights(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    for number, kind in enumerate(("local", "long_range")):
        chosen = results.where(results.edge_kind == kind, drop=True)
        total = (chosen.mean_abs_weight.fillna(0) * chosen.edges).sum("edge_set")
        count = chosen.edges.sum("edge_set")
        mean = (total / count.where(count > 0)).values
        axis.plot(range(len(stages)), mean, "os"[number] + "-", color=_COLOURS[number], label=kind.replace("_", "-"))
    axis.set(xticks=range(len(stages)), xlabel="after stage", ylabel="mean |weight| (pA)", ylim=(0, None))
    axis.set_xticklabels(stages)
    axis.legend(frameon=False, fontsize=9)
    axis.set_title("How strong edges are", loc="left")
