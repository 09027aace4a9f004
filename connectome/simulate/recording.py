"""What a run records of the neurons' state: checks what was asked for, and puts the recordings into the result."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Selection
from connectome.graph.parts import Region
from connectome.memory import refuse_memory
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.simulate.run_state import RunState
from connectome.simulate.stimulus import Input, neuron_ids, of_regions

__all__ = ["Recorded", "Tape", "asked_for", "kept_apart", "refuse_learning", "with_twins"]

_AT_ONCE_MS = 1e-6  # a time constant of which nothing is left after a step


class Recorded(NamedTuple):
    """The state ``name`` of ``neurons`` (K,) of a region."""

    name: str
    region: str
    neurons: NDArray[np.int64]


def asked_for(
    connectome: Connectome, selection: Selection, record: Mapping[str, Mapping[str, ArrayLike]],
    record_v: Mapping[str, ArrayLike], before: RunState | None,
) -> list[Recorded]:  # fmt: skip
    """Check ``run``'s arguments ``record`` and ``record_v``; returns what to record, in the order of the names. Raises
    :class:`ConnectomeError`."""
    if not isinstance(record, Mapping):
        raise ConnectomeError("record", "must be a mapping from names of states", f"{record!r:.80}")
    names: list[tuple[str, str, Any]] = [(name, f"record[{name}]", regions) for name, regions in record.items()]
    if record_v != {}:
        if "v" in record:
            raise ConnectomeError("record_v", "must be left out where record has 'v'", list(record_v))
        names.insert(0, ("v", "record_v", record_v))
    found = []
    for name, argument, regions in names:
        for where, r, wanted in of_regions(argument, regions, connectome, selection.regions):
            model = r.neuron
            if name not in model.state:
                raise ConnectomeError(where, f"must be a state of {model.model}: {', '.join(model.state)}", repr(name))
            if before is not None and name in model.synapses and not set(model.synapses) <= set(before.values[r.name]):
                raise ConnectomeError(
                    where, f"must be left out where the state knows {' + '.join(model.synapses)} alone", repr(name),
                    "Record it in the run that leaves the state, too.",
                )  # fmt: skip
            everyone = isinstance(wanted, str) and wanted == "all"
            found.append(Recorded(name, r.name, np.arange(r.size) if everyone else neuron_ids(where, wanted, r)))
    return found


class Tape:
    """The recordings of a run. Memory is allocated once; raises :class:`ConnectomeError` if there is not enough.

    Parameters
    ----------
    wanted : what to record, with all entries of one name in succession
    n_steps : of the run
    dtype : of the state
    """

    def __init__(self, wanted: Sequence[Recorded], n_steps: int, dtype: np.dtype[Any]) -> None:
        self._wanted = {name: list(found) for name, found in groupby(wanted, lambda w: w.name)}
        numbers = sum(w.neurons.size for w in wanted)
        if numbers:
            refuse_memory(
                f"{numbers:,} numbers in each of {n_steps:,} steps", n_steps * (numbers * dtype.itemsize + 8),
                "Record fewer neurons, or run in parts with state=.",
            )  # fmt: skip
        self._values = {
            name: np.empty((n_steps, sum(w.neurons.size for w in found)), dtype) for name, found in self._wanted.items()
        }
        self._done = 0

    def add(self, recorded: NDArray[Any]) -> int:
        """Take the next steps' values, (steps, K) in the order of ``wanted``; returns the number of steps done."""
        rows, at = slice(self._done, self._done + len(recorded)), 0
        for values in self._values.values():
            values[rows] = recorded[:, at : at + values.shape[1]]
            at += values.shape[1]
        self._done = rows.stop
        return self._done

    def with_recorded(self, result: xr.Dataset, selection: Selection) -> xr.Dataset:
        """The result with all recordings: v as v_mv, in mV, and other state variables under their own names."""
        for name, found in self._wanted.items():
            values, units = self._values[name], {selection.regions[w.region].neuron.unit(name) for w in found}
            if name == "v":
                values += np.concatenate([self._reference(selection.regions[w.region], w) for w in found])
            kind, along = ("v_mv", "recorded") if name == "v" else (name, f"recorded_{name}")
            unit = units.pop() if len(units) == 1 else ""
            regions = np.repeat([w.region for w in found], [w.neurons.size for w in found])
            result = result.assign(
                {kind: (("time_ms", along), values, {"units": unit} if unit else {})}
            ).assign_coords({
                "time_ms": ("time_ms", np.arange(1, len(values) + 1) * selection.dt_ms, {"units": "ms"}),
                f"{along}_region": (along, regions),
                f"{along}_neuron": (along, np.concatenate([w.neurons for w in found])),
            })  # fmt: skip
        return result

    def _reference(self, region: Region, wanted: Recorded) -> NDArray[Any]:
        """(K,) what v is counted from."""
        of_all = np.broadcast_to(region.neuron.reference_mv, region.size)
        return of_all[wanted.neurons].astype(self._values["v"].dtype)


# Arrivals of both signs are one number to the event-driven engine where they decay alike. Where they are recorded, a
# region has a twin, which gets what it gets, keeps the two apart and does nothing else: so that what a run does is, to
# the last bit, what it does without being recorded.


def kept_apart(selection: Selection, wanted: Collection[Recorded]) -> dict[str, NeuronParameters]:
    """Region -> what its twin is made of. Raises :class:`ConnectomeError` for a model that says too little."""
    found = {}
    for w in wanted:
        model = selection.regions[w.region].neuron
        if w.name not in model.synapses or not model.one_accumulator:
            continue
        linear = model.linear()
        if model.jumps:
            found[w.region] = NeuronParameters(tau_syn_ex_ms=_AT_ONCE_MS, tau_syn_in_ms=_AT_ONCE_MS)
        elif isinstance(linear, NeuronParameters):
            found[w.region] = linear
        else:
            raise ConnectomeError(
                f"record[{w.name}][{w.region}]", "must be left out for this engine", f"{model.model!r}, of which the "
                "engine knows the sum alone", "Take engine='torch'.",
            )  # fmt: skip
    return found


def refuse_learning(wanted: Collection[Recorded], apart: Collection[str], targets: Collection[str]) -> None:
    """A twin's edges do not learn. Raises :class:`ConnectomeError` where edges into its region do, at single spikes."""
    for w in wanted:
        if w.region in apart and w.region in targets:
            raise ConnectomeError(
                f"record[{w.name}][{w.region}]", "must be left out where edges into the region learn and the engine "
                "adds up both signs", repr(w.name), "Give it two time constants that are not quite the same.",
            )  # fmt: skip


def with_twins(
    selection: Selection, given: Input, apart: Mapping[str, NeuronParameters]
) -> tuple[Selection, Input, dict[str, str]]:
    """The regions with their twins behind them, what enters these, and twin -> region."""
    if not apart:
        return selection, given, {}
    names = dict(_twin_names(selection, apart))
    twins = {name: Region(name, selection.regions[of].size, "effector", neuron=apart[of]) for name, of in names.items()}
    poisson = {name: given.poisson[of] for name, of in names.items() if of in given.poisson}
    return (
        replace(selection, regions={**selection.regions, **twins}),
        replace(given, poisson={**given.poisson, **poisson}), names,
    )  # fmt: skip


def _twin_names(selection: Selection, apart: Collection[str]) -> Iterator[tuple[str, str]]:
    longest = max(map(len, selection.regions))
    for name in apart:
        yield f"{name}{'_' * (longest + 1 - len(name))}twin", name  # longer than any other: nobody has it
