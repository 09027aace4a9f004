# %% [markdown]
"""# Scale out: larger networks, fewer edges, more cores

What does a network cost, and what helps? Here one published network in four sizes, the same one with fewer and fewer
edges, and several networks at once, in processes of their own. What your machine gives is what the picture shows.
"""

# %%
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from connectome import Edit, run
from connectome.analysis.style import BLUE
from connectome.graph.flat import cores
from connectome.models import Model, brunel, cuba
from sims.tutorials import picture, size

# %% [markdown]
# ## One network, four sizes
# The network of Vogels and Abbott (2005), which keeps itself active: each neuron has 80 synapses, so edges grow with
# neurons. The event-driven engine streams the edges of those neurons that fired, and takes 8 to 10 bytes an edge.

# %%
DURATION_MS = size(500.0, 20.0)


def seconds(work: Callable[[], object]) -> float:
    """How long that takes, seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def simulated(model: Model, threads: int = 1) -> float:
    """Seconds to simulate a network: the best of three, as other programs are at work, too."""

    def go() -> object:
        return run(model.connectome, DURATION_MS, model.stimulus, initial_v_mv=model.initial_v_mv, threads=threads)

    return min(seconds(go) for _ in range(3))


models = [cuba(n) for n in size((4_000, 16_000, 64_000, 128_000), (500, 1_000))]
simulated(models[0])  # the first call compiles, or loads what an earlier one compiled
edges = [model.connectome.n_edges for model in models]
took = {threads: [simulated(model, threads) for model in models] for threads in {1, cores()}}
for n, taken in zip(edges, took[1], strict=True):
    print(f"{n:12,} edges: {taken:6.2f} s for {DURATION_MS:g} ms, on one core")

# %% [markdown]
# ## Fewer edges
# Nothing is stored or computed for an edge that is not there: cost falls with the edges. That is what pruning buys.
# Here is Brunel's network, in which each neuron hears a tenth of all others. Its weights are made too small to matter,
# so that as many neurons fire with all edges as with a few of them.

# %%
dense, rng = brunel(size(8_000, 200), drive="dc"), np.random.default_rng(0)
(key, all_edges), *_ = dense.connectome.edges.items()
shares = np.array([1, 0.5, 0.2, 0.1, 0.05])
sparser = []
for share in shares:
    keep = rng.random(len(all_edges)) < share
    thinned = dense.connectome.apply(Edit(remove={key: ~keep}, reweight={key: all_edges.weight * 1e-6}))
    sparser.append(simulated(dense._replace(connectome=thinned)))
    print(f"{share:4.0%} of {len(all_edges):,} edges: {sparser[-1]:.2f} s")

# %% [markdown]
# ## Many networks
# Seeds, conditions and subjects need no threads: give each a process, and one thread. Here developments of two seeds,
# one after the other and side by side. `python -m sims.study` does so for whole studies, and goes on where it stopped.

# %%
seeds = size((0, 1), ())
settings = ["anatomy.neurons=64", "training.perception=200", "training.epoch_updates=10"]
command = [sys.executable, "-m", "sims.develop", "--regions", "perception", "--quiet", "--no-report", "--overwrite"]
command += [part for setting in settings for part in ("--set", setting)]
one_thread = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def developed(together: bool) -> None:
    """Develop all seeds."""
    processes = []
    for seed in seeds:
        out = Path("runs", "tutorials", f"seed{seed}")
        out.parent.mkdir(parents=True, exist_ok=True)
        processes.append(subprocess.Popen([*command, "--seed", str(seed), "--out", str(out)], env=one_thread))
        if not together:
            processes[-1].wait()
    assert all(process.wait() == 0 for process in processes)


ways = {"in turn": seconds(lambda: developed(False)), "side by side": seconds(lambda: developed(True))}
for name, taken in ways.items():
    print(f"{len(seeds)} developments {name}: {taken:.1f} s")

# %% [markdown]
# ## The picture

# %%
figure = Figure(figsize=(11, 3.8), layout="constrained")
larger, thinner, many = figure.subplots(1, 3)
for threads, all_taken in took.items():
    label = f"{threads} core{'s' if threads > 1 else ''}"
    larger.plot(edges, np.array(all_taken) / DURATION_MS * 1000, "o-", label=label)
larger.axhline(1, color="0.6", ls="--", lw=1)
larger.annotate("real time", (edges[0], 1), (0, -11), textcoords="offset points", color="0.4", fontsize=9)
larger.set(xlabel="edges", ylabel="s for a second", xscale="log", yscale="log", title="Larger networks")
larger.legend(frameon=False)
thinner.plot(100 * shares, np.array(sparser) / DURATION_MS * 1000, "o-", color=BLUE)
thinner.set(xlabel="edges left (%)", ylabel="s for a second", ylim=(0, None), title="Fewer edges")
many.bar(list(ways), list(ways.values()), color=["0.6", BLUE])
many.set(ylabel="s", title=f"{len(seeds)} developments")
for axis in (larger, thinner, many):
    axis.spines[["top", "right"]].set_visible(False)
picture(figure, "scale_out")
