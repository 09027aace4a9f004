# %% [markdown]
"""# Develop a connectome and look at it

A connectome develops in stages. In each stage a new region is born and learns its task; long-range edges grow and
strengthen, and feedback prunes edges that are not needed. Here the first two of the three default stages: *perception*
learns to name handwritten digits, then *motor* learns to reach with a two-joint arm. This is what
`python -m sims.develop --regions perception,motor` does, from Python. It takes about a minute.
"""

# %%
from connectome import Task, develop
from connectome.analysis.figures import draw_development
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Motor, Perception
from connectome.development.configuration import plan_stages, read_configuration
from connectome.development.results import tabulate
from connectome.development.stage import Progress
from sims.tutorials import picture, size

# %% [markdown]
# ## Say what is to develop
# Every number has a default; name only those that you change. `sims.develop` takes the same names after `--set`, and
# the same tables in a TOML file.

# %%
changes = [f"training.perception={size(400, 4)}", f"training.motor={size(500, 4)}", "training.epoch_updates=10"]
changes += [f"anatomy.neurons={size(256, 24)}"]
configuration = read_configuration(None, changes)
tasks: dict[str, Task] = {"perception": Perception(load_digits()), "motor": Motor()}
stages = plan_stages(["perception", "motor"], tasks, configuration)

# %% [markdown]
# ## Develop
# `develop` yields one outcome a stage, as soon as the stage has ended: the connectome, and its test score on every task
# learnt so far. The same seed gives the same bytes.

# %%
course: list[Progress] = []
outcomes = []
test_trials = size(400, 5)
for outcome in develop(stages, configuration.anatomy, seed=0, on_progress=course.append, test_trials=test_trials):
    outcomes.append(outcome)
    scores = ", ".join(f"{name} {score.value:.1%}" for name, score in outcome.scores.items())
    print(f"after {outcome.connectome.provenance.stage_name}: {scores}")

# %% [markdown]
# ## Look at what came of it
# A connectome is a set of typed regions and of edge sets between them. An edge set is named by its source, its kind and
# its target.

# %%
last = outcomes[-1].connectome
for key, edges in last.edges.items():
    print(f"{key!s:45} {len(edges):7,} edges, mean |weight| {abs(edges.weight).mean():6.1f} pA")

# %% [markdown]
# ## The picture
# Each stage's score on each task; edges as they are grown and pruned; what a sample costs; how strong edges are.

# %%
results = tabulate(outcomes, course, {"seed": 0})
picture(draw_development(results), "develop_and_look")

# %% [markdown]
# ## Where to go on
# `python -m sims.develop` develops all three regions and writes a folder with snapshots, results and a page,
# `report.html`. [Read a development as data](development_as_data.md) begins there.
