"""Two sets as tables: the numbers of influence, in words, and against other graphs."""

from __future__ import annotations

import numpy as np
import pytest

from connectome.analysis.between import paths_between, structure_between
from connectome.analysis.simple_graph import SimpleGraph


def mask(*nodes: int) -> np.ndarray:
    found = np.zeros(5, bool)
    found[list(nodes)] = True
    return found


#: 0 -> 1 -> 3 and 0 -> 2 -> 3, and 0 -> 4 -> 3 directly and weakly.
GRAPH = SimpleGraph.from_arrays(
    5, [0, 0, 1, 2, 4, 0], [1, 2, 3, 3, 3, 3], [1.0, 1.0, 6.0, -2.0, 1.0, 1.0], region=[0, 0, 1, 1, 1],
    regions=("in", "out"), label=["A", "B", "", "D", "E"],
)  # fmt: skip


def test_paths_with_shares_of_input() -> None:
    table = paths_between(GRAPH, mask(0), mask(3), 2)
    paths = [
        (kind, rank, one.cell.tolist(), one.input_share.tolist()[1:], one.strength.iloc[0])
        for (kind, rank), one in table.groupby(["kind", "path"], sort=False)
    ]
    assert paths == [
        ("strongest", 1, ["A", "B", "D"], [1.0, 0.6], 0.6), ("strongest", 2, ["A", "out 0", "D"], [1.0, 0.2], 0.2),
        ("shortest", 1, ["A", "D"], [0.1], 0.1),
    ]  # fmt: skip
    assert np.isnan(table.input_share[0])
    assert table[["region", "number"]].values.tolist()[:3] == [["in", 0], ["in", 1], ["out", 1]]
    assert set(paths_between(GRAPH, mask(0), mask(3), 3).kind) == {"strongest"}  # the shortest is among these
    assert len(paths_between(GRAPH, mask(3), mask(0), 2)) == 0


def test_structure_against_other_graphs() -> None:
    apart = SimpleGraph.from_arrays(5, [0, 1], [1, 2])
    table = structure_between(GRAPH, [apart, GRAPH, apart], mask(0), mask(3), 2).set_index("what")
    assert table.value.tolist() == pytest.approx([1, 0.6, 0.1, 0.8])
    assert table.p.tolist() == [0.5] * 4  # as much in one of three
    assert table["mean"]["effective connectivity over 2 steps"] == pytest.approx(0.8 / 3)
    none = structure_between(GRAPH, [], mask(0), mask(3), 1)
    assert none.n.tolist() == [0, 0, 0]
    assert none.p.isna().all()
