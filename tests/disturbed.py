"""Programs that live in forked processes, disturbed by ``faults.c``, and are then judged: what they end with, what they
leave, and what becomes of it when they are started again. For ``plant_faults.py``."""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import hashlib
import importlib
import json
import mmap
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from tests.kill_runs import contents, wait
from tests.power_loss import Call, Disk, read_log

__all__ = ["CHECKPOINT", "QUICK", "RUNS", "Bench", "Case", "Due", "Files", "cases_of"]

CONFIGURATION: Final = """
[anatomy]
neurons = 16
[training]
perception = 2
batch = 4
epoch_updates = 2
[data]
test_trials = 4
"""
_LONGEST_S: Final = 120
CHECKPOINT: Final = re.compile(r"run/checkpoints/\d+\.h5")


class Board(ctypes.Structure):
    """As in ``faults.c``."""

    _NAMES = ("calls", "allocations", "fail_allocation", "large", "log", "back_ns")
    _fields_: ClassVar = [(name, ctypes.c_long) for name in _NAMES]


Due = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)


@dataclass(frozen=True)
class Case:
    """A program that is to be disturbed. In a command, ``LIFE`` is the folder where it lives, ``PLACE`` that around it.

    Parameters
    ----------
    name : of the case
    command : the program and its arguments
    before : a folder that it begins with; None if it begins a run
    whole : the digests of what it ends with
    ever : of every file, the digests of what it has at any time
    """

    name: str
    command: tuple[str, ...]
    before: Path | None = None
    whole: dict[str, str] = field(default_factory=dict)
    ever: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Life:
    code: int
    said: str
    calls: int
    allocations: int


_FEW: Final = ("--quiet", "--checkpoint-every", "0", "--no-report")
_WHAT: Final = ("--config", "PLACE/small.toml", "--regions", "perception", "--out", "LIFE/run")
BEGIN: Final = ("sims.develop", *_WHAT, *_FEW)
RESUME: Final = ("sims.develop", "--resume", "LIFE/run", *_FEW)
_VERIFY: Final = ("sims.verify", "--quick", "--quiet", "LIFE/run")
#: What is done with a finished run.
AFTER: Final = {
    "verify": _VERIFY,
    "report": ("sims.report", "--quiet", "--overwrite", "LIFE/run"),
    "export": ("sims.export", "--quiet", "--overwrite", "LIFE/run/01_perception.h5", "--out", "LIFE/graph.graphml"),
}
#: Programs that need no run, and begin with ``graph.csv``: a few seconds for all.
QUICK: Final = {
    "save": ("sims.export", "--quiet", "--overwrite", "LIFE/graph.csv", "--out", "LIFE/graph.h5"),
    "load": ("sims.export", "--quiet", "--overwrite", "LIFE/graph.h5", "--out", "LIFE/graph.json"),
}
RUNS: Final = ("develop", "resume", *AFTER)
GRAPH: Final = "source,target,weight,delay_ms\n0,1,2.5,1\n1,2,-1.5,2\n2,0,0.5,1\n"


class Bench:
    """Where programs live, ``life``, and where they live again, ``after``. In there a run is called ``run``."""

    def __init__(self, place: Path) -> None:
        self.place, self.life, self._after = place, place / "life", place / "after"
        (place / "small.toml").write_text(CONFIGURATION)
        self._board = Board.from_buffer(mmap.mmap(-1, ctypes.sizeof(Board)))
        self._shim = ctypes.CDLL(None)
        self._known: dict[tuple[str, str], str] = {}

    @property
    def seen(self) -> int:
        """How many different folders were gone on with."""
        return len(self._known)

    def warm_up(self, cases: Sequence[str]) -> None:
        """Import and compile everything, on one processor: a process with threads must not be forked."""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self.lay(None)
        (self.life / "graph.csv").write_text(GRAPH)
        commands: list[tuple[str, ...]] = list(QUICK.values())
        if set(cases) & set(RUNS):
            importlib.import_module("torch").set_num_threads(1)
            commands += [BEGIN, *AFTER.values()]
        for command in commands:
            if self._main(command, self.life):
                sys.exit(f"{command[0]} itself fails")
        if BEGIN in commands:
            _keep_picture((self.life / "run" / "development.png").read_bytes())
        gc.collect()
        gc.freeze()  # what a forked process does not touch is not copied

    def live(self, command: Sequence[str], *, after: bool = False, **told: int) -> Life:
        """Run a program in a process of its own, disturbed as told (:class:`Board`)."""
        ctypes.memset(ctypes.byref(self._board), 0, ctypes.sizeof(Board))
        for name, value in {"log": -1, "large": 1 << 62, **told}.items():
            setattr(self._board, name, value)
        life = self._after if after else self.life
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if not child:
                _end(lambda: self.do(command, life), said.fileno())
            code = wait(child)
            said.seek(0)
            return Life(code, said.read(), self._board.calls, self._board.allocations)

    def do(self, command: Sequence[str], life: Path, due: Any = None) -> int:
        """Do it in this process, watched; ``due`` is asked before each call for a file."""
        self._shim.plant(str(life).encode(), ctypes.byref(self._board), due or Due())
        return self._main(command, life)

    def _main(self, command: Sequence[str], life: Path) -> int:
        program, *arguments = (word.replace("LIFE", str(life)).replace("PLACE", str(self.place)) for word in command)
        return int(importlib.import_module(program).main(arguments))

    def lay(self, before: Path | None) -> None:
        """Put there what a program begins with."""
        _copy(before, self.life)

    def logged(self, case: Case) -> bytes:
        """Live undisturbed; what was done to files."""
        self.lay(case.before)
        log = self.place / "log"
        with log.open("wb") as file:
            _expect(self.live(case.command, log=file.fileno()))
        return log.read_bytes()

    def wrong(self, case: Case, code: int, said: str, about: str) -> str:
        """What is not as it should be after a disturbed life, and after the one that follows it; empty if nothing."""
        found = contents(self.life)
        if code == 0:
            return "" if found == case.whole else f"exit code 0 and other bytes: {_differences(found, case.whole)}"
        if code != 2 or len(said.splitlines()) != 1 or not re.search(about, said):
            return f"exit code {code}: {' ... '.join(said.splitlines()[:6] + said.splitlines()[-3:])}"
        before = contents(case.before) if case.before else {}
        for name, digest in found.items() - before.items():
            if not CHECKPOINT.fullmatch(name) and digest not in case.ever.get(name, ()):  # those must be gone on from
                return f"{name} is left, and is not what was ever to be there"
        return self.goes_on(case)

    def goes_on(self, case: Case) -> str:
        """Start a program again: what is wrong with that. What has been seen to go on is not tried again."""
        before = contents(self.life)
        key = case.name, hashlib.sha256(json.dumps(before).encode()).hexdigest()
        if key not in self._known:
            self._known[key] = self._goes_on(case, before)
        return self._known[key]

    def _goes_on(self, case: Case, before: dict[str, str]) -> str:
        command = case.command
        _copy(self.life, self._after)
        if case.name in AFTER:
            seen = self.live(_VERIFY, after=True)
            if seen.code:
                return f"what it left is no finished run: {seen.said}"
        elif case.name in RUNS:
            begun = "run/manifest.json" in before or any(CHECKPOINT.fullmatch(name) for name in before)
            command = RESUME if begun else BEGIN
        life = self.live(command, after=True)
        found = contents(self._after)
        if case.name not in RUNS:  # what else a power loss cut off is left to who finds it
            found = {name: digest for name, digest in found.items() if not name.endswith(".tmp")}
        if life.code or life.said.strip() or found != case.whole:
            return f"goes on to {life.code}, {life.said} with {_differences(found, case.whole)}"
        return ""


class Files:
    """A process forks before each of its calls for files: in the child the call fails, and the child lives to its end,
    and is judged by the process that all come from. Then the folder is put back as it was, names, contents and
    positions in open files, and the first process goes on.

    Parameters
    ----------
    life : the folder
    ways, numbers : what calls fail with, and which
    tell, told : of the pipes to and from the judge
    """

    def __init__(self, life: Path, ways: Sequence[int], numbers: Sequence[int], tell: int, told: int) -> None:
        self._life, self._ways, self._numbers, self._tell, self._told = life, ways, set(numbers), tell, told
        self._number, self._is_child = 0, False

    def ask(self, call: bytes, path: bytes) -> int:
        """What this call is to fail with; 0 if it is not to."""
        if self._is_child:
            return 0
        try:
            self._number += 1
            if self._number in self._numbers:
                for way in self._ways:
                    if self._fails(way, f"{call.decode()} {path.decode()}"):
                        return way
        except BaseException:
            traceback.print_exc()
            os._exit(71)
        return 0

    def _fails(self, way: int, what: str) -> bool:
        """Whether this is the process in which it does."""
        shadow, files = self._life.with_name("shadow"), _open_files(self._life)
        shutil.rmtree(shadow, ignore_errors=True)
        shutil.copytree(self._life, shadow, copy_function=os.link)
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if not child:
                self._is_child = True
                signal.alarm(_LONGEST_S)
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                return True
            code = wait(child)
            said.seek(0)
            outcome = [self._number, way, what, code, said.read()]
        os.write(self._tell, f"{json.dumps(outcome)}\n".encode())
        os.read(self._told, 1)
        _put_back(shadow, self._life)
        for file, (name, place, content) in files.items():
            if content is not None:
                os.ftruncate(file, 0)
                os.pwrite(file, content, 0)
            elif os.path.isdir(name):  # which may be another one by now
                again = os.open(name, os.O_RDONLY)
                os.dup2(again, file, inheritable=False)
                os.close(again)
            os.lseek(file, place, os.SEEK_SET)
        return False


def _end(work: Callable[[], int], said: int) -> NoReturn:
    """Do it, and end this process. What it says goes to ``said``."""
    code = 70
    try:
        signal.alarm(_LONGEST_S)
        os.dup2(said, 1)
        os.dup2(said, 2)
        faulthandler.enable()
        code = work()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def _open_files(folder: Path) -> dict[int, tuple[str, int, bytes | None]]:
    """The name of each file and folder in there that this process has open, the position in it, and its content if it
    may write."""
    found: dict[int, tuple[str, int, bytes | None]] = {}
    for file in map(int, os.listdir("/proc/self/fd")):
        try:
            name = os.readlink(f"/proc/self/fd/{file}")
        except OSError:  # that of the list itself
            continue
        if Path(name).is_relative_to(folder):
            writes = fcntl.fcntl(file, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR)
            content = os.pread(file, os.fstat(file).st_size, 0) if writes else None
            found[file] = name, os.lseek(file, 0, os.SEEK_CUR), content
    return found


def _put_back(shadow: Path, folder: Path) -> None:
    """Make a folder have the same files as another, the very same; folders that are there stay the same."""
    there = set(os.listdir(shadow))
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in there:
                shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    for entry in list(os.scandir(shadow)):
        if entry.is_dir():
            (folder / entry.name).mkdir(exist_ok=True)
            _put_back(Path(entry.path), folder / entry.name)
        else:
            os.link(entry.path, folder / entry.name)


def _copy(folder: Path | None, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    if folder is None:
        to.mkdir()
    else:
        shutil.copytree(folder, to)


class _Drawn:
    """The picture of a run, which is drawn once: it takes longer than all the rest, and is always the same."""

    def __init__(self, picture: bytes) -> None:
        self._picture = picture

    def savefig(self, to: BytesIO, **_: Any) -> None:
        """As a figure's."""
        to.write(self._picture)


def _keep_picture(picture: bytes) -> None:
    figures: Any = importlib.import_module("connectome.analysis.figures")
    figures.draw_development = lambda results: _Drawn(picture)


def _differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return sorted({name for name, _ in found.items() ^ wanted.items()}) or ["the same bytes"]


def cases_of(bench: Bench, names: Sequence[str]) -> Iterator[Case]:
    """Each with what it ends with when nothing disturbs it."""
    cases = [*_quick_cases(bench), *(_run_cases(bench) if set(names) & set(RUNS) else [])]
    for case in cases:
        if case.name in names:
            if not case.whole:
                _learn(bench, case)
            yield case


def _quick_cases(bench: Bench) -> list[Case]:
    bench.lay(None)
    (bench.life / "graph.csv").write_text(GRAPH)
    given = shutil.copytree(bench.life, bench.place / "given")
    _expect(bench.live(QUICK["save"]))
    saved = shutil.copytree(bench.life, bench.place / "saved")
    return [Case("save", QUICK["save"], given), Case("load", QUICK["load"], saved)]


def _run_cases(bench: Bench) -> list[Case]:
    develop = Case("develop", BEGIN)
    calls = _learn(bench, develop)
    finished = shutil.copytree(bench.life, bench.place / "finished")
    # As a process leaves a run that is killed when it has begun to write a checkpoint.
    last = max(i for i, call in enumerate(calls) if call.name == "open" and b"/checkpoints/." in call.data)
    disk, stopped = Disk(bench.life), bench.place / "stopped"
    for call in calls[: last + 20]:
        disk.do(call)
    disk.write_all(stopped)
    resume = Case("resume", RESUME, stopped, ever={name: set(digests) for name, digests in develop.ever.items()})
    bench.lay(finished)
    _expect(bench.live((*AFTER["report"], "--seed", "1")))
    paged = shutil.copytree(bench.life, bench.place / "paged")  # with another page
    after = [Case(name, command, paged if name == "report" else finished) for name, command in AFTER.items()]
    return [develop, resume, *after]


def _expect(life: Life) -> None:
    if life.code:
        sys.exit(f"undisturbed, it fails: {life.said}")


def _learn(bench: Bench, case: Case) -> list[Call]:
    """Find out what the case has and does when nothing disturbs it."""
    for name, digest in contents(case.before).items() if case.before else ():
        case.ever.setdefault(name, set()).add(digest)
    disk, calls = Disk(bench.life, case.before), list(read_log(bench.logged(case)))
    for call in calls:
        if call.name == "rename":
            to = call.data.split(b"\n")[1].decode()
            case.ever.setdefault(os.path.relpath(to, bench.life), set()).add(disk.digest(call))
        disk.do(call)
    case.whole.update(contents(bench.life))
    return calls
