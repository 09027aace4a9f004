"""A convolution as an edge set: edges that share their weights, over which spikes travel as over any others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from connectome.arrays import integer, numbers_of
from connectome.errors import ConnectomeError
from connectome.graph.parts import MAX_SIZE, TIED, EdgeSet, Region
from connectome.graph.tables import DEFAULT_DT_MS, kind_between

__all__ = ["convolution", "convolved_shape"]


def convolved_shape(
    shape: tuple[int, int, int], kernel: tuple[int, int, int, int], *, stride: int = 1, padding: int = 0
) -> tuple[int, int, int]:
    """(channels, height, width) of what a convolution of (channels, height, width) gives, as torch's ``conv2d``.

    ``kernel`` is (output channels, input channels, height, width). Raises :class:`ConnectomeError`.
    """
    for name, value, low in (("stride", stride, 1), ("padding", padding, 0)):
        integer(name, value, low, MAX_SIZE)
    if len(shape) != 3 or len(kernel) != 4 or shape[0] != kernel[1]:
        raise ConnectomeError("kernel", f"must have shape (outputs, {shape[0]}, height, width)", kernel)
    height, width = ((n + 2 * padding - k) // stride + 1 for n, k in zip(shape[1:], kernel[2:], strict=True))
    if min(height, width) < 1:
        raise ConnectomeError("kernel", f"must fit into {shape[1:]} with a padding of {padding}", kernel[2:])
    return kernel[0], height, width


def convolution(
    source: Region, target: Region, shape: tuple[int, int, int], kernel_pa: ArrayLike, *, stride: int = 1,
    padding: int = 0, delay_ms: float | None = None, dt_ms: float = DEFAULT_DT_MS, birth_stage: int = 0,
) -> EdgeSet:  # fmt: skip
    """The edges by which ``target`` receives the convolution of ``source`` with a kernel, as torch's ``conv2d`` of its
    spikes (cross-correlation, zero padding).

    Neurons of both are numbered channel by channel, row by row. Edges that share a weight share a number, the place in
    the kernel, in the state :data:`~connectome.graph.parts.TIED`: :class:`~connectome.learning.SpikingNetwork` then
    learns the kernel.

    Parameters
    ----------
    shape : (channels, height, width) of the source
    kernel_pa : (output channels, channels, height, width), pA

    Raises :class:`ConnectomeError`.
    """
    kernel = numbers_of("kernel_pa", kernel_pa)
    if kernel.ndim != 4 or kernel.size > 2**24:  # numbers of places are kept as float32
        raise ConnectomeError("kernel_pa", f"must be four-dimensional, of at most {2**24} weights", kernel.shape)
    out = convolved_shape(shape, kernel.shape, stride=stride, padding=padding)
    for region, wanted in ((source, shape), (target, out)):
        if region.size != np.prod(wanted):
            raise ConnectomeError(
                f"regions[{region.name}].size", f"must be {np.prod(wanted)}, for {wanted}", region.size
            )
    _, channel, dy, dx = np.indices((1, *kernel.shape[1:]), np.int64).reshape(4, -1, 1)  # by place in one filter
    y, x = np.indices(out[1:], np.int64).reshape(2, 1, -1)
    row, column = y * stride + dy - padding, x * stride + dx - padding
    inside = (row >= 0) & (row < shape[1]) & (column >= 0) & (column < shape[2])
    place, pixel = np.nonzero(inside)
    src = ((channel * shape[1] + row) * shape[2] + column)[inside]
    filters = np.arange(out[0])[:, None]
    tied = (filters * (kernel.size // max(out[0], 1)) + place).ravel()
    return EdgeSet.from_arrays(
        (source.name, kind_between(source, target), target.name), np.tile(src, out[0]),
        (filters * (out[1] * out[2]) + pixel).ravel(), kernel.reshape(-1)[tied], n_source=source.size,
        n_target=target.size, dt_ms=dt_ms, delay_ms=delay_ms, birth_stage=birth_stage, state={TIED: tied},
    )  # fmt: skip
