"""Numbers and lists as texts, for tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["listed", "percent", "plural", "readable", "shown_p"]

_ZERO: Final = 1e-12
_LARGE: Final = 1e15


def readable(value: float, digits: int = 4) -> str:
    """A number to read: 85,804; 1,813; 0.1457; a dash for nan. What is 0 but for rounding is 0."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    if abs(value) < _ZERO:
        return "0"
    if value == int(value) or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}" if abs(value) < _LARGE else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def percent(part: float, digits: int = 1) -> str:
    """97.5 %."""
    return f"{100 * part:.{digits}f}\N{NO-BREAK SPACE}%"


def shown_p(p: float) -> str:
    """A p-value: 0.023; 2e-05; a dash for nan."""
    return "-" if math.isnan(p) else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def plural(n: int, word: str) -> str:
    """1 edge, 2 edges."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"
