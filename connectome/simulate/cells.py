"""Regions that the event-driven engine updates by their model's own kernel: those of other models than ``iaf_psc_exp``,
those whose parameters are one for each neuron, and those that are clamped."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.parts import Region
from connectome.neurons.step_kernels import NEVER
from connectome.simulate.clamp import Clamped
from connectome.simulate.simulate_kernels import CELLS

__all__ = ["Cells", "in_lanes", "make_cells"]


@dataclass(frozen=True, eq=False)
class Cells:
    """The C regions that have kernels of their own: records (C,) of ``simulate_kernels.CELLS``; their names; what they
    remember besides the potential and what arrives, (N,) records each; and what addresses point to."""

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
    """Whether it is updated sixteen neurons side by side instead."""
    linear = region.neuron.linear()
    return linear is not None and not linear.arrays() and region.name not in clamp


def make_cells(
    regions: list[Region], start: Mapping[str, int], clamp: Mapping[str, Clamped],
    values: Mapping[str, Mapping[str, NDArray[Any]]], dtype: np.dtype[Any], dt_ms: float,
) -> Cells:  # fmt: skip
    """Lay out regions. ``start``: their first places; ``values``: what they remember, at rest by default. Raises
    :class:`ConnectomeError` for a model without a kernel."""
    records, states = np.zeros(len(regions), CELLS), list[NDArray[Any]]()
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
        constants = _records(model.constants(dt_ms), dtype)
        names = [n for n in model.state if n != "v" and n not in model.synapses]
        rest = {n: np.zeros(r.size) for n in names or ["nothing"]}
        rest |= {n: np.broadcast_to(v, r.size) for n, v in model.rest().items() if n in rest}
        rest |= {n: v for n, v in values.get(r.name, {}).items() if n in rest}
        state = _records(rest, dtype)
        held = clamps[r.name].held.astype(dtype) if r.name in clamps else np.zeros(0, dtype)
        update = _compiled(model.kernel, constants.dtype, state.dtype, dtype)
        for name, value in (
            ("update", update.address), ("constants", constants.ctypes.data), ("each", int(constants.size > 1)),
            ("state", state.ctypes.data), ("held", held.ctypes.data), ("clamped", int(r.name in clamps)),
            ("first", start[r.name]), ("size", r.size), ("signs", 1 if model.one_accumulator else 2),
        ):  # fmt: skip
            record[name] = value
        states.append(state)
        kept += [constants, held, update]
    return Cells(records, [r.name for r in regions], states, clamps, kept)


def _records(columns: Mapping[str, Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(N,) records, or (1,) where all columns are numbers."""
    size = max((v.size for v in columns.values() if np.ndim(v)), default=1)
    records = np.zeros(size, [(name, dtype) for name in columns])
    for name, value in columns.items():
        records[name] = value
    return records


@cache
def _compiled(kernel: str, constants: np.dtype[Any], state: np.dtype[Any], dtype: np.dtype[Any]) -> Any:
    from numba import from_dtype, types

    from connectome.jit import callback

    module, _, name = kernel.partition(":")
    real, number = types.CPointer(from_dtype(dtype)), types.uint64
    return callback(
        getattr(importlib.import_module(module), name), number, *[number] * 7, types.CPointer(from_dtype(constants)),
        types.CPointer(from_dtype(state)), real, real, real, real, types.CPointer(types.uint8), real,
        types.CPointer(types.uint32),
    )  # fmt: skip
