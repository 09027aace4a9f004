"""What changed between two connectomes, and every edge's life, against a plain count."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, Provenance, Region
from connectome.analysis.history import CHANGES, difference, lives
from tests.strategies import connectomes, edge_deltas


def edges(*rows: tuple[int, int, float, int], inhibition: Any = 0.0) -> Connectome:
    """Region a of four neurons with edges (source, target, weight, stage of birth)."""
    source, target, weight, birth = np.array(rows).reshape(-1, 4).T
    return Connectome.of(
        [Region("a", 4)],
        [
            EdgeSet.from_arrays(
                ("a", "local", "a"), source.astype(int), target.astype(int), weight, n_source=4, n_target=4, dt_ms=0.1,
                birth_stage=birth.astype(int), state={"inhibition": inhibition},
            )
        ],
    )  # fmt: skip


def test_each_change_by_hand() -> None:
    before = edges((0, 1, 1.0, 0), (0, 2, -2.0, 0), (1, 2, 3.0, 0), (2, 3, 4.0, 0), (3, 0, 5.0, 0))
    after = edges((0, 1, 1.5, 0), (0, 2, -1.0, 0), (1, 2, 3.0, 0), (3, 0, 5.0, 2), (3, 1, 7.0, 2), inhibition=0.5)
    found = difference(before, after)
    table = found.edges.set_index(["source", "target", "birth_stage"])
    assert table.change.to_dict() == {
        (0, 1, 0): "strengthened", (0, 2, 0): "weakened", (1, 2, 0): "unchanged", (2, 3, 0): "died", (3, 0, 0): "died",
        (3, 0, 2): "born", (3, 1, 2): "born",
    }  # fmt: skip
    assert table.inhibited.sum() == 3  # those that were there before
    assert np.isnan(table.weight_after_pa[2, 3, 0])
    assert dict(zip(CHANGES, found.counts.edges.values[0].tolist(), strict=True)) == {
        "born": 2, "died": 2, "strengthened": 1, "weakened": 1, "unchanged": 1, "inhibited": 3,
    }  # fmt: skip
    assert found.counts.abs_weight_change_pa.item() == pytest.approx(17.5 - 15)


def test_parallel_edges_keep_their_order() -> None:
    before = edges((0, 1, 1.0, 0), (0, 1, 2.0, 0), (0, 1, 3.0, 0))
    found = difference(before, edges((0, 1, 1.0, 0), (0, 1, 2.5, 0)))
    assert found.edges.change.tolist() == ["unchanged", "strengthened", "died"]


def test_lives_by_hand() -> None:
    stages = [
        edges((0, 1, 1.0, 0), (1, 2, 1.0, 0)),
        edges((0, 1, 2.0, 0), (1, 2, 1.0, 0), (2, 3, 4.0, 1), inhibition=[0.0, 0.5, 0.0]),
        edges((2, 3, 5.0, 1), (1, 2, 6.0, 2)),
    ]
    table = lives(stages, ["birth", "one", "two"]).set_index(["source", "target", "birth_stage"])
    assert table.born_at.astype(object).to_dict() == {
        (0, 1, 0): "birth", (1, 2, 0): "birth", (1, 2, 2): "two", (2, 3, 1): "one",
    }  # fmt: skip
    assert table.died_at.astype(object).where(table.died_at.notna(), None).to_dict() == {
        (0, 1, 0): "two", (1, 2, 0): "two", (1, 2, 2): None, (2, 3, 1): None,
    }  # fmt: skip
    assert table.inhibited_at.notna().tolist() == [False, True, False, False]
    np.testing.assert_array_equal(table.weight_one, [2.0, 1.0, np.nan, 4.0])


@settings(max_examples=15)  # pandas takes its time over a small table
@given(connectomes(), st.data())
def test_an_edit_is_found_again(before: Connectome, data: st.DataObject) -> None:
    """Against a dictionary of every edge, counted one by one."""
    after = before.apply(data.draw(edge_deltas(before)))
    found = difference(before, after)
    one, two = of_edges(before), of_edges(after)
    expected: Counter[str] = Counter()
    for edge in one.keys() | two.keys():
        was, now = one.get(edge), two.get(edge)
        if was is None or now is None:
            expected["born" if was is None else "died"] += 1
            continue
        size, held = abs(now[0]) - abs(was[0]), now[1] - was[1]
        expected["strengthened" if size > 0 else "weakened" if size < 0 else "unchanged"] += 1
        expected["inhibited"] += held > 0
    counts = found.counts.edges.sum("edge_set")
    assert {change: int(counts.sel(change=change)) for change in CHANGES} == {c: expected[c] for c in CHANGES}
    assert len(found.edges) == len(one.keys() | two.keys())
    table = lives([before, after], ["before", "after"])
    assert table.born_at.eq("after").sum() == expected["born"]
    assert table.died_at.eq("after").sum() == expected["died"]


def of_edges(c: Connectome) -> dict[Any, tuple[float, float]]:
    """(set, source, target, birth, place) -> (weight, inhibition)."""
    seen: defaultdict[Any, int] = defaultdict(int)
    found = {}
    for key, e in c.edges.items():
        held = e.state.get("inhibition", np.zeros(len(e), np.float32))
        for row in zip(e.source, e.target, e.birth_stage, e.weight, held, strict=True):
            s, t, b, w, h = (x.item() for x in row)
            found[key, s, t, b, seen[key, s, t, b]] = w, h
            seen[key, s, t, b] += 1
    return found


def test_nothing_and_what_is_refused() -> None:
    empty = Connectome.of([Region("a", 2)])
    assert list(difference(empty, empty).edges) == list(difference(edges(), edges()).edges)
    assert len(lives([empty, replace(empty, provenance=Provenance(stage_name="b"))])) == 0
    assert difference(edges((0, 1, 1.0, 0)), empty).edges.change.tolist() == ["died"]
    with pytest.raises(ConnectomeError, match="different names"):
        lives([empty, empty], ["a", "a"])
    with pytest.raises(ConnectomeError, match="one or more"):
        lives([])
