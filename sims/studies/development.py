"""What the studies of whole developments share: a cell goes through stages by a method, and is judged after each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from connectome.analysis.intervals import mean_of, paired
from connectome.graph.flat import select
from connectome.graph.parts import KINDS
from sims.studies.cells import StudyTable

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from connectome.datasets.images import Images
    from connectome.datasets.tasks import Perception
    from connectome.development.birth import Anatomy
    from connectome.development.configuration import Configuration
    from connectome.development.stage import Progress, Stage
    from connectome.learning.task import Task

__all__ = [
    "ORDER", "defaults", "differences", "draw_scores", "energy", "go_through", "outcome_table", "planned",
    "read_images",
]  # fmt: skip

#: The usual development's stages.
ORDER: Final = ("perception", "motor", "interaction")

#: Energy of one operation of 32 bits in 45 nm (Horowitz 2014, ISSCC, figure 1.1.9), pJ: a synaptic operation is an
#: addition, a dense network's is a multiplication and an addition. A conversion, not a measurement.
ADDITION_PJ, MULTIPLICATION_PJ = 0.9, 3.7


def defaults(configuration: Configuration | None = None) -> str:
    """What tells the default configuration, or this one, from that of another version: an option of studies of
    developments, so that cells of the one are not taken for the other's."""
    import hashlib
    import json

    from connectome.development.configuration import Configuration

    table = (configuration or Configuration()).table()
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def read_images(source: str, pixels: int = 0) -> Images:
    """Images from a source; a worker reads them once, not for each cell."""
    from connectome.datasets.images import load_images

    return load_images(source, pixels)


def planned(
    configuration: Configuration, images: str = "", order: Sequence[str] = ORDER
) -> tuple[dict[str, Task], list[Stage]]:
    """The tasks of these names, and a stage for each, as a configuration has them."""
    from connectome.datasets.tasks import known_tasks
    from connectome.development.configuration import plan_stages

    seen = read_images(images), configuration.data.jitter_pixels
    tasks = {name: known_tasks()[name](*seen) for name in order}
    return tasks, plan_stages(list(order), tasks, configuration)


def go_through(
    stages: Sequence[Stage], anatomy: Anatomy, method: str, seed: int, trials: int,
    choice: Sequence[Perception] = (),
) -> xr.Dataset:  # fmt: skip
    """Learn the stages' tasks by a method of :data:`connectome.mechanisms.comparators.METHODS`; what came of
    it, on test data.

    ``score[stage, task]`` is the matrix R, nan for tasks not learnt yet, and ``validation`` the same on validation
    data; ``operations[stage, task]`` and ``spikes`` are per sample, ``edges[stage, kind]`` after a stage. At the end:
    ``final[task]``; ``at_end[task]``, the stricter score; ``lost[task]`` since the task's own stage; ``saved[task]``,
    its operations at their most, in its own stage, over those at the end; ``average`` and ``backward``, the mean score
    and the mean change since each task's own stage; ``end_edges`` and ``left``, as a part of the most there were.
    ``one_choice[stage]``: the score of those tasks of ``choice`` that were learnt, where it is not known which it is.
    """
    import time

    import xarray as xr

    from connectome.datasets.streams import one_choice
    from connectome.development.stages import perform
    from connectome.learning.network import SpikingNetwork
    from connectome.learning.task import acting
    from connectome.mechanisms.comparators import learn

    names = [s.task.name for s in stages]
    n = len(names)
    score, validation, operations, spikes = (np.full((n, n), np.nan) for _ in range(4))
    edges, neurons = np.zeros((n, len(KINDS)), np.int64), np.zeros(n)
    at_end, dense, one = np.zeros(n), np.zeros(n), np.full(n, np.nan)
    most_edges, most_operations = 0, np.zeros(n)
    began = time.process_time()

    def on_progress(progress: Progress) -> None:
        nonlocal most_edges
        at = progress.stage - 1
        most_edges = max(most_edges, progress.edges)
        most_operations[at] = np.fmax(most_operations[at], progress.operations)

    outcomes = learn(method, stages, anatomy, seed=seed, on_progress=on_progress, test_trials=trials)
    for row, outcome in enumerate(outcomes):
        connectome = outcome.connectome
        edges[row] = [connectome.count(kind) for kind in KINDS]
        for column, stage in enumerate(stages[: row + 1]):
            task = stage.task
            found = outcome.scores[task.name]
            score[row, column], at_end[column] = found.value, found.at_end
            operations[row, column], spikes[row, column] = found.operations, found.spikes
            validation[row, column] = perform(connectome, task, "validation", trials, [seed, _VALIDATION]).value
        if choice:
            act = acting(SpikingNetwork(connectome))
            one[row] = one_choice(act, choice[: row + 1], "test", trials, np.random.default_rng([seed, _VALIDATION]))
    for column, task in enumerate(s.task for s in stages):
        steps = next(iter(task.batch(np.random.default_rng(0), 1)[0].values())).shape[1]
        there = select(connectome, task.recruits)
        size, joined = {name: r.size for name, r in there.regions.items()}, list(there.edges)
        neurons[column] = steps * sum(size[name] for name in size if connectome.regions[name].role == "neuron")
        dense[column] = steps * sum(size[k.source] * size[k.target] for k in joined)
    own = np.diagonal(score)
    most_operations = np.fmax(most_operations, np.diagonal(operations))
    before = slice(0, n - 1)
    return xr.Dataset(
        {
            "score": (("stage", "task"), score), "validation": (("stage", "task"), validation),
            "operations": (("stage", "task"), operations), "spikes": (("stage", "task"), spikes),
            "edges": (("stage", "kind"), edges), "final": ("task", score[-1]), "at_end": ("task", at_end),
            "lost": ("task", own - score[-1]), "saved": ("task", most_operations / operations[-1]),
            "neuron_updates": ("task", neurons), "dense_operations": ("task", dense), "average": score[-1].mean(),
            "backward": (score[-1] - own)[before].mean() if n > 1 else np.nan, "end_edges": int(edges[-1].sum()),
            "left": edges[-1].sum() / max(most_edges, edges.sum(1).max()), "cpu_s": time.process_time() - began,
            **({"one_choice": ("stage", one)} if choice else {}),
        },
        coords={"stage": names, "task": names, "kind": list(KINDS)},
    )  # fmt: skip


_VALIDATION = 577215


def outcome_table(results: xr.Dataset) -> StudyTable:
    """A row for each condition: what was known, lost and saved at the end, and with how many edges."""
    tasks = [str(t) for t in results.task.values]
    rows = []
    for name in _conditions(results):
        r = results.sel(condition=name)
        rows.append([
            name, *(_text(r.final.sel(task=t)) for t in tasks), _text(r.average), _text(r.backward),
            *(_text(r.saved.sel(task=t), 1, 1, "") for t in tasks), f"{mean_of(r.end_edges).mean:,.0f}", _text(r.left),
        ])  # fmt: skip
    columns = [
        "", *tasks, "average", "change since", *(f"{t}: operations, most / end" for t in tasks), "edges",
        "of their most",
    ]  # fmt: skip
    return StudyTable(
        "At the end",
        "Test score of each task after the last stage, their average, and the mean change of the earlier ones since "
        "their own stage (backward transfer); how many times fewer synaptic operations a sample takes than at the "
        "most, in the task's own stage; edges.",
        columns, rows,
    )  # fmt: skip


def differences(results: xr.Dataset, pairs: Sequence[tuple[str, str]]) -> StudyTable:
    """A row for each pair of conditions: the first's final scores less the second's, paired by seed."""
    tasks = [str(t) for t in results.task.values]
    strict = [t for t in tasks if not results.at_end.sel(task=t).equals(results.final.sel(task=t))]
    known, rows = set(_conditions(results)), []
    for one, other in pairs:
        if {one, other} <= known:
            a, b = results.sel(condition=one), results.sel(condition=other)
            each = [paired(a.final.sel(task=t).values, b.final.sel(task=t).values).text() for t in tasks]
            stricter = [paired(a.at_end.sel(task=t).values, b.at_end.sel(task=t).values).text() for t in strict]
            rows.append([f"{one} - {other}", *each, *stricter, paired(a.average.values, b.average.values).text()])
    columns = ["", *tasks, *(f"{t}, at end" for t in strict), "average"]
    at_end = "; *at end* is the score of being at the goal when time is up" if strict else ""
    return StudyTable("Differences", f"Of the score at the end, paired by seed{at_end}.", columns, rows)


def energy(results: xr.Dataset, conditions: Sequence[str]) -> StudyTable:
    """A row for each condition and task: operations counted at the end, and what they would cost."""
    known, rows = _conditions(results), []
    for name in (c for c in conditions if c in known):
        for task in results.task.values:
            r = results.sel(condition=name, task=task).isel(stage=-1)
            operations, spikes = mean_of(r.operations), mean_of(r.spikes)
            dense = mean_of(r.dense_operations).mean
            spent = operations.mean * ADDITION_PJ / 1e6
            beside = dense * (ADDITION_PJ + MULTIPLICATION_PJ) / 1e6
            rows.append([
                name, str(task), operations.text(1e-3, 1, ""), spikes.text(1, 0, ""),
                f"{mean_of(r.neuron_updates).mean / 1e3:.1f}", f"{dense / 1e3:,.0f}", f"{spent:.3f}", f"{beside:.1f}",
            ])  # fmt: skip
    columns = [
        "", "task", "synaptic operations (thousands)", "spikes", "neuron updates (thousands)",
        "dense multiply-accumulates (thousands)", "synaptic operations, uJ", "dense, uJ",
    ]  # fmt: skip
    return StudyTable(
        "Operations", "Counted, after the last stage; a sample of a reach is one move. Energies are converted, not "
        f"measured: {ADDITION_PJ} pJ for a 32-bit addition, {MULTIPLICATION_PJ} pJ for a multiplication (Horowitz "
        "2014, 45 nm). The dense network has a connection wherever two recruited populations are joined at all; "
        "neurons' own updates and memory are not in either energy.", columns, rows,
    )  # fmt: skip


def draw_scores(results: xr.Dataset) -> Figure:
    """A row for each condition, a panel for each task: its score after its own stage and at the end, with 95 %
    intervals."""
    from matplotlib.figure import Figure

    tasks, names = list(results.task.values), _conditions(results)
    figure = Figure(figsize=(2.0 + 2.4 * len(tasks), 1.1 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    rows = np.arange(len(names))
    for ax, task in zip(axes, tasks, strict=True):
        r = 100 * results[["score", "final"]].sel(task=task)
        own, end = ([mean_of(x.sel(condition=c)) for c in names] for x in (r.score.sel(stage=task), r.final))
        ax.plot([m.mean for m in own], rows, "o", mfc="none", color="0.5", label="after its own stage")
        ax.errorbar(
            [m.mean for m in end], rows, xerr=[m.half for m in end], fmt="o", ms=4, capsize=2, label="at the end"
        )
        ax.set_title(str(task), fontsize=10)
        ax.grid(axis="y", color="0.9")
        ax.set_xlabel("test score (%)")
    axes[0].set_yticks(rows, names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _conditions(results: xr.Dataset) -> list[str]:
    return [str(c) for c in results["condition"].values]


def _text(values: Any, scale: float = 100.0, digits: int = 1, unit: str = " %") -> str:
    return mean_of(values).text(scale, digits, unit)
