"""Places along a route, seen in several traverses whose light and viewpoint differ."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze, integer
from connectome.errors import ConnectomeError

__all__ = ["patch_normalised", "photographed_places"]

_SIDE: Final = 28
_PATCH: Final = 7
_BINNED: Final = 3  # pixels of a photograph, each way, in one of a view


def photographed_places(
    places: int, traverses: int, *, shift: int = 1, noise: float = 0.02, seed: int = 0
) -> NDArray[np.float64]:
    """(traverses, places, 28, 28) views, 0 .. 1, of places cut from the two photographs that scikit-learn comes with:
    parts of them that do not overlap, those of most contrast, in an order drawn at random.

    In each traverse there is another light on all of them, in strength, contrast and direction; and each view is taken
    from up to ``shift`` pixels beside, with ``noise`` in each pixel. Raises :class:`ConnectomeError`.
    """
    from sklearn.datasets import load_sample_images

    integer("traverses", traverses, 1, 1000)
    wide = _SIDE + 2 * integer("shift", shift, 0, _SIDE)
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    parts: list[NDArray[np.float64]] = []
    for photograph in load_sample_images().images:
        high, broad = (n // (wide * _BINNED) for n in photograph.shape[:2])
        top, left = (
            rng.integers(n - k * wide * _BINNED + 1) for n, k in zip(photograph.shape, (high, broad), strict=False)
        )
        grey = photograph[top:, left:].mean(2)[: high * wide * _BINNED, : broad * wide * _BINNED] / 255
        binned = grey.reshape(high * wide, _BINNED, broad * wide, _BINNED).mean((1, 3))
        parts += list(binned.reshape(high, wide, broad, wide).swapaxes(1, 2).reshape(-1, wide, wide))
    integer("places", places, 1, len(parts))
    contrast = np.argsort([-part.std() for part in parts], kind="stable")
    scene = np.array(parts)[rng.permutation(contrast[:places])]
    found = np.empty((traverses, places, _SIDE, _SIDE))
    ramp = np.linspace(-1, 1, _SIDE)
    for views in found:
        gain, gamma, across, down = rng.uniform(0.5, 1), rng.uniform(0.7, 1.4), *rng.uniform(-0.2, 0.2, 2)
        light = across * ramp + down * ramp[:, None]
        for view, one in zip(views, scene, strict=True):
            y, x = rng.integers(0, 2 * shift + 1, 2)
            view[:] = (
                gain * one[y : y + _SIDE, x : x + _SIDE] ** gamma + light + noise * rng.standard_normal(view.shape)
            )
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
