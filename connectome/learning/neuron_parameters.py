"""Parameters of neurons that learn: time constants, thresholds and others, one for each neuron of a region.

What an optimiser sees is a free number x, at first 0. A parameter with a bound keeps its side of it: it is
``bound + (first - bound) exp(x)``, so that a change of x by 0.01 is one of 1 %, and none leads across. A parameter
without one is ``first + x``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection
from connectome.graph.parts import Region

__all__ = ["checked_names", "free_values", "learnt_region", "parameter_values"]


def checked_names(
    learn: Mapping[str, Collection[str]], selection: Selection, engine: str
) -> dict[str, tuple[str, ...]]:
    """Region -> the parameters that learn. Raises :class:`ConnectomeError` for one that does not exist or cannot."""
    found = {}
    for name, names in learn.items():
        region = selection.regions.get(name)
        if region is None or region.role == "sensor":
            raise ConnectomeError("learn", "must name regions or effectors that take part", repr(name))
        if isinstance(names, str):
            raise ConnectomeError(f"learn[{name}]", "must be names of parameters", repr(names), f"Use ({names!r},).")
        known = {f.name: f.metadata for f in fields(region.neuron)}
        able = [k for k, meta in known.items() if meta.get("learnt", True)]
        if region.role == "effector":
            able = [k for k in able if "over" not in known[k]]  # it never fires
        for k in names:
            if k not in able:
                raise ConnectomeError(f"learn[{name}]", f"must name parameters of {', '.join(able)}", repr(k))
            gap = _gap(region, k)
            if gap is not None and not np.all(gap):
                raise ConnectomeError(
                    f"learn[{name}]", f"must name parameters that are not at their bound {_bound(region, k)}", repr(k)
                )
        found[name] = tuple(dict.fromkeys(names))
    if found and engine != "torch":
        raise ConnectomeError(
            "learn", "must be empty on the engine 'numba'", f"{sorted(found)}",
            "Use 'torch'; a threshold s times as far from rest is, event driven, weights in by 1/s: "
            "WeightGain(by='target').",
        )  # fmt: skip
    return found


def free_values(region: Region, names: Collection[str], dtype: torch.dtype) -> dict[str, nn.Parameter]:
    """(N,) zeros for each: parameters as they are."""
    return {name: nn.Parameter(torch.zeros(region.size, dtype=dtype)) for name in names}


def parameter_values(region: Region, free: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(N,) float64 in the parameters' units, differentiable."""
    found = {}
    for name, x in free.items():
        gap, exact = _gap(region, name), x.double()
        if gap is None:
            found[name] = _like(exact, getattr(region.neuron, name)) + exact
        else:
            found[name] = _like(exact, _bound(region, name)) + _like(exact, gap) * exact.exp()
    return found


def learnt_region(region: Region, values: Mapping[str, Tensor]) -> Region:
    """The region with these parameters. Raises :class:`ConnectomeError` where they do not fit the others."""
    arrays = {name: x.detach().cpu().numpy() for name, x in values.items()}
    return replace(region, neuron=replace(region.neuron, **arrays))


def _bound(region: Region, name: str) -> Any:
    """What a parameter stays on one side of; None: nothing."""
    meta = next(f.metadata for f in fields(region.neuron) if f.name == name)
    for kind in ("over", "under"):
        if kind in meta:
            return getattr(region.neuron, meta[kind])
    return meta.get("above", meta.get("low"))


def _gap(region: Region, name: str) -> Any:
    """How far from the bound a parameter is at first, with a sign."""
    bound = _bound(region, name)
    return None if bound is None else getattr(region.neuron, name) - bound


def _like(x: Tensor, value: Any) -> Tensor:
    return torch.as_tensor(np.array(value), dtype=x.dtype, device=x.device)
