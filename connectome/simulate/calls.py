"""Calls between the steps of a run: to three-factor modulators that are functions, and to rules in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection
from connectome.graph.parts import EdgeKey
from connectome.simulate.plastic import AtSpikes, Called, Plastic
from connectome.simulate.run_rules import Memory, SoFar, Spikes, finite
from connectome.simulate.run_state import RunState

__all__ = ["Calls", "Left"]

Heard = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]  # steps, places of regions, neurons


class Left(NamedTuple):
    """What a run leaves: (E,) weights, the memory of a rule in Python, the step of the last call."""

    weight: NDArray[Any]
    memory: Memory | None
    called: int


class Calls:
    """What a run passes to the functions and rules it calls, and what it does with their answers.

    Parameters
    ----------
    selection : the regions that take part
    plastic : the edge sets that learn, some of which may need calls
    last : the step at which the run ends (exclusive), counted from the beginning of the first run
    before : the state from which the run continues
    """

    def __init__(
        self, selection: Selection, plastic: Mapping[EdgeKey, Plastic], last: int, before: RunState | None
    ) -> None:
        self._selection, self._end, self._all = selection, last, plastic
        self._plastic = {k: p for k, p in plastic.items() if isinstance(p, (AtSpikes, Called)) and p.calls_every}
        self._last = {key: p.called for key, p in self._plastic.items()}
        self._heard: dict[EdgeKey, list[Heard]] = {key: [] for key in self._plastic}
        if before is not None:
            step, region, neuron = (x.astype(np.int32) for x in before.spikes)
            for key, heard in self._heard.items():
                late = before.spikes[0] >= self._last[key]
                heard.append((step[late], region[late], neuron[late]))
        self._memory: dict[EdgeKey, Memory] = {k: p.memory for k, p in plastic.items() if p.memory is not None}
        self._left: dict[EdgeKey, Left] = {}  # of those that are called at the end, but would not be if it were none

    def steps_left(self, now: int) -> int:
        """Steps until the next call."""
        every = (p.calls_every - (now - p.since) % p.calls_every for p in self._plastic.values())
        return min(every, default=self._end)

    def after(self, now: int, block: Heard, v_mv: Mapping[str, NDArray[Any]]) -> None:
        """``now`` steps are done, the last of them with these spikes; ``v_mv``: effector -> (N,) above e_l.

        Raises :class:`ConnectomeError` for an invalid answer, naming it.
        """
        for key, p in self._plastic.items():
            self._heard[key].append(block)
            due, ends = (now - p.since) % p.calls_every == 0, now == self._end
            if isinstance(p, AtSpikes) and due and not ends:
                answer = p.rule.modulator_per_ms(self._so_far(key, now, v_mv))
                p.answer[0] = finite(f"plasticity[{key}].modulator_per_ms's answer", answer)
            elif isinstance(p, Called) and (due or ends) and now > self._last[key]:
                if not due:
                    memory = {name: np.array(x) for name, x in self._memory[key].items()}
                    self._left[key] = Left(p.weight.copy(), memory, self._last[key])
                self._learn(key, p, self._so_far(key, now, v_mv))

    def left(self, key: EdgeKey) -> Left:
        """What the run leaves of an edge set, when it has ended, for another run to continue from."""
        p = self._all[key]
        return self._left.get(key, Left(p.weight, self._memory.get(key), self._last.get(key, self._end)))

    def _so_far(self, key: EdgeKey, now: int, v_mv: Mapping[str, NDArray[Any]]) -> SoFar:
        """What has happened since this one's last call."""
        step, region, neuron = (np.concatenate(x) for x in zip(*self._heard[key], strict=True))
        dt_ms, since = self._selection.dt_ms, self._last[key]
        self._last[key], self._heard[key] = now, []
        spikes = {}
        for place, (name, r) in enumerate(self._selection.regions.items()):
            mine = region == place
            spikes[name] = Spikes((step[mine].astype(np.int64) + 1) * dt_ms, neuron[mine], r.size)
        return SoFar(since * dt_ms, now * dt_ms, spikes, {k: v.astype(np.float64) for k, v in v_mv.items()})

    def _learn(self, key: EdgeKey, p: Called, so_far: SoFar) -> None:
        """Take a rule's new weights, but for signs that are not the neurons'."""
        weight = p.weight.view()
        weight.flags.writeable = False
        answer = p.rule(p.edges, weight, so_far, self._memory[key])
        where = f"plasticity[{key}]"
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)):
            raise ConnectomeError(where, "must give a pair: new weights (E,) and what to remember", f"{answer!r:.80}")
        new, self._memory[key] = np.asarray(answer[0]), answer[1]
        fits = new.shape == p.weight.shape and new.dtype.kind in "iuf"
        if not fits or not (np.abs(new) <= np.finfo(np.float32).max).all():
            found = "numbers that are not finite in float32" if fits else f"{new.dtype} of shape {new.shape}"
            raise ConnectomeError(where, f"must give finite weights (E,) = {p.weight.shape}", found)
        new = new.astype(np.float64)
        if p.signs.any():
            signs = np.repeat(p.signs, np.diff(p.edges.indptr))
            new[signs * new < 0] = 0.0
        p.weight[:] = new
        p.acting[:] = new
