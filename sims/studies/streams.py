"""Studies of streams: tasks that arrive one by one, each with a region of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import defaults, differences, draw_scores, go_through, outcome_table, read_images

if TYPE_CHECKING:
    import xarray as xr

    from connectome.datasets.images import Images
    from connectome.learning.task import Task

__all__ = ["permuted_mnist", "split_cifar10", "split_cifar100", "split_mnist"]

METHODS: Final = ("development", "blind", "magnitude", "unpruned", "sequential", "frozen", "ewc", "replay")


def split_mnist(quick: bool, images: str) -> Study:
    """Five pairs of digits."""
    return _stream("split", "mnist", quick, images, afferent_density=0.1)


def permuted_mnist(quick: bool, images: str) -> Study:
    """All digits, five times, with other pixels in other places."""
    return _stream("permuted", "mnist", quick, images, afferent_density=0.1)


def split_cifar10(quick: bool, images: str) -> Study:
    """Five pairs of things."""
    return _stream("split", "cifar10", quick, images, afferent_density=0.03)


def split_cifar100(quick: bool, images: str) -> Study:
    """Ten times ten things."""
    return _stream("split", "cifar100", quick, images, afferent_density=0.03, tasks=10)


def _stream(kind: str, source: str, quick: bool, images: str, afferent_density: float, tasks: int = 5) -> Study:
    options: dict[str, Any] = {
        "kind": kind, "images": images or source, "tasks": tasks, "updates": 300, "trials": 1000,
        "afferent_density": afferent_density, "without": ["homeostasis"], "defaults": defaults(),
    }  # fmt: skip
    if quick:
        options |= {"images": images, "tasks": 2 if kind == "permuted" else 5, "updates": 60, "trials": 100}
    return Study(
        f"{options['tasks']} tasks, one after the other, each with a region of its own that grows upon the earlier "
        "ones; which task an image is of is known. *development*: local, long-range and afferent edges are pruned by "
        "feedback, and there is no homeostasis; *blind*, *magnitude*: to the same numbers, otherwise; *unpruned*: not "
        "at all. The others have all edges of the unpruned but what growth adds: *sequential*, *frozen* (old weights), "
        "*ewc*, *replay* (a batch of an earlier task in every update besides).",
        METHODS, _cell, _tables, lambda r: {"stream": draw_scores(r)}, seeds=2 if quick else 5, options=options,
    )  # fmt: skip


def _cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    from connectome.datasets.tasks import permuted_tasks, split_tasks
    from connectome.development.configuration import Configuration, plan_stages

    make: Callable[[Images, int], Sequence[Task]] = split_tasks if options["kind"] == "split" else permuted_tasks
    tasks = make(read_images(options["images"]), options["tasks"])
    c = Configuration()
    c = replace(
        c, training=replace(c.training, other=options["updates"]),
        anatomy=replace(c.anatomy, afferent_density=options["afferent_density"]),
        rules={name: rule for name, rule in c.rules.items() if name not in options["without"]},
    )  # fmt: skip
    stages = plan_stages([t.name for t in tasks], {t.name: t for t in tasks}, c)
    return go_through(stages, c.anatomy, cell.condition, cell.seed, options["trials"])


def _tables(results: xr.Dataset) -> list[StudyTable]:
    return [outcome_table(results), differences(results, [("development", other) for other in METHODS[1:]])]
