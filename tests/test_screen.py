"""What programs print: every cell is there, whole, within the screen."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sims.screen import print_table


def printed(width: int, columns: list[str], rows: list[list[str]]) -> list[str]:
    text = io.StringIO()
    print_table(Console(file=text, width=width), "A title", columns, rows)
    return text.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 60, 200])
def test_nothing_is_cut_at_any_width(width: int) -> None:
    columns = ["", *(f"region_with_a_name_{i}" for i in range(9)), "units"]
    rows = [
        [f"participation_coefficient_both_{i} (mean)", *(f"{i},{k:03},456" for k in range(9)), "um"] for i in range(3)
    ]
    lines = printed(width, columns, rows)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "…" not in text
    assert all(cell in text for row in rows for cell in row[1:])
    assert all(row[0] in text for row in rows) == (width == 200)  # in one line
    assert all(word in text for word in ("participation_", "both_2", "(mean)"))
    assert sum("units" in line for line in lines) == {60: 5, 80: 3, 200: 1}[width]


def test_a_small_table_is_one_line_a_row() -> None:
    lines = printed(80, ["", "birth", "units"], [["density", "0.5", ""], ["wiring_cost", "1,234", "um"]])
    assert [line.split() for line in lines if line.strip(" ─")] == [
        ["A", "title"], ["birth", "units"], ["density", "0.5"], ["wiring_cost", "1,234", "um"],
    ]  # fmt: skip
