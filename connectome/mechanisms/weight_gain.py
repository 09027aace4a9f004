"""A gain that learns: of each neuron over what it receives from a set, of each sender, of each edge, or of the set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeSet
from connectome.learning.views import By, Moment, Shared, shared, weights
from connectome.parameters import Parameters, bounded

__all__ = ["WeightGain"]


@dataclass(frozen=True)
class WeightGain(Parameters):
    """A weight times ``exp(log_gain)``: positive by construction. With the weights frozen only gains learn. Where the
    reset is to rest and no constant current flows, a neuron's gain over all it receives divides its threshold.

    Parameters
    ----------
    by : who has a gain: each ``target``, ``source`` or ``edge``, or the ``set``
    initial : of a gain
    """

    by: str = "target"
    initial: float = bounded(1.0, 1e-6)

    keeps: ClassVar = ("log_gain",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in get_args(By):
            raise ConnectomeError("WeightGain.by", f"must be one of {', '.join(get_args(By))}", repr(self.by))

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """``weight``, pA, and ``log_gain``."""
        gain = shared(edges, "log_gain", self.by, math.log(self.initial))  # type: ignore[arg-type]  # checked above
        return {"weight": weights(edges), "log_gain": gain}

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """Their product."""
        return values["weight"] * values["log_gain"].exp()
