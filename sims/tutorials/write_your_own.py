# %% [markdown]
"""# Write a neuron, a rule and a learning rule

A mechanism is one short class. Here is one of each of the three kinds that are asked for most: a model of neurons, a
developmental rule, and a learning rule. None needs a change to the library; in a package of yours an entry point makes
each known by name, so that a configuration can name it.
"""

# %%
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from connectome import Anatomy, Connectome, EdgeKey, Edit, Region, Stage, Stimulus, develop, run
from connectome.analysis.style import BLUE, ORANGE
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Perception
from connectome.development.stage import Progress
from connectome.learning.optimisers import Adam, Dale
from connectome.neurons.model import NeuronModel, Quantity, register
from connectome.parameters import Parameters, bounded
from sims.tutorials import picture, size

# %% [markdown]
# ## A neuron
# A leaky neuron that tires: each spike adds to a current $w$ that holds the neuron back and decays slowly,
#
# $$c_m \frac{dv}{dt} = -\frac{c_m v}{\tau_m} - w + I, \qquad \tau_w \frac{dw}{dt} = -w, \qquad w \to w + b
# \text{ at each spike.}$$
#
# Fields are parameters, with units in their names; `constants` is what a step of `dt_ms` needs of them; `step` is one
# step, in torch, from which gradients follow.


# %%
@register
@dataclass(frozen=True, eq=False, repr=False)
class Tiring(NeuronModel):
    """A leaky integrator with a spike-triggered current. State: v in mV above rest, currents in pA."""

    model: ClassVar[str] = "tiring"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in", "w")
    units: ClassVar = {"w": "pA"}
    tau_m_ms: Quantity = field(default=20.0, metadata={"above": 0})
    c_m_pf: Quantity = field(default=250.0, metadata={"above": 0})
    v_th_mv: Quantity = 15.0
    tau_w_ms: Quantity = field(default=100.0, metadata={"above": 0})
    b_pa: Quantity = 40.0

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """Decay in a step, and what a current of 1 pA adds to the potential."""
        decay = np.exp(-dt_ms / np.asarray(self.tau_m_ms))
        gain = (1 - decay) * self.tau_m_ms / self.c_m_pf
        rho = np.exp(-dt_ms / np.asarray(self.tau_w_ms))
        return {"decay": decay, "gain": gain, "theta": self.v_th_mv, "rho": rho, "b": self.b_pa}

    def step(self, c: Any, state: Any, arrivals: Any, threshold: Any) -> Any:
        """The state after a step, and who fires."""
        drive = state["i_ex"] + state["i_in"] + arrivals.current_pa - state["w"]
        u = c["decay"] * state["v"] + c["gain"] * drive
        spikes = threshold(u - c["theta"])
        after = {"v": u * (1 - spikes.detach()), "w": c["rho"] * state["w"] + c["b"] * spikes.detach()}
        return after | {"i_ex": arrivals.excitatory, "i_in": arrivals.inhibitory}, spikes


cell = Connectome.of([Region("cell", 1, neuron=Tiring())], [], dt_ms=0.5)
trace = run(cell, size(500.0, 50.0), Stimulus(current_pa={"cell": 350.0}), record={"v": {"cell": [0]}}, engine="torch")
intervals = np.diff(trace.spike_time_ms.values)
print("intervals between spikes, ms:", intervals.round(1))

# %% [markdown]
# ## A developmental rule
# A rule is called once an epoch (or at the end of a stage, or at birth: `when`) with the connectome, the context and a
# generator, and gives an edit. This one lets the weakest local edges go, a few at a time.


# %%
@dataclass(frozen=True)
class Thinning(Parameters):
    """Each epoch the weakest local edges of the maturing region go, until ``keep`` of those at birth are left."""

    keep: float = bounded(0.25, 0, 1)
    each: float = bounded(0.08, 0, 1)

    def __call__(self, connectome: Connectome, context: Any, rng: np.random.Generator) -> Edit:
        """The edit."""
        remove = {}
        for key, edges in connectome.edges.items():
            born = len(edges) / (1 - self.each) ** (context.epoch - 1)  # as far as this rule alone prunes
            if key.base == "local" and key.source == context.region and len(edges) > self.keep * born:
                weight = np.abs(edges.weight)
                remove[key] = weight < np.quantile(weight, self.each)
        return Edit(remove=remove)


# %% [markdown]
# ## A learning rule
# A link of the chain that turns a gradient into a step. It stands after the optimiser and pulls every weight towards
# zero (soft thresholding), so that those that the task does not need end up small. What a rule remembers would be state
# of the edges, by the names in `keeps`.


# %%
@dataclass(frozen=True)
class Frugal(Parameters):
    """Each update pulls a weight towards zero by ``pull`` times the learning rate, and no further."""

    pull: float = bounded(0.2, 0)
    stands: ClassVar[str] = "after"

    def __call__(self, update: Any, change: Any, state: Any) -> Any:
        """The step."""
        weight = update.weight + change
        return weight.sign() * (weight.abs() - self.pull * update.rate_pa).clamp(min=0) - update.weight


# %% [markdown]
# ## Developments with them
# The same region learns digits as it is, with the rule, and with the learning rule.

# %%
plain = Stage(Perception(load_digits()), updates=size(300, 4), epoch_updates=10, learning=(Adam(), Dale()))
variants = {
    "plain": plain,
    "thinning": replace(plain, rules=(Thinning(),)),
    "frugal": replace(plain, learning=(Adam(), Frugal(), Dale())),
}
courses, weights = {}, {}
for name, stage in variants.items():
    course: list[Progress] = []
    (outcome,) = develop(
        [stage], Anatomy(neurons=size(128, 16)), seed=0, on_progress=course.append, test_trials=size(397, 4)
    )
    local = outcome.connectome.edges[EdgeKey("perception", "local", "perception")]
    courses[name], weights[name] = course, np.abs(local.weight)
    print(f"{name}: {outcome.scores['perception'].value:.1%}, {len(local):,} local edges")

# %% [markdown]
# ## The picture

# %%
figure = Figure(figsize=(11, 3.6), layout="constrained")
neuron, edges, weight = figure.subplots(1, 3)
neuron.plot(trace.time_ms, trace.v_mv.squeeze(), color=BLUE, lw=1)
neuron.vlines(trace.spike_time_ms, 15, 30, color=BLUE, lw=1)
neuron.set(xlabel="time (ms)", ylabel="v (mV above rest)", title="A neuron that tires")
for name, colour in (("plain", "0.5"), ("thinning", BLUE), ("frugal", ORANGE)):
    line = "--" if name == "frugal" else "-"
    edges.plot([p.update for p in courses[name]], [p.local_edges for p in courses[name]], line, color=colour)
    weight.hist(weights[name], np.linspace(0, 600, 31), histtype="step", color=colour, lw=1.5, label=name)
edges.set(xlabel="update", ylabel="local edges", title="A rule that prunes", ylim=(0, None))
weight.set(xlabel="|weight| (pA)", ylabel="local edges", yscale="log", title="Weights at the end")
weight.legend(frameon=False)
for axis in (neuron, edges, weight):
    axis.spines[["top", "right"]].set_visible(False)
picture(figure, "write_your_own")
