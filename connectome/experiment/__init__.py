"""Experiments on connectomes: what makes a wiring diagram live, and how strong its synapses are."""

from connectome.experiment.animation import Account, animate, stimulate
from connectome.experiment.physiology import PRESETS, Physiology, physiology_from, preset, read_physiology

__all__ = [
    "PRESETS", "Account", "Physiology", "animate", "physiology_from", "preset", "read_physiology", "stimulate",
]  # fmt: skip
