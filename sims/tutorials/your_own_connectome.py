# %% [markdown]
"""# Your own annotated connectome, from a file to an experiment

You have a table of connections and a table of neurons, as connectome projects publish them. Here we write such tables
ourselves, for a small made-up olfactory system; with your own files, begin at *Read it*. Then we make the wiring a live
network, stimulate it, and ask what inhibition is for.
"""

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import connectome
from connectome.analysis.measure import measure
from connectome.analysis.style import BLUE, ORANGE
from connectome.experiment import Experiment, effect_table, perform
from sims.tutorials import picture, size

# %% [markdown]
# ## Two tables
# Projection neurons (PN) excite Kenyon cells (KC) and local neurons (LN); local neurons inhibit both. Weights are
# counts of synapses. The only columns that have to be there are `source` and `target`, and `name` for neurons.

# %%
rng = np.random.default_rng(1)
cells = pd.DataFrame({"class": np.repeat(["PN", "LN", "KC"], [40, 20, size(400, 60)])})
cells["name"] = [f"{name}{number}" for number, name in enumerate(cells["class"])]
cells["transmitter"] = cells["class"].map({"PN": "acetylcholine", "LN": "gaba", "KC": "acetylcholine"})
chance = {("PN", "KC"): 0.15, ("PN", "LN"): 0.3, ("LN", "PN"): 0.3, ("LN", "KC"): 0.25, ("LN", "LN"): 0.1}
pairs = []
for (source, target), p in chance.items():
    for i in np.flatnonzero(cells["class"] == source):
        hit = np.flatnonzero((cells["class"] == target) & (rng.random(len(cells)) < p))
        pairs += [(cells.name[i], cells.name[j], rng.integers(5, 25)) for j in hit if i != j]
folder = Path("runs", "tutorials")
folder.mkdir(parents=True, exist_ok=True)
cells.to_csv(folder / "smell_nodes.csv", index=False)
pd.DataFrame(pairs, columns=["source", "target", "weight"]).to_csv(folder / "smell.csv", index=False)

# %% [markdown]
# ## Read it
# `read` takes CSV, Parquet, GraphML, matrices, SONATA and others; the table of neurons beside the file comes along. Its
# columns are attributes, and queries select by them.

# %%
smell = connectome.read(folder / "smell.csv")
print(smell)
print(smell.select("class == 'LN'"))
metrics = measure(smell, ["density", "reciprocity", "modularity"], by_region=False)
print({name: round(float(metrics[name].squeeze()), 3) for name in ("density", "reciprocity", "modularity")})

# %% [markdown]
# ## An experiment
# A physiology says what a synapse does: `shiu2024` is that of a published model of the fly's brain, in which the
# transmitter gives the sign. Two conditions: an odour that drives the projection neurons from 100 to 400 ms, and the
# same with the local neurons silenced. A TOML file with the same keys goes to `python -m sims.experiment`.

# %%
experiment = Experiment.of({
    "duration_ms": 500,
    "seeds": size(5, 2),
    "physiology": {"preset": "shiu2024"},
    "readouts": {"by": ["class"], "bin_ms": 10},
    "condition": {
        "odour": {"stimulate": {"cells": "class == 'PN'", "rate_hz": 100, "from_ms": 100, "to_ms": 400}},
        "no_LN": {"from": "odour", "silence": "class == 'LN'"},
    },
})  # fmt: skip
results = perform(experiment, smell)
print(results.sizes)

# %% [markdown]
# ## What inhibition changes
# An effect is what a condition has, less what the condition it builds on has, with the same seeds; beside it the same
# on shuffled wiring, and with as many neurons drawn at random silenced instead.

# %%
effects = effect_table(experiment, results)
shown = effects[(effects.readout == "rate_hz") & (effects.condition == "no_LN")]
print(shown[["control", "value", "effect", "effect_low", "effect_high"]].round(1).to_string(index=False))

# %% [markdown]
# ## The picture
# Rates over time, by class of cell, with local neurons and without them.

# %%
figure = Figure(figsize=(9, 5.5), layout="constrained")
axes = figure.subplots(3, 1, sharex=True)
rate = results.course_hz.sel(control="measured").mean("seed")
for axis, name in zip(axes, ("PN", "LN", "KC"), strict=True):
    axis.axvspan(100, 400, color="0.93")
    for condition, colour, label in (("odour", BLUE, "odour"), ("no_LN", ORANGE, "odour, LN silenced")):
        curve = rate.sel(condition=condition)[list(rate.value.values).index(name)]
        axis.step(curve.bin, curve, where="mid", color=colour, label=label)
    axis.set_ylabel(f"{name} (Hz)")
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_title("Without local neurons Kenyon cells fire without restraint", loc="left")
axes[0].legend(frameon=False, loc="upper left")
axes[-1].set_xlabel("time (ms)")
picture(figure, "your_own_connectome")
