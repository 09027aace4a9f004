"""The typed region graph: regions, edge sets, the whole, its edits, and views for other libraries."""

from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome, Edit, Provenance, RuleRecord
from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import Maps
from connectome.graph.parts import TIED, EdgeKey, EdgeSet, Region
from connectome.graph.selection import NodeSet

__all__ = [
    "TIED", "Attribute", "Connectome", "EdgeKey", "EdgeSet", "Edit", "KernelSet", "Maps", "NodeSet", "Provenance",
    "Region", "RuleRecord",
]  # fmt: skip
