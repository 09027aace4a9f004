"""Somebody else's package, of one file: one mechanism of each kind, none longer than 40 lines.

What it takes from the project is what README's of the rooms name. The test installs it beside the project, develops
with it, breaks the run, resumes it and reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from connectome.datasets.encoding import rate_code
from connectome.graph import EdgeSet, Edit
from connectome.learning import Score, SpikingNetwork
from connectome.learning.views import shared, weights
from connectome.neurons.model import NeuronModel, Quantity
from connectome.parameters import Parameters, bounded
from connectome.wiring.free_pairs import new_edges


@dataclass(frozen=True)
class Set(Parameters):
    """Sparse evolutionary training (Mocanu et al. 2018): each epoch the weakest edges go, as many come at random."""

    fraction: float = bounded(0.1, 0, 1)
    amplitude_pa: float = bounded(50.0, 0)

    def __call__(self, connectome, context, rng):
        remove, add, records = {}, [], []
        for key, edges in connectome.edges.items():
            count = int(self.fraction * len(edges))
            if key.target == context.region and count:
                remove[key] = np.zeros(len(edges), bool)
                remove[key][np.argsort(np.abs(edges.weight), kind="stable")[:count]] = True
                add.append(new_edges(connectome, key, count, self.amplitude_pa, 1.0, context.stage, rng))
                records.append(context.record("set", key, added=len(add[-1]), removed=count))
        return Edit(remove=remove, add=tuple(add), records=tuple(records))


@dataclass(frozen=True)
class RigL(Parameters):
    """Rigging the lottery (Evci et al. 2020): as SET, but those come whose gradient would be the largest."""

    fraction: float = bounded(0.1, 0, 1)
    candidates: int = bounded(200, 1)

    def __call__(self, connectome, context, rng):
        asked = [key for key in connectome.edges if key.target == context.region]
        tried = [new_edges(connectome, key, self.candidates, 0.0, 1.0, context.stage, rng) for key in asked]
        wide = connectome.apply(Edit(add=tuple(tried)))
        gradient = context.probe.gradients(wide)
        remove, add, records = {}, [], []
        for key, new in zip(asked, tried, strict=True):
            old, all_of_it = connectome.edges[key], wide.edges[key]
            count = min(int(self.fraction * len(old)), len(new))
            pair = all_of_it.source.astype(np.int64) * all_of_it.n_target + all_of_it.target
            size = dict(zip(pair.tolist(), np.abs(gradient[key]).tolist(), strict=True))
            here = [size[p] for p in (new.source.astype(np.int64) * new.n_target + new.target).tolist()]
            grown = np.zeros(len(new), bool)
            grown[np.argsort(here, kind="stable")[len(new) - count :]] = True
            remove[key] = np.zeros(len(old), bool)
            remove[key][np.argsort(np.abs(old.weight), kind="stable")[:count]] = True
            add.append(new.take(grown))
            records.append(context.record("rigl", key, added=count, removed=count))
        return Edit(remove=remove, add=tuple(add), records=tuple(records))


@dataclass(frozen=True)
class Projection(Parameters):
    """Orthogonal projection of the step (Saha et al. 2021): what moves along directions that earlier tasks' sources
    took is taken out, target by target. A direction is state of each edge: its source's part."""

    rank: int = bounded(3, 1, 16)

    @property
    def remembers(self):
        return tuple(f"direction_{k}" for k in range(self.rank))

    def __call__(self, update, change, state):
        if update.name != "weight":
            return change
        target = torch.from_numpy(update.edges.target.astype(np.int64))
        for name in self.remembers * 3:  # a target has some of the sources: its directions are not orthogonal
            d = state[name]
            along, length = (torch.zeros(update.edges.n_target).index_add_(0, target, x) for x in (d * change, d * d))
            change = change - d * (along / length.clamp_min(1e-12))[target]
        return change

    def learnt(self, connectome, task, rng):
        network = SpikingNetwork(connectome, recruit=task.recruits)
        spikes, _ = task.batch(rng, 64)
        regions = [name for name in task.recruits if connectome.regions[name].role == "neuron"]
        with torch.no_grad():
            seen = {**spikes, **network(spikes, record=regions).spikes}
        state = {}
        for key in network.weight:
            e, rate = connectome.edges[key], seen[key.source].float().mean(1).numpy()
            old = np.zeros((self.rank, e.n_source), np.float32)
            for row, name in zip(old, self.remembers, strict=True):
                row[e.source] = e.state.get(name, 0.0)
            axes = np.linalg.svd(np.concatenate([100 * old, rate]), full_matrices=False)[2][: self.rank]
            axes = np.pad(axes, ((0, self.rank - len(axes)), (0, 0)))
            state[key] = {name: a[e.source].astype(np.float32) for name, a in zip(self.remembers, axes, strict=True)}
        return Edit(state=state)


@dataclass(frozen=True)
class WeightNoise(Parameters):
    """Neural variability (Xie et al. 2021, arXiv 2011.06220): gradients are taken at weights with noise, which is new
    in each update, goes again, and is left out every ``clean`` updates."""

    size_pa: float = bounded(2.0, 0)
    clean: int = bounded(3, 1)

    def __call__(self, update, change, state):
        def noise(number):
            quiet = number % self.clean == 0
            return 0.0 if quiet else self.size_pa * update.normal("variability", number)

        return change - noise(update.number - 1) + noise(update.number)


@dataclass(frozen=True)
class Halved(Parameters):
    """A view: a weight times a scale of its set, which learns."""

    initial: float = bounded(0.5, 1e-3)

    keeps: ClassVar = ("scale",)

    def parameters(self, edges: EdgeSet):
        return {"weight": weights(edges), "scale": shared(edges, "scale", "set", self.initial)}

    def __call__(self, values, edges, moment):
        return values["weight"] * values["scale"].abs()


@dataclass(frozen=True, eq=False, repr=False)
class Perfect(NeuronModel):
    """A membrane that does not leak: c_m dv/dt = current; a spike at v_th, and v falls by v_th."""

    model: ClassVar[str] = "perfect"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in")
    c_m_pf: Quantity = field(default=250.0, metadata={"above": 0})
    v_th_mv: Quantity = 15.0

    def constants(self, dt_ms: float) -> dict[str, Any]:
        return {"gain": dt_ms / self.c_m_pf, "theta": self.v_th_mv}

    def step(self, c, state, arrivals, threshold):
        v = state["v"] + c["gain"] * (state["i_ex"] + state["i_in"] + arrivals.current_pa)
        spikes = threshold(v - c["theta"])
        return {"v": v - spikes.detach() * c["theta"], "i_ex": arrivals.excitatory, "i_in": arrivals.inhibitory}, spikes


@dataclass(frozen=True)
class Halves:
    """A task: which half of the eye sees more?"""

    units: int = 8

    name = "halves"
    requires = ()
    effectors: ClassVar = {"answer": 2}
    recruits = ("eye", "halves", "answer")

    @property
    def sensors(self):
        return {"eye": self.units}

    def batch(self, rng, size):
        label = rng.integers(0, 2, size)
        bright = (np.arange(self.units) < self.units // 2)[None] == (label == 0)[:, None]
        return {"eye": rate_code(np.where(bright, 0.9, 0.1) * rng.uniform(0.5, 1, bright.shape), 12)}, torch.tensor(
            label
        )

    def loss(self, activity, target):
        return torch.nn.functional.cross_entropy(activity.potential["answer"].mean(1), target)

    def score(self, act, split, trials, rng):
        spikes, label = self.batch(rng, trials)
        activity = act(spikes)
        value = float((activity.potential["answer"].mean(1).argmax(1) == label).float().mean())
        return Score(value, activity.operations / trials, 0.0, value)


def make_halves(images, jitter, **table):
    """The task, by what its table says."""
    return Halves(**table)


def slower(stage):
    """A comparator: half the learning rate."""
    return replace(stage, learning_rates=replace(stage.learning_rates, rate=stage.learning_rates.rate / 2))


def signed(s):
    """An importance: gradients with their sign."""
    return np.maximum(s.gradient, 0)


def spikes_per_edge(connectome, probe):
    """A diagnostic."""
    return {"": sum(float(s.sum()) for s in probe.spikes(connectome).values()) / connectome.n_edges}
