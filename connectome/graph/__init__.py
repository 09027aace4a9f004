"""The typed region graph: regions, edge sets, the whole, its edits, and views for other libraries."""

from connectome.graph.connectome import Connectome, Edit, Provenance, RuleRecord
from connectome.graph.parts import TIED, EdgeKey, EdgeSet, Region

__all__ = ["TIED", "Connectome", "EdgeKey", "EdgeSet", "Edit", "Provenance", "Region", "RuleRecord"]
