"""What a run leaves for another to continue from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection, linear_step
from connectome.graph.parts import EdgeKey

__all__ = ["Learning", "RunState", "checked_state", "state_after"]


@dataclass(frozen=True, eq=False)
class Learning(ReadOnly):
    """What a run leaves of an edge set that learns, for a run with the same kind of rule.

    Parameters
    ----------
    rule : its name
    fixed : name -> value of its parameters that traces depend on, which must stay the same; others may change
    since, called : the step since which the set has learnt; the step of the last call to a rule or modulator in Python
    edges : digest of the edges' ends and delays
    known : digests of the weights (E,) float32 that stand for ``weight``: those of the connectome that the run was
        given, and those of its result. A connectome with other weights has been changed in between: then its weights
        count.
    weight : (E,) pA, at the rule's own precision. The extra call at an end within an interval is not included: the next
        run continues as if the run had not ended there.
    traces : name -> array, of spikes, eligibility, responses, as the kernels keep them
    memory : memory of a rule in Python: name -> array; None for other rules
    """

    rule: str
    fixed: Mapping[str, Any]
    since: int
    called: int
    edges: str
    known: tuple[str, str]
    weight: NDArray[Any]
    traces: Mapping[str, NDArray[Any]]
    memory: Mapping[str, NDArray[Any]] | None


@dataclass(frozen=True, eq=False)
class RunState(ReadOnly):
    """The last state of a run, for :func:`connectome.simulate.run` to continue from, with the same ``dtype`` and the
    same regions, on either engine. Weights and parameters may have changed.

    Parameters
    ----------
    step : steps since the beginning of the first run; random Poisson numbers depend on it
    dt_ms, dtype : as of the run
    models : region -> name of its model; "" for a sensor
    size : region -> N
    values : region of neurons or effector -> name of a state -> (N,). Where the event-driven engine sums arrivals of
        both signs, the first of the two has the sum; if they were recorded, both are present, and ``"i_ex+i_in"`` is
        the sum
    history : number of past steps for which ``spikes`` is complete
    spikes : (M,) each: step, place of the region, neuron; in this order
    learning : edge set -> its learning state, if it learnt
    """

    step: int
    dt_ms: float
    dtype: str
    models: Mapping[str, str]
    size: Mapping[str, int]
    values: Mapping[str, Mapping[str, NDArray[Any]]]
    history: int
    spikes: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    learning: Mapping[EdgeKey, Learning] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"RunState(at {self.step * self.dt_ms:g} ms; {', '.join(f'{k}[{n}]' for k, n in self.size.items())})"

    def ago(self, place: int, depth: int, size: int) -> NDArray[np.float64]:
        """(depth, N) spikes of the region in this place, the latest step first."""
        found = np.zeros((depth, size))
        step, region, neuron = self.spikes
        mine = (region == place) & (step >= self.step - depth)
        np.add.at(found, (self.step - 1 - step[mine], neuron[mine]), 1)
        return found

    def waits(self, place: int, ref_steps: NDArray[np.int32]) -> NDArray[np.int32]:
        """(N,) steps for which neurons that have fired are still refractory."""
        found = np.zeros(ref_steps.size, np.int64)
        step, region, neuron = self.spikes
        mine = region == place
        np.maximum.at(found, neuron[mine], ref_steps[neuron[mine]] - (self.step - 1 - step[mine]))
        return found.astype(np.int32)


def models_of(selection: Selection) -> dict[str, str]:
    """Region -> name of its model."""
    return {name: "" if r.role == "sensor" else r.neuron.model for name, r in selection.regions.items()}


def history_of(selection: Selection) -> int:
    """For how many steps spikes matter: until they have arrived and, for a rule with dendritic delays, have come back;
    and as long as neurons are refractory."""
    delay = max((int(e.delay_steps.max()) for e in selection.edges.values() if len(e)), default=1)
    waits = [linear_step(r, selection.dt_ms).ref_steps.max(initial=0) for r in selection.regions.values()]
    return max(2 * delay, 1 + int(max(waits, default=0)))


def state_after(
    selection: Selection, dtype: str, step: int, before: RunState | None,
    values: Mapping[str, dict[str, NDArray[Any]]], spikes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    learning: Mapping[EdgeKey, Learning],
) -> RunState:  # fmt: skip
    """The state at the beginning of a step, from the spikes of the run that ends there and of the one ``before``."""
    columns = [x.astype(np.int64) for x in spikes]
    if before is not None:
        columns = [np.concatenate(pair) for pair in zip(before.spikes, columns, strict=True)]
    untold = [step - left.called for left in learning.values()]  # to rules in Python
    history = max(history_of(selection), *untold, 0)
    late = columns[0] >= step - history
    return RunState(
        step, selection.dt_ms, dtype, models_of(selection), {name: r.size for name, r in selection.regions.items()},
        values, history, (columns[0][late], columns[1][late], columns[2][late]), learning,
    )  # fmt: skip


def checked_state(state: object, selection: Selection, dtype: str) -> RunState:
    """The state, if a run of these regions can continue from it. Raises :class:`ConnectomeError`."""
    if not isinstance(state, RunState):
        raise ConnectomeError("state", "must be a RunState, from run(..., return_state=True)", f"{state!r:.80}")
    size = {name: r.size for name, r in selection.regions.items()}
    for name, found, wanted in (
        ("dtype", state.dtype, dtype), ("dt_ms", state.dt_ms, selection.dt_ms), ("size", dict(state.size), size),
        ("models", dict(state.models), models_of(selection)), ("regions", list(state.size), list(size)),
    ):  # fmt: skip
        if found != wanted:
            raise ConnectomeError(f"state.{name}", f"must be this run's, {wanted}", found)
    if history_of(selection) > state.history:
        raise ConnectomeError(
            "state", f"must hold the spikes of {history_of(selection)} steps", state.history,
            "Delays and refractory times cannot become longer.",
        )  # fmt: skip
    return state
