"""The study of sleep: a day of training, a night of pruning and retraining within a fixed budget, and what freezing
old weights costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.analysis.intervals import mean_of, paired
from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.pruning import FROZEN, fall, matured, prune, score, train

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from connectome.datasets.tasks import Perception
    from connectome.graph.connectome import Connectome
    from connectome.graph.parts import EdgeKey
    from connectome.mechanisms.saliency import Batch

__all__ = ["sleep"]

ITERATIONS = (1, 2, 4, 8, 16, 32)
#: Ways to learn two tasks one after the other.
WAYS = ("frozen", "not frozen", "together")
_PIXELS, _SEE = 21, 22
#: The edge state that tells edges apart. A float32 counts to 2^24.
_NUMBER = "number"


def sleep(quick: bool, images: str) -> Study:
    """Error against the number of prune iterations in a night of fixed length; frozen against plastic weights."""
    options: dict[str, Any] = {
        "images": images, "neurons": 256, "day": 1500, "night": 640, "rate": 1.0, "night_seconds": 0.0,
        "compression": [0.9, 0.95, 0.99], "second_day": 600, "short_night": 320, "short_iterations": 8,
        "weights": [0.2, 0.1, 0.05, 0.02, 0.01], "trials": 10000,
    }  # fmt: skip
    if quick:
        options |= {
            "neurons": 64, "day": 150, "night": 64, "second_day": 60, "short_night": 32, "short_iterations": 4,
            "weights": [0.4, 0.1], "trials": 397,
        }  # fmt: skip
    return Study(
        "Into how many iterations of pruning and retraining should a night of fixed length be split (after Ball et al. "
        "2020, our instantiation)? And what does it cost to freeze the weights of an earlier task?",
        (*(_iterations(n) for n in ITERATIONS), *WAYS),
        _cell, _tables, _figures, seeds=2 if quick else 5, options=options,
    )  # fmt: skip


def _iterations(n: int) -> str:
    return f"{n} iteration{'s' * (n > 1)}"


def _cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """What is not of the cell's half of the study is nan."""
    import xarray as xr

    levels = {"compression": options["compression"], "weights": options["weights"]}
    names = {"validation_error": "compression", "error": "compression", "updates": "compression"} | {
        f"{name}_error": "weights" for name in ("first", "second")
    }
    found: dict[str, Any] = {name: np.full(len(levels[dim]), np.nan) for name, dim in names.items()}
    found |= _two_tasks(cell, options) if cell.condition in WAYS else _one_night(cell, options)
    return xr.Dataset(
        {name: (dim, found[name], {"units": "1"}) for name, dim in names.items()} | {"edges": found["edges"]},
        coords=levels,
    )


def _one_night(cell: Cell, options: Mapping[str, Any]) -> dict[str, Any]:
    """Errors at each compression, after a night of the cell's number of iterations."""
    o, n = options, int(cell.condition.split()[0])
    start = matured(o["images"], o["neurons"], o["day"], o["night"], cell.seed)
    found: dict[str, Any] = {"validation_error": [], "error": [], "updates": []}
    lessons = [(batch, o["rate"]) for batch in start.batches]
    for compression in o["compression"]:
        left = round(start.connectome.n_edges * (1 - compression))
        after = _night(start.connectome, left, n, lessons, start.task, start.scale, o["night_seconds"])
        for name, split in (("validation_error", "validation"), ("error", "test")):
            found[name].append(1 - score(after, start.task, split, o["trials"], cell.seed)[0])
        found["updates"].append(_updates(after) - _updates(start.connectome))
    return found | {"edges": start.connectome.n_edges}


def _night(
    connectome: Connectome, edges: int, iterations: int, lessons: Sequence[tuple[Batch, float]], task: Perception,
    scale: Mapping[EdgeKey, float], seconds: float = 0.0,
) -> Connectome:  # fmt: skip
    """The connectome after so many times pruning, by magnitude, and retraining: ``edges`` are left besides the frozen,
    each pruning leaving the same fraction of what was there.

    The budget is the lessons, as many for each iteration; or, if above 0, ``seconds`` on the clock, in which lessons
    are gone through once or again: then the result depends on the machine, and a smaller network has more updates.
    """
    rng = np.random.default_rng(0)  # magnitude draws nothing
    frozen = sum(int((e.state[FROZEN] > 0).sum()) for e in connectome.edges.values() if FROZEN in e.state)
    first = connectome.n_edges - frozen
    share = [round(len(lessons) * i / iterations) for i in range(iterations + 1)]
    began = time.monotonic()
    for i in range(iterations):
        left = round(first * (edges / first) ** ((i + 1) / iterations))
        connectome = prune(connectome, "magnitude", left, task, [lessons[0][0]], rng)
        part: Iterable[tuple[Batch, float]] = lessons[share[i] : share[i + 1]]
        if seconds:
            part = _until(lessons, began + seconds * (i + 1) / iterations)
        connectome = train(connectome, task, part, scale)
    return connectome


def _until(lessons: Sequence[tuple[Batch, float]], end: float) -> Iterator[tuple[Batch, float]]:
    """Lessons, again and again, until the clock is at ``end``."""
    return itertools.takewhile(lambda lesson: time.monotonic() < end, itertools.cycle(lessons))


def _updates(connectome: Connectome) -> float:
    return max(float(e.state["adam_step"].max(initial=0.0)) for e in connectome.edges.values())


def _two_tasks(cell: Cell, options: Mapping[str, Any]) -> dict[str, Any]:
    """Errors on both tasks, at each number of weights in all."""
    from connectome.graph.connectome import Edit

    o = options
    start = matured(o["images"], o["neurons"], o["day"], o["night"], cell.seed)
    rng = np.random.default_rng([cell.seed, _SEE])
    first = start.task
    pixels = np.random.default_rng([cell.seed, _PIXELS]).permutation(int(np.prod(first.images.shape)))
    second = replace(first, pixels=pixels)
    n, short, day = start.born.n_edges, o["short_night"], o["second_day"]
    found: dict[str, Any] = {"first_error": [], "second_error": [], "edges": n}

    def note(name: str, connectome: Connectome, task: Perception) -> None:
        found[f"{name}_error"].append(1 - score(connectome, task, "test", o["trials"], cell.seed)[0])

    if cell.condition == "together":
        long = o["day"] + day
        mixed = (_mixed(first, second, rng) for _ in range(long))
        grown = train(start.born, first, zip(mixed, fall(long), strict=True), start.scale)
        by_night = [(_mixed(first, second, rng), o["rate"]) for _ in range(2 * short)]
        for weights in o["weights"]:
            after = _night(grown, round(n * weights), 2 * o["short_iterations"], by_night, first, start.scale)
            note("first", after, first)
            note("second", after, second)
        return found
    by_night = [(batch, o["rate"]) for batch in start.batches[:short]]
    by_day = [(second.batch(rng, 64), rate) for rate in fall(day)]
    later = [(second.batch(rng, 64), o["rate"]) for _ in range(short)]
    numbers = {key: {_NUMBER: np.arange(len(e), dtype=np.float32)} for key, e in start.born.edges.items()}
    numbered = start.connectome.apply(Edit(state=numbers))
    for weights in o["weights"]:
        half = round(n * weights / 2)
        iterations = o["short_iterations"]
        asleep = _night(numbered, half, iterations, by_night, first, start.scale)
        awake = train(_freed(start.born, asleep, cell.condition == "frozen"), second, by_day, start.scale)
        left = round(n * weights) - (half if cell.condition == "frozen" else 0)
        after = _night(awake, left, iterations, later, second, start.scale)
        note("first", asleep if cell.condition == "frozen" else after, first)
        note("second", after, second)
    return found


def _mixed(first: Perception, second: Perception, rng: np.random.Generator) -> Batch:
    """Half a batch of each task."""
    import torch

    parts = [task.batch(rng, 32) for task in (first, second)]
    spikes = {"image": torch.cat([given["image"] for given, _ in parts])}
    return spikes, torch.cat([target for _, target in parts])


def _freed(born: Connectome, asleep: Connectome, frozen: bool) -> Connectome:
    """All edges as at birth, but those that the night has left, as they are now; to be frozen, or not."""
    edges = {}
    for key, e in born.edges.items():
        left = asleep.edges[key].state[_NUMBER].astype(np.int64)
        weight, mask = e.weight.copy(), np.zeros(len(e), np.float32)
        weight[left], mask[left] = asleep.edges[key].weight, 1.0
        edges[key] = replace(e, weight=weight, state={FROZEN: mask} if frozen else {})
    return replace(born, edges=edges)


def _tables(results: xr.Dataset) -> list[StudyTable]:
    tables = []
    swept = [n for n in ITERATIONS if _iterations(n) in results["condition"]]
    rows = []
    for c in results["compression"].values if len(swept) > 1 else []:
        of = results.sel(compression=c)
        error = {n: of.error.sel(condition=_iterations(n)) for n in swept}
        means = {n: float(of.validation_error.sel(condition=_iterations(n)).mean()) for n in swept}
        best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        rows.append(
            [
                f"{100 * c:g} %", *(mean_of(error[n]).text(digits=2) for n in swept), str(best), str(worst),
                *(paired(error[n], error[best]).text(digits=2, unit="") for n in (worst, swept[0], swept[-1])),
            ]
        )  # fmt: skip
    ends = ["best", "worst", "worst - best", f"{swept[0]} - best", f"{swept[-1]} - best"] if swept else []
    if rows:
        tables.append(
            StudyTable("Test error against prune iterations", _NIGHT, ["compression", *map(str, swept), *ends], rows)
        )
    ways = [way for way in WAYS if way in results["condition"]]
    rows = []
    for weights in results["weights"].values if ways else []:
        of = results.sel(weights=weights)
        row = [f"{100 * weights:g} %"]
        for way in ways:
            at = of.sel(condition=way)
            row += [
                mean_of(x).text() for x in (at.first_error, at.second_error, (at.first_error + at.second_error) / 2)
            ]
        rows.append(row)
    if rows:
        columns = [f"{way}: {what}" for way in ways for what in ("first", "second", "mean")]
        tables.append(
            StudyTable("Two tasks, test error against all weights kept", _FREEZING, ["weights", *columns], rows)
        )
    rows = [
        [f"{100 * w:g} %", *(mean_of(ratio.sel(weights=w)).text(1, 2, "") for ratio in ratios)]
        for ratios in [_ratios(results)] if ratios
        for w in results["weights"].values
    ]  # fmt: skip
    if rows:
        columns = ["weights, frozen", "mean of both: to together", "second task: to not frozen"]
        tables.append(StudyTable("Weights for equal error", _EQUAL, columns, rows))
    return tables


_NIGHT = (
    "By magnitude, as PackNet does, all edge sets together (LAMP). A night has the same updates whatever the number of "
    "iterations, at a constant rate, and each iteration prunes the same fraction. The rate was chosen on the "
    "validation split, seed 100, over nights of 2, 8 and 32 iterations. Best and worst are chosen by the validation "
    "split's means; differences are of test errors, points, paired by seed."
)
_FREEZING = (
    "The second task is the first with its pixels permuted. Frozen (PackNet, Mallya & Lazebnik 2018): half of the "
    "weights are kept for the first task and never change again, the others are freed, learn the second task with "
    "them in place, and are pruned to as many again; each task is performed by its own. Not frozen: the same, but all "
    "stay plastic, and one set of weights is kept for both: what became of the first task is forgetting. Together: "
    "both tasks' images mixed, so nothing old has to be protected, with as many updates in all. After Ball et al. "
    "2020, whose protocol is not public in full: our instantiation."
)
_EQUAL = (
    "How many times as many weights the frozen network has as the other at the same test error, by interpolation in "
    "the logarithm of weights; seeds without an answer inside the range are left out."
)


def _ratios(results: xr.Dataset) -> list[xr.DataArray]:
    """How many times as many weights frozen has at equal error: (weights, seed), of the mean and of the second task."""
    if not set(WAYS) <= set(results["condition"].values.tolist()):
        return []
    mean = (results.first_error + results.second_error) / 2
    kept = np.log(results["weights"].values)
    found = []
    for error, other in ((mean, "together"), (results.second_error, "not frozen")):
        ratio = error.sel(condition="frozen").transpose("weights", "seed").drop_vars("condition").copy()
        for seed in range(ratio.sizes["seed"]):
            curve = np.minimum.accumulate(error.sel(condition=other).isel(seed=seed).values[np.argsort(kept)])
            at = np.interp(ratio[:, seed], curve[::-1], np.sort(kept)[::-1], left=np.nan, right=np.nan)
            ratio[:, seed] = np.exp(kept - at)
        found.append(ratio)
    return found


def _figures(results: xr.Dataset) -> dict[str, Figure]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, PercentFormatter

    from connectome.analysis.figures import log_limits

    swept = [n for n in ITERATIONS if _iterations(n) in results["condition"]]
    nights = {
        f"{100 * c:g} % compression": [results.error.sel(compression=c, condition=_iterations(n)) for n in swept]
        for c in results["compression"].values
    }
    two: dict[str, list[xr.DataArray]] = {}
    for way in [way for way in WAYS if way in results["condition"]]:
        at = results.sel(condition=way)
        for name, error in (("both", (at.first_error + at.second_error) / 2), ("second task", at.second_error)):
            two[f"{way}, {name}"] = [error.sel(weights=w) for w in results["weights"].values]
    kept = [float(n) for n in results["weights"].values * float(results.edges.mean())]
    figures = {}
    for title, label, x, curves in (
        ("iterations", "prune iterations in a night of fixed length", [float(n) for n in swept], nights),
        ("freezing", "weights kept for both tasks", kept, two),
    ):
        if not x or not curves:
            continue
        figures[title] = Figure(figsize=(6, 4.2), layout="constrained")
        ax = figures[title].subplots()
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="test error", xlim=log_limits(x))
        heights = []
        for name, values in curves.items():
            means = [mean_of(v) for v in values]
            half = [float(np.nan_to_num(m.half)) for m in means]
            ax.errorbar(x, [m.mean for m in means], half, marker="o", capsize=2, label=name)
            heights += [m.mean + side * h for m, h in zip(means, half, strict=True) for side in (-1, 1)]
        ax.set_ylim(log_limits(heights))
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xticks(x, [f"{value:.0f}" for value in x])
        ax.minorticks_off()
        ax.legend(fontsize=8)
    return figures
