"""Functions of parameters, from which ``constants`` are computed: parameters may be numbers, (N,) arrays, or torch
tensors that learn.

Numbers and arrays give the same bits for the same neuron. For tensors these are torch's functions, with their
gradients.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from connectome.neurons.model import Quantity, elementwise

__all__ = ["choice", "exp", "expm1", "inverse", "learns", "mean_decay", "ordered", "whole"]


def learns(*values: Quantity) -> bool:
    """Whether any of them is a tensor."""
    return any(not isinstance(v, (float, int, np.ndarray, np.generic)) for v in values)


def exp(x: Quantity) -> Quantity:
    """e to the power of x."""
    return x.exp() if learns(x) else elementwise(math.exp, x)


def expm1(x: Quantity) -> Quantity:
    """exp(x) - 1."""
    return x.expm1() if learns(x) else elementwise(math.expm1, x)


def inverse(x: Quantity) -> Quantity:
    """1 / x, and 0 at x = 0."""
    return 1 / x if learns(x) else elementwise(lambda d: 1 / d if d else 0.0, x)


def choice(condition: Any, x: Quantity, other: Quantity) -> Quantity:
    """x where the condition holds, the other elsewhere."""
    if learns(condition, x, other):
        import torch

        parts = [torch.as_tensor(v) for v in (condition, x, other)]
        return torch.where(parts[0], parts[1], parts[2])
    found = np.where(condition, x, other)
    return found if found.ndim else float(found)


def whole(x: Quantity) -> Any:
    """The nearest whole number, int32."""
    if learns(x):
        import torch

        return x.round().to(torch.int32)
    return np.int32(np.rint(x)) if np.ndim(x) == 0 else np.rint(x).astype(np.int32)


def ordered(a: Quantity, b: Quantity) -> tuple[Quantity, Quantity]:
    """The smaller of the two, and how much larger the other is. Where both are the same, half of a gradient goes to
    each."""
    if learns(a, b):
        import torch

        like = a if learns(a) else b
        x, y = (torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (a, b))
        return torch.minimum(x, y), (x - y).abs()
    return elementwise(min, a, b), elementwise(lambda x, y: max(x, y) - min(x, y), a, b)


def mean_decay(x: Quantity) -> Quantity:
    """(1 - exp(-x)) / x for x >= 0, and 1 at x = 0: the mean of exp(-t) for t from 0 to x."""
    if not learns(x):
        return elementwise(lambda d: -math.expm1(-d) / d if d > 0 else 1.0, x)
    import torch

    small = x < 1e-2  # where a quotient's gradient would lose its digits: the series is exact to 1e-16 there
    series = 1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6 * (1 - x / 7)))))
    divisor = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, -(-divisor).expm1() / divisor)
