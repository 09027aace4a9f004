"""One stage's training: a learner at work on the stage's state, and the rules that edit its graph."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from connectome import plugins
from connectome.development.stage import REUSE, LossContext, Progress, Stage, StageState
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.flat import Engine, select
from connectome.graph.parts import EdgeKey
from connectome.learning.learner import Learner, of_kind, without
from connectome.learning.learning_rule import LearningRule
from connectome.learning.network import BatchActivity
from connectome.learning.probe import Probe
from connectome.learning.ranks import ALONE, Ranks
from connectome.learning.task import Batch, Task, acting, checked_score
from connectome.rules import Context, Sample, acts

__all__ = ["Training", "context_of", "momentum", "typical_weight"]


def momentum(t: int, kappa: float, m: float = 0.1) -> float:
    """What update t, from 1, counts in a running mean, which keeps 1 less that of what it was: eta_1 = m^kappa, eta_t =
    eta_(t-1) / (eta_(t-1) + (1 - m)^kappa), here solved for t (AdaB2N, Lyu et al. 2023, NeurIPS). With kappa = 1 it is
    m, an exponential mean; with 0 it is 1/t, the mean of all; between, it falls to 1 - (1 - m)^kappa."""
    if kappa == 1:
        return m
    q = (1 - m) ** kappa
    sum_of_powers = t - 1 if q == 1 else (1 - q ** (t - 1)) / (1 - q)
    return float(1 / (sum_of_powers + q ** (t - 1) / m**kappa))


class Training:
    """A stage under way. ``earlier`` are the tasks of the stages before it; ``last``: no stage comes after it."""

    def __init__(
        self, state: StageState, stage: Stage, earlier: Sequence[Task], engine: Engine, seed: int, *, last: bool,
        device: str = "cpu", ranks: Ranks = ALONE,
    ) -> None:  # fmt: skip
        self.stage, self.engine, self.number, self.links = stage, engine, state.stage, state.links
        self.earlier, self.seed, self.device, self.ranks = tuple(earlier), seed, device, ranks
        if ranks.size > 1 and stage.extra_loss is not None:
            raise ConnectomeError("training.method", "must add no loss when ranks share a batch", "one that does")
        self.region = stage.task.name
        self.last = last
        self.scale, self.peak_local_edges = dict(state.scale), state.peak_local_edges
        self.random = copy.deepcopy(dict(state.random))
        self.mean_rate = dict(state.mean_rate)
        self.score, self.best, self.stale = state.score, state.best, state.stale
        self.finished = state.finished or state.update >= stage.updates
        self._measure = plugins.load("importance", stage.importance, "importance")
        again = self.random.pop("again", None)
        self._drawn: tuple[np.random.Generator, Batch] | None = None
        self._reuse = stage.reuse
        self._load(state.connectome, state.update)
        if again is not None:
            self._drawn = copy.deepcopy(again), self._draw(again)
        self.rate |= {name: rate.copy() for name, rate in state.rate.items()}
        self.seen, self.loss = state.seen, state.loss

    @property
    def update(self) -> int:
        """Updates done in this stage."""
        return self.learner.number

    def state(self) -> StageState:
        """All of it, as it is now."""
        reusing = self._drawn is not None and self.update % self._reuse
        again = {"again": self._drawn[0]} if reusing and self._drawn is not None else {}
        return StageState(
            self.number, self._now(), self.links, copy.deepcopy({**self.random, **again}), dict(self.scale),
            dict(self.mean_rate), {name: rate.copy() for name, rate in self.rate.items()}, self.update, self.seen,
            self.loss, self.score, self.peak_local_edges, self.best, self.stale, self.finished,
        )  # fmt: skip

    def step(self) -> Progress | None:
        """One update, with what comes at the end of an epoch."""
        stage = self.stage
        spikes, target = self._batch()
        samples = stage.batch * next(iter(spikes.values())).shape[1]
        by_area, rates, done = self.connectome.by_area, stage.learning_rates, self.update / stage.updates
        cosine = rates.final + (1 - rates.final) * 0.5 * (1 + np.cos(np.pi * done))

        def extra_loss(activity: BatchActivity) -> Tensor:
            assert stage.extra_loss is not None
            network, rng = self.learner.network, self.random["batch"]
            return stage.extra_loss(LossContext(network, stage.task, spikes, activity, self.earlier, rng, self.seed))

        self.loss += self.learner.step(
            spikes, target,
            lambda key: rates.rate * cosine * rates.factor(by_area(key), self.region) * self.scale[key],
            rate=lambda key: rates.step(by_area(key), self.region) * cosine,
            extra_loss=None if stage.extra_loss is None else extra_loss,
            watch=lambda activity: self._watch(activity, samples),
        )  # fmt: skip
        if self.update % stage.epoch_updates and self.update < stage.updates:
            return None
        mean_loss = self.loss / self.seen
        epoch = -(-self.update // stage.epoch_updates)
        self._edit(epoch)
        if epoch % stage.validate_every == 0 or self.update == stage.updates:
            act, trials = acting(self.learner.network, self.learner.inputs), stage.validation_trials
            self.score = checked_score(stage.task.score(act, "validation", trials, self.random["score"]), stage.task)
            self.stale = 0 if self.score.value > self.best else self.stale + 1
            self.best = max(self.score.value, self.best)
        self.finished = self.update == stage.updates or 0 < stage.patience <= self.stale
        if self.finished:
            self._end(epoch)
        local, long_range = self.connectome.count("local"), self.connectome.count("long_range")
        self.peak_local_edges = max(self.peak_local_edges, local)
        return Progress(
            self.number, self.region, self.update, stage.updates, mean_loss, self.score.value, self.score.operations,
            local, long_range, self.connectome.n_edges,
        )  # fmt: skip

    def _batch(self) -> Batch:
        if self._drawn is None or self.update % self._reuse == 0:
            before = copy.deepcopy(self.random["batch"]) if self._reuse > 1 else self.random["batch"]
            self._drawn = before, self._draw(self.random["batch"])
        return self._drawn[1]

    def _draw(self, rng: np.random.Generator) -> Batch:
        stage = self.stage
        if stage.select is None:
            return stage.task.batch(rng, stage.batch)
        return stage.select(stage.task, self.learner.network, rng, stage.batch)

    def _load(self, connectome: Connectome, update: int) -> None:
        """Make the learner of a connectome, and start an epoch. The importance that is state of its edges for their way
        here ends here."""
        s = self.stage
        there = select(connectome, s.task.recruits)
        recruited = list(there.edges)
        views = {key: of_kind(s.views, key) for key in recruited}
        neurons = {n: connectome.area_of(n) for n, r in there.regions.items() if r.role == "neuron"}
        self.learner = Learner(
            without(connectome, {"importance"}), s.task, s.learning, chains=s.chains, seed=(self.seed, self.number),
            number=update, engine=self.engine, device=self.device, inputs=s.inputs, mode=s.mode,
            views={key: view for key, view in views.items() if view is not None},
            block=[key for key in recruited if {key.kind, key.base} & {*s.block}],
            surrogate_width_mv=s.surrogate_width_mv,
            learn={n: s.learn[area] for n, area in neurons.items() if area in s.learn}, ranks=self.ranks,
        )  # fmt: skip
        self.connectome = self.learner.network.connectome
        decided = int(connectome.regions[self.region].state.get(REUSE, np.zeros(1)).max(initial=0))
        if decided and decided != self._reuse:  # the next update draws, wherever it is in the old rhythm
            self._reuse, self._drawn = decided, None
        self.ends, self.importance = {}, {}
        for key in self.learner.network.weight:
            edges = connectome.edges[key]
            self.scale[key] = self.scale.get(key) or typical_weight(
                edges.weight
            )  # a typical weight when the stage began, or it was new
            if key.base != "efferent":
                self.ends[key] = edges
                self.importance[key] = np.array(edges.state.get("importance", np.zeros(len(edges), np.float32)))
        self.rate = {name: np.zeros(self.connectome.regions[name].size) for name in there.regions}
        self.seen, self.loss = 0, 0.0

    def _watch(self, activity: BatchActivity, samples: int) -> None:
        """Add this update's importance and rates to the epoch's."""
        eta = momentum(self.update + 1, self.stage.kappa)
        for name, count in activity.counts.items():
            rate = count / samples
            self.rate[name] += rate
            self.mean_rate[name] = (1 - eta) * self.mean_rate.get(name, rate) + eta * rate
        network = self.learner.network
        for key, edges in self.ends.items():
            weight = network.weight[key]
            gradient = weight.grad
            assert gradient is not None
            self.importance[key] += self._measure(
                Sample(
                    edges, network.by_edge(key, weight.detach()).numpy(force=True),
                    network.by_edge(key, gradient).numpy(force=True), activity.counts[key.source] / samples,
                    activity.counts[key.target] / samples, self.mean_rate[key.target],
                )
            )  # fmt: skip
        self.seen += 1

    def _now(self) -> Connectome:
        """The connectome with all that its edges carry besides their weights."""
        state: dict[EdgeKey, Mapping[str, NDArray[np.float32]]] = {
            key: {"importance": total} for key, total in self.importance.items()
        }
        return self.learner.connectome().apply(Edit(state=state))

    def _edit(self, epoch: int) -> None:
        """Let the rules act on what the epoch showed. Importance and what learning rules keep is edge state meanwhile,
        so that each stays with its edge."""
        for total in self.importance.values():
            total /= self.seen
        connectome = self._now()
        context = self._context(connectome, epoch)
        for rule in acts(self.stage.rules, "epoch"):
            connectome = connectome.apply(rule(connectome, context, self.random["rules"]))
        self.links = self.stage.links(connectome, self.links)
        self._load(without(connectome, {"importance"}), self.update)

    def _end(self, epoch: int) -> None:
        """Let the rules act that wait for the end, and what learning rules have to do then. What lasts for a stage
        alone goes."""
        connectome = self.learner.connectome()
        context = self._context(connectome, epoch)
        for rule in acts(self.stage.rules, "end"):
            connectome = connectome.apply(rule(connectome, context, self.random["end"]))
        self._load(self._learnt(connectome), self.update)

    def _learnt(self, connectome: Connectome) -> Connectome:
        """The connectome with what is to be kept of the task that has been learnt: each learning rule says it once, of
        the edge sets whose chain it is in, then the extra loss."""
        stage, rng = self.stage, self.random["end"]
        rules: list[LearningRule] = []
        for rule in itertools.chain(stage.learning, *stage.chains.values()):
            if hasattr(rule, "learnt") and rule not in rules:
                rules.append(rule)
        for rule in rules:
            edit: Edit = rule.learnt(connectome, stage.task, rng)  # type: ignore[attr-defined]  # it has it
            chains = {key: of_kind(stage.chains, key) for key in edit.state}
            here = {k for k, own in chains.items() if rule in (stage.learning if own is None else own)}
            connectome = connectome.apply(replace(edit, state={k: edit.state[k] for k in here}))
        learnt = getattr(stage.extra_loss, "learnt", None)
        return connectome if learnt is None else connectome.apply(learnt(connectome, stage.task, rng))

    def _context(self, connectome: Connectome, epoch: int) -> Context:
        rate = {name: rate / self.seen for name, rate in self.rate.items()} if self.seen else {}
        return context_of(
            self.stage, self.number, connectome, self.links, self.seed, last=self.last, step=self.update, epoch=epoch,
            rate=rate, engine=self.engine,
        )  # fmt: skip


def context_of(
    stage: Stage, number: int, connectome: Connectome, links: tuple[Any, ...], seed: int, *, last: bool, step: int = 0,
    epoch: int = 0, rate: Mapping[str, NDArray[np.float64]] | None = None, engine: Engine = "numba",
) -> Context:  # fmt: skip
    """What a rule is told."""
    regions = [r for r in connectome.regions.values() if r.role == "neuron"]
    return Context(
        stage=number, step=step, epoch=epoch, region=stage.task.name,
        # Nothing matures after the last region, so its own effectors' feedback prunes it within its stage.
        prunable=tuple(r.name for r in regions if last or (r.area or r.name) != stage.task.name),
        ever=_ever(connectome), done=step / max(stage.updates, 1), rate=rate or {}, links=links,
        probe=Probe(stage.task, stage.batch, (seed, number, step), engine),
    )  # fmt: skip


def _ever(connectome: Connectome) -> dict[EdgeKey, int]:
    """How many edges each set has ever had: those that are there, and those that rules removed."""
    ever = {key: len(edges) for key, edges in connectome.edges.items()}
    for record in connectome.provenance.rule_log:
        key = EdgeKey(record.source, record.kind, record.target)
        ever[key] = ever.get(key, 0) + record.removed
    return ever


def typical_weight(weight: NDArray[np.float32]) -> float:
    """The root mean square, pA: what learning rates are parts of; 0 without edges."""
    return float(np.sqrt(np.mean(np.square(weight)))) if weight.size else 0.0
