"""Synapses of memory devices: a weight is the difference of two conductances, which pulses move from state to state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update, one_thread
from connectome.learning.noise import normal
from connectome.parameters import Parameters, bounded

__all__ = ["Devices"]

_SAME = 1e-6  # of the range: what float32 rounds


@dataclass(frozen=True)
class Devices(Parameters):
    """Electronic synapses of few states and a bounded range (after Lim et al. 2019, Neural Computing and Applications
    31:8101, arXiv 1707.06381): ``w = full (G+ - G-)``, both G in 0 .. 1. A pulse moves G along the device's curve,
    ``f(p) = (1 - exp(-nu p)) / (1 - exp(-nu))``, from ``f(p)`` to ``f(p + 1 / states)``.

    It stands after an optimiser. The step that this wants is ``|step| states / full`` pulses, rounded up or down by
    chance, so that a linear device takes the step on average, and at most ``most``. One-way: the conductance that has
    to rise gets them all; where one has reached the top, both are erased, and the difference is written to one of them.
    Two-way: one rises by half of them and the other falls by half, along the mirrored curve ``1 - f(p)``; both begin
    about the middle. Of curved devices only one-way ones are always in one of the states.

    The published scheme of pulses was not at hand; this is the field's usual one. State of an edge: ``device_up``, G+;
    ``device_down``, G-; of a set: ``device_full``, pA. A weight that something else has changed, such as Dale's
    principle, is written anew, to the nearest states.

    Parameters
    ----------
    states : pulses from the bottom to the top
    nu : how curved a device is; 0: linear
    one_way : whether conductances only rise
    reach : ``full`` in units of the set's root mean square weight when it begins
    most : pulses of an update to a device
    spread, seed : standard deviation of the devices' gains, whose mean is 1, and what they are drawn of
    """

    states: int = bounded(256, 2, 65536)
    nu: float = bounded(0.0, 0, 20)
    one_way: bool = True
    reach: float = bounded(4.0, 0.1, 100)
    most: int = bounded(4, 1, 65536)
    spread: float = bounded(0.0, 0, 0.3)
    seed: int = bounded(0, 0)

    paper: ClassVar = "Lim et al. 2019, Neural Computing and Applications 31:8101, arXiv 1707.06381"
    remembers: ClassVar = ("device_up", "device_down", "device_full")
    one_each: ClassVar = ("device_full",)

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step that the devices take; what is no weight takes the whole of it."""
        if update.name != "weight" or not len(change):
            return change
        up, down, full = (state[name] for name in self.remembers)
        if full == 0:
            with one_thread():
                full.fill_(self.reach * float(update.weight.square().mean().sqrt()) or 1.0)
        gains = full * self._gain(update, "up"), full * self._gain(update, "down")
        weight = update.weight.double()
        self._write(weight, (weight - up * gains[0] + down * gains[1]).abs() > _SAME * full, up, down, gains)
        wanted = change.abs() * (self.states / full) * (1.0 if self.one_way else 0.5)
        to_up, to_down = (
            (wanted + update.uniform(f"pulses/{name}")).floor().clamp(max=self.most) for name in ("up", "down")
        )
        rises, falls = change > 0, change < 0
        up.copy_(self._raised(up, to_up * rises))
        down.copy_(self._raised(down, to_down * falls))
        if self.one_way:
            at_top = torch.maximum(up, down) > 1 - _SAME
            self._write(up * gains[0] - down * gains[1], at_top, up, down, gains)
        else:
            up.copy_(1 - self._raised(1 - up, to_up * falls))
            down.copy_(1 - self._raised(1 - down, to_down * rises))
        return (up * gains[0] - down * gains[1] - weight).to(change.dtype)

    def conductance(self, pulses: Tensor) -> Tensor:
        """f of pulses from the bottom, as a part of those that lead to the top."""
        p = pulses.double().clamp(0, 1)
        return p if self.nu == 0 else torch.expm1(-self.nu * p) / math.expm1(-self.nu)

    def pulses(self, conductance: Tensor) -> Tensor:
        """The inverse of f."""
        g = conductance.double().clamp(0, 1)
        return g if self.nu == 0 else torch.log1p(g * math.expm1(-self.nu)) / -self.nu

    def _raised(self, conductance: Tensor, pulses: Tensor) -> Tensor:
        p = self.pulses(conductance) * self.states
        return self.conductance(((p.round() if self.one_way else p) + pulses) / self.states)

    def _write(self, weight: Tensor, where: Tensor, up: Tensor, down: Tensor, gains: tuple[Tensor, Tensor]) -> None:
        """Erase both conductances there and write the weight to the one of its sign, or half of it to each about the
        middle, to the nearest states."""
        for device, part in ((up, weight / gains[0]), (down, -weight / gains[1])):
            wanted = (part if self.one_way else (1 + part) / 2).clamp(0, 1)
            below = (self.pulses(wanted) * self.states).floor()
            low, high = (self.conductance((below + k) / self.states) for k in (0, 1))
            device.copy_(torch.where(where, torch.where(high - wanted < wanted - low, high, low), device.double()))

    def _gain(self, update: Update, name: str) -> Tensor:
        """(P,) of each device: always the same."""
        drawn = normal(update.pair, update.key, f"device/{name}", (self.seed,))
        return torch.from_numpy(1 + self.spread * drawn).clamp(min=0.1).to(update.weight.device)
