"""What may be on a disk after a power loss: of what a program wrote, only that which it synced is sure to be there.

The rules are those of a file system that promises no more than POSIX does. Content of a file is sure when the file was
synced, a name when its folder was; of what came after, any part may be there, in any order between files and folders: a
name without the content, a write without the one before it, half of one. Syncing a file makes no name sure.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Call", "Disk", "read_log"]

_SECTOR = 512


@dataclass(frozen=True)
class Call:
    """A call that changed something, as ``faults.c`` writes it down.

    Parameters
    ----------
    name : open, write, truncate, fsync, close, rename, mkdir or unlink
    number : of the call in the life of the program, from 1 on
    file : its descriptor; -1 for a call by name
    place : where it wrote; the size to truncate to; of how it opened a file, O_CREAT and O_TRUNC
    data : what it wrote; a path; two of them with a line feed between
    """

    name: str
    number: int
    file: int
    place: int
    data: bytes


def read_log(log: bytes) -> Iterator[Call]:
    """The calls of a log, in order."""
    at = 0
    while at < len(log):
        end = log.index(b"\n", at)
        name, number, file, place, size = log[at:end].split()
        at = end + 1 + int(size)
        yield Call(name.decode(), int(number), int(file), int(place), log[end + 1 : at])


@dataclass
class _File:
    """``now`` and, of that, what is ``sure``; in ``since`` the writes after it: a place, and bytes or a new size."""

    sure: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def change(self, place: int, data: bytes | None) -> None:
        _write(self.now, place, data)
        self.since.append((place, data))

    def sync(self) -> None:
        self.sure, self.since = bytes(self.now), []

    def drawn(self, lot: random.Random, kept: float) -> bytes:
        content = bytearray(self.sure)
        for place, data in self.since:
            if lot.random() < kept:
                whole = data is None or kept == 1 or lot.random() < 0.8
                _write(content, place, data if whole or data is None else data[: lot.randrange(0, len(data), _SECTOR)])
        return bytes(content)


@dataclass
class _Folder:
    """As a file, but what changes are names: each change gives some a file or a folder, or None, at once."""

    sure: dict[str, _File | _Folder] = field(default_factory=dict)
    now: dict[str, _File | _Folder] = field(default_factory=dict)
    since: list[dict[str, _File | _Folder | None]] = field(default_factory=list)

    def change(self, names: dict[str, _File | _Folder | None]) -> None:
        _name(self.now, names)
        self.since.append(names)

    def sync(self) -> None:
        self.sure, self.since = dict(self.now), []

    def drawn(self, lot: random.Random, kept: float) -> dict[str, _File | _Folder]:
        names = dict(self.sure)
        for change in self.since:
            if lot.random() < kept:
                _name(names, change)
        return names


def _write(content: bytearray, place: int, data: bytes | None) -> None:
    if data is None:
        del content[place:]
        content.extend(bytes(place - len(content)))
    elif data:
        content.extend(bytes(max(0, place - len(content))))
        content[place : place + len(data)] = data


def _name(names: dict[str, _File | _Folder], change: dict[str, _File | _Folder | None]) -> None:
    for name, what in change.items():
        names.pop(name, None)
        if what is not None:
            names[name] = what


class Disk:
    """A folder as a program that made these calls sees it, and as it may be found after a power loss.

    Parameters
    ----------
    root : the folder that was watched; what is in ``before`` is sure to be in it
    """

    def __init__(self, root: Path, before: Path | None = None) -> None:
        self._root, self._top = root, _Folder()
        self._open: dict[int, _File | _Folder] = {}
        if before is not None:
            _fill(self._top, before)

    def do(self, call: Call) -> None:
        """Do what the call did."""
        if call.name == "open":
            folder, name = self._place(call.data)
            if name and name not in folder.now:
                folder.change({name: _File()})
            opened = self._open[call.file] = folder.now[name] if name else folder
            assert not call.place & os.O_TRUNC or opened.since == [], "emptied, which no program here does"
        elif call.name in ("write", "truncate"):
            self._file(call).change(call.place, call.data if call.name == "write" else None)
        elif call.name == "fsync":
            self._open[call.file].sync()
        elif call.name == "close":
            del self._open[call.file]
        elif call.name == "rename":
            (folder, old), (other, new) = map(self._place, call.data.split(b"\n"))
            assert folder is other, "renamed to another folder, which no program here does"
            folder.change({old: None, new: folder.now[old]})
        else:
            folder, name = self._place(call.data)
            folder.change({name: _Folder() if call.name == "mkdir" else None})

    def digest(self, call: Call) -> str:
        """SHA-256 of the file that a call is about to rename."""
        folder, name = self._place(call.data.split(b"\n")[0])
        file = folder.now[name]
        assert isinstance(file, _File)
        return hashlib.sha256(file.now).hexdigest()

    def write_all(self, place: Path) -> None:
        """Write what programs see to a new folder: what a killed process leaves."""
        _lay(self._top, place, random.Random(0), 1.0, 1.0)

    def write(self, place: Path, lot: random.Random) -> None:
        """Write what may be found after a power loss to a new folder."""
        names, contents = lot.choice([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5), (0.5, 0.5)])
        _lay(self._top, place, lot, names, contents)

    def _place(self, path: bytes) -> tuple[_Folder, str]:
        parts = Path(path.decode()).relative_to(self._root).parts
        here = self._top
        for part in parts[:-1]:
            below = here.now[part]
            assert isinstance(below, _Folder)
            here = below
        if not parts:
            return here, ""
        return here, parts[-1]

    def _file(self, call: Call) -> _File:
        file = self._open[call.file]
        assert isinstance(file, _File)
        return file


def _fill(folder: _Folder, place: Path) -> None:
    for path in sorted(place.iterdir()):
        if path.is_dir():
            below = _Folder()
            _fill(below, path)
            folder.now[path.name] = below
        else:
            content = path.read_bytes()
            folder.now[path.name] = _File(content, bytearray(content))
    folder.sync()


def _lay(folder: _Folder, place: Path, lot: random.Random, names: float, contents: float) -> None:
    place.mkdir()
    for name, what in folder.drawn(lot, names).items():
        if isinstance(what, _File):
            (place / name).write_bytes(what.drawn(lot, contents))
        else:
            _lay(what, place / name, lot, names, contents)
