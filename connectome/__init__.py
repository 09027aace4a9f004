"""A graph-based connectome simulation engine.

The whole API on a page; nothing is imported before it is used::

    Connectome, Region, EdgeSet, EdgeKey   the typed region graph (:mod:`connectome.graph`)
    KernelSet, Maps                        a convolution as an edge set, and the maps that it joins
    Attribute, NodeSet                     what is known of neurons and edges, and sets looked up by it
    Edit, RuleRecord, Provenance      an edit of it, and where it comes from
    NeuronParameters                       what a neuron is (:mod:`connectome.neurons`)
    load, save, read                       snapshots; any format (:mod:`connectome.io`)
    run, Stimulus, Poisson                 spikes through it (:mod:`connectome.simulate`)
    SpikingNetwork, Task, Score            learning on it (:mod:`connectome.learning`)
    develop, Stage, Anatomy, LearningRates    stages of development (:mod:`connectome.development`)
    ConnectomeError                        the one error for bad input

More lives in the rooms: :mod:`connectome.wiring` (who is joined to whom), :mod:`connectome.mechanisms` (rules and
comparators, one file each), :mod:`connectome.analysis` (metrics, null models, comparison, the report),
:mod:`connectome.datasets` (tasks, measured connectomes), :mod:`connectome.models` (published networks).
"""

from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError
from connectome.lazy import names_from

if TYPE_CHECKING:
    from connectome.development import Anatomy, LearningRates, Stage, develop
    from connectome.graph import (
        Attribute,
        Connectome,
        EdgeKey,
        EdgeSet,
        Edit,
        KernelSet,
        Maps,
        NodeSet,
        Provenance,
        Region,
        RuleRecord,
    )
    from connectome.io.exchange import read
    from connectome.io.snapshot import load, save
    from connectome.learning import Score, SpikingNetwork, Task
    from connectome.neurons import NeuronParameters
    from connectome.simulate import Poisson, Stimulus, run

__version__ = "0.1.0"

__all__ = [
    "Anatomy",
    "Attribute",
    "Connectome",
    "ConnectomeError",
    "EdgeKey",
    "EdgeSet",
    "Edit",
    "KernelSet",
    "LearningRates",
    "Maps",
    "NeuronParameters",
    "NodeSet",
    "Poisson",
    "Provenance",
    "Region",
    "RuleRecord",
    "Score",
    "SpikingNetwork",
    "Stage",
    "Stimulus",
    "Task",
    "develop",
    "load",
    "read",
    "run",
    "save",
]  # fmt: skip

__getattr__ = names_from(
    __name__,
    {
        "connectome.graph": [
            "Attribute", "Connectome", "Edit", "EdgeKey", "EdgeSet", "KernelSet", "Maps", "NodeSet", "Provenance",
            "Region", "RuleRecord",
        ],
        "connectome.neurons": ["NeuronParameters"],
        "connectome.io.exchange": ["read"],
        "connectome.io.snapshot": ["load", "save"],
        "connectome.simulate": ["Poisson", "Stimulus", "run"],
        "connectome.learning": ["Score", "SpikingNetwork", "Task"],
        "connectome.development": ["Anatomy", "LearningRates", "Stage", "develop"],
    },
)  # fmt: skip
