"""Development: regions mature one after the other, each with its task, under rules that grow and prune edges.

A stage makes its region (birth), trains it with every weight plastic, and lets the rules edit the graph once an epoch.
There is no replay (a stage sees its own task alone), no regularisation term (the loss is the task's) and no frozen
weight: what has matured stays plastic, at a stated fraction of a new region's rate.
"""

from __future__ import annotations

import copy
import importlib.metadata
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome import __version__
from connectome.development.birth import Anatomy, birth, new_links
from connectome.development.links import LinkEvolution
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, EdgeDelta
from connectome.graph.flat import Engine
from connectome.graph.parts import EdgeKey, Kind
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.task import Score, Task
from connectome.parameters import Parameters, bounded
from connectome.rules import IMPORTANCE, Context, Link, Rule, Sample

__all__ = ["LearningRates", "Progress", "Stage", "StageOutcome", "StageState", "develop", "perform", "versions"]


@dataclass(frozen=True)
class LearningRates(Parameters):
    """How fast weights change: Adam's step, relative to a typical weight of the edge set at birth.

    Parameters
    ----------
    rate : of the maturing region; falls to ``final`` of it along half a cosine
    afferent, efferent : factors for these kinds of edge
    mature_local, mature_other : factors for edges of matured regions: their plasticity is slowed, not stopped (0 would
        stop it: for comparators)
    """

    rate: float = bounded(0.02, 1e-9, 1)
    final: float = bounded(0.02, 0, 1)
    afferent: float = bounded(3.0, 1e-9)
    efferent: float = bounded(2.0, 1e-9)
    mature_local: float = bounded(0.05, 0, 1)
    mature_other: float = bounded(0.004, 0, 1)

    def factor(self, key: EdgeKey, maturing: str) -> float:
        """The factor of one edge set while ``maturing`` matures."""
        kind = {"afferent": self.afferent, "efferent": self.efferent}.get(key.kind, 1.0)
        if maturing in (key.source, key.target):
            return kind
        return kind * (self.mature_local if key.kind == "local" else self.mature_other)


@dataclass(frozen=True)
class Stage:
    """A region's time to mature: its task, how long, and the rules that act once in ``epoch_updates`` updates.

    ``wiring``, if there is one, is what the region begins as: see :func:`~connectome.development.birth.birth`.
    ``penalty`` is for comparators: what it gives, for the network that learns and a random generator, is added to each
    update's loss. Our own stages have none.
    """

    task: Task
    updates: int
    batch: int = 64
    epoch_updates: int = 20
    learning_rates: LearningRates = LearningRates()
    rules: tuple[Rule, ...] = ()
    links: LinkEvolution = LinkEvolution()
    importance: str = "feedback"
    wiring: Connectome | None = None
    penalty: Callable[[SpikingNetwork, np.random.Generator], Tensor] | None = None


class Progress(NamedTuple):
    """Where development stands: for whoever shows it. ``score`` and ``operations``, the synaptic operations per
    sample, are of the last validation; ``edges`` are of every kind."""

    stage: int
    region: str
    update: int
    updates: int
    loss: float
    score: float
    operations: float
    local_edges: int
    long_range_edges: int
    edges: int


@dataclass(frozen=True, eq=False)
class StageOutcome:
    """What a stage leaves: the connectome, the test score of every task learnt so far, the links and the peak."""

    connectome: Connectome
    scores: Mapping[str, Score]
    scores_all_recruited: Mapping[str, Score]
    links: tuple[Link, ...]
    peak_local_edges: int


#: Before the first validation.
UNKNOWN: Final = Score(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class StageState:
    """All that development carries from one update to the next: what is not in here has no say in what comes.

    Parameters
    ----------
    stage : the number of the stage under way, from 1
    connectome : with its weights as they are now. An edge that learns also has Adam's moments as state, and, where
        importance is measured, ``"importance"``: its sum over the updates of this epoch
    links : the long-range links of the new region
    random : what the batches, the rules and the validation trials draw from
    scale : edge set -> a typical weight when it was new, pA
    mean_rate, rate : region -> (N,) spikes per step: the running mean, and the sum over this epoch
    update, seen : updates done in this stage and in this epoch
    loss : sum over this epoch
    score : the last validation score
    peak_local_edges : of all stages so far
    """

    stage: int
    connectome: Connectome
    links: tuple[Link, ...]
    random: Mapping[str, np.random.Generator]
    scale: Mapping[EdgeKey, float] = field(default_factory=dict)
    mean_rate: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    rate: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    update: int = 0
    seen: int = 0
    loss: float = 0.0
    score: Score = UNKNOWN
    peak_local_edges: int = 0


def develop(
    stages: Sequence[Stage], anatomy: Anatomy, *, seed: int = 0, engine: Engine = "numba",
    on_birth: Callable[[Connectome], None] = lambda c: None, on_progress: Callable[[Progress], None] = lambda p: None,
    on_point: Callable[[Callable[[], StageState]], None] = lambda state: None, resume: StageState | None = None,
    test_trials: int = 400,
) -> Iterator[StageOutcome]:  # fmt: skip
    """Develop a connectome through the stages, yielding the outcome of each. The same seed gives the same bytes.

    ``on_point`` is called wherever development can be taken up again, between two updates for one: with a function
    that gives its state there. From that state, with ``resume``, the stage under way and those after it go on to the
    same bytes. So tasks and rules keep nothing from one call to the next, and draw from the generator they are given.
    """
    connectome: Connectome | None = None
    peak = 0
    for number, stage in enumerate(stages, start=1):
        if resume is not None and number < resume.stage:
            continue
        if resume is not None and number == resume.stage:
            state = resume
        else:
            state = _begin(connectome, stage, anatomy, seed, number, peak)
            if number == 1:
                newborn = replace(state.connectome.provenance, stage=0, stage_name="birth")
                on_birth(replace(state.connectome, provenance=newborn))
        training = _Training(state, stage, engine, last=number == len(stages))
        on_point(training.state)
        while training.update < stage.updates:
            progress = training.step()
            if progress is not None:
                on_progress(progress)
            on_point(training.state)
        connectome, peak = training.connectome, training.peak_local_edges
        scores: tuple[dict[str, Score], dict[str, Score]] = {}, {}
        for task in (s.task for s in stages[:number]):
            for recruits, found in zip((task.recruits, tuple(connectome.regions)), scores, strict=True):
                found[task.name] = perform(
                    connectome, task, "test", test_trials, [seed, _TEST_STREAM], recruits=recruits, engine=engine
                )
                on_point(training.state)
        yield StageOutcome(connectome, *scores, training.links, peak)


def _begin(
    connectome: Connectome | None, stage: Stage, anatomy: Anatomy, seed: int, number: int, peak: int
) -> StageState:
    """A stage's state at the birth of its region."""
    rng = np.random.default_rng([seed, number])
    parents = () if connectome is None else (connectome.digest(),)
    links = new_links(connectome, stage.task.name)
    born = birth(connectome, stage.task, anatomy, number, links, rng, stage.wiring)
    provenance = replace(
        born.provenance, seed=seed, stage=number, stage_name=stage.task.name, parents=parents, versions=versions()
    )
    return StageState(
        number, replace(born, provenance=provenance), links,
        random=dict(zip(("batch", "rules", "score"), rng.spawn(3), strict=True)), peak_local_edges=peak,
    )  # fmt: skip


def perform(
    connectome: Connectome, task: Task, split: str, trials: int, seed: Sequence[int], *,
    recruits: Sequence[str] | None = None, engine: Engine = "numba",
) -> Score:  # fmt: skip
    """The score of a task that a connectome performs, with data of a split and whom the task recruits, or others. The
    same seed gives the same trials, whatever the connectome."""
    network = SpikingNetwork(connectome, recruit=task.recruits if recruits is None else recruits, engine=engine)
    with torch.no_grad():
        return task.score(network, split, trials, np.random.default_rng(seed))


class _Training:
    """One stage's training: the network and the optimiser of a state, at work on it."""

    def __init__(self, state: StageState, stage: Stage, engine: Engine, *, last: bool) -> None:
        self.stage, self.engine, self.number, self.links = stage, engine, state.stage, state.links
        self.region = stage.task.name
        regions = [r.name for r in state.connectome.regions.values() if r.role == "neuron"]
        # Nothing matures after the last region, so its own effectors' feedback prunes it within its stage.
        self.prunable = tuple(regions if last else [r for r in regions if r != self.region])
        self.scale, self.peak_local_edges = dict(state.scale), state.peak_local_edges
        self.random = copy.deepcopy(dict(state.random))
        self.mean_rate = dict(state.mean_rate)
        self.update, self.score = state.update, state.score
        self._load(state.connectome)
        self.rate |= {name: rate.copy() for name, rate in state.rate.items()}
        self.seen, self.loss = state.seen, state.loss

    def state(self) -> StageState:
        """All of it, as it is now."""
        return StageState(
            self.number, self.network.to_connectome().apply(EdgeDelta(state=self._edge_state())), self.links,
            copy.deepcopy(self.random), dict(self.scale), dict(self.mean_rate),
            {name: rate.copy() for name, rate in self.rate.items()}, self.update, self.seen, self.loss, self.score,
            self.peak_local_edges,
        )  # fmt: skip

    def step(self) -> Progress | None:
        """One update, with what comes at the end of an epoch."""
        stage = self.stage
        self._set_rate(self.update / stage.updates)
        spikes, target = stage.task.batch(self.random["batch"], stage.batch)
        activity = self.network(spikes)
        loss = stage.task.loss(activity, target)
        if stage.penalty is not None:
            loss = loss + stage.penalty(self.network, self.random["batch"])
        if not torch.isfinite(loss):
            raise ConnectomeError(
                f"stage {self.region}", "must have a finite loss", f"{loss.item()} at update {self.update}",
                "Lower learning_rates.rate.",
            )  # fmt: skip
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._measure(activity, stage.batch * next(iter(spikes.values())).shape[1])
        self.optimizer.step()
        self._keep_signs()
        self.loss += loss.item()
        self.update += 1
        if self.update % stage.epoch_updates and self.update < stage.updates:
            return None
        mean_loss = self.loss / self.seen
        epoch = -(-self.update // stage.epoch_updates)
        self._edit(epoch)
        if epoch % _SCORE_EPOCHS == 0 or self.update == stage.updates:
            self.score = stage.task.score(self._act, "validation", _SCORE_TRIALS, self.random["score"])
        local, long_range = self.connectome.count("local"), self.connectome.count("long_range")
        self.peak_local_edges = max(self.peak_local_edges, local)
        return Progress(
            self.number, self.region, self.update, stage.updates, mean_loss, self.score.value, self.score.operations,
            local, long_range, self.connectome.n_edges,
        )  # fmt: skip

    def _act(self, spikes: Mapping[str, Tensor]) -> BatchActivity:
        with torch.no_grad():
            return cast(BatchActivity, self.network(spikes))

    def _load(self, connectome: Connectome) -> None:
        """Make the network and the optimiser of a connectome, and start an epoch. What is state of its edges for their
        way here, moments and importance, ends here."""
        self.connectome = _without(connectome, {"importance", *_MOMENTS.values()})
        self.network = SpikingNetwork(self.connectome, recruit=self.stage.task.recruits, engine=self.engine)
        groups = [{"params": [w], "lr": 0.0, "key": key} for key, w in self.network.weight.items()]
        self.optimizer = torch.optim.Adam(groups, foreach=False)
        self.sign, self.ends, self.importance = {}, {}, {}
        for key, w in self.network.weight.items():
            edges = connectome.edges[key]
            source = edges.source
            self.scale[key] = self.scale.get(key) or _rms(edges.weight)  # a typical weight when the set was new
            self.sign[key] = torch.from_numpy(self.connectome.regions[key.source].sign[source])
            if key.kind != "efferent":
                pair = source.astype(np.uint64) << np.uint64(32) | edges.target.astype(np.uint64)
                self.ends[key] = (source, edges.target, pair)
                self.importance[key] = np.array(edges.state.get("importance", np.zeros(len(edges), np.float32)))
            if self.update:
                moments = {name: torch.tensor(edges.state[state]) for name, state in _MOMENTS.items()}
                self.optimizer.state[w] = {"step": torch.tensor(float(self.update)), **moments}
        self.rate = {name: np.zeros(self.connectome.regions[name].size) for name in self.stage.task.recruits}
        self.seen, self.loss = 0, 0.0

    def _set_rate(self, done: float) -> None:
        p = self.stage.learning_rates
        cosine = p.final + (1 - p.final) * 0.5 * (1 + np.cos(np.pi * done))
        for group in self.optimizer.param_groups:
            key = group["key"]
            group["lr"] = p.rate * cosine * p.factor(key, self.region) * self.scale[key]

    def _keep_signs(self) -> None:
        """Dale: a weight that would change its neuron's sign stops at 0."""
        with torch.no_grad():
            for key, weight in self.network.weight.items():
                weight.masked_fill_(weight * self.sign[key] < 0, 0.0)

    def _measure(self, activity: BatchActivity, samples: int) -> None:
        """Add this update's importance and rates to the epoch's."""
        measure = IMPORTANCE[self.stage.importance]
        for name, count in activity.counts.items():
            rate = count / samples
            self.rate[name] += rate
            self.mean_rate[name] = 0.9 * self.mean_rate.get(name, rate) + 0.1 * rate
        for key, (source, target, pair) in self.ends.items():
            weight = self.network.weight[key]
            gradient = weight.grad
            assert gradient is not None
            self.importance[key] += measure(
                Sample(
                    weight.detach().numpy(), gradient.numpy(), (activity.counts[key.source] / samples)[source],
                    (activity.counts[key.target] / samples)[target], self.mean_rate[key.target][target],
                    pair,
                )
            )  # fmt: skip
        self.seen += 1

    def _edge_state(self) -> dict[EdgeKey, dict[str, NDArray[np.float32]]]:
        """What edges carry besides their weights: Adam's moments, and the importance over the epoch so far."""
        state: dict[EdgeKey, dict[str, NDArray[np.float32]]] = {}
        for key, weight in self.network.weight.items():
            moments = self.optimizer.state[weight]  # none before the first update
            state[key] = {kept: moments[name].numpy() for name, kept in _MOMENTS.items() if moments}
            if key in self.importance:
                state[key]["importance"] = self.importance[key]
        return state

    def _edit(self, epoch: int) -> None:
        """Let the rules act on what the epoch showed. Context and Adam's moments are edge state meanwhile, so that
        each stays with its edge."""
        for total in self.importance.values():
            total /= self.seen
        connectome = self.network.to_connectome().apply(EdgeDelta(state=self._edge_state()))
        seen = Context(
            stage=self.number, step=self.update, epoch=epoch, region=self.region, prunable=self.prunable,
            ever=_ever(connectome), done=self.update / self.stage.updates,
            rate={name: rate / self.seen for name, rate in self.rate.items()}, links=self.links,
        )  # fmt: skip
        for rule in self.stage.rules:
            connectome = connectome.apply(rule(connectome, seen, self.random["rules"]))
        self.links = self.stage.links(connectome, self.links)
        self._load(_without(connectome, {"importance"}))


_MOMENTS = {"exp_avg": "adam_mean", "exp_avg_sq": "adam_square"}
#: Random numbers of the test trials: a stream that nothing else draws from, first used after the defaults were chosen.
_TEST_STREAM = 271828
_SCORE_EPOCHS = 5
_SCORE_TRIALS = 96


def _ever(connectome: Connectome) -> dict[EdgeKey, int]:
    """How many edges each set has ever had: those that are there, and those that rules removed."""
    ever = {key: len(edges) for key, edges in connectome.edges.items()}
    for record in connectome.provenance.rule_log:
        key = EdgeKey(record.source, cast(Kind, record.kind), record.target)
        ever[key] = ever.get(key, 0) + record.removed
    return ever


def _without(connectome: Connectome, names: set[str]) -> Connectome:
    edges = connectome.edges.items()
    return replace(
        connectome,
        edges={key: replace(e, state={k: v for k, v in e.state.items() if k not in names}) for key, e in edges},
    )


def _rms(weight: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(weight)))) if weight.size else 0.0


def versions() -> dict[str, str]:
    """The versions of what a development's bytes depend on."""
    names = ("numpy", "numba", "torch", "torch-geometric", "h5py")
    ours = {"connectome": __version__, "python": platform.python_version()}
    return ours | {name: importlib.metadata.version(name) for name in names}
