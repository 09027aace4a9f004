"""Modes: a gain and a threshold for each neuron, by which one connectome does several things.

A mode is two numbers for each neuron of a region: its input gain, which divides its threshold where the reset is to
rest and no constant current flows (the membrane is linear between spikes), and its output gain, which multiplies what
its spikes deliver. Both are positive, as exponentials of what is learnt, which is state of the region under the
mode's name: snapshots hold any number of modes of one connectome. Our instantiation of what is published as brain
modes (Ghasemlou, arXiv 2602.11726, of which we know the abstract): there is no soft gate, as spikes are hard ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork

__all__ = ["MODE", "Mode", "mode_key", "modes_of", "with_mode"]

#: What stands for the kind of edge in the key of what belongs to neurons.
MODE: Final = "mode"
_GAIN, _OUTPUT = "log_gain", "log_output_gain"


def mode_key(region: str) -> EdgeKey:
    """The key under which a region's gains learn."""
    return EdgeKey(region, MODE, region)  # a kind of no edge


class Mode:
    """A mode of the regions that a network recruits, at learning: ``parameters[region, name]`` (N,)."""

    def __init__(self, name: str, network: SpikingNetwork, device: torch.device) -> None:
        self.name = name
        self.parameters: dict[tuple[str, str], nn.Parameter] = {}
        for region in network.selection.regions.values():
            if region.role == "neuron":
                for part in (_GAIN, _OUTPUT):
                    values = region.state.get(self.state(part), np.zeros(region.size, np.float32))
                    self.parameters[region.name, part] = nn.Parameter(torch.tensor(values, device=device))

    def state(self, part: str) -> str:
        """The name of the state of a region that holds a part of this mode."""
        return f"{MODE}-{self.name}-{part}"

    def inputs(self) -> dict[str, dict[str, Tensor]]:
        """What a forward pass is given."""

        def of(part: str) -> dict[str, Tensor]:
            return {region: p.exp() for (region, name), p in self.parameters.items() if name == part}

        return {"gain": of(_GAIN), "output_gain": of(_OUTPUT)}


def modes_of(connectome: Connectome) -> list[str]:
    """The names of the modes that a connectome holds."""
    found = {name for r in connectome.regions.values() for name in r.state if name.startswith(f"{MODE}-")}
    ends = (f"-{_GAIN}", f"-{_OUTPUT}")
    return sorted({name[len(MODE) + 1 :].removesuffix(end) for name in found for end in ends if name.endswith(end)})


def with_mode(connectome: Connectome, name: str) -> Connectome:
    """The connectome in a mode: weights times the output gain of their source and the gain of their target. Raises
    :class:`ConnectomeError` for a mode that it does not hold."""
    if name not in modes_of(connectome):
        raise ConnectomeError("mode", f"must be one of {modes_of(connectome)}", repr(name))

    def gains(region: str, part: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        r = connectome.regions[region]
        return np.exp(r.state.get(f"{MODE}-{name}-{part}", np.zeros(r.size, np.float32)))

    weights = {
        key: e.weight * gains(key.source, _OUTPUT)[e.source] * gains(key.target, _GAIN)[e.target]
        for key, e in connectome.edges.items()
    }
    return connectome.apply(Edit(reweight=weights))
