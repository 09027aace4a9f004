"""Events as an event camera gives them, made from images that move (as N-MNIST was: Orchard and others 2015,
"Converting static image datasets to spiking neuromorphic datasets using saccades", arXiv 1507.07629)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import freeze
from connectome.circuits.feast import Events
from connectome.errors import ConnectomeError

__all__ = ["moving_events"]


def moving_events(
    images: NDArray[Any], *, zoom: int = 2, reach_pixels: float = 4.0, steps: int = 20, leg_ms: float = 100.0,
    threshold: float = 0.15,
) -> Events:  # fmt: skip
    """What a camera sees of (B, height, width) images in 0 .. 1 that move along a triangle, a recording each.

    A pixel gives an event whenever its brightness has changed by ``threshold`` since its last one; within a step it
    changes evenly.

    Parameters
    ----------
    zoom : how many pixels of the camera a pixel is wide; brightness between them is bilinear
    reach_pixels, steps, leg_ms : of each of the three legs: how far, in pixels of the camera, in how many steps, how
        long

    Raises :class:`ConnectomeError`.
    """
    from scipy.ndimage import zoom as enlarged

    given = freeze("images", images, np.float64, (None, None, None))
    for name, value in (("zoom", zoom), ("steps", steps)):
        if value < 1:
            raise ConnectomeError(name, "must be 1 or more", value)
    for name, least in (("reach_pixels", reach_pixels), ("leg_ms", leg_ms), ("threshold", threshold)):
        if not least > 0:
            raise ConnectomeError(name, "must be > 0", least)
    large = enlarged(given, (1, zoom, zoom), order=1) if zoom > 1 else given
    pad = int(np.ceil(reach_pixels)) + 1
    large = np.pad(large, ((0, 0), (pad, pad), (pad, pad)))
    corners = reach_pixels * np.array([[0.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.0, 0.0]])
    path = np.concatenate([a + (b - a) * np.arange(steps)[:, None] / steps for a, b in pairwise(corners)])
    path = np.concatenate([path, corners[-1:]])
    step_ms = leg_ms / steps
    before = _seen(large, path[0], pad)
    level = before.copy()  # at its last event
    found = []
    for k, offset in enumerate(path[1:]):
        now = _seen(large, offset, pad)
        count = ((now - level) / threshold).astype(int)  # towards 0
        which = np.nonzero(count)
        n, sign = np.abs(count[which]), np.sign(count[which])
        each = np.repeat(np.arange(n.size), n)
        number = np.arange(each.size) - np.repeat(n.cumsum() - n, n) + 1
        crossed = level[which][each] + sign[each] * number * threshold
        part = (crossed - before[which][each]) / (now - before)[which][each]
        found.append(((k + np.clip(part, 0, 1)) * step_ms, *(w[each] for w in which), sign[each] > 0))
        level[which] += sign * n * threshold
        before = now
    time_ms, image, row, column, brighter = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((time_ms, image))
    height, width = before.shape[1:]
    begin = np.searchsorted(image[order], np.arange(len(given) + 1))
    return Events(
        height, width, time_ms[order], row[order].astype(np.int32), column[order].astype(np.int32), brighter[order],
        begin,
    )  # fmt: skip


def _seen(large: NDArray[np.float64], offset: NDArray[np.float64], pad: int) -> NDArray[np.float64]:
    """(B, height, width) of padded images that have moved by (2,), with bilinear weights."""
    whole = np.floor(offset).astype(int)
    part = offset - whole
    height, width = (n - 2 * pad for n in large.shape[1:])
    total: NDArray[np.float64] = np.zeros((len(large), height, width))
    for down in (0, 1):
        for right in (0, 1):
            share = abs(1 - down - part[0]) * abs(1 - right - part[1])
            top, left = pad - whole[0] - down, pad - whole[1] - right
            total += share * large[:, top : top + height, left : left + width]
    return total
