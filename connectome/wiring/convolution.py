"""Convolutions as edge sets: kernels between the maps of two regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from connectome.arrays import integer, numbers_of
from connectome.errors import ConnectomeError
from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import MAX_SIDE, Maps
from connectome.graph.parts import Region
from connectome.graph.tables import DEFAULT_DT_MS, kind_between

__all__ = ["convolution", "convolved", "offset_kernels"]


def convolved(maps: Maps, kernel: tuple[int, ...], *, stride: int = 1, padding: int = 0) -> Maps:
    """The maps that result from a convolution of ``maps``, as in torch's ``conv2d``; ``kernel`` is its shape, (output
    maps, input maps, height, width). Raises :class:`ConnectomeError`.

    >>> convolved(Maps(3, 32, 32), (64, 3, 5, 5), stride=2, padding=2)
    Maps(count=64, height=16, width=16, hexagonal=False, every=(1, 1))
    """
    for name, value, low in (("stride", stride, 1), ("padding", padding, 0)):
        integer(name, value, low, MAX_SIDE)
    if len(kernel) != 4 or maps.count != kernel[1]:
        raise ConnectomeError("kernel", f"must have shape (maps made, {maps.count}, height, width)", kernel)
    if maps.hexagonal or maps.every != (1, 1):
        raise ConnectomeError(
            "kernel", "must be of maps with every place of a square grid", maps, "Use offset_kernels."
        )
    sides = (maps.height, maps.width)
    height, width = ((n + 2 * padding - k) // stride + 1 for n, k in zip(sides, kernel[2:], strict=True))
    if min(height, width) < 1:
        raise ConnectomeError("kernel", f"must fit into {sides} with a padding of {padding}", kernel[2:])
    return Maps(kernel[0], height, width)


def convolution(
    source: Region, target: Region, kernel_pa: ArrayLike, *, stride: int = 1, padding: int = 0,
    delay_ms: float | None = None, dt_ms: float = DEFAULT_DT_MS, birth_stage: int = 0,
) -> KernelSet:  # fmt: skip
    """The kernel set through which ``target`` receives the convolution of the spikes of ``source``, as by torch's
    ``conv2d`` (cross-correlation, zero padding).

    Parameters
    ----------
    source, target : regions with maps; the target's maps are what :func:`convolved` gives for the source's
    kernel_pa : (maps of the target, maps of the source, height, width), pA. The weights of the set, in this order

    Raises :class:`ConnectomeError`.
    """
    kernel = numbers_of("kernel_pa", kernel_pa)
    maps = _maps(source)
    made = convolved(maps, kernel.shape, stride=stride, padding=padding)
    if target.maps != made:
        raise ConnectomeError(f"regions[{target.name}].maps", f"must be what the kernel makes, {made}", target.maps)
    out_map, in_map, y, x = np.indices(kernel.shape).reshape(4, -1)
    return KernelSet.from_arrays(
        (source.name, kind_between(source, target), target.name), in_map, out_map, y - padding, x - padding,
        kernel.ravel(), source_maps=maps, target_maps=made, stride=stride, dt_ms=dt_ms, delay_ms=delay_ms,
        birth_stage=birth_stage,
    )  # fmt: skip


def offset_kernels(
    source: Region, target: Region, offsets: ArrayLike, weight_pa: ArrayLike, *, stride: int = 1,
    delay_ms: float | None = None, dt_ms: float = DEFAULT_DT_MS, birth_stage: int = 0,
) -> KernelSet:  # fmt: skip
    """The kernel set of a list of offsets, for example on a hexagonal grid: each place of a target map receives input
    from the place at each offset, in each source map.

    Parameters
    ----------
    source, target : regions with maps
    offsets : (n, 2) whole numbers, rows and columns from the target's place to the source's
    weight_pa : (n,) pA, or (maps of the target, maps of the source, n)

    Raises :class:`ConnectomeError`.
    """
    maps, made = _maps(source), _maps(target)
    at = numbers_of("offsets", offsets)
    if at.ndim != 2 or at.shape[1] != 2:
        raise ConnectomeError("offsets", "must have shape (offsets, 2)", at.shape)
    weight, shape = numbers_of("weight_pa", weight_pa), (made.count, maps.count, len(at))
    if weight.shape not in ((len(at),), shape):
        raise ConnectomeError("weight_pa", f"must have shape ({len(at)},) or {shape}", weight.shape)
    out_map, in_map, number = np.indices(shape).reshape(3, -1)
    return KernelSet.from_arrays(
        (source.name, kind_between(source, target), target.name), in_map, out_map, at[number, 0], at[number, 1],
        np.broadcast_to(weight, shape).ravel(), source_maps=maps, target_maps=made, stride=stride, dt_ms=dt_ms,
        delay_ms=delay_ms, birth_stage=birth_stage,
    )  # fmt: skip


def _maps(region: Region) -> Maps:
    if region.maps is None:
        hint = "Such as Region(..., maps=Maps(3, 32, 32))."
        raise ConnectomeError(f"regions[{region.name}].maps", "must say how its neurons form maps", None, hint)
    return region.maps
