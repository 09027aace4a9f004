"""What a plasticity rule is, and what a run passes to the rules it calls.

Rules that act at single spikes are compiled into the engine: :mod:`connectome.simulate.stdp`,
:mod:`connectome.simulate.error_modulated`. Any other rule is a :class:`RunRule`, in plain Python: it is called at
intervals with what has happened, and returns the new weights. The README of this folder builds one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeSet

__all__ = ["Memory", "Modulator", "RunRule", "SoFar", "Spikes", "finite", "whole_steps"]

#: What a rule remembers between two calls: name -> array.
Memory = Mapping[str, NDArray[Any]]


class Spikes(NamedTuple):
    """Spikes of a region of ``size`` neurons: times (M,) in ms, as in a run's result, and neurons (M,), in the order of
    time, then neuron."""

    time_ms: NDArray[np.float64]
    neuron: NDArray[np.int32]
    size: int

    @property
    def counts(self) -> NDArray[np.int64]:
        """(size,) number of spikes of each neuron."""
        return np.bincount(self.neuron, minlength=self.size)


@dataclass(frozen=True, eq=False)
class SoFar:
    """What has happened in a run since the last call; the same for any number of threads.

    Parameters
    ----------
    since_ms, time_ms : time of the last call, and now: spikes with ``since_ms < t <= time_ms`` are included. Times
        count from the beginning of the first run if this run continues another.
    spikes : region -> its spikes, sensors included
    v_mv : effector -> (N,) potential above e_l now
    """

    since_ms: float
    time_ms: float
    spikes: Mapping[str, Spikes]
    v_mv: Mapping[str, NDArray[np.float64]]


#: The third factor as a function of what has happened: 1/ms, until it is called again.
Modulator = Callable[[SoFar], float]


@runtime_checkable
class RunRule(Protocol):
    """How an edge set learns during a run, in plain Python: a frozen rule, whose memory is passed to it.

    It is called every ``interval_ms`` of the run, and at its end if the last interval is not complete:
    ``time_ms - since_ms`` of :class:`SoFar` is then shorter. A run that continues from there ignores such a call: its
    first call covers the whole interval. The new weights act on spikes that arrive from the next step on. The run
    enforces Dale's law: a weight of the wrong sign for its source neuron becomes 0.

    A call costs some 0.2 ms in addition to the rule's own time, a step of a small network 0.005 ms: rules that must act
    at each spike are better compiled. A run gives the same result again, for any number of threads, only if calls with
    equal arguments give equal answers.

    Parameters
    ----------
    name : the rule's name in a connectome's log
    interval_ms : a whole number of steps
    """

    name: ClassVar[str]

    @property
    def interval_ms(self) -> float:
        """Time between two calls."""
        ...

    def start(self, edges: EdgeSet) -> Memory:
        """The memory before the first step. Raise :class:`ConnectomeError` for edges that the rule cannot have."""
        ...

    def __call__(
        self, edges: EdgeSet, weight: NDArray[np.float64], so_far: SoFar, memory: Memory
    ) -> tuple[NDArray[np.float64], Memory]:
        """New weights (E,) in pA, and the new memory. ``edges`` are those that the run began with, ``weight`` (E,)
        their present weights, pA: write to neither."""
        ...


def finite(where: str, value: object, *, above_0: bool = False) -> float:
    """A finite number. Raises :class:`ConnectomeError`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.floating, np.integer))
        or not math.isfinite(value)
    ):
        raise ConnectomeError(where, "must be a finite number", repr(value))
    if above_0 and value <= 0:
        raise ConnectomeError(where, "must be > 0", value)
    return float(value)


def whole_steps(where: str, interval_ms: float, dt_ms: float) -> int:
    """The number of steps in an interval. Raises :class:`ConnectomeError`."""
    steps = round(finite(where, interval_ms, above_0=True) / dt_ms)
    if steps < 1 or abs(steps * dt_ms - interval_ms) > 1e-6 * dt_ms:
        raise ConnectomeError(where, f"must be a whole number of steps of {dt_ms:g} ms", interval_ms)
    return steps
