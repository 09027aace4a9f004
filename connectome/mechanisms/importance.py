"""How much an edge matters, seen from one update: what pruning goes by.

Each is a function of a :class:`connectome.rules.Sample` that gives (E,) numbers, larger for what matters more. A
package adds its own by an entry point of ``connectome.importance``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.learning.noise import hashed
from connectome.rules import Sample

__all__ = ["activity", "bcm", "feedback", "gradient", "magnitude", "random", "taylor"]

Array = NDArray[Any]


def feedback(s: Sample) -> Array:
    """``|w| sqrt|g|``: between the weight and what the region that learns sends back to it, the gradient: in an earlier
    region, the higher region's feedback. Our own."""
    return np.asarray(np.abs(s.weight) * np.sqrt(np.abs(s.gradient)))


def taylor(s: Sample) -> Array:
    """``|w g|``: the loss's change to first order, were the edge gone (Molchanov et al. 2017, arXiv 1611.06440)."""
    return np.asarray(np.abs(s.weight * s.gradient))


def gradient(s: Sample) -> Array:
    """``|g|``: how much the loss would change with the weight."""
    return np.abs(s.gradient)


def magnitude(s: Sample) -> Array:
    """``|w|``."""
    return np.abs(s.weight)


def activity(s: Sample) -> Array:
    """``pre post``: how often source and target fire."""
    return np.asarray(s.pre * s.post)


def bcm(s: Sample) -> Array:
    """``post (post - theta) pre`` with theta the running mean of post, 0 where that is negative (Bienenstock, Cooper &
    Munro 1982)."""
    return np.asarray(np.maximum(s.post * (s.post - s.post_mean) * s.pre, 0.0))


def random(s: Sample) -> Array:
    """As good as drawn, of the pair of neurons alone: pruning by chance."""
    return hashed(s.pair)
