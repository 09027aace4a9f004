"""Where a connectome comes from, as files say it."""

from __future__ import annotations

from typing import Any

import pytest

from connectome import ConnectomeError
from connectome.graph.connectome import Provenance, RuleRecord
from connectome.graph.tables import read_header

RECORD = [1, 5, "growth", "a", "local", "a", 5, 0, 0, 0, 0]
WHOLE = {"seed": 3, "stage": 1, "stage_name": "a", "parents": ["0"], "versions": {"numpy": "2"}, "rule_log": [RECORD]}


def test_what_is_whole_is_read() -> None:
    found = read_header({"provenance": WHOLE}, "here").provenance
    assert found == Provenance(3, 1, "a", ("0",), {"numpy": "2"}, (RuleRecord(*RECORD),))  # type: ignore[arg-type]
    assert read_header({"provenance": {**WHOLE, "seed": None}}, "here").provenance.seed is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"versions": 1.5}, "float"), ({"versions": {"numpy": 2}}, "2 where str"), ({"seed": "x"}, "'x' where int"),
        ({"stage": 1.0}, "1.0 where int"), ({"stage_name": None}, "None where str"), ({"parents": [4]}, "4 where str"),
        ({"rule_log": [[*RECORD[:6], "5"]]}, "'5' where int"), ({"rule_log": [[*RECORD[:2], 0, *RECORD[3:]]]}, "0 wh"),
        ({"rule_log": [[1]]}, "missing"), ({"rule_log": 1}, "iterable"), ({"unheard": 1}, "unheard"),
    ],
)  # fmt: skip
def test_what_is_of_another_type_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConnectomeError, match="here must hold regions, edge_sets and provenance") as caught:
        read_header({"provenance": WHOLE | wrong}, "here")
    assert named in str(caught.value)
