"""What a shell offers after `connectome`, and that it need not wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sims.__main__ import programs

ROOT = Path(__file__).parents[1]


def test_options_of_every_program_are_known_without_heavy_imports() -> None:
    """A parser that imports what its program computes with would keep a shell, and --help, waiting."""
    names = [program.name for program in programs()]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    assert importlib.import_module(f'sims.{name}').parser().prog == f'python -m sims.{name}'\n"
        "print(*{'numba', 'torch', 'scipy', 'pandas', 'xarray', 'matplotlib', 'sklearn', 'rich'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == []


@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("connectome s", {"simulate", "study", "summarize"}, {"develop"}),
        ("connectome analyze --null ", {"degree", "lattice"}, {"density"}),
        ("connectome mechanisms --describe pr", {"pruning"}, {"growth"}),
        ("connectome develop --regions motor,per", {"motor,perception"}, {"perception"}),
        ("connectome verify LIC", {"LICENSE"}, {"CHANGELOG.md"}),
    ],
)
def test_a_shell_completes(line: str, offered: set[str], not_offered: set[str], tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "COMP_LINE": line,
        "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "answer"),
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "sims"], cwd=ROOT, env=os.environ | asked, check=True)
    answer = set((tmp_path / "answer").read_text().split("\n"))
    assert offered <= answer
    assert not not_offered & answer
