"""A graph-based connectome simulation engine."""

from connectome.errors import ConnectomeError
from connectome.graph import Connectome, EdgeDelta, Provenance, RuleRecord
from connectome.parts import EdgeKey, EdgeSet, NeuronParameters, Region

__version__ = "0.1.0"

__all__ = [
    "Connectome",
    "ConnectomeError",
    "EdgeDelta",
    "EdgeKey",
    "EdgeSet",
    "NeuronParameters",
    "Provenance",
    "Region",
    "RuleRecord",
]
