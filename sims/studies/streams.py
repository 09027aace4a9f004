"""Studies of streams: tasks that arrive one by one, each with a region of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from connectome.analysis.intervals import mean_of
from connectome.errors import ConnectomeError
from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import defaults, differences, draw_scores, go_through, outcome_table, read_images

if TYPE_CHECKING:
    import xarray as xr

    from connectome.datasets.tasks import Perception
    from connectome.development.configuration import Configuration
    from connectome.development.stage import Stage

__all__ = ["permuted_mnist", "rotated_mnist", "split_cifar10", "split_cifar100", "split_mnist", "split_pictures"]

METHODS: Final = (
    "development", "blind", "magnitude", "unpruned", "sequential", "frozen", "ewc", "replay", "direct", "joint",
)  # fmt: skip


def split_mnist(quick: bool, images: str, config: Path | None = None) -> Study:
    """Five pairs of digits."""
    return _stream("split", "mnist", quick, images, config, afferent_density=0.1)


def permuted_mnist(quick: bool, images: str, config: Path | None = None) -> Study:
    """All digits, five times, with other pixels in other places."""
    return _stream("permuted", "mnist", quick, images, config, afferent_density=0.1)


def rotated_mnist(quick: bool, images: str, config: Path | None = None) -> Study:
    """All digits, five times, turned further each time."""
    return _stream("rotated", "mnist", quick, images, config, afferent_density=0.1)


def split_cifar10(quick: bool, images: str, config: Path | None = None) -> Study:
    """Five pairs of things."""
    return _stream("split", "cifar10", quick, images, config, afferent_density=0.03)


def split_cifar100(quick: bool, images: str, config: Path | None = None) -> Study:
    """Ten times ten things."""
    return _stream("split", "cifar100", quick, images, config, afferent_density=0.03, tasks=10)


def split_pictures(quick: bool, images: str, config: Path | None = None) -> Study:
    """Classes of pictures of any size, from a folder or a zip."""
    if not images:
        raise ConnectomeError("--images", "must name a folder or a zip of pictures for split-pictures", "nothing")
    return _stream("split", images, quick, images, config, afferent_density=0.03, pixels=32)


def _stream(
    kind: str, source: str, quick: bool, images: str, config: Path | None, afferent_density: float, tasks: int = 5,
    pixels: int = 0,
) -> Study:  # fmt: skip
    options: dict[str, Any] = {
        "kind": kind, "images": images or source, "tasks": tasks, "updates": 300, "trials": 1000,
        "afferent_density": afferent_density, "without": ["homeostasis"], "defaults": defaults(),
    }  # fmt: skip
    if pixels:
        options["pixels"] = pixels
    if quick:
        options |= {"images": images, "tasks": 5 if kind == "split" else 2, "updates": 60, "trials": 100}
    if config is not None:
        told = _told(config)
        table = told.tasks.get("stream", {})
        options |= {"config": told.table(), "defaults": defaults(told), "updates": told.training.other}
        options |= {name: table[name] for name in ("tasks", "pixels") if name in table}
    return Study(
        f"{options['tasks']} tasks, one after the other, each with a region of its own that grows upon the earlier "
        "ones; which task an image is of is known. *development*: local, long-range and afferent edges are pruned by "
        "feedback, and there is no homeostasis; *blind*, *magnitude*: to the same numbers, otherwise; *unpruned*: not "
        "at all. The others have all edges of the unpruned but what growth adds: *sequential*, *frozen* (old weights), "
        "*ewc*, *replay* (a batch of an earlier task in every update besides); *direct*: a new region alone for each "
        "task; *joint*: all tasks at once, as many updates in all.",
        METHODS, _cell, _tables, lambda r: {"stream": draw_scores(r)}, seeds=2 if quick else 5, options=options,
    )  # fmt: skip


def _told(config: Path) -> Configuration:
    """A configuration, whose ``[tasks.stream]`` is about the stream: ``tasks`` (how many), ``order`` of the classes,
    ``pixels`` of pictures, and what :class:`connectome.datasets.tasks.Perception` takes."""
    from connectome.development.configuration import read_configuration

    told = read_configuration(config)
    for name, of in told.tasks.items():
        if name != "stream":
            raise ConnectomeError(f"--config {config}", "must have no tasks but stream", repr(name))
        for key in of:
            if key not in _OF_STREAM:
                rule = f"must have no keys but {', '.join(_OF_STREAM)}"
                raise ConnectomeError(f"--config {config}: tasks.stream", rule, repr(key))
    return told


_OF_STREAM: Final = ("tasks", "order", "pixels", "encoder", "mirrored")


def _planned(options: Mapping[str, Any]) -> tuple[list[Perception], Configuration]:
    """The tasks of a stream, and the configuration of their regions."""
    import tomli_w

    from connectome.datasets.streams import rotated_tasks
    from connectome.datasets.tasks import permuted_tasks, split_tasks
    from connectome.development.configuration import Configuration, parse_configuration

    more: dict[str, Any] = {}
    if "config" in options:
        c = parse_configuration(tomli_w.dumps(options["config"]))
        own = {k: v for k, v in c.tasks.get("stream", {}).items() if k not in ("tasks", "pixels")}
        more = {"jitter": c.data.jitter_pixels, **own}
        c = replace(c, tasks={})
    else:
        c = Configuration()
        c = replace(
            c, training=replace(c.training, other=options["updates"]),
            anatomy=replace(c.anatomy, afferent_density=options["afferent_density"]),
            rules={name: rule for name, rule in c.rules.items() if name not in options["without"]},
        )  # fmt: skip
    make: Any = {"split": split_tasks, "permuted": permuted_tasks, "rotated": rotated_tasks}[options["kind"]]
    return make(read_images(options["images"], options.get("pixels", 0)), options["tasks"], **more), c


def _cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    tasks, c = _planned(options)
    if cell.condition == "direct":
        return _direct(tasks, c, cell.seed, options["trials"])
    stages, method = _stages(tasks, c), cell.condition
    if method == "joint":
        from connectome.datasets.streams import Joint

        last = replace(stages[-1], task=Joint(tasks), updates=len(tasks) * stages[-1].updates)
        stages, method = [*(replace(stage, updates=0) for stage in stages[:-1]), last], "sequential"
    return go_through(stages, c.anatomy, method, cell.seed, options["trials"], tasks)


def _stages(tasks: list[Perception], c: Configuration) -> list[Stage]:
    from connectome.development.configuration import plan_stages

    return plan_stages([t.name for t in tasks], {t.name: t for t in tasks}, c)


def _direct(tasks: list[Perception], c: Configuration, seed: int, trials: int) -> xr.Dataset:
    """Each task alone, in a network of its own, as if it were a stream: nothing is lost, and nothing helps."""
    import xarray as xr

    alone = [go_through(_stages([replace(t, earlier=())], c), c.anatomy, "development", seed, trials) for t in tasks]
    names, lower = [t.name for t in tasks], np.tril(np.ones((len(tasks), len(tasks)), bool))
    matrices = {
        name: (("stage", "task"), np.where(lower, [float(one[name].values[-1, -1]) for one in alone], np.nan))
        for name in ("score", "validation", "operations", "spikes")
    }
    of_task = ("final", "at_end", "lost", "saved", "neuron_updates", "dense_operations")
    columns = {name: ("task", [float(one[name].values[-1]) for one in alone]) for name in of_task}
    end, cpu = (sum(one[name].item() for one in alone) for name in ("end_edges", "cpu_s"))
    most = sum(one.end_edges.item() / one.left.item() for one in alone)
    edges = np.cumsum([one.edges.values[-1] for one in alone], axis=0)
    return xr.Dataset(
        {
            **matrices, **columns, "edges": (("stage", "kind"), edges), "average": float(np.mean(columns["final"][1])),
            "backward": 0.0, "end_edges": end, "left": end / most, "cpu_s": cpu,
            "one_choice": ("stage", np.full(len(tasks), np.nan)),
        },
        coords={"stage": names, "task": names, "kind": alone[0].kind.values},
    )  # fmt: skip


def _tables(results: xr.Dataset) -> list[StudyTable]:
    pairs = [("development", other) for other in METHODS[1:]]
    metrics = [_metrics(results)] if results.sizes["stage"] > 1 else []
    return [outcome_table(results), differences(results, pairs), *metrics]


def _metrics(results: xr.Dataset) -> StudyTable:
    """A row for each condition, with the names that Avalanche has for its metrics."""
    score, rows = results.score, []
    n = results.sizes["stage"]
    own = np.stack([score.values[..., i, i] for i in range(n)], -1)
    best = np.fmax.reduce(score.values[..., : n - 1, : n - 1], axis=-2)
    known = [str(c) for c in results.condition.values]
    direct = own[known.index("direct")] if "direct" in known else None
    for number, name in enumerate(known):
        final = score.values[number, :, -1]
        changes = [(best[number] - final[:, :-1]).mean(-1), (final - own[number])[:, :-1].mean(-1)]
        if direct is not None:
            changes.append((own[number] - direct)[:, 1:].mean(-1))
        texts = ["" if name == "joint" else mean_of(change).text() for change in changes]
        one = results.one_choice.values[number]
        rows.append([
            name, mean_of(final.mean(-1)).text(), *texts, *[""] * (3 - len(texts)),
            "" if np.isnan(one).any() else mean_of(one[:, -1]).text(), f"{results.cpu_s.values[number].mean():.0f}",
        ])  # fmt: skip
    columns = [
        "", "Top1_Acc_Stream", "StreamForgetting", "StreamBWT", "forward transfer", "one choice over all classes",
        "CPU seconds",
    ]  # fmt: skip
    return StudyTable(
        "Metrics",
        "By the names of Avalanche where it has them, which task is known: accuracy on all tasks at the end; "
        "the most that was known of each earlier task less what is at the end; what is at the end less what was after "
        "the task's own stage. *Forward transfer*: the score after a task's own stage less that of *direct*, from the "
        "second task on. *One choice*: the task is not known; all effectors compete, without exemplars "
        "(class-incremental; domain-incremental where all tasks have the same classes).", columns, rows,
    )  # fmt: skip
