"""Several processes on one folder of cells: each cell is one process's at a time, and what all write, they write in
turn."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from connectome.errors import ConnectomeError
from sims.program import locked

__all__ = ["CELLS", "Shared", "shared"]

CELLS: Final = "cells"
_FILE: Final = ".claims"


class Shared:
    """A folder of cells, and which of them are this process's.

    A claim is a lock on one byte of an empty file, the byte by the cell's name. The system lets go of it when the
    process ends, however it ends: a cell of a killed process is free at once, and no claim is left to clean up. Where
    a file system has no locks all claims succeed, and a cell may be computed twice, to the same bytes: files are
    written whole or not at all.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def take(self, name: str) -> bool:
        """Claim a cell; False if it is another process's now."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(name))
        except (BlockingIOError, PermissionError):  # which of the two, systems differ in
            return False
        except OSError:
            pass  # a file system without locks
        return True

    def give_back(self, name: str) -> None:
        """Let others claim it."""
        with suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _byte(name))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The block is entered by one process at a time; others wait."""
        with suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, _byte(""))
        try:
            yield
        finally:
            self.give_back("")


@contextmanager
def shared(out: Path) -> Iterator[Shared]:
    """A folder of cells, made if need be, for this process and others that share its cells. Raises
    :class:`ConnectomeError` if it cannot be written, or another process has it for itself."""
    try:
        (out / CELLS).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / CELLS / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConnectomeError("--out", "must be a folder that can be written", f"{out}: {error.strerror}") from error
    try:
        with locked("--out", out, shared=True):
            yield Shared(out, descriptor)
    finally:
        os.close(descriptor)


def _byte(name: str) -> int:
    """Where in the file a name's claim is; two names at one place would only wait for each other."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
