"""A development followed in TensorBoard or in Weights & Biases: what :func:`develop` takes as ``on_progress``.

with tensorboard("logs", stages) as follow:
    outcomes = list(develop(stages, anatomy, on_progress=follow))
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from connectome.development.stage import Progress, Stage
from connectome.errors import ConnectomeError

__all__ = ["scalars", "tensorboard", "wandb"]


def scalars(progress: Progress) -> dict[str, float]:
    """What is followed, by name: loss and validation score of the region that learns, cost, and edges. What is not
    known yet is left out."""
    region = progress.region
    values = {
        f"loss/{region}": progress.loss, f"validation score/{region}": progress.score,
        f"synaptic operations/{region}": progress.operations, "edges/local": progress.local_edges,
        "edges/long-range": progress.long_range_edges, "edges/all": progress.edges,
    }  # fmt: skip
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


@contextmanager
def tensorboard(folder: str | Path, stages: Sequence[Stage]) -> Iterator[Callable[[Progress], None]]:
    """Event files in a folder, for ``tensorboard --logdir FOLDER``. Steps are updates, counted through all stages.
    Raises :class:`ConnectomeError` without the extra ``tensorboard``."""
    writer = _installed("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder))
    step = _steps(stages)

    def follow(progress: Progress) -> None:
        for name, value in scalars(progress).items():
            writer.add_scalar(name, value, step(progress))

    try:
        yield follow
    finally:
        writer.close()


@contextmanager
def wandb(stages: Sequence[Stage], **given: Any) -> Iterator[Callable[[Progress], None]]:
    """A run of Weights & Biases; ``given`` is what ``wandb.init`` takes (project, name, config, mode...). It talks to
    their service unless the mode is offline. Raises :class:`ConnectomeError` without the extra ``wandb``."""
    run = _installed("wandb", "wandb").init(**given)
    step = _steps(stages)
    try:
        yield lambda progress: run.log(scalars(progress), step=step(progress))
    finally:
        run.finish()


def _steps(stages: Sequence[Stage]) -> Callable[[Progress], int]:
    before = [0, *accumulate(stage.updates for stage in stages)]
    return lambda progress: before[progress.stage - 1] + progress.update


def _installed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = f"python -m pip install 'connectome-engine[{extra}]'"
        raise ConnectomeError(extra, "must be installed to be followed in", error, hint) from None
