"""Parameters that check themselves, from Python and from tables."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.errors import ConnectomeError
from connectome.parameters import Parameters, bounded, from_table, to_table


@dataclass(frozen=True)
class Inner(Parameters):
    share: float = bounded(0.5, 0, 1)
    text: str = "a"


@dataclass(frozen=True)
class Outer(Parameters):
    count: int = bounded(3, 1, 10)
    amplitude_pa: float = bounded(2.0, 0.5)
    free: float = 1.0
    switch: bool = False
    name: str = "x"
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, r"^Outer\.count must be in 1 \.\. 10; found 0\.$"),
        ({"count": 11}, r"^Outer\.count must be in 1 \.\. 10; found 11\.$"),
        ({"count": 3.0}, r"^Outer\.count must be of type int; found 3\.0, a float\.$"),
        ({"count": True}, r"^Outer\.count must be of type int; found True, a bool\.$"),
        ({"count": "3"}, r"^Outer\.count must be of type int; found '3', a str\.$"),
        ({"count": None}, r"^Outer\.count must be of type int; found None, a NoneType\.$"),
        ({"count": 2**63}, r"^Outer\.count must fit in 64 bits; found an integer of 64 bits\.$"),
        ({"count": -(10**5000)}, r"^Outer\.count must fit in 64 bits; found an integer of 16610 bits\.$"),
        ({"amplitude_pa": 0.49}, r"^Outer\.amplitude_pa must be at least 0\.5; found 0\.49\.$"),
        ({"amplitude_pa": 10**400}, r"^Outer\.amplitude_pa must fit in 64 bits; found an integer of 1329 bits\.$"),
        ({"amplitude_pa": math.nan}, r"^Outer\.amplitude_pa must be finite; found nan\.$"),
        ({"amplitude_pa": math.inf}, r"^Outer\.amplitude_pa must be finite; found inf\.$"),
        ({"amplitude_pa": False}, r"^Outer\.amplitude_pa must be of type float; found False, a bool\.$"),
        ({"amplitude_pa": [1.0]}, r"^Outer\.amplitude_pa must be of type float; found \[1\.0\], a list\.$"),
        ({"amplitude_pa": 1.1e12}, r"^Outer\.amplitude_pa must be within -1e\+12 \.\. 1e\+12; found "),
        ({"free": -math.inf}, r"^Outer\.free must be finite; found -inf\.$"),
        ({"switch": 1}, r"^Outer\.switch must be of type bool; found 1, a int\.$"),
        ({"name": 1}, r"^Outer\.name must be of type str; found 1, a int\.$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        Outer(**given)
    with pytest.raises(ConnectomeError, match=message.replace("^Outer", r"^here\.and\.there")):
        from_table(Outer, given, "here.and.there")


@given(st.integers(1, 10), st.floats(0.5, 1e12), st.booleans(), st.text(), st.floats(0, 1))
def test_what_fits_is_taken_and_goes_there_and_back(n: int, x: float, switch: bool, text: str, share: float) -> None:
    made = Outer(count=n, amplitude_pa=x, switch=switch, name=text, inner=Inner(share))
    assert (made.count, made.amplitude_pa, made.switch, made.name, made.inner.share) == (n, x, switch, text, share)
    assert from_table(Outer, to_table(made), "there") == made
    assert list(to_table(made)) == ["count", "amplitude_pa", "free", "switch", "name", "inner"]


def test_whole_numbers_are_numbers() -> None:
    for value in (7, np.float64(7.0)):
        made = Outer(amplitude_pa=value)
        assert type(made.amplitude_pa) is float
        assert made.amplitude_pa == 7.0


def test_the_ends_are_included() -> None:
    assert [Outer(count=n).count for n in (1, 10)] == [1, 10]
    assert Outer(amplitude_pa=0.5).amplitude_pa == 0.5


def test_what_a_table_leaves_out_keeps_its_default() -> None:
    assert from_table(Outer, {}, "t") == Outer()
    assert from_table(Outer, {"inner": {"text": "b"}}, "t") == Outer(inner=Inner(text="b"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (3, r"^t must be a table; found 3, a int\.$"),
        ([{}], r"^t must be a table; found \[\{\}\], a list\.$"),
        ({"inner": 0.5}, r"^t\.inner must be a table; found 0\.5, a float\.$"),
        ({"cuont": 3}, r"^t must have no keys but count, .*, inner; found 'cuont'\. Did you mean 'count'\?$"),
        ({"qqq": 3}, r"^t must have no keys but count, .*, inner; found 'qqq'\.$"),
        ({"inner": {"Share": 1}}, r"^t\.inner must have no keys but share, text; .* Did you mean 'share'\?$"),
        ({"inner": {"share": 1.5}}, r"^t\.inner\.share must be in 0 \.\. 1; found 1\.5\.$"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit(table: object, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        from_table(Outer, table, "t")


def test_without_a_place_the_field_names_itself() -> None:
    with pytest.raises(ConnectomeError, match=r"^count must be"):
        from_table(Outer, {"count": 99}, "")
    with pytest.raises(ConnectomeError, match=r"^inner\.share must be"):
        from_table(Outer, {"inner": {"share": 9}}, "")
