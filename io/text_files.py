"""Text files in UTF-8, read in parts: anything that is not such text is refused, with its line."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from connectome.errors import ConnectomeError
from connectome.io.files import MAX_BYTES, plain_file

__all__ = ["TextBytes", "beginning", "delimiter_of", "opened", "read_header", "read_text", "rows_of"]

#: The largest table that is read; one is read part by part.
MAX_TABLE_BYTES: Final = 1 << 33
#: What is made of one line takes several times as much memory.
MAX_LINE_BYTES: Final = 1 << 26
_DELIMITERS: Final = ",\t;"


@contextmanager
def opened(path: str | os.PathLike[str], max_bytes: int = MAX_TABLE_BYTES) -> Iterator[TextBytes]:
    """A text file in UTF-8 as bytes, without a byte-order mark. Anything that is not such text is refused as it is
    read. Raises :class:`ConnectomeError`."""
    name = os.fspath(path)
    with plain_file(name, max_bytes) as file, _Checked(name, file) as checked:
        yield TextBytes(checked, 1 << 20)


class TextBytes(io.BufferedReader):
    """A text as bytes; ``failure`` is why reading stopped, if it did."""

    @property
    def failure(self) -> ConnectomeError | None:
        """None where nothing was wrong."""
        return getattr(self.raw, "failure", None)


class _Checked(io.RawIOBase):
    """Bytes that are UTF-8, without the character NUL."""

    def __init__(self, name: str, file: io.BufferedReader) -> None:
        self._name, self._file = name, file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._lines, self._line_bytes = 1, 0
        self.failure: ConnectomeError | None = None
        if file.peek(3)[:3] == codecs.BOM_UTF8:
            file.read(3)

    def readable(self) -> bool:
        """As a file's."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As a file's."""
        try:
            return self._readinto(buffer)
        except ConnectomeError as error:
            self.failure = error  # pandas says no more than that reading failed
            raise

    def _readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        try:
            self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = self._lines + error.object[: error.start].count(b"\n")
            raise ConnectomeError(
                f"{self._name}: line {line}", "must be text in UTF-8", repr(error.object[error.start :][:10]),
                "Save it again as CSV UTF-8.",
            ) from None  # fmt: skip
        if b"\0" in data:
            line = self._lines + data[: data.index(b"\0")].count(b"\n")
            raise ConnectomeError(f"{self._name}: line {line}", "must be text without the character NUL", "NUL")
        self._lines += data.count(b"\n")
        last = data.rfind(b"\n")
        self._line_bytes = len(data) - last - 1 if last >= 0 else self._line_bytes + len(data)
        if self._line_bytes > MAX_LINE_BYTES:
            rule = f"must have at most {MAX_LINE_BYTES:,} bytes"
            raise ConnectomeError(f"{self._name}: line {self._lines}", rule, "more")
        buffer[: len(data)] = data
        return len(data)


def read_text(path: str | os.PathLike[str]) -> str:
    """A text file in UTF-8, whole. Raises :class:`ConnectomeError`."""
    with opened(path, MAX_BYTES) as stream:
        return stream.read().decode()


def beginning(path: str | os.PathLike[str]) -> str:
    """The first MiB of a text. Raises :class:`ConnectomeError`."""
    with opened(path) as stream:
        return stream.read(1 << 20).decode(errors="ignore")


def read_header(path: str | os.PathLike[str]) -> list[str]:
    """The fields of the first line that is not empty. Raises :class:`ConnectomeError`."""
    text = beginning(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    try:
        return next((fields for fields in reader if fields), [])
    except csv.Error:  # a field of more than 128 KiB
        return []


def delimiter_of(text: str) -> str:
    """The delimiter of the first line."""
    line = text.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=line.count)


@contextmanager
def rows_of(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Iterator[list[str]]]]:
    """A CSV reader of a file, and its rows that are not empty, the header first."""
    with opened(path) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter_of(beginning(path)))
        yield reader, (fields for fields in reader if fields)
