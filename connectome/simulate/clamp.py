"""Clamps: neurons that are forced to do something during a run, whatever their membrane would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Selection
from connectome.graph.parts import Region
from connectome.graph.selection import NodeSet
from connectome.neurons.step_kernels import FIRE, FREE, HELD, NEVER, SILENT
from connectome.simulate.stimulus import neuron_ids, numbers, of_regions

__all__ = ["Clamp", "Clamped", "prepare_clamps"]


@dataclass(frozen=True, eq=False)
class Clamp(ReadOnly):
    """Neurons of a region that are held silent, made to fire at given times, or held at a potential.

    A silent neuron does everything that it does without a clamp except fire: once its potential has reached the
    threshold, it stays there. One that is made to fire is reset as by a spike of its own, even while refractory, and
    fires at no other time. One that is held has its potential put back after each step, and never fires. Arrivals still
    act on the rest of a clamped neuron's state.

    Parameters
    ----------
    neurons : (K,) numbers of neurons, (N,) mask, or ``"all"``
    spikes : (times_ms (M,), neurons (M,)): which of them fire when; times are rounded to the grid and lie in dt ..
        duration. None: never.
    v_mv : scalar or (K,), mV: the potential they are held at. Not together with ``spikes``; the only clamp that an
        effector can have.
    """

    neurons: ArrayLike | Literal["all"] = "all"
    spikes: tuple[ArrayLike, ArrayLike] | None = None
    v_mv: ArrayLike | None = None

    @classmethod
    def on(cls, nodes: NodeSet, *, v_mv: float | None = None) -> dict[str, Clamp]:
        """A value for ``run(clamp=...)``: the neurons of a set held silent, or at a potential."""
        return {name: cls(numbers, v_mv=v_mv) for name, numbers in nodes.neurons.items()}


@dataclass(frozen=True, eq=False)
class Clamped:
    """A region's clamp, checked: ``code`` (N,) uint8 of a step in which none of them is made to fire; ``held`` (N,) in
    the unit of the state; and the (M,) ``step`` and ``neuron`` of those that fire, by step."""

    code: NDArray[np.uint8]
    held: NDArray[np.float64]
    step: NDArray[np.int64]
    neuron: NDArray[np.int64]

    def codes(self, first: int, steps: int) -> NDArray[np.uint8]:
        """(steps, N) of some steps; or (1, N), the same for all."""
        if not self.step.size:
            return self.code[None]
        found = np.repeat(self.code[None], steps, axis=0)
        a, b = np.searchsorted(self.step, (first, first + steps))
        found[self.step[a:b] - first, self.neuron[a:b]] = FIRE
        return found


def prepare_clamps(
    connectome: Connectome,
    selection: Selection,
    first: int,
    n_steps: int,
    clamp: Mapping[str, Clamp | Sequence[Clamp]],
) -> dict[str, Clamped]:
    """Check ``run``'s argument ``clamp``, for steps that begin with ``first``. Raises :class:`ConnectomeError`."""
    found = {}
    for where, r, given in of_regions("clamp", clamp, connectome, selection.regions):
        parts = given if isinstance(given, (list, tuple)) else (given,)
        code = np.full(r.size, NEVER if r.role == "effector" else FREE, np.uint8)
        held, step, neuron = np.zeros(r.size), [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        taken = np.zeros(r.size, np.bool_)
        for part in parts:
            if not isinstance(part, Clamp):
                raise ConnectomeError(where, "must be a Clamp, or several", f"{part!r:.80}")
            mine = _neurons(f"{where}.neurons", part.neurons, r)
            if taken[mine].any() or np.unique(mine).size < mine.size:
                raise ConnectomeError(f"{where}.neurons", "must name a neuron once", "one that is named twice")
            taken[mine] = True
            code[mine] = SILENT
            if part.v_mv is not None:
                if part.spikes is not None:
                    raise ConnectomeError(f"{where}.v_mv", "must go without spikes", "both")
                code[mine] = HELD
                held[mine] = numbers(f"{where}.v_mv", part.v_mv, (mine.size,), "(K,)")
            elif r.role == "effector":
                raise ConnectomeError(f"{where}.v_mv", "must be given for an effector", None, "It never fires.")
            if part.spikes is not None:
                times, who = _spikes(where, part.spikes, r, mine, n_steps, connectome.dt_ms)
                step.append(times + first)
                neuron.append(who)
        steps, neurons = np.concatenate(step), np.concatenate(neuron)
        order = np.lexsort((neurons, steps))
        found[r.name] = Clamped(code, held - r.neuron.reference_mv, steps[order], neurons[order])
    return found


def _neurons(where: str, given: Any, r: Region) -> NDArray[np.int64]:
    if isinstance(given, str):
        if given != "all":
            raise ConnectomeError(where, "must be numbers of neurons, a mask, or 'all'", repr(given))
        return np.arange(r.size)
    array = np.asarray(given)
    if array.dtype == bool:
        if array.shape != (r.size,):
            raise ConnectomeError(where, f"must be a mask of shape ({r.size},)", f"shape {array.shape}")
        return np.flatnonzero(array)
    return neuron_ids(where, array, r)


def _spikes(
    where: str, given: Any, r: Region, mine: NDArray[np.int64], n_steps: int, dt_ms: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not r.neuron.fires:
        raise ConnectomeError(f"{where}.spikes", "must be left out for a model without spikes", r.neuron.model)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ConnectomeError(f"{where}.spikes", "must be a pair (times_ms, neurons)", f"{given!r:.80}")
    times, neuron = numbers(f"{where}.spikes times_ms", given[0]), neuron_ids(f"{where}.spikes neurons", given[1], r)
    if times.shape != neuron.shape:
        raise ConnectomeError(f"{where}.spikes", "must have as many times as neurons", f"{times.shape}, {neuron.shape}")
    if not np.isin(neuron, mine).all():
        raise ConnectomeError(f"{where}.spikes neurons", "must be among the clamped", neuron[~np.isin(neuron, mine)][0])
    step = np.rint(times / dt_ms) - 1
    bad = ~((step >= 0) & (step < n_steps))
    if bad.any():
        raise ConnectomeError(
            f"{where}.spikes times_ms", f"must be {dt_ms:g} .. {n_steps * dt_ms:g} ms, the run's steps",
            f"{times[bad][0]:g} at index {int(np.argmax(bad))}",
        )  # fmt: skip
    return step.astype(np.int64), neuron
