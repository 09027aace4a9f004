"""Experiments on connectomes: making a wiring diagram live, manipulating it, reading out its activity, testing the
effects.

Modules are imported only when they are used.
"""

from typing import TYPE_CHECKING

from connectome.lazy import names_from

if TYPE_CHECKING:
    from connectome.experiment.activation import path_table, structure_table
    from connectome.experiment.animation import Account, animate, stimulate
    from connectome.experiment.calibration import Trial, calibrate, gain_scan
    from connectome.experiment.checks import activity_warnings, weight_warnings
    from connectome.experiment.effects import cell_table, effect_table, sweep_table
    from connectome.experiment.page import page
    from connectome.experiment.parts import Condition
    from connectome.experiment.physiology import PRESETS, Physiology, physiology_from, preset, read_physiology
    from connectome.experiment.populations import Populations, populate
    from connectome.experiment.resting import background, calibrate_background, resting_state
    from connectome.experiment.specification import Experiment
    from connectome.experiment.trials import perform, prepare

__all__ = [
    "PRESETS", "Account", "Condition", "Experiment", "Physiology", "Populations", "Trial", "activity_warnings",
    "animate", "background", "calibrate", "calibrate_background", "cell_table", "effect_table", "gain_scan", "page",
    "path_table", "perform", "physiology_from", "populate", "prepare", "preset", "read_physiology", "resting_state",
    "stimulate", "structure_table", "sweep_table", "weight_warnings",
]  # fmt: skip

__getattr__ = names_from(
    __name__,
    {
        "connectome.experiment.activation": ["path_table", "structure_table"],
        "connectome.experiment.animation": ["Account", "animate", "stimulate"],
        "connectome.experiment.calibration": ["Trial", "calibrate", "gain_scan"],
        "connectome.experiment.checks": ["activity_warnings", "weight_warnings"],
        "connectome.experiment.effects": ["cell_table", "effect_table", "sweep_table"],
        "connectome.experiment.page": ["page"],
        "connectome.experiment.parts": ["Condition"],
        "connectome.experiment.physiology": [
            "PRESETS", "Physiology", "physiology_from", "preset", "read_physiology",
        ],
        "connectome.experiment.populations": ["Populations", "populate"],
        "connectome.experiment.resting": ["background", "calibrate_background", "resting_state"],
        "connectome.experiment.specification": ["Experiment"],
        "connectome.experiment.trials": ["perform", "prepare"],
    },
)  # fmt: skip
