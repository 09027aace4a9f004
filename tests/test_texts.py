"""Numbers and lists as texts."""

from __future__ import annotations

import numpy as np
import pytest

from connectome.texts import listed, percent, plural, readable


@pytest.mark.parametrize(
    ("value", "text"),
    [(85804, "85,804"), (1812.6, "1,813"), (0.14567, "0.1457"), (np.nan, "-"), (1e-17, "0"), (1e20, "1e+20")],
)
def test_numbers_to_read(value: float, text: str) -> None:
    assert readable(value) == text


def test_shares_and_lists() -> None:
    assert percent(0.9753) == "97.5\N{NO-BREAK SPACE}%"
    assert percent(0.075, 0) == "8\N{NO-BREAK SPACE}%"
    assert [listed(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert [plural(n, "edge") for n in (0, 1, 2000)] == ["0 edges", "1 edge", "2,000 edges"]
