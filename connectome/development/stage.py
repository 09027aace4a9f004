"""A stage: a region's time to mature, and what is carried through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from connectome.arrays import ReadOnly
from connectome.development.birth import NEURON, Anatomy
from connectome.development.links import LinkEvolution
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey
from connectome.learning.learner import CHAIN, Chain
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.neuron_parameters import NEURON as OF_NEURONS
from connectome.learning.task import Batch, More, Score, Task
from connectome.learning.views import WeightView
from connectome.neurons.model import NeuronModel
from connectome.parameters import Parameters, bounded
from connectome.rules import Link, LinkRule, Rule

__all__ = [
    "REUSE", "UNKNOWN", "ExtraLoss", "LearningRates", "LossContext", "Progress", "Select", "Stage", "StageOutcome",
    "StageState",
]  # fmt: skip


#: The state of a region by which a rule decides how many updates a batch is used for while it matures, instead of the
#: stage's ``reuse``: (N,), the largest counts; 0: not decided.
REUSE: Final = "reuse"


class LossContext(NamedTuple):
    """An update under way, as it is seen by what is added to its loss.

    network, task : what learns, and what it learns
    spikes, activity : sensor -> (B, T, N) of the batch, and what the network did with it, with gradients
    earlier : the tasks of the stages before, from the first
    rng : for what is drawn anew in each update; seed : the run's, for what is to be the same in all
    """

    network: SpikingNetwork
    task: Task
    spikes: Mapping[str, Tensor]
    activity: BatchActivity
    earlier: Sequence[Task]
    rng: np.random.Generator
    seed: int


#: Added to each update's loss. It may have ``learnt(connectome, task, rng) -> Edit``, called when a stage ends.
ExtraLoss = Callable[[LossContext], Tensor]
#: A batch of so many samples, chosen with a view to the network that is to learn from it.
Select = Callable[[Task, SpikingNetwork, np.random.Generator, int], Batch]


@dataclass(frozen=True)
class LearningRates(Parameters):
    """How fast weights change: Adam's step, relative to a typical weight of the edge set when the stage began, or when
    it was new.

    Parameters
    ----------
    rate : of the maturing region; falls to ``final`` of it along half a cosine
    afferent, efferent : factors for these kinds of edge
    mature_local, mature_other : factors for edges of matured regions: their plasticity is slowed, not stopped (0 would
        stop it: for comparators)
    gain : step of what is no weight and learns beside them: gains of views and of modes, logarithms
    neuron : step of parameters of neurons that learn: of those with a bound, such as time constants and thresholds, the
        part by which their distance from it changes. Matured regions have ``mature_local`` of it
    """

    rate: float = bounded(0.02, 1e-9, 1)
    final: float = bounded(0.02, 0, 1)
    afferent: float = bounded(3.0, 1e-9)
    efferent: float = bounded(2.0, 1e-9)
    mature_local: float = bounded(0.05, 0, 1)
    mature_other: float = bounded(0.004, 0, 1)
    gain: float = bounded(0.02, 0, 10)
    neuron: float = bounded(0.01, 0, 10)

    def factor(self, key: EdgeKey, maturing: str) -> float:
        """The factor of one edge set while ``maturing`` matures."""
        kind = {"afferent": self.afferent, "efferent": self.efferent}.get(key.base, 1.0)
        if maturing in (key.source, key.target):
            return kind
        return kind * (self.mature_local if key.base == "local" else self.mature_other)

    def step(self, key: EdgeKey, maturing: str) -> float:
        """The step of what is no weight, by its key."""
        if key.kind != OF_NEURONS:
            return self.gain
        return self.neuron * (1.0 if key.source == maturing else self.mature_local)


@dataclass(frozen=True)
class Stage(ReadOnly):
    """A region's time to mature: its task, how long, and the rules that act once in ``epoch_updates`` updates.

    Parameters
    ----------
    task : what the region learns; updates : at most so many; batch : samples of an update
    learning_rates, learning : how fast, and the chain of learning rules that makes changes of gradients
    chains : kind of edge -> another chain for its sets; () for one whose weights do not learn
    views : kind of edge -> what the weights of its sets are made of
    block : kinds of edge whose sets pass no spike's gradient back
    neuron : the model of the region's neurons; surrogate_width_mv : half-width of the surrogate's support
    learn : region -> names of parameters of its neurons that learn, in each stage that recruits it
    mode : the name of a mode that learns, a gain and a threshold for each neuron recruited; "": none
    inputs : what each forward pass is given besides, in training and in scoring: gains, masks, clamps; or a function
        of its spikes that gives them
    diagnostics : what is measured when the stage has ended, names of the registry
    rules : developmental rules, in the order in which they act: at birth, at each epoch or at the end, as each says
    links : how the probabilities of the new region's links evolve; first_links : (source, target) of the links that it
        begins with; None: one each way with every earlier region
    importance : what pruning goes by, a name of the registry
    anatomy : the region's, if it is not that of all; wiring : what the region begins as, if anything: see
        :func:`~connectome.development.birth.birth`
    extra_loss : for comparators: added to each update's loss. Our own stages have none
    validate_every, validation_trials : epochs between two scores on validation data, and the trials of one
    patience : the stage ends early after so many validations without a better score; 0: never
    reuse : updates that a batch is used for, unless a rule decides, see :data:`REUSE`; select : chooses batches instead
        of the task
    kappa : how long running means of rates remember: see :func:`~connectome.development.training.momentum`
    """

    task: Task
    updates: int
    batch: int = 64
    epoch_updates: int = 20
    learning_rates: LearningRates = LearningRates()
    rules: tuple[Rule, ...] = ()
    links: LinkRule = LinkEvolution()
    importance: str = "feedback"
    wiring: Connectome | None = None
    extra_loss: ExtraLoss | None = None
    learning: Chain = CHAIN
    chains: Mapping[str, Chain] = field(default_factory=lambda: MappingProxyType({}))
    views: Mapping[str, WeightView] = field(default_factory=lambda: MappingProxyType({}))
    block: tuple[str, ...] = ()
    neuron: NeuronModel = NEURON
    surrogate_width_mv: float = 10.0
    learn: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    mode: str = ""
    inputs: More = field(default_factory=lambda: MappingProxyType({}))
    diagnostics: tuple[str, ...] = ()
    first_links: tuple[tuple[str, str], ...] | None = None
    validate_every: int = 5
    validation_trials: int = 96
    patience: int = 0
    reuse: int = 1
    select: Select | None = None
    kappa: float = 1.0
    anatomy: Anatomy | None = None


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
class StageOutcome(ReadOnly):
    """What a stage leaves: the connectome, the test score of every task learnt so far, the links, the peak,
    and what each diagnostic says of each region (of ``""``: all)."""

    connectome: Connectome
    scores: Mapping[str, Score]
    scores_all_recruited: Mapping[str, Score]
    links: tuple[Link, ...]
    peak_local_edges: int
    diagnostics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


#: Before the first validation.
UNKNOWN: Final = Score(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class StageState(ReadOnly):
    """All that development carries from one update to the next: what is not in here has no say in what comes.

    Parameters
    ----------
    stage : the number of the stage under way, from 1
    connectome : with its weights as they are now. What the learning rules keep is state of its edges, and, where
        importance is measured, ``"importance"``: its sum over the updates of this epoch
    links : the long-range links of the new region
    random : what batches, rules, validation trials and the ends of stages draw from; ``again``, while a batch is
        reused: what it was drawn from
    scale : edge set -> a typical weight when the stage began, or when it was new, pA
    mean_rate, rate : region -> (N,) spikes per step: the running mean, and the sum over this epoch
    update, seen : updates done in this stage and in this epoch
    loss : sum over this epoch
    score : the last validation score; best, stale : the best one's value, and validations since
    peak_local_edges : of all stages so far
    finished : nothing of the stage is left to do
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
    best: float = -math.inf
    stale: int = 0
    finished: bool = False
