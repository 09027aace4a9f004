"""The typed region graph: regions, edge sets, the whole, its edits, and views for other libraries."""

from connectome.graph.connectome import Connectome, EdgeDelta, Provenance, RuleRecord
from connectome.graph.parts import TIED, EdgeKey, EdgeSet, Region

__all__ = ["TIED", "Connectome", "EdgeDelta", "EdgeKey", "EdgeSet", "Provenance", "Region", "RuleRecord"]
