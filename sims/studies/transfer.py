"""Studies of the developmental claims: what a region that matures upon others gains by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.analysis.intervals import mean_of, paired
from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import defaults, read_images

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from connectome.development.configuration import Configuration
    from connectome.development.stage import Stage, StageState
    from connectome.learning.task import Task

__all__ = ["plan", "transfer"]

WAYS = ("staged", "whole", "alone", "whole for longer", "alone for longer")

TASKS = ("interaction", "guided motor")


def transfer(quick: bool, images: str) -> Study:
    """Claim C1: with few demonstrations, is a stage upon earlier ones better than direct training?"""
    options: dict[str, Any] = {
        "demonstrations": [200, 500, 0], "points": [100, 200, 400, 700], "trials": 400, "split": "test",
        "training": {}, "images": images, "defaults": defaults(),
    }  # fmt: skip
    if quick:
        options |= {
            "demonstrations": [100, 500], "points": [40, 100], "trials": 100,
            "training": {"perception": 200, "motor": 200},
        }  # fmt: skip
    return Study(
        "Does a region that matures upon others learn better than one trained directly? *staged*: perception (and "
        "motor) matured before; *whole*: the same network from birth, every edge plastic, no rule but growth, trained "
        "on this task only; *alone*: a region with eyes and muscles of its own and as many edges as the region "
        "has that matures upon others; *for longer*: with as many updates on this task as *staged* has on all tasks.",
        tuple(f"{task} {way}" for task in TASKS for way in WAYS),
        _transfer_cell, _transfer_tables, _transfer_figures, seeds=2 if quick else 10, options=options,
    )  # fmt: skip


def _transfer_cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    import xarray as xr

    points = options["points"]
    score = np.full((len(options["demonstrations"]), len(points)), np.nan)
    edges = np.zeros(len(options["demonstrations"]), np.int64)
    matured: StageState | None = None
    for row, demonstrations in enumerate(options["demonstrations"]):
        stages, configuration = plan(cell.condition, demonstrations, max(points), options)
        updates = stages[-1].updates
        due = points if updates == max(points) else [updates]  # what learns for longer is judged at its end
        scores, edges[row], matured = _learn(stages, configuration, cell.seed, matured, due, options)
        score[row, -len(due) :] = scores
    return xr.Dataset(
        {
            "score": (("demonstrations", "update"), score, {"long_name": f"{options['split']} score", "units": "1"}),
            "edges": ("demonstrations", edges, {"long_name": "edges after training", "units": "1"}),
        },
        coords={"demonstrations": options["demonstrations"], "update": points},
    )


def plan(
    condition: str, demonstrations: int, updates: int, options: Mapping[str, Any]
) -> tuple[list[Stage], Configuration]:
    """The stages of a condition, the last of which is the task in question."""
    from connectome.datasets.tasks import UNITS, Interaction, Motor, Perception
    from connectome.development.configuration import Configuration, plan_stages
    from connectome.development.stage import LearningRates

    name = next(task for task in TASKS if condition.startswith(task))
    way, _, longer = condition.removeprefix(f"{name} ").partition(" ")
    images, c = read_images(options["images"]), Configuration()
    body = {"sensors": {"joints": 2 * UNITS}, "effectors": {"muscles": 4}}
    see: Task = Perception(images)
    before: dict[str, Task]
    if name == "interaction":
        before, last = {"perception": see, "motor": Motor()}, Interaction(images, demonstrations=demonstrations)
    else:
        requires = ("perception",)
        before = {"perception": see}
        last = Interaction(images, name="motor", requires=requires, demonstrations=demonstrations, **body)  # type: ignore[arg-type]  # both are mappings
    tasks: dict[str, Task] = {**before, last.name: last}
    training = replace(c.training, **options["training"])
    if longer:
        updates += sum(training.updates(earlier) for earlier in before)
    lengths: Any = {last.name: updates}
    c = replace(c, training=replace(training, **lengths))
    if way == "alone":
        a, rule = c.anatomy, c.rules["growth"]
        grown = rule.edges * rule.last_epoch  # type: ignore[attr-defined]  # it is ours
        n, inputs = a.neurons, int(np.prod(images.shape)) + 2 * UNITS
        links = 2 * len(before) * a.long_range_density * n * n
        own = a.local_density * a.over_production * n * n + links + grown
        density = min(1.0, (own - inputs * n * a.afferent_density) / n**2)
        c = replace(c, anatomy=replace(a, local_density=density, over_production=1.0, local_length_um=1e6))
        alone = replace(
            last,
            requires=(),
            sensors={**see.sensors, **body["sensors"]},
            effectors=body["effectors"],
        )
        tasks = {last.name: alone}
    stages = plan_stages(list(tasks), tasks, c)
    if way == "alone":
        stages = [replace(stage, rules=()) for stage in stages]
    if way == "whole":
        direct = replace(LearningRates(), mature_local=1.0, mature_other=1.0)
        stages = [replace(s, updates=0) for s in stages[:-1]] + [
            replace(stages[-1], learning_rates=direct, rules=(c.rules["growth"],))
        ]
    return stages, c


def _learn(
    stages: Sequence[Stage], configuration: Configuration, seed: int, matured: StageState | None,
    points: Sequence[int], options: Mapping[str, Any],
) -> tuple[list[float], int, StageState | None]:  # fmt: skip
    """Scores of the last stage's task after so many of its updates, the edges at the end, and the state in which the
    stage before it ended: from there the last stage can begin again."""
    from connectome.development.stage import Progress
    from connectome.development.stages import develop, perform

    last = stages[-1].task
    scores: list[float] = []
    due = False
    before, here = matured, None

    def on_progress(progress: Progress) -> None:
        nonlocal due
        due = progress.stage == len(stages) and progress.update in points

    def on_point(state: Callable[[], StageState]) -> None:
        nonlocal due, here
        if due:
            found = perform(state().connectome, last, options["split"], options["trials"], [seed, _SCORED])
            scores.append(found.value)
            due = False
        here = state

    for outcome in develop(
        stages, configuration.anatomy, seed=seed, on_progress=on_progress, on_point=on_point, resume=matured,
        test_trials=1,
    ):  # fmt: skip
        edges = outcome.connectome.n_edges
        if outcome.connectome.provenance.stage == len(stages) - 1:
            assert here is not None
            before = here()
    return scores, edges, before


#: Of the random numbers of the trials.
_SCORED = 314159


def _transfer_tables(results: xr.Dataset) -> list[StudyTable]:
    tables = []
    conditions = results.condition.values.tolist()
    for task in TASKS:
        if f"{task} staged" not in conditions:
            continue
        score = {way: results.score.sel(condition=f"{task} {way}") for way in WAYS if f"{task} {way}" in conditions}
        others = [way for way in WAYS[1:] if way in score]
        rows = []
        for d in results["demonstrations"].values:
            for u in results["update"].values:
                at = {way: s.sel(demonstrations=d, update=u).values for way, s in score.items()}
                at = {way: values for way, values in at.items() if not np.isnan(values).any()}
                gains = [paired(at["staged"], at[way]).text() if way in at else "" for way in others]
                means = [mean_of(at[way]).text() if way in at else "" for way in score]
                rows.append([str(d) if d else "no limit", str(u), *means, *gains])
        columns = ["demonstrations", "updates", *score, *(f"staged - {way}" for way in others)]
        tables.append(StudyTable(
            task, "Score; differences are paired by seed. What learns *for longer* is beside the last row, with which "
            "it shares the number of updates in all.", columns, rows,
        ))  # fmt: skip
    return tables


def _transfer_figures(results: xr.Dataset) -> dict[str, Figure]:
    from matplotlib.figure import Figure

    there = [task for task in TASKS if any(c.startswith(task) for c in results["condition"].values)]
    size = (3.2 * results.sizes["demonstrations"], 2.75 * len(there))
    updates = results["update"].values
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(there), results.sizes["demonstrations"], sharex=True, sharey=True, squeeze=False)
    for row, task in zip(axes, there, strict=True):
        for ax, d in zip(row, results["demonstrations"].values, strict=True):
            for way, style in zip(WAYS, ("o-", "s--", "^:", "sk", "^k"), strict=True):
                if f"{task} {way}" not in results["condition"]:
                    continue
                found = 100 * results.score.sel(condition=f"{task} {way}", demonstrations=d)
                means = [mean_of(found.sel(update=u)) for u in updates]
                heights, halves = [m.mean for m in means], [m.half for m in means]
                ax.errorbar(updates, heights, halves, fmt=style, ms=5, label=way, capsize=2)
            ax.set_title(f"{task}, {d or 'unlimited'} demonstrations", fontsize=9)
    axes[0][0].legend(fontsize=7)
    for ax in axes[-1]:
        ax.set_xlabel("updates on the task")
    for row in axes:
        row[0].set_ylabel("score (%)")
    return {"transfer": figure}
