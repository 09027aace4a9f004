"""What every program does around its work: how it ends, and what it refuses to write over."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from connectome.errors import ConnectomeError

__all__ = ["ended", "refuse_taken"]


def ended(name: str, work: Callable[[], int], kept: Callable[[], str]) -> int:
    """Do a program's work and return its exit code: what ``work`` returns; 2 for input that cannot be used; 130 when it
    is interrupted, which SIGTERM does as Ctrl-C does, with what ``kept`` says of the files."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return work()
    except ConnectomeError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted. {kept()}".rstrip(), file=sys.stderr)
        return 130


def refuse_taken(option: str, path: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, or exists unless ``overwrite``. Raises :class:`ConnectomeError`."""
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise ConnectomeError(option, "must be a file in a folder that can be written", repr(str(path)))
    if os.path.lexists(path) and not overwrite:
        raise ConnectomeError(
            option, "must not exist already", repr(str(path)), "Choose another name, or add --overwrite."
        )


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
