"""The study of pruning: what is removed, in what units, on what schedule, and what fine-tuning repairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from connectome.analysis.intervals import Mean, mean_of
from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import read_images

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from connectome.datasets.tasks import Perception
    from connectome.graph.connectome import Connectome
    from connectome.graph.parts import EdgeKey
    from connectome.mechanisms.saliency import Batch

__all__ = ["FROZEN", "Matured", "fall", "hold", "matured", "prune", "pruning", "score", "train"]

CRITERIA = ("random", "magnitude", "taylor", "feedback", "obd", "bcm", "activity")
STRUCTURES = ("unstructured", "structured")
SCHEDULES = ("one-shot", "gradual", "iterative")
#: The edge state that says which weights are not to change.
FROZEN: Final = "frozen"
#: Updates in which feedback is averaged before it counts.
_EPOCH = 20
#: Batches that a saliency is measured on; measuring is no update.
_MEASURED = 8
#: A gradual schedule prunes this often, over this part of the fine-tuning (Zhu & Gupta 2017).
_STEPS, _PART = 10, 0.6
_SEE, _DRAW, _SCORE = 11, 12, 13


def pruning(quick: bool, images: str) -> Study:
    """Accuracy against edges of every method."""
    options: dict[str, Any] = {
        "images": images, "neurons": 256, "updates": 1500, "fine_tuning": 160, "rate": 2.0, "trials": 2000,
        "split": "test",
        "removed": [0.6, 0.8, 0.9, 0.95, 0.98, 0.99],
    }  # fmt: skip
    if quick:
        options |= {"neurons": 64, "updates": 150, "fine_tuning": 30, "trials": 200, "removed": [0.6, 0.9, 0.98]}
    return Study(
        "Which edges can go? One region that tells images apart, trained once a seed, loses edges by a criterion: "
        "single ones (*unstructured*) or whole neurons (*structured*); at once before the fine-tuning (*one-shot*), by "
        "a cubic schedule during it (*gradual*), or in one path through all levels (*iterative*).",
        tuple(f"{criterion} {structure}" for criterion in CRITERIA for structure in STRUCTURES),
        _cell, _tables, _figures, seeds=2 if quick else 5, options=options,
    )  # fmt: skip


class Matured(NamedTuple):
    """A trained region: at birth and now, the weights' scale at birth (edge set -> pA), its task, and batches of
    training images that come next."""

    born: Connectome
    connectome: Connectome
    scale: Mapping[EdgeKey, float]
    task: Perception
    batches: Sequence[Batch]


@lru_cache(maxsize=1)  # cells come seed by seed: a process trains it once a seed
def matured(images: str, neurons: int, updates: int, spare: int, seed: int) -> Matured:
    """A region trained from birth for ``updates``, and ``spare`` more batches."""
    from connectome.datasets.tasks import Perception
    from connectome.development.birth import Anatomy, birth
    from connectome.development.training import typical_weight

    task = Perception(read_images(images))
    born = birth(None, task, Anatomy(neurons=neurons), 1, (), np.random.default_rng([seed, 1]))
    scale = {key: typical_weight(e.weight) for key, e in born.edges.items()}
    rng = np.random.default_rng([seed, _SEE])
    drawn = (task.batch(rng, 64) for _ in range(updates))
    connectome = train(born, task, zip(drawn, fall(updates), strict=True), scale)
    return Matured(born, connectome, scale, task, [task.batch(rng, 64) for _ in range(spare)])


def fall(updates: int) -> list[float]:
    """The rate of each update of a day, relative to a new region's: from 1 along half a cosine to 0.02, as in
    development."""
    done = np.arange(updates) / updates
    return [float(r) for r in 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done))]


def hold(updates: int, rate: float) -> list[float]:
    """The rate of each update of fine-tuning: ``rate``, and over the last fifth a fall to 0 along a line. A cosine
    would have schedules that cut late do so when the rate is low already."""
    return [float(rate * min(1.0, 5 * (1 - k / updates))) for k in range(updates)]


def train(
    connectome: Connectome, task: Perception, lessons: Iterable[tuple[Batch, float]], scale: Mapping[EdgeKey, float],
) -> Connectome:  # fmt: skip
    """The connectome after one update with Adam for each lesson, a batch and a rate relative to a new region's; edges
    whose state :data:`FROZEN` is above 0 keep their weights.

    Adam's moments and the feedback are state of the edges: those of an edge that stays, stay.
    """
    import torch

    from connectome.development.stage import LearningRates
    from connectome.learning.learner import CHAIN, Learner
    from connectome.mechanisms.frozen import Frozen
    from connectome.mechanisms.saliency import accumulate_feedback

    rates = LearningRates()
    frozen = any(FROZEN in e.state for e in connectome.edges.values())
    learner = Learner(connectome, task, (*CHAIN, Frozen()) if frozen else CHAIN)
    weights = learner.network.weight
    feedback: list[dict[EdgeKey, Any]] = []

    def watch(_: object) -> None:
        for key, w in weights.items():
            assert w.grad is not None
            feedback[-1][key] += (w * w.grad).abs().detach()

    for (spikes, target), rate in lessons:
        if learner.number % _EPOCH == 0:
            feedback.append({key: torch.zeros_like(w) for key, w in weights.items()})

        def rate_pa(key: EdgeKey, rate: float = rate) -> float:
            return rate * rates.rate * rates.factor(key, task.name) * scale[key]

        learner.step(spikes, target, rate_pa, watch=watch)
    after = learner.connectome()
    for importance in feedback:
        after = after.apply(accumulate_feedback(after, {key: v.numpy() for key, v in importance.items()}))
    return after


def prune(
    connectome: Connectome, criterion: str, edges: int, task: Perception, batches: Sequence[Batch],
    rng: np.random.Generator, *, structured: bool = False,
) -> Connectome:  # fmt: skip
    """The connectome with ``edges`` edges left besides those that are frozen, those that matter most by the
    criterion."""
    from connectome.graph.connectome import Edit
    from connectome.mechanisms.saliency import pruning as edit
    from connectome.mechanisms.saliency import saliency

    found = saliency(criterion, connectome, task, batches[:_MEASURED], rng)
    frozen = {key: connectome.edges[key].state.get(FROZEN, np.zeros(len(v))) > 0 for key, v in found.items()}
    free = connectome.apply(Edit(remove=frozen))
    gone = edit(free, {key: v[~frozen[key]] for key, v in found.items()}, edges, structured=structured).remove
    for key, mask in gone.items():
        frozen[key][~frozen[key]] = mask
        frozen[key] &= connectome.edges[key].state.get(FROZEN, np.zeros(len(frozen[key]))) == 0
    return connectome.apply(Edit(remove=frozen))


def score(connectome: Connectome, task: Perception, split: str, trials: int, seed: int) -> tuple[float, float]:
    """Accuracy, and synaptic operations per sample, on the same images and spikes whatever the connectome."""
    from connectome.development.stages import perform

    found = perform(connectome, task, split, trials, [seed, _SCORE])
    return found.value, found.operations


def _cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    import xarray as xr

    criterion, structure = cell.condition.split()
    o, budget = options, options["fine_tuning"]
    start = matured(o["images"], o["neurons"], o["updates"], budget, cell.seed)
    task, n = start.task, start.connectome.n_edges
    rng = np.random.default_rng([cell.seed, _DRAW])
    lessons = list(zip(start.batches, hold(budget, o["rate"]), strict=True))

    def fine_tune(connectome: Connectome, begin: int, end: int) -> Connectome:
        return train(connectome, task, lessons[begin:end], start.scale)

    def cut(connectome: Connectome, removed: float) -> Connectome:
        left = round(n * (1 - removed))
        return prune(connectome, criterion, left, task, start.batches, rng, structured=structure == "structured")

    def result(connectome: Connectome) -> tuple[float, float, int]:
        return *score(connectome, task, o["split"], o["trials"], cell.seed), connectome.n_edges

    before = []
    found: dict[str, list[tuple[float, float, int]]] = {schedule: [] for schedule in SCHEDULES}
    marks = [round(budget * _PART * step / _STEPS) for step in range(_STEPS)]
    path, done = start.connectome, 0
    for k, removed in enumerate(o["removed"]):
        once = cut(start.connectome, removed)
        before.append(result(once)[0])
        found["one-shot"].append(result(fine_tune(once, 0, budget)))
        slowly = start.connectome
        for step, (begin, end) in enumerate(zip(marks, [*marks[1:], budget], strict=True), start=1):
            slowly = fine_tune(cut(slowly, removed * (1 - (1 - step / _STEPS) ** 3)), begin, end)
        found["gradual"].append(result(slowly))
        path, reached = cut(path, removed), round(budget * (k + 1) / len(o["removed"]))
        path = fine_tune(path, done, reached)
        done = reached
        found["iterative"].append(result(fine_tune(path, done, budget)))
    accuracy, operations, edges = np.moveaxis(np.array([found[s] for s in SCHEDULES]), -1, 0)
    whole = score(start.connectome, task, o["split"], o["trials"], cell.seed)
    dims = ("schedule", "removed")
    return xr.Dataset(
        {
            "accuracy": (dims, accuracy, {"long_name": f"{o['split']} accuracy after fine-tuning", "units": "1"}),
            "before": ("removed", before, {"long_name": "accuracy one-shot, before fine-tuning", "units": "1"}),
            "operations": (dims, operations, {"long_name": "synaptic operations per sample", "units": "1"}),
            "edges": (dims, edges, {"long_name": "edges left", "units": "1"}),
            "whole_accuracy": whole[0], "whole_operations": whole[1], "whole_edges": n,
        },
        coords={"schedule": list(SCHEDULES), "removed": o["removed"]},
    )  # fmt: skip


def _tables(results: xr.Dataset) -> list[StudyTable]:
    levels = results["removed"].values
    whole = [mean_of(results[f"whole_{name}"].isel(condition=0)) for name in ("accuracy", "edges", "operations")]
    row = [_percent(whole[0]), _count(whole[1]), _count(whole[2])]
    tables = [StudyTable("Nothing removed", _TEXT, ["accuracy", "edges", "operations"], [row])]
    for structure in STRUCTURES:
        here = {c: f"{c} {structure}" for c in CRITERIA if f"{c} {structure}" in results["condition"]}
        after = {(c, s): results.accuracy.sel(condition=here[c], schedule=s) for c in here for s in SCHEDULES}
        once = {name: results[name].sel(schedule="one-shot") for name in ("edges", "operations")}
        less = {pair: a - after["magnitude", pair[1]] for pair, a in after.items() if "magnitude" in here}
        grids = (
            ("accuracy", "After fine-tuning.", after, _percent),
            (
                "accuracy less magnitude's", "Points, on the same schedule, paired by seed.",
                {pair: a for pair, a in less.items() if pair[0] != "magnitude"}, _points,
            ),
            (
                "accuracy before fine-tuning", "One-shot: what pruning alone does.",
                _rows(results.before, here), _percent,
            ),
            ("edges left", "The same on every schedule, or nearly if structured.", _rows(once["edges"], here), _count),
            (
                "synaptic operations per sample", "One-shot, after fine-tuning.", _rows(once["operations"], here),
                _count,
            ),
        )  # fmt: skip
        for heading, text, values, form in grids:
            rows = [[*name, *(form(mean_of(v.sel(removed=r))) for r in levels)] for name, v in values.items()]
            names = ("criterion", "schedule")[: max(map(len, values), default=0)]
            columns = [*names, *(f"{100 * level:g} % removed" for level in levels)]
            tables += [StudyTable(f"{structure}: {heading}", text, columns, rows)] if rows else []
    return tables


def _rows(values: xr.DataArray, here: Mapping[str, str]) -> dict[tuple[str, ...], xr.DataArray]:
    return {(criterion,): values.sel(condition=condition) for criterion, condition in here.items()}


def _percent(mean: Mean) -> str:
    return mean.text()


def _points(mean: Mean) -> str:
    return mean.text(unit="")


def _count(mean: Mean) -> str:
    return mean.text(1, 0, "")


#: What every table is of.
_TEXT = (
    "The trained region. What follows removes edges of all its sets: from the image, local, and to the effectors. All "
    "methods have the same trained region, the same batches and as many updates to fine-tune. Structured pruning "
    "removes whole neurons, never pixels or effectors, until no more edges are left than the unstructured has. The "
    "rate of fine-tuning, for all methods one, and how edge sets are made comparable (LAMP) were chosen on the "
    "validation split, seed 100."
)


def _figures(results: xr.Dataset) -> dict[str, Figure]:
    from matplotlib.figure import Figure

    from connectome.analysis.figures import log_limits

    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(len(STRUCTURES), len(SCHEDULES), sharex=True, sharey=True)
    axes[0][0].set(xscale="log", xlim=log_limits(results.edges.mean("seed")))
    for row, structure in zip(axes, STRUCTURES, strict=True):
        for ax, schedule in zip(row, SCHEDULES, strict=True):
            for criterion, marker in zip(CRITERIA, "ox^sDv*", strict=True):
                if f"{criterion} {structure}" not in results["condition"]:
                    continue
                of = results.sel(condition=f"{criterion} {structure}", schedule=schedule)
                means = [mean_of(of.accuracy.sel(removed=r)) for r in of["removed"].values]
                half = [0.0 if np.isnan(m.half) else m.half for m in means]
                ax.errorbar(
                    of.edges.mean("seed"), [m.mean for m in means], half, marker=marker, ms=4, capsize=2,
                    label=criterion,
                )  # fmt: skip
            ax.axhline(float(results.whole_accuracy.mean()), color="0.6", lw=0.8)
            ax.set_title(f"{structure}, {schedule}", fontsize=9)
    axes[0][0].legend(fontsize=8)
    axes[0][0].set_ylim(0, 1.02)
    for ax in axes[-1]:
        ax.set_xlabel("edges left")
    for row in axes:
        row[0].set_ylabel("accuracy after fine-tuning")
    return {"pruning": figure}
