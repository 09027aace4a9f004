"""``python -m sims``: every program is found, described and called by a command that it takes."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

import sims
from sims.__main__ import main, programs

FOLDER = Path(sims.__file__).parent


def test_every_module_that_parses_options_is_listed() -> None:
    parses = {f.stem for f in FOLDER.glob("[!_]*.py") if "ArgumentParser(" in f.read_text("utf-8")}
    assert {p.name for p in programs()} == parses >= {"develop", "simulate", "report", "summarize"}


def test_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for program in programs():
        assert program.name in shown
        assert program.command in shown
        assert 20 < len(program.purpose) < 200
        assert program.command.startswith(f"python -m sims.{program.name}")


@pytest.mark.parametrize("name", [p.name for p in programs()])
def test_the_options_of_each_command_exist(name: str) -> None:
    (program,) = (p for p in programs() if p.name == name)
    known: set[str] = set()

    class Parsed(Exception):
        pass

    def remember(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        known.update(self._option_string_actions)
        raise Parsed

    with mock.patch.object(argparse.ArgumentParser, "parse_args", remember), pytest.raises(Parsed):
        importlib.import_module(f"sims.{name}").main([])
    assert {word for word in program.command.split() if word.startswith("--")} <= known


def test_a_program_is_run_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mechanisms", "--kind", "tasks"]) == 0
    assert "perception" in capsys.readouterr().out
    assert main(["summarize", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_what_is_no_program_is_answered_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["develp"]) == 2
    assert capsys.readouterr().err == "connectome: there is no program 'develp'. Did you mean develop?\n"
    assert main(["zzz"]) == 2
    assert "There are: analyze," in capsys.readouterr().err


def test_the_command_is_installed() -> None:
    """From pyproject.toml; what it is called with is tried above."""
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="connectome")
    assert command.load() is main


def test_it_runs_as_a_module_and_imports_nothing_heavy() -> None:
    code = "import sys, runpy; sys.argv = ['sims']\ntry: runpy.run_module('sims', run_name='__main__')\n"
    code += "except SystemExit as e: assert not e.code\n"
    code += "assert not {'numpy', 'torch', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, check=True, capture_output=True)
