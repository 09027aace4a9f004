"""Whether the tests notice faults: each of a list is planted in a copy of the checkout, where tests must then fail.

    python -m tests.mutate [--jobs 2] [--only NAME ...] [--sample N] [--list]

``mutants.toml`` lists the faults. A table for each, named by its header:

    file     what is changed, from the root of the checkout
    old      a piece of its text that occurs once
    new      what it becomes
    tests    which tests must fail, as pytest wants them: files, ids, -k, -m

Every worker has a copy of its own under ``runs/mutate``, which stays, with what Numba has compiled there. What was
found is kept in ``runs/mutate/found.json``: the same command goes on where it was stopped, and does again only what
has changed since: a fault, its file, its tests. Tests must pass before a fault is planted, or they say nothing.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import multiprocessing
import os
import queue
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

__all__ = ["Mutant", "main", "mutants", "stale"]

ROOT: Final = Path(__file__).resolve().parents[1]
#: A fault may make tests hang, and then they have noticed it.
LIMIT_S: Final = 900
#: Added to each file of kernels in a copy: what a fault may add to it. What Numba has compiled goes by the sizes and
#: dates of all files of kernels, and so is kept, but for what depends on the fault.
_ROOM: Final = 1000
#: Processes for tests, forked from one that has imported what takes long.
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["h5py", "networkx", "numba", "pandas", "pytest", "scipy.stats", "torch", "xarray"])
_GOOD: Final = frozenset({"caught", "caught (hung)"})


class Mutant(NamedTuple):
    """A fault, and the tests that must fail with it."""

    name: str
    file: str
    old: str
    new: str
    tests: str


class Found(NamedTuple):
    """What came of a run of tests: ``verdict``, the test that failed, and how long it took."""

    key: str
    verdict: str
    test: str
    seconds: float


def mutants(path: Path) -> list[Mutant]:
    """The list, in its order."""
    return [Mutant(name, **table) for name, table in tomllib.loads(path.read_text("utf-8")).items()]


def stale(mutant: Mutant, root: Path) -> str:
    """Why a fault cannot be planted; "" if it can."""
    path = root / mutant.file
    if not path.is_file():
        return "no such file"
    count = path.read_text("utf-8").count(mutant.old)
    return "" if count == 1 else f"its text occurs {count} times"


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the script; 0 if every fault was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="tests that run at once (default: 2)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this fault alone; repeatable")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of them, drawn by lot (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the lot (default: 0)")
    parser.add_argument("--list", action="store_true", help="show the faults, run nothing")
    options = parser.parse_args(argv)
    chosen = mutants(root / "tests" / "mutants.toml")
    if unknown := set(options.only) - {m.name for m in chosen}:
        parser.error(f"no fault has this name: {', '.join(sorted(unknown))}")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    chosen = [m for m in chosen if not options.only or m.name in options.only]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(max(options.sample, 0), len(chosen)))
    if options.list:
        for m in chosen:
            _say(f"{m.name:40} {m.file:48} {m.tests}")
        return 0
    found = _Record(root / "runs" / "mutate" / "found.json")
    places: queue.SimpleQueue[int] = queue.SimpleQueue()
    stop = threading.Event()
    for number in range(options.jobs):
        places.put(number)
    groups: dict[str, list[Mutant]] = {}
    for m in chosen:
        groups.setdefault(m.tests, []).append(m)

    def work(group: list[Mutant]) -> None:
        number = places.get()
        try:
            _try(group, root, number, found, stop)
        finally:
            places.put(number)

    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            list(pool.map(work, groups.values()))
        except KeyboardInterrupt:
            _say("What has begun is finished first.")
            stop.set()
            pool.shutdown(cancel_futures=True)
            return 130
    verdicts = {m.name: found.kept[m.name] for m in chosen}
    _say("")
    for name, f in verdicts.items():
        _say(f"{f.verdict:40} {name:40} {f.seconds:6.1f} s  {f.test}")
    bad = [name for name, f in verdicts.items() if f.verdict not in _GOOD]
    _say(f"\n{len(verdicts) - len(bad)} of {len(verdicts)} faults were caught.")
    return int(bool(bad))


class _Record:
    """What was found, in a file that is whole at any time."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = json.loads(path.read_text()) if path.is_file() else {}
        self.kept = {name: Found(*values) for name, values in kept.items()}

    def get(self, name: str, key: str) -> Found | None:
        found = self.kept.get(name)
        return found if found is not None and found.key == key else None

    def put(self, name: str, found: Found) -> Found:
        with self.lock:
            self.kept[name] = found
            temporary = self.path.with_suffix(".part")
            temporary.write_text(json.dumps(self.kept, indent=1))
            temporary.replace(self.path)
            _say(f"{found.verdict:10} {name:40} {found.seconds:6.1f} s  {found.test}")
        return found


def _try(group: list[Mutant], root: Path, number: int, found: _Record, stop: threading.Event) -> None:
    """Faults that the same tests must catch."""
    copy = root / "runs" / "mutate" / f"copy{number}"
    fresh = False
    for m in group:
        if stop.is_set():
            return
        why = stale(m, root)
        if why:
            found.put(m.name, Found("", f"stale: {why}", "", 0.0))
            continue
        key = _key(root, m.tests, m.file, m)
        if found.get(m.name, key):
            continue
        if not fresh:
            _refresh(copy, root)
            fresh = True
        without = f"nothing: {m.tests}"
        passed = found.get(without, _key(root, m.tests)) or found.put(without, _run(m.tests, copy, _key(root, m.tests)))
        if passed.verdict != "survived":
            found.put(m.name, Found("", "broken: its tests fail without it", passed.test, 0.0))
            continue
        with _planted(m, copy):
            found.put(m.name, _run(m.tests, copy, key))


def _key(root: Path, tests: str, file: str = "", mutant: Mutant | None = None) -> str:
    """A digest of a fault, of the file and of the files of tests."""
    sha = hashlib.sha256(repr((tests, mutant)).encode())
    for name in sorted({file, *(t.partition("::")[0] for t in shlex.split(tests))}):
        if (root / name).is_file():
            sha.update((root / name).read_bytes())
    return sha.hexdigest()


def _run(tests: str, copy: Path, key: str) -> Found:
    """Run tests in a copy. They have "survived" if they passed."""
    began, said = time.monotonic(), copy.with_name(f"{copy.name}.txt")
    process = _FORKS.Process(target=_pytest, args=(tests, copy, said))
    process.start()
    process.join(LIMIT_S)
    seconds = time.monotonic() - began
    if process.exitcode is None:
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        return Found(key, "caught (hung)", tests, seconds)
    text = said.read_text("utf-8", "replace")
    failed = " ".join(re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE))
    if process.exitcode < 0:
        return Found(key, "caught", "a crash", seconds)  # e.g. by an address out of range
    verdict = {0: "survived", 1: "caught"}.get(process.exitcode, f"broken: pytest ends with {process.exitcode}")
    if verdict == "survived" and not re.search(r"\d+ passed", text):
        verdict = "broken: its tests are skipped"
    return Found(key, verdict, failed, seconds)


def _pytest(tests: str, copy: Path, said: Path) -> None:
    """In a process of its own, which has imported what others wrote, and nothing of ours."""
    os.setsid()
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= {
        "PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": str(copy.with_name(f"{copy.name}.numba")),
        "HYPOTHESIS_PROFILE": "steady",
    }  # fmt: skip
    os.chdir(copy)
    sys.path[:] = [str(copy), *(p for p in sys.path if p not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("connectome", "sims", "tests")]:
        del sys.modules[name]
    import numba

    numba.config.reload_config()
    sys.argv[:] = ["pytest"]
    code = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=short", *shlex.split(tests)])
    sys.stdout.flush()
    os._exit(int(code))


def _refresh(copy: Path, root: Path) -> None:
    """Make a copy what the checkout is: of the files that git knows or would."""
    if _mark(copy).exists():  # killed while a fault was in what is compiled
        shutil.rmtree(copy.with_name(f"{copy.name}.numba"), ignore_errors=True)
        _mark(copy).unlink()
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True
    )
    wanted = {name for name in listed.stdout.split("\0") if name and os.path.lexists(root / name)}
    copy.mkdir(parents=True, exist_ok=True)
    for path in [p for p in copy.rglob("*") if p.is_symlink() or p.is_file()]:
        name = path.relative_to(copy).as_posix()
        if name not in wanted and "__pycache__" not in path.parts and ".hypothesis" not in path.parts:
            path.unlink()
    for name in wanted:
        ours, its = root / name, copy / name
        its.parent.mkdir(parents=True, exist_ok=True)
        if ours.is_symlink():
            if not its.is_symlink():
                its.symlink_to(os.readlink(ours))
            continue
        text = ours.read_bytes()
        if name.endswith("_kernels.py"):
            text = _padded(text, len(text) + _ROOM)
        if not its.is_file() or its.read_bytes() != text:
            its.write_bytes(text)
            shutil.copystat(ours, its)
            _forget(its)


def _padded(text: bytes, size: int) -> bytes:
    """Python's source made so long by a comment."""
    return text + b"#" * (size - len(text) - 1) + b"\n"


def _forget(path: Path) -> None:
    """Delete what Python has compiled of a file: it goes by size and date."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


@contextmanager
def _planted(m: Mutant, copy: Path) -> Iterator[None]:
    """A copy with a fault."""
    path = copy / m.file
    before, status = path.read_bytes(), path.stat()
    text = before.decode("utf-8").replace(m.old, m.new).encode("utf-8")
    kernels = m.file.endswith("_kernels.py")
    if kernels:
        text = _padded(text.rstrip(b"#\n") + b"\n", len(before))
        if len(text) != len(before):
            raise ValueError(f"{m.name} adds more than {_ROOM} bytes")
        _mark(copy).touch()
    hidden = {p: p.with_suffix(".away") for p in _compiled(m.file, copy)} if kernels else {}
    for index, away in hidden.items():
        index.rename(away)
    _write(path, text, status)
    try:
        yield
    finally:
        _write(path, before, status)
        for index in _compiled(m.file, copy) if kernels else ():
            index.unlink()
        for index, away in hidden.items():
            away.rename(index)
        _mark(copy).unlink(missing_ok=True)


def _mark(copy: Path) -> Path:
    """What is there while a kernel of a copy has a fault."""
    return copy.with_name(f"{copy.name}.planted")


def _write(path: Path, text: bytes, status: os.stat_result) -> None:
    path.write_bytes(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _forget(path)


def _compiled(file: str, copy: Path) -> list[Path]:
    """Numba's indices of what a file of kernels is compiled into: itself, what imports it, and what is no such file."""
    uses = {
        path.relative_to(copy).with_suffix("").as_posix().replace("/", "."): _imports(path)
        for path in copy.rglob("*_kernels.py")
    }
    affected = {file.removesuffix(".py").replace("/", ".")}
    while more := {name for name, used in uses.items() if used & affected} - affected:
        affected |= more
    spared = {name.rpartition(".")[2] for name in uses.keys() - affected}
    cache = copy.with_name(f"{copy.name}.numba")
    return [p for p in cache.rglob("*.nbi") if p.name.partition(".")[0] not in spared]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
