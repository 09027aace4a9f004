"""Regions that the event-driven engine updates with their model's own kernel: those of models other than
``iaf_psc_exp``, those whose parameters differ between neurons, and those that are clamped."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import aligned_zeros
from connectome.errors import ConnectomeError
from connectome.graph.flat import finite
from connectome.graph.parts import Region
from connectome.neurons.step_kernels import LANES, NEVER, TASK
from connectome.simulate.clamp import Clamped

__all__ = ["Cells", "in_lanes", "make_cells", "names_of"]


@dataclass(frozen=True, eq=False)
class Cells:
    """The C regions that have kernels of their own: records (C,) of ``step_kernels.TASK``; their names; what they
    remember besides the potential and what arrives, (S, N) in the order of the model's state; what clamps
    say; and what addresses point to."""

    records: NDArray[Any]
    names: list[str]
    state: list[NDArray[Any]]
    clamp: dict[str, Clamped]
    kept: list[Any]

    def clamp_block(self, first: int, steps: int) -> None:
        """Say what clamps want in the next steps."""
        for record, name in zip(self.records, self.names, strict=True):
            if name in self.clamp:
                codes = self.clamp[name].codes(first, steps)
                self.kept[self.names.index(name)] = codes
                record["clamp"], record["clamp_row"] = codes.ctypes.data, codes.shape[1] if len(codes) > 1 else 0


def in_lanes(region: Region, clamp: Mapping[str, Clamped]) -> bool:
    """Whether the region is updated sixteen neurons at a time instead."""
    linear = region.neuron.linear()
    return linear is not None and not linear.arrays() and region.name not in clamp


def make_cells(
    regions: list[Region], start: Mapping[str, int], clamp: Mapping[str, Clamped],
    values: Mapping[str, Mapping[str, NDArray[Any]]], dtype: np.dtype[Any], dt_ms: float, apart: Collection[str] = (),
) -> Cells:  # fmt: skip
    """Lay out regions. ``start``: their first places; ``values``: their state variables, at rest by default; ``apart``:
    those whose arrivals of the two signs are not summed. Raises :class:`ConnectomeError` for a model without a kernel.
    """
    records, states = np.zeros(len(regions), TASK), list[NDArray[Any]]()
    clamps, kept = dict(clamp), list[Any]([None]) * len(regions)
    for record, r in zip(records, regions, strict=True):
        model = r.neuron
        if not model.kernel:
            raise ConnectomeError(
                "engine", f"must be 'torch' for region {r.name!r}, whose model has no kernel", repr(model.model)
            )
        if r.name not in clamps and r.role == "effector":
            none = np.zeros(0, np.int64)
            clamps[r.name] = Clamped(np.full(r.size, NEVER, np.uint8), np.zeros(r.size), none, none)
        row = -(-r.size // LANES) * LANES
        given = model.constants(dt_ms)
        finite(r, given)
        each = any(np.ndim(value) for value in given.values())
        constants = aligned_zeros((len(given), row if each else LANES), dtype)
        for k, value in enumerate(given.values()):
            constants[k, : r.size if each else LANES] = value
        remembered = names_of(r)
        state = aligned_zeros((max(len(remembered), 1), row), dtype)
        for k, name in enumerate(remembered):
            state[k, : r.size] = values.get(r.name, {}).get(name, model.rest().get(name, 0.0))
        held = clamps[r.name].held.astype(dtype) if r.name in clamps else np.zeros(0, dtype)
        resting = np.ones(row // LANES, np.uint8)
        quick = model.quick is not None and r.name not in clamps and r.name not in apart
        quick = quick and all(np.ndim(v) == 0 or name in (model.quick or ()) for name, v in given.items())
        update, signs = _compiled(model.kernel, dtype), 1 if model.one_accumulator and r.name not in apart else 2
        for name, value in (
            ("update", update.address), ("constants", constants.ctypes.data), ("each", int(each)), ("row", row),
            ("state", state.ctypes.data), ("held", held.ctypes.data), ("clamped", int(r.name in clamps)),
            ("place", start[r.name]), ("size", r.size), ("signs", signs), ("quick", int(quick)),
            ("resting", resting.ctypes.data),
        ):  # fmt: skip
            record[name] = value
        states.append(state)
        kept += [constants, held, update, resting]
    return Cells(records, [r.name for r in regions], states, clamps, kept)


def names_of(region: Region) -> list[str]:
    """Names of its neurons' state variables other than the potential and the synapses."""
    model = region.neuron
    return [name for name in model.state if name != "v" and name not in model.synapses]


@cache
def _compiled(kernel: str, dtype: np.dtype[Any]) -> Any:
    from numba import from_dtype, types

    from connectome.jit import callback

    module, _, name = kernel.partition(":")
    pointers = [types.CPointer(from_dtype(kind)) for kind in (TASK, dtype)]
    return callback(getattr(importlib.import_module(module), name), types.uint64, *pointers)
