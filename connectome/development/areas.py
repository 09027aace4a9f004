"""Areas: a region with layers of maps between its sensors and itself, which convolve what they see."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import Maps
from connectome.graph.parts import EdgeKey, Region
from connectome.wiring.convolution import convolution, convolved

__all__ = ["FIRST", "Layer", "Lower", "layer_name", "lower", "maps_of", "parse_areas"]

#: What the first layer of an area that is not the first one may be.
FIRST: Final = ("new", "copy", "share")
_WIDE_UM: Final = 500.0
_DEEP_UM: Final = 150.0
_LAYER: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d?)(?:/([1-9]\d?))?")


class Layer(NamedTuple):
    """``maps`` maps, which kernels of ``side`` x ``side`` places make at each ``stride``-th place; as many places of 0
    as half a side are around what they see."""

    maps: int
    side: int
    stride: int

    def kernel(self, source: Maps) -> tuple[int, int, int, int]:
        """The shape of its kernels."""
        return self.maps, source.count, self.side, self.side

    def made(self, source: Maps) -> Maps:
        """Its maps, of those that it sees. Raises :class:`ConnectomeError` for a hexagonal grid."""
        return convolved(source, self.kernel(source), stride=self.stride, padding=self.side // 2)


def parse_areas(text: str, where: str = "areas") -> tuple[Layer, ...]:
    """The layers of an area from the sensors on, as ``MAPSxSIDE/STRIDE``. Raises :class:`ConnectomeError`.

    >>> parse_areas("24x5/2, 48x3")
    (Layer(maps=24, side=5, stride=2), Layer(maps=48, side=3, stride=1))
    """
    layers = []
    for part in (part.strip() for part in text.split(",") if text.strip()):
        match = _LAYER.fullmatch(part)
        if match is None:
            rule = "must be layers of maps, MAPSxSIDE or MAPSxSIDE/STRIDE, separated by commas"
            raise ConnectomeError(where, rule, repr(part), 'For example "24x5/2, 48x3/2".')
        layers.append(Layer(*(int(number) for number in match.groups("1"))))
    return tuple(layers)


def layer_name(area: str, number: int) -> str:
    """The name of a layer, counted from 1."""
    return f"{area}.maps{number}"


def maps_of(layers: tuple[Layer, ...], sensor: Maps) -> list[Maps]:
    """Those of each layer. Raises :class:`ConnectomeError` for a sensor on a hexagonal grid."""
    made: list[Maps] = []
    for layer in layers:
        made.append(layer.made(made[-1] if made else sensor))
    return made


class Lower(NamedTuple):
    """The layers of an area below its region: those that are new, with their kernels, and the one that the region
    hears."""

    regions: list[Region]
    kernels: list[KernelSet]
    last: Region


def lower(
    earlier: Connectome, sensor: Region, top: Region, layers: tuple[Layer, ...], gain_pa: float, first: str,
    recruits: Collection[str], rng: np.random.Generator,
) -> Lower:  # fmt: skip
    """The layers between a sensor with maps and the region ``top``, of its neurons, each of which may excite and
    inhibit. Weights are normal, with a root mean square of ``gain_pa`` over the root of a neuron's inputs.

    ``first`` : of :data:`FIRST`. What is copied or shared is of the area that came last, of those that the task
    ``recruits`` whose first layer has the same maps and kernels. Where there is none the layer is new.
    """
    new, sets, source = list[Region](), list[KernelSet](), sensor
    for number, layer in enumerate(layers, 1):
        maps = source.maps
        assert maps is not None
        region = _region(top, number, layer.made(maps))
        like = _first_of(earlier, sensor, region, layer, recruits) if number == 1 and first != "new" else None
        if like is not None and first == "share":
            source = earlier.regions[like.key.target]
            continue
        shape = layer.kernel(maps)
        weight = rng.normal(0.0, gain_pa / math.sqrt(math.prod(shape[1:])), shape)
        made = convolution(
            source, region, weight, stride=layer.stride, padding=layer.side // 2, dt_ms=earlier.dt_ms,
            birth_stage=top.birth_stage,
        )  # fmt: skip
        if like is not None:
            born = np.full(len(like), top.birth_stage, np.int16)
            made = replace(like, key=made.key, birth_stage=born, state={}, attributes={})
        new.append(region)
        sets.append(made)
        source = region
    return Lower(new, sets, source)


def _region(top: Region, number: int, maps: Maps) -> Region:
    """A layer of the area of ``top``: each map a plane, one upon the other, as wide as the region."""
    place = np.stack([maps.column, maps.row], axis=1) / max(maps.height - 1, maps.width - 1, 1) - 0.5
    position = np.empty((maps.size, 3))
    position[:, :2] = np.tile(place, (maps.count, 1)) * _WIDE_UM
    position[:, 2] = np.repeat(np.arange(maps.count) / maps.count - 0.5, maps.places) * _DEEP_UM - number * _DEEP_UM
    position += np.nanmean(top.position_um, axis=0)
    name = layer_name(top.name, number)
    return Region(
        name, maps.size, neuron=top.neuron, position_um=position, birth_stage=top.birth_stage, maps=maps, area=top.name
    )


def _first_of(
    earlier: Connectome, sensor: Region, like: Region, layer: Layer, recruits: Collection[str]
) -> KernelSet | None:  # fmt: skip
    found = None
    for region in earlier.regions.values():
        edges = earlier.edges.get(EdgeKey(sensor.name, "afferent", region.name))
        if region.maps == like.maps and region.area in recruits and isinstance(edges, KernelSet) and len(edges):
            offsets, half = np.concatenate([edges.dy, edges.dx]), layer.side // 2
            if edges.stride == layer.stride and offsets.min() >= -half and offsets.max() < layer.side - half:
                found = edges
    return found
