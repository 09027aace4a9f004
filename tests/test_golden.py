"""A development gives the same bytes as when its digest was stored: so a change of results is never unnoticed."""

from __future__ import annotations

import json

import pytest

from tests import golden


def test_a_development_is_what_it_was() -> None:
    stored = json.loads(golden.FILE.read_text())
    expected = stored.pop("digests")
    now = golden.here()
    if stored != now:
        pytest.skip(f"stored for {stored}, and this is {now}: `python -m tests.golden` stores it for this")
    assert golden.digests() == expected, "results have changed: if they were meant to, run `python -m tests.golden`"
