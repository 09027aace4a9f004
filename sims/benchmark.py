"""How fast the engine is: against other simulators, against the machine, and against the number of edges.

python -m sims.benchmark [MODEL ...] --peers auto --peer-python nest=/some/bin/python --json figures.json

Whatever is compared runs in turns, round after round, on the same core; a ratio is that of one round, so that it does
not matter that a shared machine is faster in one minute than in another. Seconds are CPU seconds of the simulation
alone: the network is built, and code compiled, before.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectome.errors import ConnectomeError
from sims.benchmarks.bench import Bench, Spread, Table, digits
from sims.benchmarks.models import MODELS
from sims.benchmarks.peers import PEERS
from sims.program import ended, exit_codes, refuse_taken

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main", "parser"]


_NO_PEERS: Final = ("none", "auto")
#: Each a function of a module of its name, which is imported when it is asked for.
_OTHERS: Final = (
    "microcircuit", "neurons", "shiu2024", "analysis", "annotated", "convolutions", "larger", "messages", "planned",
)  # fmt: skip
_ALL: Final = (*MODELS, *_OTHERS)


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.benchmark",
        description="Measure the engine beside other simulators, beside the machine's limit, and against the edges.",
        epilog=f"Models: {', '.join(_ALL)}. Peers: {', '.join(PEERS)}. "
        + exit_codes("a peer failed", "nothing is written"),
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help=f"what to measure (default: all but {', '.join(_OTHERS)})",
    )
    parser.add_argument(
        "--peers",
        default="auto",
        metavar="NAMES",
        help="with commas; auto: all that are installed; none (default: auto)",
    )
    parser.add_argument(
        "--peer-python", action="append", default=[], metavar="NAME=PATH",
        help="the Python in which a peer is installed, if it is not this one; may be given several times",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N",
        help="more than 1 adds a row of ours with so many, in wall seconds; the others have one (default: 1)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, versions and the machine")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--quick", action="store_true", help="tiny sizes without peers, to see that it works")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    try:
        return ended("benchmark", lambda: _benchmark(options, affinity), lambda: "")
    finally:
        if affinity:
            os.sched_setaffinity(0, affinity)


def _benchmark(options: argparse.Namespace, affinity: set[int]) -> int:
    names = _check(options)
    peers = {} if options.quick else _peers(options.peers, options.peer_python)
    from rich.console import Console

    from connectome.io.results import save_text

    console = Console()
    if not console.is_terminal:
        console.width = 140
    core = max(affinity) if affinity else None
    if core is not None:
        os.sched_setaffinity(0, {core})
    figures: dict[str, Any] = {"machine": _machine(), "versions": _versions(), "load_before": _load(), "models": {}}
    failed = False
    for name in names:
        with console.status(name) as status:

            def say(what: str, name: str = name, status: Any = status) -> None:
                status.update(f"{name}: {what}")

            bench = Bench(options.repeats, options.threads, options.quick, peers, core, affinity, say)
            tables = []
            for table in _measured(name, bench):
                tables.append(table)
                _show(console, name, table)
        failed |= any(" failed: " in table.note for table in tables)
        figures["models"][name] = [
            {"title": t.title, "note": t.note, "rows": [{k: _plain(v) for k, v in row.items()} for row in t.rows]}
            for t in tables
        ]
        figures["load_after"] = _load()
        if options.json is not None:
            save_text(json.dumps(figures, indent=1) + "\n", options.json)
    machine = figures["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {'one of them used' if core is not None else 'not pinned to one'}"
        f"; load {figures['load_before']} before, {figures['load_after']} after; median (least-most) of "
        f"{options.repeats} rounds", highlight=False,
    )  # fmt: skip
    return 1 if failed else 0


def _measured(name: str, bench: Bench) -> Iterator[Table]:
    """The tables of a model."""
    make = MODELS[name] if name in MODELS else getattr(import_module(f"sims.benchmarks.{name}"), name)
    tables: Iterator[Table] = make(bench)
    return tables


def _check(options: argparse.Namespace) -> list[str]:
    for name in options.models:
        if name not in _ALL:
            raise ConnectomeError("MODEL", f"must be one of {', '.join(_ALL)}", repr(name))
    if not 1 <= options.repeats <= 1000:
        raise ConnectomeError("--repeats", "must be in 1 .. 1000", options.repeats)
    if not 1 <= options.threads <= 256:
        raise ConnectomeError("--threads", "must be in 1 .. 256", options.threads)
    if options.json is not None:
        refuse_taken("--json", options.json, overwrite=options.overwrite)
    return list(dict.fromkeys(options.models)) or list(MODELS)


def _peers(asked: str, given: Sequence[str]) -> dict[str, str]:
    """Peers to run -> their interpreters."""
    pythons = {}
    for text in given:
        name, _, path = text.partition("=")
        if name not in PEERS or not path:
            raise ConnectomeError("--peer-python", f"must be NAME=PATH, NAME one of {', '.join(PEERS)}", repr(text))
        if not os.access(path, os.X_OK) or Path(path).is_dir():
            raise ConnectomeError("--peer-python", "must be a program that can be run", repr(path))
        if not _has(path, PEERS[name][0]):
            raise ConnectomeError("--peer-python", f"must be a Python that has {PEERS[name][0]}", repr(path))
        pythons[name] = os.path.abspath(path)  # not resolved: a virtual environment's is a link
    names = list(PEERS) if asked in _NO_PEERS else asked.split(",")
    for name in names:
        if name not in PEERS:
            raise ConnectomeError("--peers", f"must be auto, none, or some of {','.join(PEERS)}", repr(name))
    for name in names:
        if name not in pythons and find_spec(PEERS[name][0]) is not None:
            pythons[name] = sys.executable
        if name not in pythons and asked not in _NO_PEERS:
            raise ConnectomeError(
                "--peers", "must be installed", name, f"Is it in another Python? --peer-python {name}=PATH"
            )
    return {} if asked == "none" else {name: pythons[name] for name in names if name in pythons}


def _has(python: str, module: str) -> bool:
    script = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        return subprocess.run([python, "-c", script], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _show(console: Console, name: str, table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    shown = RichTable(
        box=SIMPLE_HEAD, pad_edge=False, title=f"{name}: {table.title}", caption=table.note, title_justify="left",
        caption_justify="left",
    )  # fmt: skip
    for key, value in (table.rows[0] if table.rows else {}).items():
        shown.add_column(key.replace("_", " "), justify="left" if isinstance(value, str) else "right")
    for row in table.rows:
        shown.add_row(*(_cell(value) for value in row.values()))
    console.print(shown, markup=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return digits(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Spread):
        return value._asdict()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _machine() -> dict[str, Any]:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return {
        "cpu": found[1] if found else platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "system": platform.platform(),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("connectome", "numba", "numpy", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a bare clone
            continue
    return versions


def _load() -> list[float]:
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else []


if __name__ == "__main__":
    sys.exit(main())
