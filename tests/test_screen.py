"""What programs print: every cell is there, whole, within the screen."""

from __future__ import annotations

import io
import json
from argparse import Namespace

import numpy as np
import pandas
import pytest
import xarray as xr
from rich.console import Console

from sims.screen import console_of, print_json, print_table, progress


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


def test_json_is_read_back_with_null_for_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    made = xr.Dataset(
        {"score": (("task", "run"), [[0.5, np.nan]], {"units": "1"})}, {"task": ["a"]}, {"seed": np.int64(3)}
    )
    print_json(made)
    printed = json.loads(capsys.readouterr().out)
    assert printed["data_vars"]["score"]["data"] == [[0.5, None]]
    read = xr.Dataset.from_dict(printed)
    xr.testing.assert_identical(read.assign(score=read.score.astype(float)), made)
    print_json({"rows": pandas.DataFrame({"what": ["x", "y"], "p": [np.nan, 0.25]})})
    assert json.loads(capsys.readouterr().out) == {"rows": [{"what": "x", "p": None}, {"what": "y", "p": 0.25}]}


@pytest.mark.parametrize(
    ("quiet", "verbose", "said"), [(False, False, []), (True, False, []), (False, True, ["reading", "then this"])]
)
def test_progress_is_for_terminals_or_asked_for(
    quiet: bool, verbose: bool, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(Namespace(quiet=quiet, verbose=verbose), "reading") as say:
        say("then this")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.partition(" s  ")[2] for line in printed.err.splitlines()] == said


def test_with_json_nothing_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, is_json, printed in ((False, False, "x\n"), (True, False, ""), (False, True, "")):
        console_of(Namespace(quiet=quiet, json=is_json)).print("x")
        assert capsys.readouterr().out == printed
