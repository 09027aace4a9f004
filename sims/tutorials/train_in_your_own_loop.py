# %% [markdown]
"""# Train a spiking network in your own loop

`SpikingNetwork` makes a connectome a torch module: one weight for each edge, any optimiser, any loss. Its backward pass
is exact backpropagation with surrogate gradients, over the neurons that were active. Here a network with 512
hidden neurons learns digits.

By default these are the 1,797 digits of scikit-learn. For MNIST give the folder of its four files, or `mnist`, which
downloads them once: `python -m sims.tutorials.train_in_your_own_loop FOLDER`.
"""

# %%
import sys

import numpy as np
import torch
from matplotlib.figure import Figure

from connectome import Connectome, Region, SpikingNetwork
from connectome.analysis.style import BLUE, ORANGE
from connectome.datasets.images import load_images
from connectome.datasets.tasks import STEPS, Perception, encode_image
from connectome.development.birth import NEURON
from connectome.wiring import Bernoulli, Normal, wire
from sims.tutorials import picture, size

# %% [markdown]
# ## Data
# A task draws batches of spikes. A pixel's brightness is the chance that its sensor fires in a step.

# %%
IMAGES = sys.argv[1] if sys.argv[0].endswith("train_in_your_own_loop.py") and sys.argv[1:] else ""
images = load_images(IMAGES)
task = Perception(images)
rng = np.random.default_rng(0)
spikes, label = task.batch(rng, 64)
print({name: tuple(train.shape) for name, train in spikes.items()}, tuple(label.shape))

# %% [markdown]
# ## A network
# Three regions: a sensor for each pixel, hidden neurons, and an effector for each class, which integrates and never
# fires. `wire` draws the edges.

# %%
pixels, classes = int(np.prod(images.shape)), len(images.classes)
image = Region("image", pixels, "sensor")
hidden = Region("hidden", size(512, 32), neuron=NEURON)
digit = Region("digit", classes, "effector", neuron=NEURON)
network = SpikingNetwork(
    Connectome.of(
        [image, hidden, digit],
        [
            wire(image, hidden, Bernoulli(0.3), weight_pa=Normal(0, 400 / (0.3 * pixels) ** 0.5), dt_ms=1.0, rng=rng),
            wire(hidden, digit, Bernoulli(1.0), weight_pa=Normal(0, 400 / hidden.size**0.5), dt_ms=1.0, rng=rng),
        ],
        dt_ms=1.0,
    )
)
print(network.connectome)

# %% [markdown]
# ## The loop
# Nothing here is ours: an optimiser of torch's, a schedule, a loss. The step is in the unit of the weights, pA. The
# loss is the cross-entropy of the effectors' mean potentials; any other function of the activity will do.

# %%
updates = size(1500, 12)
optimizer = torch.optim.Adam(network.parameters(), lr=2.0)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
course = []
for update in range(updates):
    spikes, label = task.batch(rng, 64)
    activity = network(spikes)
    loss = torch.nn.functional.cross_entropy(activity.potential["digit"][:, -10:].mean(1) / 4, label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    course.append(loss.item())
    if update % 100 == 0:
        print(f"update {update:4}: loss {loss.item():.3f}, {activity.n_spikes / len(label):,.0f} spikes a sample")

# %% [markdown]
# ## The test
# On images that took no part in training. `to_connectome` gives the graph with what was learnt, to save, analyse or
# prune.

# %%
shown = images.image["test"][: size(10_000, 100)]
right, voltages = images.label["test"][: len(shown)], []
with torch.no_grad():
    for part in np.array_split(np.arange(len(shown)), max(1, len(shown) // 250)):
        spikes = {"image": encode_image(images.look("test", part), STEPS, rng)}
        voltages.append(network(spikes).potential["digit"].numpy())
potential = np.concatenate(voltages)
answer = potential[:, -10:].mean(1).argmax(1)
print(f"{(answer == right).mean():.1%} of {len(right):,} test images")
trained = network.to_connectome()

# %% [markdown]
# ## The picture
# The course of the loss; the potentials of the effectors while one image is shown; and some of the images that the
# network got wrong.

# %%
figure = Figure(figsize=(10, 4), layout="constrained")
left, middle, wrong = figure.subfigures(1, 3, width_ratios=(3, 3, 2.4), squeeze=False).flat
axis = left.subplots()
axis.plot(course, color="0.8", lw=0.8)
axis.plot(np.convolve(course, np.ones(10) / 10, "valid"), color=BLUE, lw=1.5)
axis.set(xlabel="update", ylabel="loss", yscale="log", title="Learning")
axis = middle.subplots()
one = int(np.flatnonzero(answer == right)[0]) if (answer == right).any() else 0
for k in range(classes):
    colour = ORANGE if k == right[one] else "0.75"
    axis.plot(np.arange(1, potential.shape[1] + 1), potential[one, :, k], color=colour, zorder=2 + (k == right[one]))
axis.set(xlabel="time (ms)", ylabel="potential (mV)", title=f"Effectors see a {images.classes[right[one]]}")
for axis in (*left.axes, *middle.axes):
    axis.spines[["top", "right"]].set_visible(False)
errors = np.flatnonzero(answer != right)[:9]
wrong.suptitle("Got wrong: label, answer")
for axis, k in zip(wrong.subplots(3, 3).flat, [*errors, *[None] * (9 - len(errors))], strict=True):
    axis.set_axis_off()
    if k is not None:
        axis.imshow(shown[k], cmap="gray_r")
        axis.set_title(f"{images.classes[right[k]]}, {images.classes[answer[k]]}", fontsize=9)
picture(figure, "train_in_your_own_loop")
