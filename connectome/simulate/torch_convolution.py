"""A kernel set in torch: conv2d."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import Maps

__all__ = ["Convolution"]


class Convolution:
    """The input that a kernel set of K weights delivers, differentiable in weights and spikes, on the device of the
    weights.

    With ``apart``, the inputs from positive and from negative weights separately; otherwise their sum.
    """

    def __init__(self, kernels: KernelSet, weight: Tensor, *, apart: bool = False) -> None:
        self.kernels = kernels
        s, t, stride = kernels.source_maps, kernels.target_maps, kernels.stride
        low = [int(d.min(initial=0)) for d in (kernels.dy, kernels.dx)]
        taps = [int(d.max(initial=0)) - first + 1 for d, first in zip((kernels.dy, kernels.dx), low, strict=True)]
        place = (kernels.out_map.astype(np.int64) * s.count + kernels.in_map) * taps[0] + kernels.dy - low[0]
        place = place * taps[1] + kernels.dx - low[1]
        none = weight.new_zeros(t.count * s.count * taps[0] * taps[1])
        at, negative = torch.from_numpy(place).to(weight.device), weight.detach() < 0
        parts = [weight.masked_fill(negative, 0), weight.masked_fill(~negative, 0)] if apart else [weight]
        filters = [none.index_copy(0, at, w).view(t.count, s.count, *taps) for w in parts]
        self._filters, self._parts = torch.cat(filters), len(parts)
        # Zeros around the source, or less of it, so that the target's corner is that of what conv2d makes.
        down, right = kernels.shift(*low)
        below, beyond = (
            (n - 1) * stride + first + k - side
            for n, first, k, side in zip(
                (t.height, t.width), (down, right), taps, (s.height, s.width), strict=True
            )
        )  # fmt: skip
        self._padding = (-right, beyond, -down, below)
        self._given, self._made = (_places(m, weight.device) for m in (s, t))

    def __call__(self, spikes: Tensor) -> Tensor:
        """(parts, B, n_target) pA from (B, n_source) spikes, or real numbers."""
        s, t = self.kernels.source_maps, self.kernels.target_maps
        maps = spikes.reshape(-1, s.count, s.places)
        if self._given is not None:
            maps = maps.new_zeros(len(maps), s.count, s.height * s.width).index_copy(2, self._given, maps)
        image = functional.pad(maps.view(-1, s.count, s.height, s.width), self._padding)
        found = functional.conv2d(image, self._filters, stride=self.kernels.stride).flatten(2)
        if self._made is not None:
            found = found.index_select(2, self._made)
        return found.view(-1, self._parts, t.size).transpose(0, 1)


def _places(maps: Maps, device: torch.device) -> Tensor | None:
    """Where the places of a map are in its rectangle; None if they fill it."""
    if maps.places == maps.height * maps.width:
        return None
    return torch.from_numpy(maps.row.astype(np.int64) * maps.width + maps.column).to(device)
