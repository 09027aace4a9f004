# %% [markdown]
"""# Read a development as data

A run is a folder of files that other tools open: each stage is a snapshot (HDF5, SONATA), the results are netCDF, and
every edge has a history. Here we develop two regions, and ask the files: who was pruned? Were those the weak edges?
"""

# %%
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from connectome.analysis.history import difference, lives
from connectome.analysis.measure import measure
from connectome.analysis.style import BLUE, ORANGE
from connectome.io.results import load_development
from connectome.io.snapshot import list_stages, load
from sims.develop import main as develop
from sims.tutorials import picture, size

# %% [markdown]
# ## A run to read
# With a run of your own, name its folder and leave this out.

# %%
RUN = Path("runs", "tutorials", size("development", "development_small"))
if not (RUN / "results.nc").exists():
    options = ["--regions", "perception,motor", "--no-report", "--quiet", "--overwrite", "--out", str(RUN)]
    small = size([], ["anatomy.neurons=30", "data.test_trials=4"])
    settings = [f"training.perception={size(400, 4)}", f"training.motor={size(500, 4)}", "training.epoch_updates=10"]
    RUN.parent.mkdir(parents=True, exist_ok=True)
    assert develop(options + [part for setting in settings + small for part in ("--set", setting)]) == 0

# %% [markdown]
# ## Results: one xarray dataset
# Scores by stage and task, edges by stage and edge set, what each rule did; `history_*` is the course of training.

# %%
results = load_development(RUN / "results.nc")
print(results.score.to_pandas().round(3))
print(results.rule_count.sel(change="removed").to_pandas())

# %% [markdown]
# ## Stages: connectomes
# Each can be looked at alone, measured beside the others, or turned into a graph of another library's.

# %%
files = list_stages(RUN)
stages = [load(file.path) for file in files]
names = [file.provenance.stage_name for file in files]
course = measure(stages, ["density", "reciprocity", "modularity"])
print(course.sel(region="perception").to_dataframe()[["density", "reciprocity"]].round(4))
graph = stages[-1].to_networkx()
print("a networkx graph:", graph.number_of_nodes(), "nodes,", graph.number_of_edges(), "edges")

# %% [markdown]
# ## Lives: a pandas table, a row for each edge that ever was
# When it was born, when it died, when it was first inhibited, and its weight at each stage.

# %%
history = lives(stages)
local = history[(history.kind == "local") & (history.source_region == "perception")]
print(local.groupby(["born_at", "died_at"], observed=True, dropna=False).size().rename("edges").to_string())
changed = difference(stages[-2], stages[-1]).counts
print(changed.edges.to_pandas())

# %% [markdown]
# ## The picture
# Local edges of *perception* that were there when its stage had ended: which were pruned while *motor* matured? If
# feedback pruned by weight, the line would be a step. And where the weights of those that stayed went.

# %%
weight = local[f"weight_{names[1]}"].abs()
alive = local[weight.notna()].assign(weight=weight, pruned=local.died_at.notna())
edges_of = np.quantile(alive.weight, np.linspace(0, 1, 11))
figure = Figure(figsize=(11, 4), layout="constrained")
number, fate, learnt = figure.subplots(1, 3)
for kind, colour in (("local", BLUE), ("long_range", ORANGE)):
    counts = [sum(len(e) for key, e in c.edges.items() if key.base == kind) for c in stages]
    number.plot(names, counts, "o-", color=colour, label=kind.replace("_", "-"))
number.set(ylabel="edges", title="Edges at each stage", ylim=(0, None))
number.legend(frameon=False)
groups = np.clip(np.searchsorted(edges_of, alive.weight) - 1, 0, 9)
share = alive.groupby(groups).pruned.mean()
fate.bar(share.index + 1, share, color=BLUE)
fate.axhline(alive.pruned.mean(), color="0.4", ls="--", lw=1)
fate.annotate("all", (10.4, alive.pruned.mean()), (0, 3), textcoords="offset points", color="0.4", ha="right")
fate.set(xlabel="tenth of |weight| (10: strongest)", ylabel="share pruned", title="Who was pruned", ylim=(0, 1))
was = alive[f"weight_{names[0]}"].abs()
learnt.scatter(was, alive.weight, s=3, color=BLUE, alpha=0.3, linewidths=0)
learnt.axline((0, 0), slope=1, color="0.4", ls="--", lw=1)
learnt.set(xlabel="|weight| at birth (pA)", ylabel=f"|weight| after {names[1]} (pA)", title="What learning did")
for axis in (number, fate, learnt):
    axis.spines[["top", "right"]].set_visible(False)
picture(figure, "development_as_data")
