"""Inhibitory plasticity during a run: each neuron approaches a target rate of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeSet
from connectome.simulate.run_rules import Memory, SoFar, finite
from connectome.simulate.stimulus import numbers

__all__ = ["TargetRate"]


@dataclass(frozen=True, eq=False)
class TargetRate(ReadOnly):
    """Local adaptation of inhibition to target rates (Srinivasan, Plenz & Girvan 2025, equation 7, on spike counts; in
    the spirit of Vogels et al. 2011). After each interval, all inhibitory edges into neuron i move by

        ``|w| <- max(0, |w| + step (rate_i - target_i))``

    where rate_i is the number of the neuron's spikes in the interval over its length, Hz. Excitatory edges of the set
    do not learn.

    Parameters
    ----------
    rate_hz : the target, >= 0, a number or (n_target,)
    step_pa_per_hz : > 0
    interval_ms : > 0, a whole number of steps

    Raises
    ------
    ConnectomeError : a parameter is invalid; the message names it
    """

    name: ClassVar[str] = "target_rate"

    rate_hz: ArrayLike
    step_pa_per_hz: float
    interval_ms: float

    def __post_init__(self) -> None:
        for name in ("step_pa_per_hz", "interval_ms"):
            finite(f"TargetRate.{name}", getattr(self, name), above_0=True)

    def start(self, edges: EdgeSet) -> Memory:
        """Nothing to remember. Raises :class:`ConnectomeError` for targets that do not fit."""
        if (numbers("TargetRate.rate_hz", self.rate_hz, (edges.n_target,)) < 0).any():
            raise ConnectomeError("TargetRate.rate_hz", "must be >= 0", float(np.min(self.rate_hz)))
        return {}

    def __call__(
        self, edges: EdgeSet, weight: NDArray[np.float64], so_far: SoFar, memory: Memory
    ) -> tuple[NDArray[np.float64], Memory]:
        """The weights after an interval."""
        rate_hz = 1000.0 * so_far.spikes[edges.key.target].counts / (so_far.time_ms - so_far.since_ms)
        stronger = self.step_pa_per_hz * (rate_hz - np.asarray(self.rate_hz, np.float64))[edges.indices]
        return np.where(edges.weight < 0, np.minimum(0.0, weight - stronger), weight), memory
