"""Parameters of neurons that learn: time constants, thresholds and others, one for each neuron of a region.

What an optimiser sees is a free number x, at first 0. A parameter with a bound keeps its side of it: it is
``bound + (first - bound) exp(x)``, so that a change of x by 0.01 is one of 1 %, and none leads across. A parameter
without one is ``first + x``. Where what is learnt becomes the new first value, x is 0 again, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection
from connectome.graph.parts import EdgeKey
from connectome.neurons.model import NeuronModel

__all__ = [
    "NEURON", "checked_learn", "checked_names", "coordinate", "free_values", "learnt_model", "neuron_key",
    "parameter_values",
]  # fmt: skip

#: What stands for the kind of edge in the key of parameters of neurons.
NEURON: Final = "neuron"


def neuron_key(region: str) -> EdgeKey:
    """The key under which the parameters of a region's neurons learn."""
    return EdgeKey(region, NEURON, region)  # a kind of no edge


def checked_names(learn: Mapping[str, Collection[str]], selection: Selection) -> dict[str, tuple[str, ...]]:
    """Region -> the parameters that learn. Raises :class:`ConnectomeError` for one that does not exist or cannot."""
    found = {}
    for name, names in learn.items():
        region = selection.regions.get(name)
        if region is None or region.role == "sensor":
            raise ConnectomeError("learn", "must name regions or effectors that take part", repr(name))
        found[name] = checked_learn(f"learn[{name}]", region.neuron, names, fires=region.role == "neuron")
    return found


def checked_learn(where: str, neuron: NeuronModel, names: Collection[str], *, fires: bool = True) -> tuple[str, ...]:
    """Names of parameters of a model that can learn, each once. Raises :class:`ConnectomeError`."""
    if isinstance(names, str):
        raise ConnectomeError(where, "must be names of parameters", repr(names), f"Use ({names!r},).")
    if not isinstance(names, (list, tuple, set, frozenset)):
        raise ConnectomeError(where, "must be names of parameters", repr(names))
    known = {f.name: f.metadata for f in fields(neuron)}
    able = [k for k, meta in known.items() if meta.get("learnt", True) and (fires or "over" not in meta)]
    for k in names:
        if k not in able:
            raise ConnectomeError(where, f"must name parameters of {', '.join(able)}", repr(k))
        gap = _gap(neuron, k)
        if gap is not None and not np.all(gap):
            rule = f"must name parameters that are not at their bound {_bound(neuron, k)}"
            raise ConnectomeError(where, rule, repr(k))
    return tuple(dict.fromkeys(names))


def free_values(size: int, names: Collection[str], dtype: torch.dtype) -> dict[str, nn.Parameter]:
    """(N,) zeros for each: parameters as they are."""
    return {name: nn.Parameter(torch.zeros(size, dtype=dtype)) for name in names}


def parameter_values(neuron: NeuronModel, free: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(N,) float64 in the parameters' units, differentiable; of zeros, to the last bit those of the model."""
    found = {}
    for name, x in free.items():
        gap, exact = _gap(neuron, name), x.double()
        first = _like(exact, getattr(neuron, name))
        if gap is None:
            found[name] = first + exact
        else:
            bound, distance = _like(exact, _bound(neuron, name)), _like(exact, gap)
            found[name] = (bound + distance * exact.exp()) + (first - (bound + distance))  # what the gap is rounded by
    return found


def coordinate(neuron: NeuronModel, name: str, size: int) -> Tensor:
    """(N,) float32: where a parameter stands on the line that its free number moves it along: the logarithm of its
    distance from its bound, or, without one, itself."""
    gap = _gap(neuron, name)
    at = getattr(neuron, name) if gap is None else np.log(np.abs(gap))
    return torch.tensor(np.broadcast_to(at, size).astype(np.float32))


def learnt_model(neuron: NeuronModel, values: Mapping[str, Tensor]) -> NeuronModel:
    """The model with these parameters. Raises :class:`ConnectomeError` where they do not fit the others."""
    return replace(neuron, **{name: x.detach().cpu().numpy() for name, x in values.items()})


def _bound(neuron: NeuronModel, name: str) -> Any:
    """What a parameter stays on one side of; None: nothing."""
    meta = next(f.metadata for f in fields(neuron) if f.name == name)
    for kind in ("over", "under"):
        if kind in meta:
            return getattr(neuron, meta[kind])
    return meta.get("above", meta.get("low"))


def _gap(neuron: NeuronModel, name: str) -> Any:
    """How far from the bound a parameter is at first, with a sign."""
    bound = _bound(neuron, name)
    return None if bound is None else getattr(neuron, name) - bound


def _like(x: Tensor, value: Any) -> Tensor:
    return torch.as_tensor(np.array(value), dtype=x.dtype, device=x.device)
