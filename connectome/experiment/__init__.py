"""Experiments on connectomes: what makes a wiring diagram live, and how strong its synapses are."""

from connectome.experiment.animation import Account, animate, stimulate
from connectome.experiment.calibration import Trial, calibrate, gain_scan
from connectome.experiment.checks import activity_warnings, weight_warnings
from connectome.experiment.physiology import PRESETS, Physiology, physiology_from, preset, read_physiology

__all__ = [
    "PRESETS", "Account", "Physiology", "Trial", "activity_warnings", "animate", "calibrate", "gain_scan",
    "physiology_from", "preset", "read_physiology", "stimulate", "weight_warnings",
]  # fmt: skip
