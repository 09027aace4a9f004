"""Wiring: which neurons are joined at birth, with which weights and delays."""

from connectome.wiring.connection_rules import (
    AllToAll,
    Bernoulli,
    ConnectionRule,
    FixedInDegree,
    FixedOutDegree,
    FixedTotalNumber,
    OneToOne,
    SmallWorld,
)
from connectome.wiring.distance_rule import ByDistance
from connectome.wiring.edges import (
    TRACT_VELOCITY_MM_PER_MS,
    Conduction,
    Distribution,
    LogNormal,
    Normal,
    dale_signs,
    from_edge_list,
    from_matrix,
    positions_in_box,
    positions_in_sphere,
    positions_on_grid,
    wire,
)

__all__ = [
    "TRACT_VELOCITY_MM_PER_MS", "AllToAll", "Bernoulli", "ByDistance", "Conduction", "ConnectionRule", "Distribution",
    "FixedInDegree", "FixedOutDegree", "FixedTotalNumber", "LogNormal", "Normal", "OneToOne", "SmallWorld",
    "dale_signs", "from_edge_list", "from_matrix", "positions_in_box", "positions_in_sphere", "positions_on_grid",
    "wire",
]  # fmt: skip
