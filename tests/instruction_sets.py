"""The suite as on other processors: with fewer instructions for NumPy, Numba, OpenBLAS and torch.

    python -m tests.instruction_sets
    python -m tests.instruction_sets --only generic -- tests/test_simulate.py

Last bits differ then: a test that hangs on them fails here before it does on somebody's machine. x86-64; each set
compiles every kernel anew, and takes as long as the suite.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

__all__ = ["SETS", "main"]

#: Name -> what Numba, OpenBLAS and torch are told; of NumPy's features those that are left.
SETS: Final[Mapping[str, tuple[Mapping[str, str], frozenset[str]]]] = {
    "generic": (
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Nehalem",
         "ATEN_CPU_CAPABILITY": "default"}, frozenset(),
    ),
    "avx2": (
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Haswell",
         "ATEN_CPU_CAPABILITY": "avx2"},
        frozenset({"SSSE3", "SSE41", "POPCNT", "SSE42", "AVX", "F16C", "FMA3", "AVX2"}),
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite under each set; 0 if it passes under all."""
    numpy = import_module("numpy._core._multiarray_umath")  # has no types
    parser = argparse.ArgumentParser(prog="python -m tests.instruction_sets", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(SETS), help="one of the sets (default: all)")
    parser.add_argument("pytest", nargs="*", help="after --: options and tests")
    options = parser.parse_args(argv)
    ended = {}
    for name in [options.only] if options.only else SETS:
        told, left = SETS[name]
        lost = [f for f in numpy.__cpu_dispatch__ if numpy.__cpu_features__.get(f) and f not in left]
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, **told, "NPY_DISABLE_CPU_FEATURES": " ".join(lost), "NUMBA_CACHE_DIR": cache}
            ended[name] = subprocess.run([sys.executable, "-m", "pytest", *options.pytest], env=environment).returncode
    sys.stdout.write(", ".join(f"{name}: {'passes' if code == 0 else 'fails'}" for name, code in ended.items()) + "\n")
    return int(any(ended.values()))


if __name__ == "__main__":
    sys.exit(main())
