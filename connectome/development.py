"""Development: regions mature one after the other, each with its task, under rules that grow and prune edges.

A stage makes its region (birth), trains it with every weight plastic, and lets the rules edit the graph once an epoch.
There is no replay (a stage sees its own task alone), no regularisation term (the loss is the task's) and no frozen
weight: what has matured stays plastic, at a stated fraction of a new region's rate.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.birth import Anatomy, birth, new_links
from connectome.errors import ConnectomeError
from connectome.flat import Engine
from connectome.graph import Connectome, EdgeDelta
from connectome.learning import Activity, SpikingNetwork
from connectome.parameters import Parameters, bounded
from connectome.parts import EdgeKey
from connectome.rules import IMPORTANCE, Evidence, Link, LinkEvolution, Rule, Sample
from connectome.task import Score, Task

__all__ = ["Plasticity", "Progress", "Stage", "StageOutcome", "develop"]


@dataclass(frozen=True)
class Plasticity(Parameters):
    """How fast weights change: Adam's step, relative to a typical weight of the edge set at birth.

    Parameters
    ----------
    rate : of the maturing region; falls to ``final`` of it along half a cosine
    afferent, efferent : factors for these kinds of edge
    mature_local, mature_other : factors for edges of matured regions: their plasticity is slowed, never stopped
    """

    rate: float = bounded(0.02, 1e-9, 1)
    final: float = bounded(0.02, 0, 1)
    afferent: float = bounded(3.0, 1e-9)
    efferent: float = bounded(2.0, 1e-9)
    mature_local: float = bounded(0.15, 1e-9, 1)
    mature_other: float = bounded(0.015, 1e-9, 1)

    def factor(self, key: EdgeKey, maturing: str) -> float:
        """The factor of one edge set while ``maturing`` matures."""
        kind = {"afferent": self.afferent, "efferent": self.efferent}.get(key.kind, 1.0)
        if maturing in (key.source, key.target):
            return kind
        return kind * (self.mature_local if key.kind == "local" else self.mature_other)


@dataclass(frozen=True)
class Stage:
    """A region's time to mature: its task, how long, and the rules that act once in ``epoch_updates`` updates."""

    task: Task
    updates: int
    batch: int = 64
    epoch_updates: int = 20
    plasticity: Plasticity = Plasticity()
    rules: tuple[Rule, ...] = ()
    links: LinkEvolution = LinkEvolution()
    importance: str = "feedback"


class Progress(NamedTuple):
    """Where development stands: for whoever shows it."""

    stage: int
    region: str
    update: int
    updates: int
    loss: float
    score: float
    local_edges: int
    long_range_edges: int


@dataclass(frozen=True, eq=False)
class StageOutcome:
    """What a stage leaves: the connectome, the test score of every task learnt so far, the links and the peak."""

    connectome: Connectome
    scores: Mapping[str, Score]
    scores_all_recruited: Mapping[str, Score]
    links: tuple[Link, ...]
    peak_local_edges: int


def develop(
    stages: Sequence[Stage], anatomy: Anatomy, *, seed: int = 0, engine: Engine = "numba",
    on_birth: Callable[[Connectome], None] = lambda c: None, on_progress: Callable[[Progress], None] = lambda p: None,
    test_trials: int = 400,
) -> Iterator[StageOutcome]:  # fmt: skip
    """Develop a connectome through the stages, yielding the outcome of each. The same seed gives the same bytes."""
    connectome: Connectome | None = None
    peak = 0
    for number, stage in enumerate(stages, start=1):
        rng = np.random.default_rng([seed, number])
        parent = () if connectome is None else (connectome.digest(),)
        links = new_links(connectome, stage.task.name)
        connectome = birth(connectome, stage.task, anatomy, number, links, rng)
        provenance = replace(
            connectome.provenance,
            seed=seed,
            stage=number,
            stage_name=stage.task.name,
            parents=parent,
            versions=_versions(),
        )
        connectome = replace(connectome, provenance=provenance)
        if number == 1:
            newborn = replace(provenance, stage=0, stage_name="birth")
            on_birth(replace(connectome, provenance=newborn))
        last = number == len(stages)
        training = _Training(connectome, stage, number, last, links, engine, rng)
        for progress in training.run():
            peak = max(peak, progress.local_edges)
            on_progress(progress)
        connectome = training.connectome
        tasks = [s.task for s in stages[:number]]
        scores = {t.name: _perform(connectome, t, t.recruits, engine, [seed, _TEST_STREAM], test_trials) for t in tasks}
        everything = tuple(connectome.regions)
        everyone = {
            t.name: _perform(connectome, t, everything, engine, [seed, _TEST_STREAM], test_trials) for t in tasks
        }
        yield StageOutcome(connectome, scores, everyone, training.links, peak)


def _perform(
    connectome: Connectome, task: Task, recruits: Sequence[str], engine: Engine, seed: list[int], trials: int,
) -> Score:  # fmt: skip
    network = SpikingNetwork(connectome, recruit=recruits, engine=engine)
    with torch.no_grad():
        return task.score(network, "test", trials, np.random.default_rng(seed))


class _Training:
    """One stage's training, with what it carries from update to update."""

    def __init__(
        self, connectome: Connectome, stage: Stage, number: int, last: bool, links: tuple[Link, ...], engine: Engine,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.stage, self.number, self.links, self.engine = stage, number, links, engine
        self.region = stage.task.name
        regions = [r.name for r in connectome.regions.values() if r.role == "neuron"]
        # Nothing matures after the last region, so its own effectors' feedback prunes it within its stage.
        self.judged = tuple(regions if last else [r for r in regions if r != self.region])
        self.born = {key: _born(connectome, key) for key in connectome.edges if key.kind == "local"}
        self.scale: dict[EdgeKey, float] = {}
        self.data_rng, self.rule_rng, self.score_rng = rng.spawn(3)
        self.mean_rate: dict[str, NDArray[np.float64]] = {}
        self._load(connectome)

    def run(self) -> Iterator[Progress]:
        """Train; yield after each epoch."""
        stage, score, loss_sum, since = self.stage, float("nan"), 0.0, 0
        epochs = -(-stage.updates // stage.epoch_updates)
        for update in range(stage.updates):
            self._set_rate(update / stage.updates)
            spikes, target = stage.task.batch(self.data_rng, stage.batch)
            activity = self.network(spikes)
            loss = stage.task.loss(activity, target)
            if not torch.isfinite(loss):
                raise ConnectomeError(
                    f"stage {self.region}", "must have a finite loss", f"{loss.item()} at update {update}",
                    "Lower the plasticity rate.",
                )  # fmt: skip
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._measure(activity, stage.batch * next(iter(spikes.values())).shape[1])
            self.optimizer.step()
            self._keep_signs()
            loss_sum, since = loss_sum + loss.item(), since + 1
            if (update + 1) % stage.epoch_updates and update + 1 < stage.updates:
                continue
            epoch = -(-(update + 1) // stage.epoch_updates)
            self._edit(epoch, update + 1)
            if epoch % _SCORE_EPOCHS == 0 or epoch == epochs:
                score = stage.task.score(self._act, "validation", _SCORE_TRIALS, self.score_rng).value
            yield Progress(
                self.number, self.region, update + 1, stage.updates, loss_sum / since, score,
                self.connectome.count("local"), self.connectome.count("long_range"),
            )  # fmt: skip
            loss_sum, since = 0.0, 0

    def _act(self, spikes: Mapping[str, Tensor]) -> Activity:
        with torch.no_grad():
            return cast(Activity, self.network(spikes))

    def _load(self, connectome: Connectome, step: int = 0) -> None:
        """Make the network and the optimiser of a connectome; Adam's moments are state of its edges, and end here."""
        self.connectome = _without(connectome, {"evidence", *_MOMENTS.values()})
        self.network = SpikingNetwork(self.connectome, recruit=self.stage.task.recruits, engine=self.engine)
        groups = [{"params": [w], "lr": 0.0, "key": key} for key, w in self.network.weight.items()]
        self.optimizer = torch.optim.Adam(groups, foreach=False)
        self.sign, self.ends = {}, {}
        for key, w in self.network.weight.items():
            edges = connectome.edges[key]
            source = edges.source
            self.scale[key] = self.scale.get(key) or _rms(edges.weight)  # a typical weight when the set was new
            self.ends[key] = (source, edges.target)
            self.sign[key] = torch.from_numpy(self.connectome.regions[key.source].sign[source])
            if step:
                moments = {name: torch.tensor(edges.state[state]) for name, state in _MOMENTS.items()}
                self.optimizer.state[w] = {"step": torch.tensor(float(step)), **moments}
        self.evidence = {key: np.zeros(w.shape, np.float32) for key, w in self.network.weight.items()}
        self.rate = {name: np.zeros(self.connectome.regions[name].size) for name in self.stage.task.recruits}
        self.seen = 0

    def _set_rate(self, done: float) -> None:
        p = self.stage.plasticity
        cosine = p.final + (1 - p.final) * 0.5 * (1 + np.cos(np.pi * done))
        for group in self.optimizer.param_groups:
            key = group["key"]
            group["lr"] = p.rate * cosine * p.factor(key, self.region) * self.scale[key]

    def _keep_signs(self) -> None:
        """Dale: a weight that would change its neuron's sign stops at 0."""
        with torch.no_grad():
            for key, weight in self.network.weight.items():
                weight.masked_fill_(weight * self.sign[key] < 0, 0.0)

    def _measure(self, activity: Activity, samples: int) -> None:
        """Add this update's importance and rates to the epoch's."""
        measure = IMPORTANCE[self.stage.importance]
        for name, count in activity.counts.items():
            rate = count / samples
            self.rate[name] += rate
            self.mean_rate[name] = 0.9 * self.mean_rate.get(name, rate) + 0.1 * rate
        for key, weight in self.network.weight.items():
            if key.kind in ("local", "long_range"):
                source, target = self.ends[key]
                gradient = weight.grad
                assert gradient is not None
                self.evidence[key] += measure(
                    Sample(
                        weight.detach().numpy(), gradient.numpy(), (activity.counts[key.source] / samples)[source],
                        (activity.counts[key.target] / samples)[target], self.mean_rate[key.target][target],
                    )
                )  # fmt: skip
        self.seen += 1

    def _edit(self, epoch: int, update: int) -> None:
        """Let the rules act on what the epoch showed. Evidence and Adam's moments are edge state meanwhile, so that
        each stays with its edge."""
        state = {}
        for key, weight in self.network.weight.items():
            moments = self.optimizer.state[weight]
            state[key] = {kept: moments[name].numpy() for name, kept in _MOMENTS.items()}
            if key.kind in ("local", "long_range"):
                state[key]["evidence"] = self.evidence[key] / self.seen
        connectome = self.network.to_connectome().apply(EdgeDelta(state=state))
        evidence = Evidence(
            stage=self.number, step=update, epoch=epoch, region=self.region, judged=self.judged, born=self.born,
            rate={name: rate / self.seen for name, rate in self.rate.items()}, links=self.links,
        )  # fmt: skip
        for rule in self.stage.rules:
            delta = rule(connectome, evidence, self.rule_rng)
            connectome = connectome.apply(delta)
        self.links = self.stage.links(connectome, self.links)
        self._load(connectome, update)


_MOMENTS = {"exp_avg": "adam_mean", "exp_avg_sq": "adam_square"}
#: Random numbers of the test trials: a stream that nothing else draws from, first used after the defaults were chosen.
_TEST_STREAM = 271828
_SCORE_EPOCHS = 5
_SCORE_TRIALS = 96


def _born(connectome: Connectome, key: EdgeKey) -> int:
    """Edges of a set at its birth: those that are there, less what rules added since, and what they removed."""
    log = [r for r in connectome.provenance.rule_log if (r.source, r.kind, r.target) == key]
    return len(connectome.edges[key]) - sum(r.added for r in log) + sum(r.removed for r in log)


def _without(connectome: Connectome, names: set[str]) -> Connectome:
    edges = connectome.edges.items()
    return replace(
        connectome,
        edges={key: replace(e, state={k: v for k, v in e.state.items() if k not in names}) for key, e in edges},
    )


def _rms(weight: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(weight)))) if weight.size else 0.0


def _versions() -> dict[str, str]:
    names = ("numpy", "numba", "torch", "torch-geometric", "h5py")
    return {name: importlib.metadata.version(name) for name in names}
