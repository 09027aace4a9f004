# %% [markdown]
"""# Compare a development with biology

The worm *C. elegans* was reconstructed at eight ages (Witvliet et al. 2021). How does its wiring change from birth to
adulthood, and does the wiring of a developing network change alike? A difference in a metric says little, as size and
degrees alone change most of them; so each graph is held against random graphs with its own degrees.

The worm's connectomes come with the package `cect` (our extra `references`), and need no network.
"""

# %%
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from connectome import Connectome, develop
from connectome.analysis.beside_nulls import beside_nulls
from connectome.analysis.measure import choose
from connectome.analysis.simple_graph import simple_graph
from connectome.analysis.style import BLUE, GREEN
from connectome.datasets import references
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Motor, Perception
from connectome.development.configuration import plan_stages, read_configuration
from sims.tutorials import picture, size

# %% [markdown]
# ## The worm, newborn and adult

# %%
if not references.is_installed():
    raise SystemExit("The worm's connectomes need a package: pip install -c constraints.txt -e '.[references]'")
worm = [references.load(f"celegans_witvliet2021_{age}") for age in (1, 8)]
for age, animal in zip(("newborn", "adult"), worm, strict=True):
    print(f"{age}: {animal}")

# %% [markdown]
# ## A development, after its first stage and its second
# Feedback from higher regions prunes local edges; long-range edges have grown.

# %%
changes = [f"training.perception={size(200, 4)}", f"training.motor={size(200, 4)}", "training.epoch_updates=10"]
configuration = read_configuration(None, [*changes, f"anatomy.neurons={size(128, 24)}"])
stages = plan_stages(
    ["perception", "motor"], {"perception": Perception(load_digits()), "motor": Motor()}, configuration
)
newborn: list[Connectome] = []
developed = [
    outcome.connectome
    for outcome in develop(stages, configuration.anatomy, on_birth=newborn.append, test_trials=size(200, 4))
]

# %% [markdown]
# ## Metrics beside their values in random graphs
# `z` is how far a metric lies from its mean in random graphs with the same degrees, in their standard deviations.

# %%
names = ["worm, newborn", "worm, adult", "network, at birth", "network, developed"]
graphs = [simple_graph(c) for c in (*worm, newborn[0], developed[-1])]
metrics = choose([
    "reciprocity", "transitivity_binary_directed", "characteristic_path_length_binary", "modularity",
    "assortativity_binary_out_in", "core_share",
])  # fmt: skip
found = beside_nulls(graphs, metrics, names, null="degree", n_nulls=size(20, 2))
table = pd.DataFrame(found.z.values.T, list(found.metric.values), names)
print(table.round(1).to_string())

# %% [markdown]
# ## The picture
# On the left each graph's metrics as z: an arrow from the younger graph to the older one. On the right how many
# connections cells have, over the mean.

# %%
figure = Figure(figsize=(11, 4.6), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(3, 2))
at = np.arange(len(table))
for young, old, colour, shift in ((0, 1, GREEN, -0.14), (2, 3, BLUE, 0.14)):
    z = table.to_numpy()
    left.scatter(z[:, young], at + shift, color="white", edgecolor=colour, zorder=3, label=names[young])
    left.scatter(z[:, old], at + shift, color=colour, zorder=3, label=names[old])
    for row in at[np.isfinite(z[:, [young, old]]).all(1)]:
        tip, tail = (z[row, old], row + shift), (z[row, young], row + shift)
        left.annotate("", tip, tail, arrowprops={"arrowstyle": "->", "color": colour})
left.axvspan(-2, 2, color="0.93", zorder=0)
left.set_xscale("symlog", linthresh=5)
left.set_xticks([-30, -10, -2, 2, 10, 30], ["-30", "-10", "-2", "2", "10", "30"])
left.minorticks_off()
left.set_yticks(at, [name.removesuffix("_binary").replace("_binary_", ", ").replace("_", " ") for name in table.index])
left.invert_yaxis()
left.set(xlabel="z against random graphs of the same degrees (grey: within 2)", title="Structure beyond degrees")
left.legend(frameon=False, fontsize=8)
for graph, name, colour, line in zip(graphs, names, (GREEN, GREEN, BLUE, BLUE), ("--", "-", "--", "-"), strict=True):
    source = np.repeat(np.arange(graph.n), np.diff(graph.indptr))
    degree = np.bincount(source, minlength=graph.n) + np.bincount(graph.target, minlength=graph.n)
    share = 1 - np.arange(graph.n) / graph.n
    right.plot(np.sort(degree) / degree.mean(), share, color=colour, ls=line, label=name)
right.set(xlabel="degree over the mean", ylabel="share of cells with as many or more", yscale="log", title="Degrees")
right.legend(frameon=False, fontsize=8)
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
picture(figure, "compare_with_biology")
