"""Tasks with one head for all, and none told: digits whose pixels change places. How a network learns them one after
the other, and what is asked of it then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np
import torch

from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth
from connectome.development.stage import ExtraLoss, LossContext
from connectome.graph.connectome import Connectome, Edit
from connectome.learning.learner import Learner, names_kept, without
from connectome.learning.network import SpikingNetwork
from connectome.learning.optimisers import Adam
from connectome.learning.task import acting
from connectome.mechanisms.hlop import Hlop, rows_of, synaptic_traces
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import unsigned

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from connectome.graph.parts import EdgeKey, EdgeSet
    from connectome.learning.learning_rule import LearningRule, State
    from connectome.learning.network import BatchActivity
    from connectome.learning.task import Batch, Task
    from connectome.learning.views import WeightView

__all__ = ["SHARES", "TASKS", "Components", "Gradients", "Way", "components", "go_through", "subspace", "summary"]

TASKS, _UPDATES, _BATCH = 3, 150, 64
_ANATOMY: Final = Anatomy(neurons=500, local_density=0.0, over_production=1.0, afferent_density=1.0)
#: Kind of edge -> new rows in the first task and in each later one, as shares of the sources: of 0.3 ... 0.6 and 0.2
#: ... 0.5, the best of a few on validation images, seed 100.
SHARES: Final = {"afferent": (0.3, 0.15), "efferent": (0.2, 0.1)}
_ROWS, _TAU_STEPS = 128, 4.0


@dataclass(frozen=True)
class Components(Hlop):
    """The control: as many rows, which are the principal components of the traces when a task has been learnt, of what
    earlier rows leave of them (after gradient projection memory, Saha et al. 2021, arXiv 2103.09762). With a rate of 0
    nothing else learns them."""

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """The components in place of the rows that began at random."""
        traces = _traces(connectome, task, rng)
        found: dict[EdgeKey, dict[str, NDArray[np.float32]]] = {}
        for key, edges in connectome.edges.items():
            if not len(edges) or "hlop_0" not in edges.state:
                continue
            rows, old = _rows(edges).numpy(), int(edges.state["hlop_old"].max(initial=0))
            new = components(traces[key.source], len(rows) - old, rows[:old])
            state = {f"hlop_{old + k}": edges.at_source(c).astype(np.float32) for k, c in enumerate(new)}
            found[key] = state
        return Edit(state=found)


@dataclass(frozen=True)
class Gradients(Hlop):
    """The control: the gradient is projected, not the step."""

    stands: ClassVar = "before"


class Way(NamedTuple):
    """A way to learn: its learning rate, pA; what stands before the optimiser; what projects, with which rate of Oja's
    rule; what is added to the loss; whether afferent weights freeze after the first; the shares of rows; what all
    weights are made of; the optimiser; the updates that a batch is used for; what stands after the optimiser."""

    rate_pa: float
    before: tuple[LearningRule, ...] = ()
    projects: type[Hlop] | None = None
    oja_rate: float = 1.0
    extra_loss: ExtraLoss | None = None
    frozen: bool = False
    shares: Mapping[str, tuple[float, float]] = MappingProxyType(SHARES)
    view: WeightView | None = None
    optimiser: LearningRule = Adam()
    reuse: int = 1
    after: tuple[LearningRule, ...] = ()

    def chains(self) -> dict[str, tuple[LearningRule, ...]]:
        """Kind of edge -> its chain."""
        found = {}
        for kind, (first, more) in self.shares.items():
            rule = self.projects and self.projects(first, more, _ROWS, self.oja_rate, tau_steps=_TAU_STEPS)
            there = (rule,) if rule else ()
            early = self.projects is Gradients
            late = () if early else there
            found[kind] = (*self.before, *(there if early else ()), self.optimiser, *self.after, *late)
        return found


def go_through(way: Way, seed: int, quick: bool, split: str = "test") -> tuple[NDArray[np.float64], Connectome]:
    """(task, task) scores of the stream of permuted digits, and the network after the first: see :func:`in_turn`."""
    return in_turn(way, _tasks(seed), seed, 50 if quick else _UPDATES, split)


def in_turn(
    way: Way, tasks: Sequence[Task], seed: int, updates: int, split: str, asked: Sequence[Task] = ()
) -> tuple[NDArray[np.float64], Connectome]:
    """Scores after each task (rows) on each, or on those that are ``asked`` (columns), and the network after the first.
    Each task has so many batches."""
    rng, scores, after = np.random.default_rng([seed, 0]), [], []
    connectome = _born(tasks[0], rng)
    for stage, task in enumerate(tasks):
        chains = way.chains() | ({"afferent": ()} if way.frozen and stage else {})
        views = dict.fromkeys(connectome.edges, way.view) if way.view else None
        learner = Learner(connectome, task, chains["efferent"], chains=chains, seed=(seed, stage), views=views)
        for _ in range(updates):
            batch = task.batch(rng, _BATCH)
            for again in range(way.reuse, 0, -1):  # each with the same of what is drawn besides
                _update(learner, way, batch, tasks[:stage], deepcopy(rng) if again > 1 else rng, seed)
        connectome = without(learner.connectome(), names_kept(chains["efferent"]))
        connectome = replace(connectome, provenance=replace(connectome.provenance, stage=stage + 1))
        for rule in (*chains["efferent"], way.extra_loss):
            learnt = getattr(rule, "learnt", None)
            connectome = connectome.apply(learnt(connectome, task, rng)) if learnt else connectome
        act = acting(learner.network)
        scores.append([t.score(act, split, 1000, np.random.default_rng([seed, 1])).value for t in asked or tasks])
        after.append(connectome)
    return np.array(scores), after[0]


def _update(learner: Learner, way: Way, batch: Batch, *rest: Any) -> None:
    (spikes, label), added = batch, way.extra_loss

    def more(activity: BatchActivity) -> Tensor:
        context = LossContext(learner.network, learner.task, spikes, activity, *rest)
        return added(context) if added else torch.zeros(())

    learner.step(spikes, label, lambda key: way.rate_pa, extra_loss=more)


def _born(task: Task, rng: np.random.Generator) -> Connectome:
    """One region of all pixels, without local edges. Its neurons may excite and inhibit: where a weight stops at 0, the
    step that is left is not the projected one."""
    return unsigned(birth(None, task, _ANATOMY, 1, (), rng), task.name)


def _tasks(seed: int) -> list[Perception]:
    """Digits as they are, then with other pixels in other places."""
    images, rng = read_images(""), np.random.default_rng([seed, 2])
    n = int(np.prod(images.shape))
    return [Perception(images, 0.0, pixels=rng.permutation(n) if k else None) for k in range(TASKS)]


def summary(scores: NDArray[np.float64]) -> dict[str, float]:
    """The mean score at the end; how earlier tasks' scores have changed; what was reached of the later ones."""
    own = np.diag(scores)
    return {
        "accuracy": float(scores[-1].mean()),
        "change": float((scores[-1] - own)[:-1].mean()),
        "new tasks": float(own[1:].mean()),
    }


def subspace(connectome: Connectome, seed: int) -> dict[str, float]:
    """Of the rows after the first task, the worst of all sets: how far they are from orthonormal, and how much of the
    traces they hold, as a share of what as many principal components would."""
    traces = _traces(connectome, _tasks(seed)[0], np.random.default_rng([seed, 3]))
    off, held = [0.0], [1.0]
    for key, edges in connectome.edges.items():
        if len(edges) and "hlop_0" in edges.state:
            rows, x = _rows(edges).numpy(), traces[key.source]
            off.append(float(np.abs(rows @ rows.T - np.eye(len(rows))).max()))
            best = components(x, len(rows), rows[:0])
            basis = np.linalg.qr(rows.T)[0].T
            held.append(float(np.square(x @ basis.T).sum() / np.square(x @ best.T).sum()))
    return {"orthonormal to": max(off), "captured": min(held)}


def _rows(edges: EdgeSet) -> torch.Tensor:
    state: State = {name: torch.tensor(value) for name, value in edges.state.items() if name.startswith("hlop_")}
    return rows_of(edges, state)


def _traces(connectome: Connectome, task: Task, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Source -> (S, N) synaptic traces of every moment of a large batch."""
    spikes, _ = task.batch(rng, 256)
    with torch.no_grad():
        seen = SpikingNetwork(connectome, recruit=task.recruits)(spikes, record=(task.name,)).spikes
    return {k: synaptic_traces(s, _TAU_STEPS).flatten(0, 1).numpy() for k, s in {**spikes, **seen}.items()}


def components(traces: NDArray[np.float64], n: int, held: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, N) principal components, about 0, of (S, N) traces without what (M, N) rows span."""
    if len(held):
        basis = np.linalg.qr(held.T)[0]
        traces = traces - traces @ basis @ basis.T
    return np.asarray(np.linalg.eigh(traces.T @ traces)[1].T[::-1][:n])
