# %% [markdown]
"""# Reproduce a paper: a memory after CA3, and a worm's circuit that swims

Sixteen published systems are in `connectome.circuits`, one file each. Two of them here, each in seconds: the
content-addressable memory of Casanueva-Morato et al. (2023), modelled on region CA3 of the hippocampus, and the motor
circuit of *C. elegans* after Bhattasali et al. (2022), which swims without any training.
"""

# %%
import importlib.util

import numpy as np
from matplotlib.figure import Figure

from connectome import run
from connectome.analysis.style import BLUE, ORANGE
from connectome.circuits import ca3_memory as ca3
from connectome.circuits.ca3_experiments import EXPERIMENTS
from connectome.circuits.ncap import graded, in_spikes, swimming_circuit
from sims.tutorials import picture, size

# %% [markdown]
# ## The memory
# A memory is a cue and some bits of content. It is learnt in three milliseconds, by spike-timing-dependent plasticity,
# and recalled by its cue or by any of its bits. The paper's first experiment learns three memories, asks for them, and
# learns one of them anew.

# %%
cues, bits, operations = EXPERIMENTS["mixed"]
memory = ca3.ca3_memory(cues, bits)
print(memory)
spikes = run(memory, ca3.duration_ms(operations), ca3.stimulus(operations), plasticity=ca3.PLASTICITY)
found, expected = ca3.recalled(spikes, operations), ca3.expected(operations)
for operation, recall, wanted in zip(operations, found, expected, strict=True):
    if not operation.learns:
        told = f"cues {sorted(recall.cues)}, bits {sorted(recall.content)}"
        print(f"{operation.at_ms:3} ms: {told}", "as expected" if recall == wanted else f"expected {wanted}")

# %% [markdown]
# ## All three experiments of the paper
# The paper reports that every recall is right. So it is here.

# %%
right = asked = 0
for n_cues, n_bits, all_told in EXPERIMENTS.values():
    circuit, entered = ca3.ca3_memory(n_cues, n_bits), ca3.stimulus(all_told)
    result = run(circuit, ca3.duration_ms(all_told), entered, plasticity=ca3.PLASTICITY)
    pairs = list(zip(all_told, ca3.recalled(result, all_told), ca3.expected(all_told), strict=True))
    asked += sum(not operation.learns for operation, _, _ in pairs)
    right += sum(got == want for operation, got, want in pairs if not operation.learns)
print(f"{right} of {asked} recalls are right")

# %% [markdown]
# ## The swimmer
# Each segment's motor neurons feel how far the segment ahead is bent, and bend their own: a wave runs down the body.
# The head has an oscillator. The body is simulated by MuJoCo; without it (`pip install mujoco`, or our extra `body`)
# this part is left out.

# %%
MOVES = size(400, 10)


def swum(controller: str) -> tuple[list[float], np.ndarray]:
    """How far along it has swum after each move, metres, and (moves, links + 1, 2) where its links are."""
    from connectome.datasets.swimmer import CONTROL_MS, Swimmer

    body = Swimmer(moves=MOVES)
    control = in_spikes(swimming_circuit(5)) if controller == "spikes" else graded()
    joints, _ = body.reset(seed=1)
    way, shapes = [0.0], []
    for move in range(MOVES):
        joints, _, _, _, about = body.step(control(joints, move) if controller != "none" else np.zeros(5))
        way.append(way[-1] + about["speed_m_per_s"] * CONTROL_MS / 1000)
        shapes.append(body.shape_m)
    return way, np.array(shapes)


has_body = importlib.util.find_spec("mujoco") is not None
swims = {name: swum(name) for name in ("equations", "spikes", "none")} if has_body else {}
for name, (way, _) in swims.items():
    print(f"{name}: {way[-1]:.2f} m in {0.03 * MOVES:.0f} s")

# %% [markdown]
# ## The picture
# Above, the memory: bars are what goes in, dots what comes out. Below, the swimmer: its body each second, and
# how far it came, with the published equations, with the same circuit in spikes, and with no control.

# %%
figure = Figure(figsize=(10, 8 if has_body else 4.5), layout="constrained")
parts = figure.subfigures(2 if has_body else 1, 1, height_ratios=(3, 2)[: 1 + has_body], squeeze=False).flat
axis = parts[0].subplots()
ms, region = spikes.spike_time_ms.values - ca3.DT_MS, spikes.region.values[spikes.spike_region.values]
for name, first, marker, width, colour in (
    ("cue_in", 0, "|", 11, "0.55"), ("content_in", cues + 1, "|", 11, "0.55"),
    ("cue_out", 0, "o", 5, ORANGE), ("content_out", cues + 1, "o", 5, BLUE),
):  # fmt: skip
    here = region == name
    axis.plot(ms[here], first + spikes.spike_neuron.values[here], marker, ms=width, color=colour)
for operation in operations:
    asked_how = "learn" if operation.learns else "by cue" if operation.cue is not None else "by bits"
    axis.axvline(operation.at_ms - 0.7, color="0.88", lw=0.8, zorder=0)
    axis.text(operation.at_ms, cues + bits + 1.4, asked_how, fontsize=9)
axis.axhline(cues, color="0.8", lw=0.8)
ticks = [*range(cues), *range(cues + 1, cues + 1 + bits)]
axis.set_yticks(ticks, [*(f"cue {k}" for k in range(cues)), *(f"bit {k}" for k in range(bits))], fontsize=8)
axis.set(xlabel="time (ms)", ylim=(-0.7, cues + bits + 2.6), title="Learnt, recalled, learnt anew")
axis.spines[["top", "right"]].set_visible(False)
if has_body:
    body, course = parts[1].subplots(1, 2, width_ratios=(3, 2))
    swimmers = swims["spikes"][1][:: size(1000, 100) // 30]
    along = np.linalg.svd(swimmers.reshape(-1, 2) - swimmers.mean((0, 1)))[2]  # the way it went lies flat
    for k, swimmer in enumerate(swimmers):
        x, y = (swimmer @ along.T).T
        body.plot(x, y, color=str(0.8 * (1 - (k + 1) / len(swimmers))), lw=3, solid_capstyle="round")
    body.set(aspect="equal", xlabel="m", ylabel="m", title="The body in spikes, each second (black: last)")
    for (name, (way, _)), colour in zip(swims.items(), (BLUE, ORANGE, "0.6"), strict=True):
        course.plot(0.03 * np.arange(MOVES + 1), way, color=colour, label=name)
    course.set(xlabel="time (s)", ylabel="way swum forwards (m)", title="How far it came")
    course.legend(frameon=False)
    for axis in (body, course):
        axis.spines[["top", "right"]].set_visible(False)
picture(figure, "reproduce_a_paper")
