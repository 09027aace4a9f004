"""The cache of compiled kernels: safe with several processes, fresh when any kernel changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import numpy as np
from connectome.slow_kernels import twice
x = np.ones(1000, sys.argv[1])
print(float(twice(x).sum()))
"""
KERNELS = """
from connectome.jit import kernel
from connectome.base_kernels import factor


@kernel
def twice(x):
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = x.dtype.type(factor()) * x[i]
    return y
"""


def package(folder: Path, factor: int) -> None:
    """A package `connectome` with our jit module, a kernel, and one that it calls in another file."""
    (folder / "connectome").mkdir(exist_ok=True)
    (folder / "connectome" / "__init__.py").write_text("")
    shutil.copy(Path(__file__).parents[1] / "connectome" / "jit.py", folder / "connectome" / "jit.py")
    (folder / "connectome" / "slow_kernels.py").write_text("import numpy as np\n" + KERNELS)
    (folder / "connectome" / "base_kernels.py").write_text(
        f"from connectome.jit import kernel\n\n\n@kernel\ndef factor():\n    return {factor}\n"
    )


def start(folder: Path, dtype: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")} | {"PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, dtype], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def results(processes: list[subprocess.Popen[str]]) -> list[float]:
    return [float(p.communicate(timeout=120)[0]) for p in processes]


def test_processes_that_compile_at_once_do_not_mix_types(tmp_path: Path) -> None:
    package(tmp_path, 2)
    kinds = ["float32", "float64"]
    assert results([start(tmp_path, dtype) for dtype in kinds]) == [2000.0, 2000.0]
    assert results([start(tmp_path, dtype) for dtype in kinds]) == [2000.0, 2000.0]
    data = [path.name for path in (tmp_path / "connectome" / "__pycache__").glob("slow_kernels.twice*.nbc")]
    owners = {name.rsplit("-", 1)[1] for name in data}
    assert len(owners) == len(data)  # no process writes to a name that another could choose


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_changes(tmp_path: Path) -> None:
    package(tmp_path, 2)
    assert results([start(tmp_path, "float64")]) == [2000.0]
    (tmp_path / "connectome" / "base_kernels.py").write_text(
        "from connectome.jit import kernel\n\n\n@kernel\ndef factor():\n    return 3\n\n"
    )
    assert results([start(tmp_path, "float64")]) == [3000.0]
