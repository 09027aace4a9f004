"""Planted faults: the list fits the code, and the program tells what is noticed from what is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutate

ROOT = Path(__file__).resolve().parents[1]


def test_every_fault_can_be_planted() -> None:
    """Its text is there once, it changes something, and the tests that must fail are there."""
    listed = mutate.mutants(ROOT / "tests" / "mutants.toml")
    assert len(listed) >= 150
    for mutant in listed:
        assert not mutate.stale(mutant, ROOT), mutant.name
        assert mutant.new != mutant.old, mutant.name
        for test in mutant.tests.split():
            if test.startswith("tests/"):
                file, _, name = test.partition("::")
                assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text() or not name, test


LIST = """
[noticed]
file = "connectome/low_kernels.py"
old = "x * 3"
new = "x * 4 + 0 * 12345678901234567890123456789012345"
tests = "tests/test_it.py"

[not-noticed]
file = "connectome/low_kernels.py"
old = "x * 3"
new = "3 * x"
tests = "tests/test_it.py"

[gone]
file = "connectome/low_kernels.py"
old = "x * 5"
new = "x * 6"
tests = "tests/test_it.py"

[without-tests]
file = "connectome/low_kernels.py"
old = "x * 3"
new = "x * 4"
tests = "tests/test_it.py -k nobody"
"""
LOW = "from connectome.jit import inlined\n\n\n@inlined\ndef low(x):\n    return x * 3\n"
HIGH = """from connectome.jit import kernel
from connectome.low_kernels import low


@kernel
def high(x):
    return low(x) + 1
"""
OTHER = "from connectome.jit import kernel\n\n\n@kernel\ndef other(x):\n    return x + 1\n"
TEST = """
from connectome.high_kernels import high
from connectome.other_kernels import other


def test_it():
    assert high(2) == 7
    assert other(2) == 3
"""


@pytest.mark.slow
def test_what_is_noticed_and_what_is_not(tmp_path: Path) -> None:
    """Of a made-up project, in which one kernel is pasted into another: that is compiled anew for a fault, and what the
    fault is not in is not; nor is anything for the next run, which has nothing left to do."""
    (tmp_path / "connectome").mkdir()
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "connectome" / "jit.py", tmp_path / "connectome")
    for file, text in {
        "connectome/__init__.py": "", "connectome/low_kernels.py": LOW, "connectome/high_kernels.py": HIGH,
        "connectome/other_kernels.py": OTHER, "tests/test_it.py": TEST, "tests/mutants.toml": LIST,
        ".gitignore": "/runs/\n", "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    }.items():  # fmt: skip
        (tmp_path / file).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    program = "import sys; from pathlib import Path; from tests import mutate\n"
    program += "if __name__ == '__main__': sys.exit(mutate.main(sys.argv[2:], Path(sys.argv[1])))"
    (tmp_path / "run.py").write_text(program)

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(tmp_path / "run.py"), str(tmp_path), *arguments], cwd=ROOT, capture_output=True,
            text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    code, said = run("--jobs", "1")
    found = json.loads((tmp_path / "runs/mutate/found.json").read_text())
    verdict = {name: kept[1].partition(":")[0] for name, kept in found.items()}
    assert {name: verdict.get(name) for name in ("noticed", "not-noticed", "gone", "without-tests")} == {
        "noticed": "caught", "not-noticed": "survived", "gone": "stale", "without-tests": "broken",
    }, said  # fmt: skip
    assert code == 1
    assert "1 of 4 faults were caught." in said
    compiled = sorted(p.name.split(".")[1] for p in (tmp_path / "runs/mutate").rglob("*.nbc"))
    assert [name.partition("-")[0] for name in compiled] == ["high"] * 3 + ["other"]
    before = (tmp_path / "runs/mutate/copy0/connectome/low_kernels.py").read_text()
    assert before.startswith(LOW)
    code, said = run("--only", "noticed")
    assert (code, said.count("nothing:")) == (0, 0)
    assert run("--only", "nobody")[0] == 2
    assert run("--list")[1].count("tests/test_it.py") == 4


@pytest.mark.parametrize("text", ["", "[a]\nfile = 'x'\n"])
def test_a_list_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mutants.toml"
    path.write_text(text)
    if text:
        with pytest.raises(TypeError):
            mutate.mutants(path)
    else:
        assert mutate.mutants(path) == []
