"""What goes into a forward pass, checked once, in one form for both engines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection
from connectome.learning.state import NetworkState, checked_state

__all__ = ["Clamp", "Inputs", "checked_inputs", "checked_output_gain"]

#: Who is clamped, and to which spikes (None: silent).
Clamp = tuple[Tensor, Tensor | None]
_LETTERS = {2: "(batch, neurons)", 3: "(batch, steps, neurons)"}


class Inputs(NamedTuple):
    """A batch of B samples for T steps; n is a region's size.

    fires : sensor -> (B, T, n), not 0 where it fires; differentiable where it requires a gradient
    current : region or effector -> (B, T, n) pA
    shared_gain : region or effector -> (n,); gain : -> (B, n), of each sample
    clamp : region -> (B, T, n) truth values: whose spikes are replaced, and by which
    """

    batch: int
    steps: int
    fires: dict[str, Tensor]
    current: dict[str, Tensor]
    shared_gain: dict[str, Tensor]
    gain: dict[str, Tensor]
    clamp: dict[str, tuple[Tensor, Tensor]]
    state: NetworkState | None

    def of_each_sample(self, regions: Collection[str]) -> Inputs:
        """The same, with the shared gains of these regions as gains of each sample: kernels, which all neurons of a map
        share, cannot have them."""
        moved = {name: self.shared_gain[name] for name in regions if name in self.shared_gain}
        gain = {
            name: x * self.gain[name] if name in self.gain else x.expand(self.batch, -1) for name, x in moved.items()
        }
        others = {name: x for name, x in self.shared_gain.items() if name not in moved}
        return self._replace(shared_gain=others, gain={**self.gain, **gain}) if moved else self

    @property
    def plain(self) -> bool:
        """Whether there is nothing but sensors' spikes, from rest."""
        return not (self.current or self.gain or self.clamp) and self.state is None


def checked_inputs(
    selection: Selection, device: torch.device, dtype: torch.dtype, spikes: Mapping[str, Tensor],
    record: Sequence[str], current: Mapping[str, Tensor] | None, gain: Mapping[str, Tensor] | None,
    mask: Mapping[str, Tensor] | None, clamp: Mapping[str, Clamp] | None, state: NetworkState | None,
) -> Inputs:  # fmt: skip
    """Raise :class:`ConnectomeError` for whatever does not fit; see :meth:`SpikingNetwork.forward`."""
    size = {name: r.size for name, r in selection.regions.items()}
    of = {
        role: [n for n, r in selection.regions.items() if r.role == role] for role in ("sensor", "neuron", "effector")
    }
    fires = {}
    for name, x in _tensors("sensor_spikes", spikes, of["sensor"], "sensors").items():
        if x.ndim != 3 or x.shape[2] != size[name]:
            raise ConnectomeError(
                f"sensor_spikes[{name}]", f"must have shape (batch, steps, {size[name]})", tuple(x.shape)
            )
        if x.is_complex() or (x.is_floating_point() and not _binary(x)):
            raise ConnectomeError(
                f"sensor_spikes[{name}]", "must be 0 or 1 where they are real numbers", _found(x),
                "Give an analogue input as current=, or encode it as spikes.",
            )  # fmt: skip
        fires[name] = (x if x.requires_grad else x.detach()).to(device)
    membranes = [*of["neuron"], *of["effector"]]
    given = _tensors("current", {} if current is None else current, membranes, "regions or effectors")
    shapes = {tuple(x.shape[:2]) for x in fires.values()}
    if not spikes:
        shapes = {tuple(x.shape[:2]) for x in given.values() if x.ndim == 3}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise ConnectomeError("sensor_spikes", "must share one non-empty (batch, steps)", sorted(shapes))
    batch, steps = next(iter(shapes))
    for name in record:
        if name not in of["neuron"]:
            raise ConnectomeError("record", "must name regions of neurons that take part", repr(name))
    every, of_sample, shared = {}, {}, {}
    for name, x in given.items():
        every[name] = _broadcast(f"current[{name}]", x.to(device, dtype), (batch, steps, size[name]))
    for name, x in _tensors("gain", {} if gain is None else gain, membranes, "regions or effectors").items():
        if bool((x.detach() < 0).any()):
            raise ConnectomeError(f"gain[{name}]", "must be 0 or more", float(x.detach().min()))
        if x.ndim < 2:
            shared[name] = _broadcast(f"gain[{name}]", x.to(device, dtype), (size[name],))
        else:
            of_sample[name] = _broadcast(f"gain[{name}]", x.to(device, dtype), (batch, size[name]))
    clamped = _clamps(
        of["neuron"], size, device, (batch, steps), {} if mask is None else mask, {} if clamp is None else clamp
    )
    if state is not None:
        checked_state(state, selection, batch)
    return Inputs(batch, steps, fires, every, shared, of_sample, clamped, state)


def checked_output_gain(
    selection: Selection, given: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Region or sensor -> (n,) gains of what its neurons' spikes deliver. Raises :class:`ConnectomeError`."""
    senders = [name for name, r in selection.regions.items() if r.role != "effector"]
    found = {}
    for name, x in _tensors("output_gain", given, senders, "regions or sensors").items():
        if bool((x.detach() < 0).any()):
            raise ConnectomeError(f"output_gain[{name}]", "must be 0 or more", float(x.detach().min()))
        found[name] = _broadcast(f"output_gain[{name}]", x.to(device, dtype), (selection.regions[name].size,))
    return found


def _clamps(
    regions: Sequence[str], size: Mapping[str, int], device: torch.device, shape: tuple[int, int],
    mask: Mapping[str, Tensor], clamp: Mapping[str, Clamp],
) -> dict[str, tuple[Tensor, Tensor]]:  # fmt: skip
    """Who is held, and at which spikes: those who take no part are held silent."""
    found = {}
    no = torch.zeros((), dtype=torch.bool, device=device)
    for name, pair in _mapping("clamp", clamp).items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ConnectomeError(
                f"clamp[{name}]", "must be (mask, spikes), spikes None for silence", type(pair).__name__
            )
    held = _tensors("clamp", {name: pair[0] for name, pair in clamp.items()}, regions, "regions of neurons")
    played = {name: pair[1] for name, pair in clamp.items() if pair[1] is not None}
    spikes = _tensors("clamp", played, regions, "regions of neurons")
    for name, x in held.items():
        whole = (*shape, size[name])
        who = _broadcast(f"clamp[{name}].mask", _truth(f"clamp[{name}].mask", x, device, sample=True), whole)
        what = _truth(f"clamp[{name}].spikes", spikes[name], device) if name in spikes else no
        found[name] = (who, _broadcast(f"clamp[{name}].spikes", what, whole))
    for name, x in _tensors("mask", mask, regions, "regions of neurons").items():
        out = _broadcast(f"mask[{name}]", ~_truth(f"mask[{name}]", x, device, sample=True), (*shape, size[name]))
        who, what = found.get(name, (no, no))
        found[name] = (who | out, what & ~out)
    return found


def _truth(field: str, x: Tensor, device: torch.device, *, sample: bool = False) -> Tensor:
    """0 or 1 as truth values; with ``sample`` two dimensions are (batch, neurons)."""
    if x.dtype != torch.bool and not _binary(x):
        raise ConnectomeError(field, "must be 0 or 1", _found(x))
    return (x.unsqueeze(1) if sample and x.ndim == 2 else x).to(device) != 0


def _binary(x: Tensor) -> bool:
    """Whether all are 0 or 1: what is its own square. NumPy is done with it in a ninth of torch's time."""
    if x.device.type == "cpu":
        array = x.detach().numpy()
        return bool(np.equal(array * array, array).all())
    return torch.equal(x * x, x)


def _found(x: Tensor) -> str:
    odd = x.detach()[(x.detach() != 0) & (x.detach() != 1)]
    return f"{odd[0].item():g} of {x.dtype}" if not x.is_complex() else str(x.dtype)


def _broadcast(field: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return x.broadcast_to(shape)
    except RuntimeError:
        wanted = _LETTERS.get(len(shape), "(neurons,)")
        raise ConnectomeError(field, f"must broadcast to {wanted}, {shape}", tuple(x.shape)) from None


def _tensors(field: str, given: Any, names: Sequence[str], what: str) -> dict[str, Tensor]:
    """A mapping from names to tensors, or an error that says what it is instead."""
    for name, x in _mapping(field, given).items():
        if name not in names:
            raise ConnectomeError(field, f"must name {what} of {list(names)}", repr(name))
        if not isinstance(x, Tensor):
            raise ConnectomeError(
                f"{field}[{name}]", "must be a torch tensor", type(x).__name__, "Use torch.as_tensor."
            )
    return dict(given)


def _mapping(field: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConnectomeError(field, "must be a mapping of names to tensors", type(given).__name__)
    return given
