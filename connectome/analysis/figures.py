"""Pictures: of a development, drawn from its results, and of the spikes of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from connectome.analysis.functional import fisher_z
from connectome.analysis.style import BLACK, BLUE, GREY, ORANGE, styled
from connectome.development.results import of_kind
from connectome.graph.parts import Region

__all__ = ["draw_development", "draw_functional_connectivity", "draw_gain_scan", "draw_raster", "log_limits"]

#: For each kind of edge between neurons: its name, its colour, line and marker.
_KINDS = {"local": ("local", BLUE, "-", "o"), "long_range": ("long-range", ORANGE, "--", "s")}

#: For Dale's sign: its name and its colour. A raster has them one below the other as well.
_SIGNS = {1: ("excitatory", BLUE), -1: ("inhibitory", ORANGE), 0: ("sensor, or unsigned", BLACK)}
_MAX_ROWS = 1000  # neurons in a raster, about as many as it has pixels
_MIN_ROWS = 40  # neurons of a region that are drawn besides large ones, if it has as many
_LINE = 0.17  # inches that a line of a region's name takes
_AXIS = 0.8  # inches of what is above and below the bands
_TALLEST = 100.0  # inches: 10,000 pixels
_MAX_DOTS = 200_000  # spikes in a raster
_MAX_LINES = 8  # regions in a picture of a scan


def log_limits(values: ArrayLike) -> tuple[float, float]:
    """Limits of a logarithmic axis that leave a tenth of room around the positive ones of these values.

    Around a single value matplotlib's own margins come from the last bits of a logarithm, and on some processors they
    are 0. If no value is positive: 1 and 10."""
    positive = np.asarray(values, float)
    positive = positive[(positive > 0) & np.isfinite(positive)]
    return (positive.min() / 1.1, positive.max() * 1.1) if positive.size else (1.0, 10.0)


@styled
def draw_development(results: xr.Dataset) -> Figure:
    """Four panels to read at a glance: scores, edges over time, operations per sample, mean weights."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    stages = [str(s) for s in results.stage.values]
    figure.suptitle(f"Development through {', '.join(stages)} (seed {results.attrs.get('seed', '?')})")
    _scores(axes[0, 0], results, stages)
    _edges(axes[0, 1], results, stages)
    _operations(axes[1, 0], results, stages)
    _weights(axes[1, 1], results, stages)
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
    axis.set_title("What was learnt and kept: test score")


def _edges(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    stage, update = results.history_stage.values, results.history_update.values
    length = [update[stage == n + 1].max(initial=0) for n in range(len(stages))]
    start = np.concatenate([[0], np.cumsum(length)])
    x = start[stage - 1] + update
    ends = []
    for kind, (name, colour, line, _) in _KINDS.items():
        edges = results[f"history_{kind}_edges"].values / 1e3
        if kind == "local" or edges.any():
            axis.plot(x, edges, color=colour, ls=line)
            ends.append((name, edges))
    axis.set_ylim(0, 1.15 * max(1e-3, *(edges.max(initial=0) for _, edges in ends)))  # room for the stages' names
    for number, name in enumerate(stages):
        axis.axvline(start[number], color="0.8", lw=1, zorder=0)
        axis.annotate(
            name, (start[number], 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
            fontsize=9, color=GREY,
        )  # fmt: skip
    _name_lines(axis, x, ends)
    axis.set(xlabel="update", ylabel="edges (thousands)")
    axis.set_title("What was grown and pruned")


def _operations(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    """A group of bars for each task, with one bar for each stage since it was learnt."""
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
    axis.legend(title="after stage", loc="upper left", ncols=3, alignment="left")
    axis.set_title("What a sample costs")


def _weights(axis: Any, results: xr.Dataset, stages: list[str]) -> None:
    ends = []
    for kind, (name, colour, line, marker) in _KINDS.items():
        mean = of_kind(results, kind).mean_abs_weight.values
        axis.plot(range(len(stages)), mean, marker=marker, color=colour, ls=line)
        ends.append((name, mean))
    axis.set_ylim(0, 1.1 * max(1e-3, *(np.nan_to_num(mean).max() for _, mean in ends)))
    axis.set_xlim(-0.3, len(stages) - 0.7)
    _name_lines(axis, np.arange(len(stages)), ends)
    axis.set_xticks(range(len(stages)), stages)
    axis.set(xlabel="after stage", ylabel="mean |weight| (pA)")
    axis.set_title("How strong edges are")


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


@styled
def draw_raster(spikes: xr.Dataset, regions: Mapping[str, Region]) -> Figure:
    """A raster: one dot a spike, one row a neuron, time to the right. Regions are bands from the top, each with its
    mean rate; within them excitatory neurons are above inhibitory ones. ``spikes`` is what
    :func:`connectome.simulate.run` gives.

    Where there is more than a picture can show, neurons are drawn at random, and the title says so; the same spikes
    make the same picture. Effectors never fire and are left out.
    """
    names = [str(name) for name in spikes.region.values]
    shown = [regions[name] for name in names if regions[name].role != "effector" and regions[name].size]
    everyone, duration_ms = sum(r.size for r in shown), spikes.attrs["duration_ms"]
    part = min(1.0, _MAX_ROWS / max(1, everyone), _MAX_DOTS / max(1, spikes.sizes["spike"]))
    rows = [_rows(r, part) for r in shown]
    inches = min(_TALLEST, max(7.5, 2 * _LINE * len(shown)))
    height = _bands([row.size for row in rows], (inches - _AXIS) / _LINE)
    an_inch = sum(height) / (inches - _AXIS)
    figure = Figure(figsize=(11, inches), layout="constrained")
    axis = figure.subplots()
    size = min(10.0, max(0.6, 16_000 / max(1, part * spikes.sizes["spike"])))  # points²: a twentieth of the picture
    dots, top, named = dict.fromkeys(_SIGNS, 0), 0.0, -math.inf
    for r, row, high in zip(shown, rows, height, strict=True):
        mine = spikes.spike_region.values == names.index(r.name)
        place = np.full(r.size, np.nan)
        place[row] = top + (np.arange(row.size) + 0.5) * high / row.size
        number, times = spikes.spike_neuron.values[mine], spikes.spike_time_ms.values[mine]
        for sign, (_, colour) in _SIGNS.items():
            dot = (r.sign[number] == sign) & np.isfinite(place[number])
            axis.scatter(times[dot], place[number[dot]], s=size, color=colour, linewidths=0)
            dots[sign] += int(dot.sum())
        rate_hz = 1000 * times.size / r.size / duration_ms
        lines = 2 if high >= 2 * _LINE * an_inch else 1
        if top + high / 2 - named >= 0.99 * lines * _LINE * an_inch / 2:  # of too many regions some have no name
            axis.annotate(
                f"{r.name}\n{rate_hz:.3g} Hz" if lines == 2 else f"{r.name}, {rate_hz:.3g} Hz", (0, top + high / 2),
                (-6, 0), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", va="center",
                fontsize=9, color="0.2",
            )  # fmt: skip
            named = top + high / 2 + lines * _LINE * an_inch / 2
        top += high
        axis.axhline(top, color="0.8", lw=1, zorder=0)
    axis.set(xlim=(0, duration_ms), ylim=(max(top, 1), 0), xlabel="time (ms)", yticks=[])
    drawn = sum(row.size for row in rows)
    sample = "" if drawn == everyone else f" of {everyone:,}, drawn at random"
    axis.set_title(f"{drawn:,} neurons{sample}: {sum(dots.values()):,} spikes")
    for sign, (name, colour) in _SIGNS.items():
        if dots[sign]:
            axis.scatter([], [], s=30, color=colour, label=name)
    if sum(dots.values()):
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)
    return figure


def _bands(rows: list[int], lines: float) -> list[float]:
    """Height of each region's band, in rows: as many as it has, but at least the height of a line of text."""
    height = [float(max(_MIN_ROWS, n)) for n in rows]
    for _ in range(20):  # the least band is a share of what all of them take
        least = sum(height) / max(lines, len(rows))
        height = [max(n, least) for n in height]
    return height


@styled
def draw_gain_scan(scan: xr.Dataset) -> Figure:
    """Rates at each gain, during and after the drive, of all neurons and of the up to eight regions that differ most.
    ``scan`` is what :func:`connectome.experiment.calibrate` gives, or ``gain_scan``."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    floor = min([float(v[v > 0].min()) for v in (scan.rate_hz.values, scan.after_hz.values) if (v > 0).any()] or [1.0])
    spread = np.ptp(np.log(np.maximum(scan.rate_hz.values, floor)), axis=0)
    most = _MAX_LINES if scan.sizes["region"] > 1 else 0
    shown = np.sort(np.argsort(-spread, kind="stable")[:most])
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(shown), 1)))
    for axis, name, title in (
        (axes[0], "rate_hz", f"Driven, {scan.attrs['drive_ms']:g} ms"),
        (axes[1], "after_hz", f"After the drive, the last {scan.attrs['after_ms'] / 2:g} ms"),
    ):  # fmt: skip
        for colour, k in zip(colours, shown, strict=False):
            label = str(scan.region.values[k])
            axis.plot(scan.gain, scan[name][:, k], color=colour, lw=1.2, marker=".", label=label)
        mean = scan["mean_hz" if name == "rate_hz" else "mean_after_hz"]
        axis.plot(scan.gain, mean, color="black", lw=2, marker="o", ms=4, label="all neurons")
        if "chosen_gain" in scan.attrs:
            axis.axvline(scan.attrs["chosen_gain"], color=ORANGE, lw=1.5, ls="--", zorder=0)
        axis.set(xlabel="gain", xscale="log", title=title)
        axis.set_yscale("symlog", linthresh=floor)
        axis.set_ylim(0, None)
    axes[0].set_ylabel("rate (Hz)")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    if "chosen_gain" in scan.attrs:
        aim = {"edge": "largest gain at which activity dies out"}.get(scan.attrs["aim"], scan.attrs["aim"])
        figure.suptitle(f"{scan.attrs['physiology']}: gain {scan.attrs['chosen_gain']:.3g}, {aim}")
    return figure


@styled
def draw_functional_connectivity(results: xr.Dataset) -> Figure:
    """Three kinds of panel: the wiring, the functional connectivity averaged over runs, and the measured one if there
    is one; each pair of nodes in both; and the agreement of each run beside that of runs on null tracts. ``results`` is
    what :func:`connectome.experiment.resting.gather_runs` gives."""
    measured = "empirical" in results
    of = "empirical" if measured else "structural"
    figure = Figure(figsize=(4 * (3 + measured) + 2, 4), layout="constrained")
    axes = figure.subplots(1, 4 + measured)
    fc, z = results.mean_fc.values, fisher_z(results.mean_fc.values)
    n, pairs = len(fc), np.triu_indices(len(fc), 1)
    panels = [("Tracts (weights)", results.structural.values), ("Simulated (r)", fc)]
    panels += [("Measured", results.empirical.values)] if measured else []
    for axis, (title, matrix) in zip(axes, panels, strict=False):
        shown = np.where(np.eye(n, dtype=bool), np.nan, matrix)
        low, high = np.nanquantile(shown, [0.01, 0.99]) if n > 1 else (0, 1)
        image = axis.imshow(shown, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        figure.colorbar(image, ax=axis, shrink=0.8)
        axis.set(xlabel="node", ylabel="node")
        axis.locator_params(integer=True)
        axis.set_title(title)
    axis = axes[-2]
    other = results[of].values
    y = fisher_z(other) if measured else other
    size = 4 if pairs[0].size > 500 else 16
    axis.scatter(z[pairs], y[pairs], s=size, color=BLUE, alpha=0.4, linewidths=0)
    r = float(results.mean_r.sel(against=of))
    axis.set(xlabel="simulated (z)", ylabel=f"{'measured (z)' if measured else 'weight of tracts'}")
    axis.set_title(f"Pairs of nodes, r = {r:.2f}")
    axis = axes[-1]
    strips = [("tracts", results.r.sel(against=of).values, ORANGE)]
    if "null" in results.dims:
        strips += [(f"null: {k}", results.null_r.sel(null=k, against=of).values, BLUE) for k in results.null.values]
    for place, (_, values, colour) in enumerate(strips):
        values = values[np.isfinite(values)]
        axis.plot(place + np.linspace(-0.15, 0.15, values.size), values, "o", ms=4, color=colour, alpha=0.7)
    if measured:
        axis.axhline(float(results.structural_r), color=GREY, ls="--", lw=1.2)
        axis.annotate(
            "tract weights only", (0.02, float(results.structural_r)), (0, 3), fontsize=8, color=GREY,
            xycoords=("axes fraction", "data"), textcoords="offset points",
        )  # fmt: skip
    axis.set_xticks(range(len(strips)), [name for name, *_ in strips])
    axis.set(xlim=(-0.6, len(strips) - 0.4), ylabel=f"r with the {'measured one' if measured else 'tracts run on'}")
    axis.set_title("Runs")
    return figure


def _rows(region: Region, part: float) -> Any:
    """Neurons of a region to show, in the order of their rows: this part of them, or a few more where they are few."""
    n = min(region.size, max(_MIN_ROWS, round(part * region.size)))
    drawn = np.sort(np.random.default_rng(0).choice(region.size, n, replace=False))
    return drawn[np.argsort(-region.sign[drawn], kind="stable")]
