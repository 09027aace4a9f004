"""What every program does around its work: how it ends, what it refuses to write over or to start, what it ran on."""

from __future__ import annotations

import argparse
import fcntl
import gc
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

from connectome import plugins
from connectome.errors import ConnectomeError
from connectome.memory import ran_out

__all__ = [
    "Interrupted", "Interrupts", "add_cells", "add_common", "add_json", "add_loudness", "complete_names", "ended",
    "exit_codes", "locked", "machine", "numbers", "refuse_seed", "refuse_taken", "seed_range", "split_names",
]  # fmt: skip

#: Bytes of a file's name, so that a temporary one beside it has room (255 on most systems).
_LONGEST_NAME = 200
_UNUSABLE = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_codes(one: str = "", kept: str = "no file is half-written") -> str:
    """For the end of a program's help: ``one`` says what 1 means, ``kept`` what an interrupt leaves."""
    failed = f"1 {one}, " if one else ""
    unusable = f"{_UNUSABLE} input that cannot be used or too little memory"
    return f"Exit codes: 0 done, {failed}{unusable}, 130 interrupted, 143 ended by SIGTERM ({kept})"


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options of every program that writes files."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_loudness(parser)


def add_loudness(parser: argparse.ArgumentParser, *, tables: bool = False) -> None:
    """How much a program says; ``tables``: it prints some."""
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print nothing but errors")
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="say what is done and after how long, in lines that stay (stderr)"
    )
    if tables:
        add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option of every program that prints tables."""
    parser.add_argument(
        "--json", action="store_true", help="print the numbers as JSON, with names, dimensions and units, and no tables"
    )


def add_cells(parser: Any) -> None:
    """The options of every program whose work is cells; ``parser`` may be a group of one."""
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="do it on a Dask cluster: its scheduler's address, or the file that it "
        "wrote (extra dask)",
    )  # fmt: skip
    parser.add_argument(
        "--cells", metavar="K,L-M,...", help="only these parts of the work, by number from 0; others may do the others"
    )


def numbers(option: str, text: str, below: int) -> list[int]:
    """The whole numbers in an option, such as ``3,7`` or ``0-9``. Raises :class:`ConnectomeError`."""
    found: set[int] = set()
    for part in split_names(text):
        bounds = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        first, last = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (0, -1)
        if not first <= last < below:
            raise ConnectomeError(option, f"must be numbers in 0 .. {below - 1:,}, such as 3,7 or 0-9", repr(text))
        found |= {*range(first, last + 1)}
    return sorted(found)


def seed_range(text: str) -> range:
    """The seeds that ``--seeds`` asks for: so many from 0, or from the first to the last. Raises
    :class:`ConnectomeError`."""
    bounds = re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})", text, re.ASCII)
    found = range(0) if bounds is None else range(int(bounds[1] or 0), int(bounds[2]) + (bounds[1] is not None))
    if not found:
        raise ConnectomeError("--seeds", "must be 1 or more", text, "Or the first and the last, such as 10-19.")
    return found


def complete_names(action: argparse.Action, *groups: str) -> None:
    """Let a shell complete the names, between commas, that an option takes: those of :mod:`connectome.plugins` in these
    groups. argcomplete asks for them."""

    def following(prefix: str, **_: object) -> list[str]:
        before = prefix[: prefix.rfind(",") + 1]
        return [before + name for group in groups for name in _named(group)]

    vars(action)["completer"] = following


def _named(group: str) -> Iterable[str]:
    if group == "metrics":
        from connectome.analysis.measure import known_metrics

        return known_metrics()
    return plugins.known(group)


def split_names(text: str) -> list[str]:
    """The names in an option, between commas."""
    return [name.strip() for name in text.split(",")]


def ended(name: str, work: Callable[[], int], kept: Callable[[], str] = lambda: "No file is half-written.") -> int:
    """Do a program's work and return its exit code: what ``work`` returns; 2 for input that cannot be used or too
    little memory; 130 when Ctrl-C interrupts it and 143 when SIGTERM does, with what ``kept`` says of the files."""
    with _hushed():
        code = _ended(name, work, kept)
        if code == _UNUSABLE:
            gc.collect()  # what is left of a file
        return code


def _ended(name: str, work: Callable[[], int], kept: Callable[[], str]) -> int:
    try:
        with _handled(_interrupt):
            return work()
    except ConnectomeError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return _UNUSABLE
    except (MemoryError, OSError, RuntimeError) as error:
        if ran_out(error):
            print(f"{name}: memory must be enough for this; found too little. {kept()}".rstrip(), file=sys.stderr)
        elif isinstance(error, OSError):  # a name that is too long, a disk that is gone
            place = f"{error.filename!r}" if error.filename else "the system"
            print(f"{name}: {place} must be usable; found {error.strerror or error}.", file=sys.stderr)
        else:
            raise
        return _UNUSABLE
    except KeyboardInterrupt as interrupt:
        print(f"\n{name}: interrupted. {kept()}".rstrip(), file=sys.stderr)
        return 128 + getattr(interrupt, "number", signal.SIGINT)


class Interrupts:
    """Within the block, a first interrupt is only noted: the work asks for it where it can stop. A second one stops it
    at once."""

    def __init__(self) -> None:
        self._number = 0

    def __bool__(self) -> bool:
        return self._number != 0

    def raise_it(self) -> NoReturn:
        """Stop here; as if by SIGTERM, where it was another process that was interrupted."""
        raise Interrupted(self._number or signal.SIGTERM)

    def __enter__(self) -> Interrupts:
        self._handling = _handled(self._note)
        self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.__exit__(None, None, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            raise Interrupted(number)
        self._number = number
        os.write(2, b"\nStopping at the next point that it can go on from. Again: stop at once.\n")


@contextmanager
def _hushed() -> Iterator[None]:
    """HDF5 objects of a damaged file complain once more when they go, of what has been said by then: not here."""
    unraisable, uncaught = sys.unraisablehook, sys.excepthook
    place = "h5py._objects"

    def unless_hdf5(said: Any) -> None:
        if place not in f"{said.object}":
            unraisable(said)

    def unless_there(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if trace is None or place not in trace.tb_frame.f_globals.get("__name__", ""):
            uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = unless_hdf5, unless_there
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = unraisable, uncaught


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Both signals handled so, unless whoever started the program had them ignored (as nohup and shells do)."""
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
    changed = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


@contextmanager
def locked(option: str, folder: Path, *, shared: bool = False) -> Iterator[None]:
    """A run's folder for this process alone, or for those that share it. The system lets go of it when the process
    ends, however it ends. Raises :class:`ConnectomeError` if another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConnectomeError(
                option, "must be a folder that no other run writes to", repr(str(folder)),
                "Wait until that run has ended, or stop it.",
            ) from None  # fmt: skip
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def refuse_taken(option: str, path: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, or exists unless ``overwrite``. Raises :class:`ConnectomeError`."""
    is_name = len(os.fsencode(path.name)) <= _LONGEST_NAME
    if not (is_name and os.path.isdir(path.parent) and os.access(path.parent, os.W_OK)) or os.path.isdir(path):
        raise ConnectomeError(option, "must be a file in a folder that can be written", repr(str(path)))
    if os.path.lexists(path) and not overwrite:
        raise ConnectomeError(
            option, "must not exist already", repr(str(path)), "Choose another name, or add --overwrite."
        )


def refuse_seed(seed: int) -> None:
    """Refuse what random numbers cannot begin with. Raises :class:`ConnectomeError`."""
    if not 0 <= seed < 2**63:
        raise ConnectomeError("--seed", "must be in 0 .. 2**63 - 1", seed)


def machine() -> str:
    """System and processor: where results of the same versions may still differ in their last bits."""
    from llvmlite.binding import get_host_cpu_name

    cpu = [platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu += [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        pass
    library = " ".join(platform.libc_ver())
    return f"{platform.system()} {platform.machine()}, {library}, {cpu[-1]} ({get_host_cpu_name()})"
