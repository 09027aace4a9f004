"""How every kernel is compiled: in one place, so that the options cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["kernel"]

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile with Numba: cached on disk, releasing the GIL, exact floating point (no fastmath: results must not
    depend on the machine), and NumPy's rules for division."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
