"""Places along a route, seen in several traverses whose light, weather and viewpoint differ."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze, integer
from connectome.errors import ConnectomeError

__all__ = ["made_places", "patch_normalised"]

_PATCH: Final = 7


def made_places(
    places: int, traverses: int, *, side: int = 28, shift: int = 3, noise: float = 0.1, seed: int = 0
) -> NDArray[np.float64]:
    """(traverses, places, side, side) views, 0 .. 1, of places made at random: twelve boxes, each of one grey, before
    a background that varies slowly.

    In each traverse there is another light on all of them, in strength, contrast and direction; and each view is taken
    from up to ``shift`` pixels beside, with a box in front of it, 6 x 6 pixels of one grey, and ``noise`` in each
    pixel. Raises :class:`ConnectomeError`.
    """
    from scipy.ndimage import gaussian_filter

    integer("places", places, 1, 10**6)
    integer("traverses", traverses, 1, 1000)
    integer("side", side, 8, 1000)
    integer("shift", shift, 0, side)
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    wide = side + 2 * shift
    scene = gaussian_filter(rng.standard_normal((places, wide, wide)), (0, wide / 7, wide / 7))
    scene = 0.5 + 0.15 * scene / scene.std((1, 2), keepdims=True)
    for one in scene:
        for _ in range(12):
            high, broad = rng.integers(3, wide // 2, 2)
            top, left = rng.integers(0, wide - high), rng.integers(0, wide - broad)
            one[top : top + high, left : left + broad] = rng.random()
    found = np.empty((traverses, places, side, side))
    ramp = np.linspace(-1, 1, side)
    for views in found:
        gain, gamma, across, down = rng.uniform(0.5, 1), rng.uniform(0.7, 1.4), *rng.uniform(-0.2, 0.2, 2)
        light = across * ramp + down * ramp[:, None]
        for view, one in zip(views, scene, strict=True):
            y, x = rng.integers(0, 2 * shift + 1, 2)
            view[:] = gain * np.clip(one[y : y + side, x : x + side], 0, 1) ** gamma + light
            y, x = rng.integers(0, side - 6, 2)
            view[y : y + 6, x : x + 6] = rng.random()
            view += noise * rng.standard_normal(view.shape)
    return np.clip(found, 0, 1)


def patch_normalised(images: ArrayLike) -> NDArray[np.float64]:
    """(V, pixels) grey levels 0 .. 255 of (V, H, W) images: each patch of 7 x 7 pixels less its mean, over its standard
    deviation, from -1 to 1. Raises :class:`ConnectomeError`."""
    found = freeze("images", images, np.float64, (None, None, None))
    n, high, broad = found.shape
    if high % _PATCH or broad % _PATCH:
        raise ConnectomeError("images", f"must have sides that are multiples of {_PATCH}", (high, broad))
    patches = found.reshape(n, high // _PATCH, _PATCH, broad // _PATCH, _PATCH)
    spread = patches.std((2, 4), keepdims=True)
    level = (patches - patches.mean((2, 4), keepdims=True)) / np.where(spread > 1e-9, spread, 1)
    grey: NDArray[np.float64] = (127.5 * (1 + np.clip(level, -1, 1))).reshape(n, -1)
    return grey
